//! What a step came to, and how many tests it ran, read from the runners' own closing lines.

/// Tests that ran.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    pub passed: u64,
    pub failed: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    pub(crate) fn none(self) -> bool {
        self == Self::default()
    }
}

/// How a step ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Passed(Counts),
    Failed(Counts, String),
    /// Why it did not run. In CI this is a failure.
    Skipped(String),
}

/// Whose closing lines are read. A runner that shows a failed test's output shows that one's closing
/// line too, which is not its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Runner {
    CargoTest,
    Nextest,
}

impl Runner {
    /// By the words after `cargo`.
    pub(crate) fn of(arguments: &[String]) -> Self {
        match arguments.first().is_some_and(|verb| verb == "nextest") {
            true => Self::Nextest,
            false => Self::CargoTest,
        }
    }

    /// What a line counts, if it is a closing line of this runner.
    pub(crate) fn count(self, line: &str) -> Option<Counts> {
        let line = plain(line);
        let line = line.trim();
        if self == Self::CargoTest {
            let rest = line.strip_prefix("test result: ")?;
            return Some(Counts {
                passed: before(rest, " passed")?,
                failed: before(rest, " failed")?,
            });
        }
        let rest = line.strip_prefix("Summary [")?;
        let failed = before(rest, " failed").unwrap_or(0) + before(rest, " timed out").unwrap_or(0);
        Some(Counts { passed: before(rest, " passed").unwrap_or(0), failed })
    }
}

/// The number right before `word`.
fn before(text: &str, word: &str) -> Option<u64> {
    let at = text.find(word)?;
    let digits = text.get(..at)?.rsplit(|letter: char| !letter.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Without terminal colours.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            letters.by_ref().find(|end| end.is_ascii_alphabetic());
        } else {
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cargo_test() {
        let line = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out";
        let count = |line| Runner::CargoTest.count(line);
        assert_eq!(count(line), Some(Counts { passed: 12, failed: 0 }));
        let line = "test result: FAILED. 1 passed; 2 failed; 0 ignored";
        assert_eq!(count(line), Some(Counts { passed: 1, failed: 2 }));
        assert_eq!(count("test a::b ... ok"), None);
    }

    #[test]
    fn reads_nextest() {
        let line = "     \u{1b}[32;1mSummary\u{1b}[0m [   1.1s] 14 tests run: 11 passed (1 slow), 2 failed, 1 timed out, 4 skipped";
        let count = |line| Runner::of(&["nextest".to_owned()]).count(line);
        assert_eq!(count(line), Some(Counts { passed: 11, failed: 3 }));
        assert_eq!(count("    test result: FAILED. 0 passed; 1 failed; 0 ignored"), None);
        let line = "     Summary [   0.1s] 1 test run: 1 passed, 0 skipped";
        assert_eq!(count(line), Some(Counts { passed: 1, failed: 0 }));
    }
}
