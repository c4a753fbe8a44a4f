//! A plan is a list of steps, and a step is a value: what runs, where, and why.
//!
//! The plan is printed before anything runs, so that a person sees what an hour will go to, and
//! `--only NAME` picks a step by the name that is printed.

use std::fmt::Write;

use crate::{ebpf, machine};

/// One step.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub name: &'static str,
    /// What it shows when it passes.
    pub shows: &'static str,
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Run(Invocation),
    /// Several commands, one after the other.
    RunAll(Vec<Invocation>),
    /// The repository's own test, in this process.
    Tidy,
    /// Bans, licences and sources of everything that is linked.
    Deny,
    /// The object that the sources give, compared with the committed one, and its tests.
    Ebpf,
    /// The same tests on Debian's kernels and on drivers of cards, in QEMU.
    Kernels,
    /// Each fuzz target for this long.
    Fuzz {
        seconds: u64,
    },
}

/// A command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Invocation {
    pub program: String,
    pub arguments: Vec<String>,
    pub env: Vec<(String, String)>,
    /// A program that it needs, and the Debian package that brings it.
    pub(crate) needs: Option<(&'static str, &'static str)>,
}

impl Invocation {
    /// `cargo` with these words; `--locked` where the lock file must already be right.
    pub(crate) fn cargo(words: &str) -> Self {
        let mut arguments: Vec<String> = words.split_whitespace().map(ToOwned::to_owned).collect();
        if machine::in_ci() && arguments.first().is_some_and(|verb| verb != "fmt") {
            let at = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
            arguments.insert(at, "--locked".to_owned());
        }
        Self { program: "cargo".to_owned(), arguments, ..Self::default() }
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn needs(mut self, program: &'static str, package: &'static str) -> Self {
        self.needs = Some((program, package));
        self
    }

    /// As a person would type it.
    pub(crate) fn shown(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.env {
            let _ = match value.contains(' ') {
                true => write!(text, "{name}='{value}' "),
                false => write!(text, "{name}={value} "),
            };
        }
        text.push_str(&self.program);
        for argument in &self.arguments {
            let _ = match argument.contains(['(', ' ']) {
                true => write!(text, " '{argument}'"),
                false => write!(text, " {argument}"),
            };
        }
        text
    }
}

impl Step {
    /// The line of the plan.
    pub(crate) fn shown(&self) -> String {
        match &self.action {
            Action::Run(invocation) => invocation.shown(),
            Action::RunAll(all) => {
                all.iter().map(Invocation::shown).collect::<Vec<_>>().join(" && ")
            }
            Action::Tidy => "cargo xtask tidy".to_owned(),
            Action::Deny => "cargo deny check bans licenses sources".to_owned(),
            Action::Ebpf => format!("cargo xtask ebpf --check && {}", xdp().shown()),
            Action::Kernels => "cargo xtask kernels".to_owned(),
            Action::Fuzz { seconds } => format!("cargo xtask fuzz --seconds {seconds}"),
        }
    }
}

/// Everything that must pass before a change lands: `cargo xtask test`.
pub(crate) fn test(fuzz_seconds: u64) -> Vec<Step> {
    let run = Action::Run;
    // With nextest each step builds the whole workspace: a part of it has other features, and would be
    // built anew.
    let (tests, e2e) = match machine::has_nextest() {
        true => (
            "nextest run --workspace --no-fail-fast -E not(package(tests-e2e))",
            "nextest run --workspace --no-fail-fast -E package(tests-e2e) --test-threads 1 \
             --success-output immediate",
        ),
        false => (
            "test --workspace --exclude tests-e2e --lib --bins --tests --no-fail-fast",
            "test --package tests-e2e --no-fail-fast -- --test-threads=1",
        ),
    };
    let binaries = machine::target_folder().join("debug").display().to_string();
    let e2e = Invocation::cargo(e2e).env("PORTCULLIS_BIN_DIR", binaries);
    vec![
        step("format", "one layout", run(Invocation::cargo("fmt --all --check"))),
        step("tidy", "layers, purity, limits and promises with their tests", Action::Tidy),
        step("deny", "bans with version floors, licences, sources", Action::Deny),
        step(
            "clippy",
            "no warning",
            run(Invocation::cargo("clippy --workspace --all-targets -- -D warnings")),
        ),
        step(
            "build",
            "the tests, and the processes that the end-to-end tests start",
            run(Invocation::cargo("build --workspace --all-targets")),
        ),
        step("tests", "unit, model, golden and simulation tests", run(Invocation::cargo(tests))),
        step("e2e", "real processes, sockets and SDKs", run(e2e)),
        step("ebpf", "the committed object, and a fresh one through its tests", Action::Ebpf),
        step("kernels", "the same on other kernels and drivers, in QEMU", Action::Kernels),
        step("fuzz", "each parser of outside bytes", Action::Fuzz { seconds: fuzz_seconds }),
        step(
            "counts",
            "instructions a stage, within their budget",
            run(Invocation::cargo("run --package benches -- check").needs("valgrind", "valgrind")),
        ),
        docs(),
    ]
}

/// The tests of the network card's program, on the object that was built just now.
pub(crate) fn xdp() -> Invocation {
    Invocation::cargo("test --package tests-xdp")
        .env("PORTCULLIS_EBPF_OBJECTS", ebpf::fresh_objects().display().to_string())
}

/// Builds what is shipped, and these packages, with a profile.
pub(crate) fn product(profile: &str, further: &[&str]) -> Invocation {
    let shipped = ["controlplane-server", "controlplane-cli", "dataplane-gateway"];
    let mut words = format!("build --bins --profile {profile}");
    for package in shipped.iter().chain(further) {
        words.push_str(&format!(" --package {package}"));
    }
    Invocation::cargo(&words)
}

/// The documentation: every link, and every example.
pub(crate) fn docs() -> Step {
    let build = Invocation::cargo("doc --workspace --no-deps --document-private-items")
        .env("RUSTDOCFLAGS", "-D warnings");
    let examples = Invocation::cargo("test --workspace --doc");
    step("docs", "every link and every example", Action::RunAll(vec![build, examples]))
}

/// A step of its own.
pub(crate) fn step(name: &'static str, shows: &'static str, action: Action) -> Step {
    Step { name, shows, action }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let plan = test(60);
        for (at, step) in plan.iter().enumerate() {
            assert!(plan.iter().skip(at + 1).all(|other| other.name != step.name), "{}", step.name);
        }
    }

    #[test]
    fn a_command_is_shown_as_it_is_typed() {
        let shown = Invocation {
            program: "cargo".into(),
            arguments: vec!["doc".into()],
            ..Invocation::default()
        }
        .env("RUSTDOCFLAGS", "-D warnings")
        .shown();
        assert_eq!(shown, "RUSTDOCFLAGS='-D warnings' cargo doc");
    }
}
