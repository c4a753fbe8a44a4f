//! Carries a plan out: prints it, runs each step, times it, counts its tests, and sums up.
//!
//! A failed step does not stop the next ones, so one run shows all that is wrong. The last line is
//! `N passed, N failed`: tests where a step ran tests, else one for the step itself.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Instant;

use crate::machine;
use crate::outcome::{Counts, Outcome, Runner};
use crate::plan::{self, Action, Invocation, Step};
use crate::{ebpf, fuzz, kernels, verbs};

/// Runs all steps; whether none failed.
pub(crate) fn execute(plan: &[Step]) -> bool {
    println!("plan:");
    for (at, step) in plan.iter().enumerate() {
        println!(
            "  {}. {:<8} {}\n     {:<8} $ {}",
            at + 1,
            step.name,
            step.shows,
            "",
            step.shown()
        );
    }
    let mut total = Counts::default();
    let mut lines = Vec::new();
    let begun = Instant::now();
    for step in plan {
        println!("\n== {}: {}", step.name, step.shows);
        let step_begun = Instant::now();
        let outcome = strict(carry_out(&step.action), machine::in_ci());
        let seconds = step_begun.elapsed().as_secs_f64();
        let (word, why, counts) = match outcome {
            Outcome::Passed(counts) if counts.none() => {
                ("passed", String::new(), Counts { passed: 1, failed: 0 })
            }
            // The runner has the last word: it ended with 0.
            Outcome::Passed(counts) => {
                ("passed", format!("{} tests", counts.passed), Counts { failed: 0, ..counts })
            }
            Outcome::Failed(counts, why) => {
                ("FAILED", why, Counts { failed: counts.failed.max(1), ..counts })
            }
            Outcome::Skipped(why) => ("skipped", why, Counts::default()),
        };
        total.add(counts);
        let line = format!("{word:<8}{:<8}{seconds:>8.1} s  {why}", step.name);
        println!("{line}");
        lines.push(line);
    }
    println!("\n{} steps in {:.0} s:", plan.len(), begun.elapsed().as_secs_f64());
    for line in &lines {
        println!("  {line}");
    }
    println!("\n{} passed, {} failed", total.passed, total.failed);
    total.failed == 0
}

/// In CI nothing may be skipped.
fn strict(outcome: Outcome, in_ci: bool) -> Outcome {
    match outcome {
        Outcome::Skipped(why) if in_ci => Outcome::Failed(Counts::default(), why),
        other => other,
    }
}

fn carry_out(action: &Action) -> Outcome {
    match action {
        Action::Run(invocation) => run(invocation),
        Action::RunAll(all) => {
            let mut counts = Counts::default();
            for invocation in all {
                match run(invocation) {
                    Outcome::Passed(found) => counts.add(found),
                    other => return other,
                }
            }
            Outcome::Passed(counts)
        }
        Action::Tidy => match verbs::tidy_findings(false) {
            Ok(0) => Outcome::Passed(Counts::default()),
            Ok(found) => Outcome::Failed(Counts::default(), format!("{found} findings")),
            Err(fault) => Outcome::Failed(Counts::default(), format!("{fault:#}")),
        },
        Action::Deny => match machine::DENY.ensure() {
            Ok(()) => run(&deny()),
            Err(why) => Outcome::Skipped(why),
        },
        Action::Ebpf => match ebpf::ensure_toolchain() {
            Ok(()) => match ebpf::run(true) {
                Ok(true) => run(&plan::xdp()),
                Ok(false) => Outcome::Failed(Counts::default(), "another object".to_owned()),
                Err(fault) => Outcome::Failed(Counts::default(), format!("{fault:#}")),
            },
            Err(why) => Outcome::Skipped(format!("{why:#}")),
        },
        Action::Kernels => kernels::run(&kernels::Wanted::default()),
        Action::Fuzz { seconds } => fuzz::run(*seconds, None),
    }
}

/// Advisories need a database from outside; they are a release's step.
fn deny() -> Invocation {
    Invocation {
        program: "cargo".to_owned(),
        arguments: ["deny", "--all-features", "check", "bans", "licenses", "sources"]
            .map(ToOwned::to_owned)
            .to_vec(),
        ..Invocation::default()
    }
}

/// Runs a command, shows its output as it comes, and counts the tests in it.
pub(crate) fn run(invocation: &Invocation) -> Outcome {
    println!("$ {}", invocation.shown());
    if let Some((program, package)) = invocation.needs
        && !machine::succeeds(program, &["--version"])
    {
        return Outcome::Skipped(format!("{program} is missing: apt-get install {package}"));
    }
    let mut command = machine::command(&invocation.program);
    command
        .args(&invocation.arguments)
        .envs(invocation.env.iter().map(|(name, value)| (name, value)))
        .current_dir(machine::root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(fault) => {
            return Outcome::Failed(Counts::default(), format!("{}: {fault}", invocation.program));
        }
    };
    let runner = Runner::of(&invocation.arguments);
    let counts = Mutex::new(Counts::default());
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
    ];
    std::thread::scope(|scope| {
        for stream in streams.into_iter().flatten() {
            scope.spawn(|| pass_on(stream, runner, &counts));
        }
    });
    let counts = counts.into_inner().unwrap_or_default();
    match child.wait() {
        Ok(status) if status.success() => Outcome::Passed(counts),
        Ok(status) => Outcome::Failed(counts, status.to_string()),
        Err(fault) => Outcome::Failed(counts, fault.to_string()),
    }
}

fn pass_on(stream: impl Read, runner: Runner, counts: &Mutex<Counts>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        if let (Some(found), Ok(mut counts)) = (runner.count(&text), counts.lock()) {
            counts.add(found);
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Invocation {
        Invocation {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            ..Invocation::default()
        }
    }

    #[test]
    fn tests_are_counted_and_a_failure_is_seen() {
        let both = "echo 'test result: ok. 2 passed; 0 failed;'; echo 'test result: ok. 3 passed; 1 failed;' >&2";
        let Outcome::Passed(counts) = run(&shell(both)) else { panic!("it ends with 0") };
        assert_eq!(counts, Counts { passed: 5, failed: 1 });
        assert!(matches!(run(&shell("exit 3")), Outcome::Failed(..)));
        let missing = Invocation { program: "no-such-program".into(), ..Invocation::default() };
        assert!(matches!(run(&missing), Outcome::Failed(..)));
        let lacking = shell("exit 0").needs("no-such-program", "no-such-package");
        assert!(matches!(run(&lacking), Outcome::Skipped(why) if why.contains("no-such-package")));
    }

    #[test]
    fn a_skip_is_a_failure_in_ci() {
        let skipped = || Outcome::Skipped("no tool".into());
        assert!(matches!(strict(skipped(), false), Outcome::Skipped(_)));
        assert!(matches!(strict(skipped(), true), Outcome::Failed(..)));
    }
}
