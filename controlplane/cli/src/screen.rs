//! Tables that fit a terminal.
//!
//! Columns are as wide as they need to be; when that is too much for the terminal, the widest gives
//! way, and a cut cell ends with an ellipsis. Piped output is never cut.

use std::io::IsTerminal;

use crate::fault::Fault;

const GAP: usize = 2;
const NARROWEST: usize = 8;

/// Rows under headings.
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// Columns are as wide as this, also without what would need it.
    least: Vec<usize>,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new(), least: Vec::new() }
    }

    /// For a table that goes on below itself.
    pub(crate) fn at_least(mut self, widths: &[usize]) -> Self {
        self.least = widths.to_vec();
        self
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }

    /// For the terminal that is there, or uncut.
    pub(crate) fn show(&self) {
        say!("{}", self.text(terminal_width()));
    }

    /// Without headings: what goes on below a table that stands already. Nothing for no rows.
    pub(crate) fn show_rows(&self) {
        for row in self.text(terminal_width()).lines().skip(1) {
            say!("{row}");
        }
    }

    pub(crate) fn text(&self, width: Option<usize>) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|text| text.len()).collect();
        for (wide, least) in widths.iter_mut().zip(&self.least) {
            *wide = (*wide).max(*least);
        }
        for row in &self.rows {
            for (wide, cell) in widths.iter_mut().zip(row) {
                *wide = (*wide).max(cell.chars().count());
            }
        }
        if let Some(width) = width {
            shrink(&mut widths, width);
        }
        let headings: Vec<String> = self.headings.iter().map(|text| text.to_uppercase()).collect();
        let lines = std::iter::once(&headings).chain(&self.rows);
        let lines: Vec<String> = lines.map(|cells| line(cells, &widths)).collect();
        lines.join("\n")
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut out = String::new();
    for (cell, wide) in cells.iter().zip(widths) {
        let shown: String = match cell.chars().count() > *wide {
            true => cell.chars().take(wide.saturating_sub(1)).chain(['…']).collect(),
            false => cell.clone(),
        };
        let padding = wide + GAP - shown.chars().count();
        out.push_str(&shown);
        out.push_str(&" ".repeat(padding));
    }
    out.trim_end().to_owned()
}

fn shrink(widths: &mut [usize], width: usize) {
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len();
    while total(widths) > width {
        let Some(widest) = widths.iter_mut().max() else { return };
        if *widest <= NARROWEST {
            return;
        }
        *widest -= 1;
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn terminal_width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col).max(40))
}

/// JSON for scripts.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Fault> {
    let text = serde_json::to_string_pretty(value).map_err(|f| Fault::Local(f.to_string()))?;
    say!("{text}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_its_terminal() {
        let mut table = Table::new(&["name", "reason"]);
        table.row(["crm".into(), "a long story\nabout a database".into()]);
        table.row(["erp".into(), "short".into()]);
        assert_eq!(
            table.text(None),
            "NAME  REASON\ncrm   a long story about a database\nerp   short"
        );
        assert_eq!(table.text(Some(24)), "NAME  REASON\ncrm   a long story ab…\nerp   short");
        let later = table.at_least(&[6]);
        assert_eq!(later.text(None).lines().last(), Some("erp     short"));
        let table = later.at_least(&[]);
        assert!(table.text(Some(24)).lines().all(|line| line.chars().count() <= 24));
    }
}
