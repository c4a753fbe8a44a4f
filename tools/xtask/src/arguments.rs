//! A verb's arguments: `--name`, `--name value`, and what comes after `--`.
//!
//! Enough for ten verbs; the product's own command line is clap's.

/// What was written after the verb.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    words: Vec<String>,
    /// After `--`: handed on as it is.
    pub rest: Vec<String>,
}

/// An option that a verb knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opt {
    pub name: &'static str,
    /// The placeholder of its value; empty for a flag.
    pub value: &'static str,
    pub help: &'static str,
}

impl Arguments {
    pub(crate) fn new(words: impl Iterator<Item = String>) -> Self {
        let mut all: Vec<String> = words.collect();
        let rest = match all.iter().position(|word| word == "--") {
            Some(at) => all.split_off(at).into_iter().skip(1).collect(),
            None => Vec::new(),
        };
        // `--name=value` is `--name value`.
        let split = |word: String| match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => {
                vec![name.to_owned(), value.to_owned()]
            }
            _ => vec![word],
        };
        Self { words: all.into_iter().flat_map(split).collect(), rest }
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.words.iter().any(|word| word.strip_prefix("--") == Some(name))
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let at = self.words.iter().position(|word| word.strip_prefix("--") == Some(name))?;
        self.words.get(at + 1).map(String::as_str)
    }

    /// A number, or the default.
    ///
    /// # Errors
    /// When the value is no number.
    pub(crate) fn number(&self, name: &str, default: u64) -> anyhow::Result<u64> {
        match self.value(name) {
            Some(text) => {
                text.parse().map_err(|_| anyhow::anyhow!("--{name} {text}: a number, please"))
            }
            None => Ok(default),
        }
    }

    /// Whether only `known` options were written.
    ///
    /// # Errors
    /// The sentence to print otherwise.
    pub(crate) fn only(&self, known: &[Opt]) -> Result<(), String> {
        let mut words = self.words.iter();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").unwrap_or("");
            match known.iter().find(|option| option.name == name) {
                None => return Err(format!("what is `{word}`?")),
                Some(option) if option.value.is_empty() => {}
                Some(option) => match words.next() {
                    Some(_) => {}
                    None => return Err(format!("--{name} wants {}", option.value)),
                },
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Opt] =
        &[Opt { name: "seed", value: "N", help: "" }, Opt { name: "keep", value: "", help: "" }];

    fn of(text: &str) -> Arguments {
        Arguments::new(text.split_whitespace().map(ToOwned::to_owned))
    }

    #[test]
    fn flags_values_and_rest() {
        let found = of("--keep --seed=7 -- --seed 8");
        assert!(found.flag("keep"));
        assert_eq!(found.number("seed", 0).unwrap(), 7);
        assert_eq!(found.rest, ["--seed", "8"]);
        assert_eq!(found.only(KNOWN), Ok(()));
    }

    #[test]
    fn what_is_unknown_or_incomplete_is_refused() {
        assert_eq!(of("--sed 7").only(KNOWN), Err("what is `--sed`?".to_owned()));
        assert_eq!(of("--seed").only(KNOWN), Err("--seed wants N".to_owned()));
        assert!(of("--seed x").number("seed", 0).is_err());
    }
}
