//! The verbs: what each is for, its options, and what it does.

use std::fmt::Write;

use anyhow::Context;
use tools_tidy::Repository;

use crate::arguments::{Arguments, Opt};
use crate::outcome::Outcome;
use crate::plan::{self, Invocation};
use crate::{ebpf, fuzz, kernels, machine, run};

/// Seconds for each fuzz target, in `test` and by itself.
const FUZZ_SECONDS: u64 = 60;

/// A verb.
pub(crate) struct Verb {
    pub name: &'static str,
    pub help: &'static str,
    pub options: &'static [Opt],
    /// Whether all went well.
    pub run: fn(&Arguments) -> anyhow::Result<bool>,
}

const fn flag(name: &'static str, help: &'static str) -> Opt {
    Opt { name, value: "", help }
}

const fn value(name: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt { name, value, help }
}

/// Every verb, in the order of `--help`.
pub(crate) const VERBS: &[Verb] = &[
    Verb {
        name: "test",
        help: "everything that must pass before a change lands",
        options: &[
            flag("plan", "print the plan and stop"),
            value("only", "STEP", "one step of the plan"),
            value("seconds", "N", "for each fuzz target (60)"),
        ],
        run: test,
    },
    Verb {
        name: "demo",
        help: "build and start the whole system and show it at work",
        options: &[flag("keep", "leave it running")],
        run: demo,
    },
    Verb {
        name: "bench",
        help: "load generator and comparison; words after `--` go to it",
        options: &[],
        run: bench,
    },
    Verb {
        name: "sim",
        help: "the pipeline under seeds",
        options: &[
            value("seed", "N", "replay one seed"),
            value("seeds", "N", "how many seeds (2000)"),
        ],
        run: sim,
    },
    Verb {
        name: "fuzz",
        help: "the fuzz targets, two at a time on two cores",
        options: &[
            value("seconds", "N", "for each target (60)"),
            value("target", "NAME", "one target"),
        ],
        run: fuzz,
    },
    Verb {
        name: "ebpf",
        help: "rebuild the object of the program at the network card",
        options: &[flag("check", "compare with the committed object, change nothing")],
        run: |arguments| ebpf::run(arguments.flag("check")),
    },
    Verb {
        name: "kernels",
        help: "its tests on Debian's kernels and on drivers of cards, in QEMU",
        options: &[
            value("series", "N", "one kernel: 6.1 or 6.12"),
            value("qemu", "PROGRAM", "another QEMU than Debian's"),
            flag("tcg", "emulate the processor, too"),
        ],
        run: kernels,
    },
    Verb {
        name: "bless",
        help: "rewrite the golden files from what the code says now",
        options: &[value("package", "NAME", "of one crate")],
        run: bless,
    },
    Verb {
        name: "tidy",
        help: "the repository's own test",
        options: &[flag("notes", "also files that are longer than what reads well")],
        run: tidy,
    },
    Verb {
        name: "docs",
        help: "build the documentation and run its examples",
        options: &[],
        run: |_| Ok(run::execute(&[plan::docs()])),
    },
];

pub(crate) fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

pub(crate) fn help() -> String {
    let mut text = "usage: cargo xtask VERB [OPTIONS]\n\n".to_owned();
    for verb in VERBS {
        let _ = writeln!(text, "  {:<7} {}", verb.name, verb.help);
    }
    text.push_str("\n`cargo xtask VERB --help` lists a verb's options.\n");
    text
}

pub(crate) fn usage(verb: &Verb) -> String {
    let mut text = format!("cargo xtask {}: {}\n", verb.name, verb.help);
    for option in verb.options {
        let _ = writeln!(
            text,
            "  --{:<18} {}",
            format!("{} {}", option.name, option.value),
            option.help
        );
    }
    text
}

fn test(arguments: &Arguments) -> anyhow::Result<bool> {
    let mut steps = plan::test(arguments.number("seconds", FUZZ_SECONDS)?);
    if let Some(only) = arguments.value("only") {
        steps.retain(|step| step.name == only);
        anyhow::ensure!(
            !steps.is_empty(),
            "no step `{only}`; `cargo xtask test --plan` lists them"
        );
    }
    if arguments.flag("plan") {
        for step in &steps {
            println!("{:<8} {}", step.name, step.shown());
        }
        return Ok(true);
    }
    Ok(run::execute(&steps))
}

fn demo(arguments: &Arguments) -> anyhow::Result<bool> {
    let build = plan::product("demo", &["tests-fixtures", "tools-demo"]);
    println!("building the system; the first time this takes minutes");
    if !hand_over(&build)? {
        return Ok(false);
    }
    // One scene is played in network namespaces; without them it says so and is skipped.
    let is_there = machine::succeeds("ip", &["-V"]) && machine::succeeds("nft", &["--version"]);
    if machine::is_root() && !is_there {
        machine::install(&["iproute2", "nftables"]);
    }
    let folder = machine::target_folder().join("demo");
    let mut run = Invocation {
        program: folder.join("portcullis-demo").display().to_string(),
        ..Invocation::default()
    }
    .env("PORTCULLIS_BIN_DIR", folder.display().to_string());
    if arguments.flag("keep") {
        run.arguments.push("--keep".to_owned());
    }
    hand_over(&run)
}

fn bench(arguments: &Arguments) -> anyhow::Result<bool> {
    let build = plan::product("release", &["tests-fixtures", "tools-bench"]);
    if !hand_over(&build)? {
        return Ok(false);
    }
    let folder = machine::target_folder().join("release");
    let mut run = Invocation {
        program: folder.join("portcullis-bench").display().to_string(),
        ..Invocation::default()
    }
    .env("PORTCULLIS_BIN_DIR", folder.display().to_string());
    run.arguments.extend(arguments.rest.iter().cloned());
    hand_over(&run)
}

fn sim(arguments: &Arguments) -> anyhow::Result<bool> {
    let mut invocation = Invocation::cargo("test --release --package tests-sim -- --nocapture");
    if let Some(seed) = arguments.value("seed") {
        invocation = invocation.env("SIM_SEED", seed);
    }
    if let Some(seeds) = arguments.value("seeds") {
        invocation = invocation.env("SIM_SEEDS", seeds);
    }
    hand_over(&invocation)
}

fn fuzz(arguments: &Arguments) -> anyhow::Result<bool> {
    let seconds = arguments.number("seconds", FUZZ_SECONDS)?;
    counted(fuzz::run(seconds, arguments.value("target")))
}

fn kernels(arguments: &Arguments) -> anyhow::Result<bool> {
    let text = |name| arguments.value(name).map(ToOwned::to_owned);
    counted(kernels::run(&kernels::Wanted {
        only: text("series"),
        emulator: text("qemu"),
        software: arguments.flag("tcg"),
    }))
}

/// Prints the closing line.
fn counted(outcome: Outcome) -> anyhow::Result<bool> {
    match outcome {
        Outcome::Passed(counts) => {
            println!("{} passed, 0 failed", counts.passed);
            Ok(true)
        }
        Outcome::Failed(counts, why) => {
            println!("{why}\n{} passed, {} failed", counts.passed, counts.failed.max(1));
            Ok(false)
        }
        Outcome::Skipped(why) => anyhow::bail!(why),
    }
}

fn bless(arguments: &Arguments) -> anyhow::Result<bool> {
    let mut invocation = Invocation::cargo("test --no-fail-fast").env("BLESS", "1");
    match arguments.value("package") {
        Some(package) => invocation.arguments.extend(["--package".to_owned(), package.to_owned()]),
        None => invocation
            .arguments
            .extend(["--workspace", "--exclude", "tests-e2e"].map(ToOwned::to_owned)),
    }
    let passed = hand_over(&invocation)?;
    machine::succeeds("git", &["status", "--short"]);
    println!("now read `git diff`: a golden file is a promise");
    Ok(passed)
}

fn tidy(arguments: &Arguments) -> anyhow::Result<bool> {
    Ok(tidy_findings(arguments.flag("notes"))? == 0)
}

/// Prints what is not tidy; how many findings.
pub(crate) fn tidy_findings(with_notes: bool) -> anyhow::Result<usize> {
    let repository = Repository::read(&machine::root())?;
    if with_notes {
        for note in tools_tidy::notes(&repository) {
            println!("note: {note}");
        }
    }
    let findings = tools_tidy::check(&repository);
    for finding in &findings {
        println!("{finding}");
    }
    Ok(findings.len())
}

/// Runs a command on this terminal.
fn hand_over(invocation: &Invocation) -> anyhow::Result<bool> {
    println!("$ {}", invocation.shown());
    let status = machine::command(&invocation.program)
        .args(&invocation.arguments)
        .envs(invocation.env.iter().map(|(name, value)| (name, value)))
        .current_dir(machine::root())
        .status()
        .with_context(|| invocation.program.clone())?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_verb() {
        for verb in VERBS {
            assert!(help().contains(&format!("  {:<7} {}", verb.name, verb.help)));
        }
    }
}
