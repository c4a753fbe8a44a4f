//! Rules about files as text: length, the doc at the top, and what names this or that machine.

use crate::{File, Finding};

/// STYLE: past 600 lines, there is a second subject in the file.
pub(crate) const FILE_LINES_MAX: usize = 600;
/// STYLE: 100 to 300 lines read well; more is worth a look, not an error.
pub(crate) const FILE_LINES_NOTED: usize = 300;

/// Folders that exist on one machine only. Split, so that this file may hold them.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/fa", "rm/"),
    concat!("/tmp/", "portcullis/"),
    concat!("/tmp/", "target/"),
    concat!("/tmp/", "bash_jobs"),
];

/// Hosts that serve packages: clients know them, and a copy of one breaks mirrors.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("registry.", "npmjs.org"),
    concat!("registry.", "yarnpkg.com"),
    concat!("files.", "pythonhosted.org"),
    concat!("py", "pi.org"),
    concat!("deb.", "debian.org"),
    concat!("proxy.", "golang.org"),
];

/// Written by the package client, which puts its own index there.
const LOCK_FILES: &[&str] = &["Cargo.lock"];

pub(crate) fn check(files: &[File], findings: &mut Vec<Finding>) {
    for file in files {
        if file.is_rust() {
            check_rust(file, findings);
        }
        let name = file.path.rsplit('/').next().unwrap_or("");
        if !LOCK_FILES.contains(&name) {
            check_places(file, findings);
        }
    }
}

/// Rust files that are longer than what reads well.
pub(crate) fn long_files(files: &[File]) -> Vec<Finding> {
    let mut notes = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_NOTED && lines <= FILE_LINES_MAX {
            let message = format!("{lines} lines: is there a second subject?");
            notes.push(Finding::new(&file.path, lines, message));
        }
    }
    notes
}

fn check_rust(file: &File, findings: &mut Vec<Finding>) {
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        let message = format!("{lines} lines, {FILE_LINES_MAX} at most: move the second subject");
        findings.push(Finding::new(&file.path, FILE_LINES_MAX + 1, message));
    }
    let first = file.text.lines().find(|line| !line.trim().is_empty());
    if !first.is_some_and(|line| line.starts_with("//!")) {
        let message = "no `//!` at the top: say what the file is for and what it promises";
        findings.push(Finding::new(&file.path, 1, message));
    }
}

fn check_places(file: &File, findings: &mut Vec<Finding>) {
    for (at, line) in file.text.lines().enumerate() {
        for path in MACHINE_PATHS {
            if names_path(line, path) {
                let message = format!("`{path}` is a place on one machine: use a relative path");
                findings.push(Finding::new(&file.path, at + 1, message));
            }
        }
        for host in REGISTRY_HOSTS.iter().filter(|host| line.contains(**host)) {
            let message = format!("`{host}` is a registry's host: name the package only");
            findings.push(Finding::new(&file.path, at + 1, message));
        }
    }
}

/// `path` as the beginning of an absolute path, not as a part of a URL or of a longer one.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|letter| letter.is_alphanumeric() || "_-.}~*/".contains(letter))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check(&[File { path: path.into(), text: text.into() }], &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_line_past_the_limit() {
        let text = |lines: usize| "//! Doc.\n".repeat(lines);
        assert!(findings("a.rs", &text(FILE_LINES_MAX)).is_empty());
        let found = findings("a.rs", &text(FILE_LINES_MAX + 1));
        assert_eq!(found, ["a.rs:601: 601 lines, 600 at most: move the second subject"]);
    }

    #[test]
    fn longer_than_reads_well_is_a_note() {
        let file = File { path: "a.rs".into(), text: "//! Doc.\n".repeat(301) };
        assert_eq!(long_files(&[file]).len(), 1);
    }

    #[test]
    fn a_file_without_a_doc() {
        let found = findings("a.rs", "\nuse x;\n//! Late.\n");
        assert!(found[0].starts_with("a.rs:1: no `//!` at the top"), "{found:?}");
    }

    #[test]
    fn a_place_on_this_machine() {
        let text = format!("cp {}x y\n", MACHINE_PATHS[0]);
        assert!(findings("run.sh", &text)[0].contains("is a place on one machine"));
        assert!(findings("run.sh", &format!("https://x{}y\n", MACHINE_PATHS[0])).is_empty());
    }

    #[test]
    fn a_host_of_a_registry() {
        let text = format!("first\nsee https://{}/x\n", REGISTRY_HOSTS[0]);
        assert!(findings("a.md", &text)[0].starts_with("a.md:2: `"));
        assert!(findings("Cargo.lock", &text).is_empty());
    }
}
