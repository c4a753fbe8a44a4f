//! Verifying an audit log on this machine. Needs no server, no lock and no key of the log's keeper.

use std::fs;
use std::path::{Path, PathBuf};

use dataplane_audit::{Checkpoint, NoteVerifier};
use serde_json::json;

use crate::arguments::Output;
use crate::client::progress;
use crate::fault::Fault;
use crate::screen;

/// Exit code 0 for a sound log, 1 for any other.
pub(crate) fn verify(
    dir: &Path,
    kept: &[PathBuf],
    key: Option<&str>,
    output: Output,
) -> Result<u8, Fault> {
    if !dir.is_dir() {
        return Err(Fault::Usage(format!("{} is not a directory", dir.display())));
    }
    let key = key.map(NoteVerifier::parse).transpose();
    let key = key.map_err(|fault| Fault::Usage(format!("--key: {fault}")))?;
    let mut checkpoints = Vec::new();
    for path in kept {
        let local = |fault: String| Fault::Local(format!("{}: {fault}", path.display()));
        let bytes = fs::read(path).map_err(|fault| local(fault.to_string()))?;
        let checkpoint = match &key {
            Some(key) => Checkpoint::open(&bytes, key),
            None => Checkpoint::read_unverified(&bytes),
        };
        checkpoints.push(checkpoint.map_err(|fault| local(fault.to_string()))?);
    }
    progress("reading every record");
    let report = dataplane_audit_writer::verify_dir(dir, &checkpoints);
    let root: String = report.root.iter().map(|byte| format!("{byte:02x}")).collect();
    if output == Output::Json {
        screen::json(&json!({
            "origin": report.origin,
            "sound": report.is_sound(),
            "segments": report.segments,
            "groups": report.groups,
            "records": report.records,
            "size": report.size,
            "root": root,
            "checkpoints": report.checkpoints,
            "findings": report.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "notes": report.notes,
        }))?;
        return Ok(u8::from(!report.is_sound()));
    }
    for finding in &report.findings {
        say!("damaged: {finding}");
    }
    for note in &report.notes {
        say!("note: {note}");
    }
    let verdict = if report.is_sound() { "sound" } else { "NOT SOUND" };
    say!(
        "{verdict}: {} records in {} groups and {} segments of {}; {} checkpoints agree; root {root}",
        report.records,
        report.groups,
        report.segments,
        if report.origin.is_empty() { "an unnamed log" } else { &report.origin },
        report.checkpoints,
    );
    Ok(u8::from(!report.is_sound()))
}
