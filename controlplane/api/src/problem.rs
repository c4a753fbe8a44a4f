//! The one shape of every error that the control plane gives to people and programs.
//!
//! It follows RFC 9457 (`application/problem+json`) and adds what a person needs to go on: the place
//! in their files, what to write instead, and the next command to run.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why something was refused, where, and what to do.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// HTTP status of the answer; zero where there is none (a warning, a further problem).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub status: u16,
    /// What went wrong, in a few words that stay the same for the same kind of fault.
    pub title: String,
    /// What went wrong this time, as a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The file of the folder, as the request named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line in the file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in the line, from 1, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The field at fault, as a dotted path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What to write or to do instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The next command to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Further problems of the same request, so that one attempt shows them all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(no_recursion)]
    pub more: Vec<Problem>,
}

impl Problem {
    /// A problem with its status, title and sentence.
    #[must_use]
    pub fn new(status: u16, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, title: title.into(), detail: detail.into(), ..Self::default() }
    }

    /// 422: understood, and not acceptable.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(422, "Not valid", detail)
    }

    /// 404 for a named thing, with the command that lists what there is.
    #[must_use]
    pub fn not_found(what: &str, name: &str, next: &str) -> Self {
        Self::new(404, "Not found", format!("there is no {what} `{name}`")).next(next)
    }

    /// The field at fault, as a dotted path.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// What to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The next command to run.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The place in a file; lines and columns count from 1.
    #[must_use]
    pub fn at(mut self, file: impl Into<String>, line: u32, column: u32) -> Self {
        self.file = Some(file.into());
        self.line = Some(line);
        self.column = Some(column);
        self
    }

    /// Many problems as one: the first leads, the others follow in `more`.
    ///
    /// `None` when there is no problem at all.
    #[must_use]
    pub fn gather(problems: Vec<Self>) -> Option<Self> {
        let mut rest = problems.into_iter();
        let mut first = rest.next()?;
        first.more.extend(rest);
        Some(first)
    }

    /// As a person reads it in a terminal: place, sentence, help, next command.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        for problem in &self.more {
            problem.write(&mut text);
        }
        text
    }

    fn write(&self, text: &mut String) {
        if let Some(file) = &self.file {
            text.push_str(file);
            for number in [self.line, self.column].into_iter().flatten() {
                text.push_str(&format!(":{number}"));
            }
            text.push_str(": ");
        }
        text.push_str(&self.title);
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text.push('\n');
        if let Some(field) = &self.field {
            text.push_str(&format!("  field: {field}\n"));
        }
        if let Some(help) = &self.help {
            text.push_str(&format!("  help: {help}\n"));
        }
        if let Some(next) = &self.next {
            text.push_str(&format!("  next: {next}\n"));
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.to_text().trim_end())
    }
}

impl std::error::Error for Problem {}

fn is_zero(status: &u16) -> bool {
    *status == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_place_sentence_help_and_next_command() {
        let first = Problem::invalid("`ftp://crm` is not an address of a server")
            .field("servers.crm.url")
            .at("portcullis.toml", 3, 7)
            .help("write an http:// or https:// address")
            .next("portcullis apply --dry-run policy/");
        let all = Problem::gather(vec![first, Problem::invalid("and this")]).unwrap();
        assert_eq!(
            all.to_text(),
            "portcullis.toml:3:7: Not valid: `ftp://crm` is not an address of a server\n  \
             field: servers.crm.url\n  help: write an http:// or https:// address\n  \
             next: portcullis apply --dry-run policy/\nNot valid: and this\n"
        );
    }

    #[test]
    fn absent_parts_are_absent_on_the_wire() {
        let json = serde_json::to_string(&Problem::new(404, "Not found", "no")).unwrap();
        assert_eq!(json, r#"{"status":404,"title":"Not found","detail":"no"}"#);
    }
}
