//! Runs the fuzz targets of `tests/fuzz`, some at a time.
//!
//! cargo-fuzz wants an unstable compiler for its sanitizer: a nightly where there is one, else the
//! pinned compiler told to allow it. Each target's output goes to a file; a failure shows its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::machine;
use crate::outcome::{Counts, Outcome};

/// How many lines of a failed target's output are shown.
const SHOWN_LINES: usize = 40;

/// Runs every target, or the one named, for `seconds` each.
pub(crate) fn run(seconds: u64, only: Option<&str>) -> Outcome {
    let folder = machine::root().join("tests/fuzz");
    let targets = match targets(&folder) {
        Ok(found) => found,
        Err(fault) => return failed(format!("{fault:#}")),
    };
    let targets: Vec<String> =
        targets.into_iter().filter(|name| only.is_none_or(|only| only == name)).collect();
    if targets.is_empty() {
        return failed("no such target in tests/fuzz/fuzz_targets".to_owned());
    }
    if let Err(why) = machine::FUZZ.ensure() {
        return Outcome::Skipped(why);
    }
    println!("building {} targets", targets.len());
    let built = cargo_fuzz(&folder, "build").status();
    if !built.is_ok_and(|status| status.success()) {
        return failed("cargo fuzz build".to_owned());
    }
    let logs = machine::target_folder().join("fuzz-logs");
    if let Err(fault) = fs::create_dir_all(&logs) {
        return failed(fault.to_string());
    }
    let results = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..machine::cores() {
            scope.spawn(|| {
                while let Some(name) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let passed = run_one(&folder, &logs, name, seconds);
                    if let Ok(mut results) = results.lock() {
                        results.push(passed);
                    }
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_default();
    let passed = results.iter().filter(|passed| **passed).count();
    let failed_count = targets.len() - passed;
    let counts = Counts { passed: passed as u64, failed: failed_count as u64 };
    match failed_count {
        0 => Outcome::Passed(counts),
        _ => Outcome::Failed(
            counts,
            format!("{failed_count} targets; inputs in tests/fuzz/artifacts"),
        ),
    }
}

fn run_one(folder: &Path, logs: &Path, name: &str, seconds: u64) -> bool {
    let log = logs.join(format!("{name}.log"));
    // What is found goes to the first folder; the seeds in the repository are only read.
    let found = machine::target_folder().join("fuzz-corpus").join(name);
    let begun = Instant::now();
    let passed =
        fs::create_dir_all(&found).ok().and_then(|()| output_to(&log)).is_some_and(|(out, err)| {
            let status = cargo_fuzz(folder, "run")
                .arg(name)
                .args([&found, &folder.join("corpus").join(name)])
                .arg("--")
                .arg(format!("-max_total_time={seconds}"))
                .args([
                    "-rss_limit_mb=2048",
                    "-timeout=10",
                    "-max_len=65536",
                    "-print_final_stats=1",
                ])
                .stdin(Stdio::null())
                .stdout(out)
                .stderr(err)
                .status();
            status.is_ok_and(|status| status.success())
        });
    let text = fs::read_to_string(&log).unwrap_or_default();
    let runs = text
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .map_or("?", str::trim);
    let word = if passed { "ok" } else { "FAILED" };
    println!("fuzz {name:<24} {word:<6} {runs:>10} runs {:>6.0} s", begun.elapsed().as_secs_f64());
    if !passed {
        let lines: Vec<&str> = text.lines().collect();
        // The end is cargo-fuzz's own; what happened begins where it panicked.
        let panicked = lines.iter().position(|line| line.contains("panicked at"));
        let from = panicked.unwrap_or_else(|| lines.len().saturating_sub(SHOWN_LINES));
        for line in lines.iter().skip(from).take(SHOWN_LINES) {
            println!("    {line}");
        }
    }
    passed
}

fn output_to(log: &Path) -> Option<(Stdio, Stdio)> {
    let file = fs::File::create(log).ok()?;
    let other = file.try_clone().ok()?;
    Some((file.into(), other.into()))
}

fn cargo_fuzz(folder: &Path, verb: &str) -> Command {
    let mut command = machine::command("cargo");
    command.args(["fuzz", verb, "--fuzz-dir"]).arg(folder).current_dir(folder);
    command.env("CARGO_TARGET_DIR", machine::target_folder().join("fuzz"));
    match machine::has_nightly() {
        true => command.env("RUSTUP_TOOLCHAIN", "nightly"),
        false => command.env("RUSTC_BOOTSTRAP", "1"),
    };
    command
}

/// Names of the files in `fuzz_targets`, in order.
fn targets(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.join("fuzz_targets"))? {
        let path: PathBuf = entry?.path();
        if let (Some("rs"), Some(stem)) =
            (path.extension().and_then(|end| end.to_str()), path.file_stem())
        {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn failed(why: String) -> Outcome {
    Outcome::Failed(Counts::default(), why)
}
