//! What an emulated machine wrote on its console: which runs ended how, and the figures among it.
//!
//! The first process there (`tests-xdp`, `xdp-guest`) begins its own lines with `guest:`; all else is
//! the tests' and the kernel's.

use std::fmt::Write;
use std::path::Path;

use crate::outcome::{Counts, Runner};

pub(super) const HEAD: &str = "\
| kernel | instructions verified | verifying, ms | loading, ms | tests passed |
| --- | --- | --- | --- | --- |
";
pub(super) const DRIVERS_HEAD: &str = "\
| driver | kernel | mode | tests passed |
| --- | --- | --- | --- |
";

/// How many lines of a machine that failed are shown.
const SHOWN_LINES: usize = 60;

/// What a machine came to.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// How the kernel calls itself.
    release: String,
    figures: Option<[String; 3]>,
    ended: Vec<Ended>,
    wanted: usize,
    complete: bool,
    /// What the first process said of itself.
    said: Option<String>,
}

#[derive(Debug)]
struct Ended {
    run: String,
    code: i32,
    counts: Counts,
}

impl Report {
    /// Of these lines; so many runs should have ended.
    pub(super) fn read(lines: &[String], wanted: usize) -> Self {
        let mut report = Self { wanted, ..Self::default() };
        let mut counts = Counts::default();
        for line in lines {
            if let Some(found) = Runner::CargoTest.count(line) {
                counts.add(found);
            }
            if let Some(figures) = figures(line) {
                report.figures = Some(figures);
            }
            let Some(own) = line.split_once("guest: ").map(|(_, own)| own) else { continue };
            if let Some((run, code)) =
                own.strip_prefix("end ").and_then(|end| end.rsplit_once(": "))
            {
                let code = code.trim().parse().unwrap_or(-1);
                report.ended.push(Ended { run: run.to_owned(), code, counts });
                counts = Counts::default();
            } else if let Some(release) = own.strip_prefix("Linux ") {
                release.split_whitespace().next().unwrap_or("?").clone_into(&mut report.release);
            } else if own.starts_with("all ") {
                report.complete = true;
            } else if !own.starts_with("begin ") {
                report.said = Some(own.to_owned());
            }
        }
        report
    }

    /// What went wrong, if something did.
    pub(super) fn fault(&self) -> Option<String> {
        if let Some(said) = &self.said {
            return Some(said.clone());
        }
        let failed =
            |ended: &&Ended| ended.code != 0 || ended.counts.passed == 0 || ended.counts.failed > 0;
        if let Some(ended) = self.ended.iter().find(failed) {
            let Counts { passed, failed } = ended.counts;
            return Some(format!(
                "{}: code {}, {passed} passed, {failed} failed",
                ended.run, ended.code
            ));
        }
        if !self.complete || self.ended.len() != self.wanted {
            return Some(format!("{} of {} runs ended", self.ended.len(), self.wanted));
        }
        self.figures.is_none().then(|| "no figures".to_owned())
    }

    pub(super) fn counts(&self) -> Counts {
        let mut total = Counts::default();
        for ended in &self.ended {
            total.add(ended.counts);
        }
        total
    }

    /// The row of its kernel.
    pub(super) fn row(&self, version: &str) -> String {
        let none = || ["?", "?", "?"].map(ToOwned::to_owned);
        let [verified, verifying, loading] = self.figures.clone().unwrap_or_else(none);
        let (release, passed) = (&self.release, self.counts().passed);
        format!("| {release} ({version}) | {verified} | {verifying} | {loading} | {passed} |\n")
    }

    /// The rows of its drivers.
    pub(super) fn drivers(&self, series: &str) -> String {
        let mut rows = String::new();
        for Ended { run, code, counts } in &self.ended {
            let cards = run.split_whitespace().find_map(|word| word.split_once("XDP_CARDS="));
            let Some((driver, mode)) = cards.and_then(|(_, cards)| cards.split_once('/')) else {
                continue;
            };
            let mode = if *code == 0 { mode } else { "FAILED" };
            let _ = writeln!(rows, "| {driver} | {series} | {mode} | {} |", counts.passed);
        }
        rows
    }
}

/// `N instructions verified of M, V ms; all loaded in L ms; ...`
fn figures(line: &str) -> Option<[String; 3]> {
    let (verified, rest) = line.split_once(" instructions verified of ")?;
    let (_, rest) = rest.split_once(", ")?;
    let (_, loading) = rest.split_once("loaded in ")?;
    let number = |text: &str, at_end: bool| {
        let mut words = text.split_whitespace();
        let word = if at_end { words.next_back() } else { words.next() };
        word.map(ToOwned::to_owned)
    };
    // Digits that are grouped were cut at the comma of the million.
    let verifying = rest.split(" ms").next()?;
    Some([number(verified, true)?, number(verifying, true)?, number(loading, false)?])
}

/// The end of a log.
pub(super) fn show_tail(name: &str, log: &Path) {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    println!("{name}: the end of {}:", log.display());
    for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
        println!("{name}| {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "\
[    0.1] something of the kernel
guest: Linux 6.1.0-56-amd64 #1 SMP
guest: begin CI=1 /guest/cost
    20382 instructions verified of 1,000,000, 48.6 ms; all loaded in 187.6 ms; 7821 bytes
test result: ok. 1 passed; 0 failed; 0 ignored
guest: end CI=1 /guest/cost: 0
guest: begin PORTCULLIS_XDP_CARDS=igb/native /guest/namespaces
test result: ok. 7 passed; 0 failed; 0 ignored
guest: end PORTCULLIS_XDP_CARDS=igb/native /guest/namespaces: 0
guest: all 2 runs ended";

    fn read(text: &str) -> Report {
        Report::read(&text.lines().map(ToOwned::to_owned).collect::<Vec<_>>(), 2)
    }

    #[test]
    fn a_machine_that_went_well_is_read() {
        let report = read(CONSOLE);
        assert_eq!(report.fault(), None);
        assert_eq!(report.counts(), Counts { passed: 8, failed: 0 });
        assert_eq!(
            report.row("6.1.192-2"),
            "| 6.1.0-56-amd64 (6.1.192-2) | 20382 | 48.6 | 187.6 | 8 |\n"
        );
        assert_eq!(report.drivers("6.1"), "| igb | 6.1 | native | 7 |\n");
    }

    #[test]
    fn whatever_goes_wrong_is_a_fault() {
        let last = CONSOLE.rsplit_once('\n').unwrap().0;
        for (what, text) in [
            ("2 of 2 runs ended", last.to_owned()),
            ("code 101", CONSOLE.replace("namespaces: 0", "namespaces: 101")),
            ("7 passed, 1 failed", CONSOLE.replace("7 passed; 0", "7 passed; 1")),
            ("0 passed", CONSOLE.replace("7 passed", "0 passed")),
            ("1 of 2 runs ended", CONSOLE.replace("guest: end CI=1", "")),
            ("/guest/modules: gone", format!("{CONSOLE}\nguest: /guest/modules: gone")),
            ("no figures", CONSOLE.replace("verified", "")),
            ("0 of 2 runs ended", "Kernel panic".to_owned()),
        ] {
            let fault = read(&text).fault();
            assert!(fault.as_ref().is_some_and(|fault| fault.contains(what)), "{what}: {fault:?}");
        }
    }
}
