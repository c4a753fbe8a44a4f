//! `tidy [--notes] [ROOT]`: prints `file:line: message` for each violation; ends with 1 if any.

use std::path::PathBuf;
use std::process::ExitCode;

use tools_tidy::{Repository, check, notes};

fn main() -> anyhow::Result<ExitCode> {
    let mut root = PathBuf::from(".");
    let mut with_notes = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--notes" => with_notes = true,
            "--help" | "-h" => {
                println!("usage: tidy [--notes] [ROOT]");
                return Ok(ExitCode::SUCCESS);
            }
            other => root = PathBuf::from(other),
        }
    }
    let repository = Repository::read(&root)?;
    if with_notes {
        for note in notes(&repository) {
            println!("note: {note}");
        }
    }
    let findings = check(&repository);
    for finding in &findings {
        println!("{finding}");
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
