//! LIMITS.md and SECURITY.md are true: each row names a test that exists.
//!
//! A row is `| limit | default | reason | test |` or `| promise | test |`; the last cell holds one
//! or several tests as [`crate::tests_index`] names them, in backticks or not.

use crate::tests_index::Index;
use crate::tokens::Source;
use crate::{File, Finding, Repository};

/// The documents, and the first column of the tables that are promises.
const DOCUMENTS: &[(&str, &str)] = &[("LIMITS.md", "limit"), ("SECURITY.md", "promise")];

pub(crate) fn check(repository: &Repository, sources: &[Source<'_>], findings: &mut Vec<Finding>) {
    let index = Index::new(&repository.graph, sources);
    for (path, subject) in DOCUMENTS {
        match repository.file(path) {
            Some(file) => check_document(file, subject, &index, findings),
            None => findings.push(Finding::new(
                path,
                1,
                format!("missing: a table `| {subject} | … | test |`"),
            )),
        }
    }
}

fn check_document(file: &File, subject: &str, index: &Index, findings: &mut Vec<Finding>) {
    let mut in_table = false;
    let mut rows = 0;
    for (at, line) in file.text.lines().enumerate() {
        let Some(cells) = cells(line) else {
            in_table = false;
            continue;
        };
        let (first, last) = match cells.as_slice() {
            [first, .., last] => (first.as_str(), last.as_str()),
            _ => continue,
        };
        if last.eq_ignore_ascii_case("test") {
            in_table = first.eq_ignore_ascii_case(subject);
        } else if in_table && !first.starts_with("--") && !first.starts_with(":-") {
            rows += 1;
            check_row(file, at + 1, first, last, index, findings);
        }
    }
    if rows == 0 {
        findings.push(Finding::new(
            &file.path,
            1,
            format!("no row in a table `| {subject} | … | test |`"),
        ));
    }
}

fn check_row(
    file: &File,
    line: usize,
    subject: &str,
    tests: &str,
    index: &Index,
    to: &mut Vec<Finding>,
) {
    let names: Vec<&str> = tests
        .split(|letter: char| {
            letter.is_whitespace() || matches!(letter, ',' | '`' | ';' | '<' | '>')
        })
        .filter(|name| name.contains("::"))
        .collect();
    if names.is_empty() {
        let message = format!("`{subject}` names no test: write `crate-name::module::tests::name`");
        to.push(Finding::new(&file.path, line, message));
    }
    for name in names.iter().filter(|name| !index.has(name)) {
        let hint = match index.like(name) {
            Some(known) => format!("is it `{known}`?"),
            None => "write the test, or take the row out".to_owned(),
        };
        to.push(Finding::new(&file.path, line, format!("no test `{name}`: {hint}")));
    }
}

/// The cells of a table's row; `\|` is a bar within a cell.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.replace("\\|", "\u{1}");
    let inner = inner.strip_suffix('|').unwrap_or(&inner);
    Some(inner.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect())
}
