//! What stopped a command, and what to do about it.

use controlplane_api::Problem;

/// Everything that is not what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Usage(String),
    #[error("cannot reach the control plane at {url}: {why}")]
    Unreachable { url: String, why: String },
    #[error("refused")]
    Refused(Box<Problem>),
    #[error("{0}")]
    Local(String),
}

impl Fault {
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Local(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
        }
    }

    /// For standard error.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Refused(problem) => told_problem(problem),
            Self::Unreachable { .. } => {
                format!("error: {self}\n  try: portcullis-control, or --url and PORTCULLIS_URL")
            }
            Self::Usage(_) | Self::Local(_) => format!("error: {self}"),
        }
    }
}

/// A problem and those that came with it: place, sentence, help, next command.
pub(crate) fn told_problem(problem: &Problem) -> String {
    let mut lines = Vec::new();
    for one in std::iter::once(problem).chain(&problem.more) {
        let mut place = String::new();
        if let Some(file) = &one.file {
            place = format!("{file}:");
            for number in [one.line, one.column].into_iter().flatten() {
                place.push_str(&format!("{number}:"));
            }
            place.push(' ');
        }
        let sentence = if one.detail.is_empty() { &one.title } else { &one.detail };
        lines.push(format!("error: {place}{sentence}"));
        if let Some(help) = &one.help {
            lines.push(format!("  help: {help}"));
        }
        if let Some(next) = &one.next {
            lines.push(format!("  try: {next}"));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_its_place_and_the_next_command() {
        let mut problem =
            Problem::invalid("there is no role `suport`").help("write Role::\"support\"");
        (problem.file, problem.line, problem.column) = (Some("a.cedar".into()), Some(3), Some(9));
        let next = Problem::not_found("server", "crn", "portcullis servers");
        problem.more.push(next);
        let told = Fault::Refused(Box::new(problem)).told();
        assert_eq!(
            told,
            "error: a.cedar:3:9: there is no role `suport`\n  help: write Role::\"support\"\n\
             error: there is no server `crn`\n  try: portcullis servers"
        );
    }
}
