//! Runs the `stages` program under callgrind and reads what it counted.
//!
//! Collection is on inside [`MEASURED`] only, and each return from it dumps and zeroes the counters:
//! so one run yields a file a stage, in order, and nothing of the preparation is in them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::budget::Counts;
use crate::stages::NAMES;

/// The function between whose entry and return is counted. Its whole name: callgrind's
/// `--dump-after` takes no wildcard, though `--toggle-collect` does.
pub const MEASURED: &str = "stages::measured_stage";
/// Calls of a stage's closure in one measurement. The loop around them is a few instructions each.
pub const CALLS: u64 = 200;

/// Counts all stages of the program at `stages`, which reads its policy table from `table`.
///
/// # Errors
/// When valgrind is missing, the program fails, or the counts are not one a stage.
pub fn count(stages: &Path, table: &Path, folder: &Path) -> anyhow::Result<Counts> {
    let out = folder.join("callgrind.out");
    for stale in dumps(folder)? {
        fs::remove_file(stale)?;
    }
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={MEASURED}"))
        .arg(format!("--dump-after={MEASURED}"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(stages)
        .arg("count")
        .arg(table)
        .stdout(Stdio::null());
    let status = match command.status() {
        Ok(status) => status,
        Err(_) => {
            bail!("valgrind is not installed: apt-get install --no-install-recommends valgrind")
        }
    };
    ensure!(status.success(), "{} under valgrind: {status}", stages.display());
    let dumps = dumps(folder)?;
    let mut counts = Counts::default();
    for dump in &dumps {
        let text = fs::read_to_string(dump).with_context(|| dump.display().to_string())?;
        // The last dump is what was left at the program's end: nothing.
        if let Some(total) = total(&text).filter(|total| *total > 0) {
            let name = NAMES.get(counts.0.len()).context("more counts than stages")?;
            counts.0.push(((*name).to_owned(), total / CALLS));
        }
    }
    ensure!(
        counts.0.len() == NAMES.len(),
        "{} counts for {} stages: is `{MEASURED}` still a function of its own?",
        counts.0.len(),
        NAMES.len()
    );
    Ok(counts)
}

/// The dumps in order: `callgrind.out.1`, `.2`, …
fn dumps(folder: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(rest) = name.strip_prefix("callgrind.out") else { continue };
        let number: u32 = rest.trim_start_matches('.').parse().unwrap_or(u32::MAX);
        found.push((number, path));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Instructions of one dump.
fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")));
    line?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_says_its_total() {
        assert_eq!(total("events: Ir\nsummary: 1234\n\nfn=x\n"), Some(1_234));
        assert_eq!(total("totals: 7 8\n"), Some(7));
        assert_eq!(total("events: Ir\n"), None);
    }
}
