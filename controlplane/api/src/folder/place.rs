//! From a key of a TOML file to its line and column, and errors that carry them.

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Problem;

/// A TOML text, ready to be asked where a key is.
pub struct Places<'t> {
    text: &'t str,
    table: Option<Spanned<DeTable<'t>>>,
}

impl<'t> Places<'t> {
    /// A text that cannot be read knows only its first line.
    #[must_use]
    pub fn of(text: &'t str) -> Self {
        Self { text, table: DeTable::parse(text).ok() }
    }

    /// Line and column, from 1, of the longest part of `path` that the text has.
    #[must_use]
    pub fn find(&self, path: &[&str]) -> (u32, u32) {
        let mut offset = 0;
        let mut table = self.table.as_ref().map(Spanned::get_ref);
        for part in path {
            let Some((key, value)) = table.and_then(|table| table.get_key_value(*part)) else {
                break;
            };
            offset = key.span().start;
            table = match value.get_ref() {
                DeValue::Table(inner) => Some(inner),
                _ => {
                    offset = value.span().start;
                    None
                }
            };
        }
        line_column(self.text, offset)
    }
}

/// Line and column, from 1, in characters, of a byte offset.
#[must_use]
pub(super) fn line_column(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// Reads a TOML text into a type that refuses unknown keys.
pub(super) fn read_toml<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Problem> {
    toml::from_str(text).map_err(|error| {
        let (line, column) = line_column(text, error.span().map_or(0, |span| span.start));
        let detail = error.message().trim().replace('\n', "; ");
        Problem::invalid(detail).at(file, line, column)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_value_or_the_nearest_table() {
        let text = "[servers.crm]\nurl = \"x\"\n\n[quotas]\na = { per = 1 }\n";
        let places = Places::of(text);
        assert_eq!(places.find(&["servers", "crm", "url"]), (2, 7));
        assert_eq!(places.find(&["servers", "crm", "inject", "header"]), (1, 10));
        assert_eq!(places.find(&["quotas", "a", "per"]), (5, 13));
        assert_eq!(places.find(&["nothing"]), (1, 1));
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_column("é = 1\nß = 2", 7), (2, 1));
        assert_eq!(line_column("é = 1", 5), (1, 5));
    }
}
