//! The budget: a line a stage, `stage,instructions`.
//!
//! A stage may rise by [`TOLERANCE_PERCENT`]; what falls by more is worth a new budget, which
//! `--bless` writes. A stage without a budget, or a budget without a stage, fails as well.

use std::fmt::Write;

use anyhow::{Context, bail};

/// How far above its budget a stage may be: layout of code moves a few instructions.
pub const TOLERANCE_PERCENT: u64 = 3;

const HEADER: &str = "stage,instructions";

/// Instructions of one unit of work, by stage, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts(pub Vec<(String, u64)>);

impl Counts {
    /// Reads the file's text.
    ///
    /// # Errors
    /// Names the line that is none.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            bail!("the first line is not `{HEADER}`");
        }
        let mut counts = Vec::new();
        for line in lines {
            let (stage, count) = line.split_once(',').with_context(|| format!("`{line}`"))?;
            let count = count.parse().with_context(|| format!("`{line}`"))?;
            counts.push((stage.to_owned(), count));
        }
        Ok(Self(counts))
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for (stage, count) in &self.0 {
            let _ = writeln!(text, "{stage},{count}");
        }
        text
    }

    #[must_use]
    pub fn of(&self, stage: &str) -> Option<u64> {
        self.0.iter().find(|(name, _)| name == stage).map(|(_, count)| *count)
    }

    /// What these counts, held against a budget, fail by. Empty when they pass.
    #[must_use]
    pub fn against(&self, budget: &Self) -> Vec<String> {
        let mut faults = Vec::new();
        for (stage, count) in &self.0 {
            match budget.of(stage) {
                Some(allowed) if *count * 100 > allowed * (100 + TOLERANCE_PERCENT) => {
                    faults.push(format!(
                        "{stage}: {count} instructions, {allowed} budgeted (+{TOLERANCE_PERCENT} % \
                         allowed): make it cheaper, or say why not and run with --bless"
                    ));
                }
                Some(_) => {}
                None => faults.push(format!("{stage}: no budget: run with --bless")),
            }
        }
        for (stage, _) in &budget.0 {
            if self.of(stage).is_none() {
                faults.push(format!("{stage}: budgeted and not counted: run with --bless"));
            }
        }
        faults
    }

    /// For people: each stage with its budget and the difference.
    #[must_use]
    pub fn table(&self, budget: &Self) -> String {
        let mut text =
            format!("{:<34} {:>12} {:>12} {:>8}\n", "stage", "instructions", "budget", "");
        for (stage, count) in &self.0 {
            let _ = match budget.of(stage) {
                Some(allowed) => {
                    let change = *count as f64 / allowed.max(1) as f64 * 100.0 - 100.0;
                    writeln!(text, "{stage:<34} {count:>12} {allowed:>12} {change:>+7.1}%")
                }
                None => writeln!(text, "{stage:<34} {count:>12} {:>12} {:>8}", "-", ""),
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(all: &[(&str, u64)]) -> Counts {
        Counts(all.iter().map(|(stage, count)| ((*stage).to_owned(), *count)).collect())
    }

    #[test]
    fn a_rise_past_the_tolerance_fails() {
        let budget = counts(&[("a", 1_000)]);
        assert!(counts(&[("a", 1_030)]).against(&budget).is_empty());
        assert!(counts(&[("a", 10)]).against(&budget).is_empty());
        let faults = counts(&[("a", 1_031)]).against(&budget);
        assert!(faults[0].starts_with("a: 1031 instructions, 1000 budgeted"), "{faults:?}");
    }

    #[test]
    fn stages_and_budgets_must_match() {
        let faults = counts(&[("new", 1)]).against(&counts(&[("gone", 1)]));
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].starts_with("new: no budget") && faults[1].starts_with("gone: budgeted"));
    }

    #[test]
    fn the_file_is_read_as_it_is_written() {
        let written = counts(&[("a/b", 7), ("c", 0)]);
        assert_eq!(Counts::parse(&written.text()).unwrap(), written);
        assert!(Counts::parse("a,1\n").is_err());
        assert!(Counts::parse("stage,instructions\na\n").is_err());
    }
}
