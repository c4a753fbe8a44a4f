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
    let mut findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    findings.extend(key.and_then(|key| own_signature(dir, &key).err()));
    let is_sound = findings.is_empty();
    let root: String = report.root.iter().map(|byte| format!("{byte:02x}")).collect();
    if output == Output::Json {
        screen::json(&json!({
            "origin": report.origin,
            "sound": is_sound,
            "segments": report.segments,
            "groups": report.groups,
            "records": report.records,
            "size": report.size,
            "root": root,
            "checkpoints": report.checkpoints,
            "findings": findings,
            "notes": report.notes,
        }))?;
        return Ok(u8::from(!is_sound));
    }
    for finding in &findings {
        say!("damaged: {finding}");
    }
    for note in &report.notes {
        say!("note: {note}");
    }
    let verdict = if is_sound { "sound" } else { "NOT SOUND" };
    say!(
        "{verdict}: {} records in {} groups and {} segments of {}; {} checkpoints agree; root {root}",
        report.records,
        report.groups,
        report.segments,
        if report.origin.is_empty() { "an unnamed log" } else { &report.origin },
        report.checkpoints,
    );
    Ok(u8::from(!is_sound))
}

/// Whether the directory's own checkpoint is signed by this key, if there is one yet.
fn own_signature(dir: &Path, key: &NoteVerifier) -> Result<(), String> {
    match fs::read(dir.join("checkpoint")) {
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(fault) => Err(format!("checkpoint: {fault}")),
        Ok(note) => Checkpoint::open(&note, key)
            .map(drop)
            .map_err(|fault| format!("checkpoint: not signed by --key: {fault}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_audit::{BootId, NoteSigner};
    use dataplane_audit_writer::{Config, start};

    /// Exit codes of a log against its own key, another one, and a text that is none.
    #[test]
    fn with_a_key_the_directorys_own_checkpoint_must_be_signed_by_it() {
        let dir = tempfile::tempdir().unwrap();
        let key = |seed| NoteSigner::from_seed("portcullis/box-1", &[seed; 32]).unwrap();
        let mut config = Config::new(dir.path(), key(1), BootId([1; 16]), 1);
        config.segment_bytes = 2 << 20;
        start(config).unwrap().0.stop().unwrap();
        let code = |key: &str| verify(dir.path(), &[], Some(key), Output::Json);
        assert_eq!(code(&key(1).verifier().to_text()).unwrap(), 0);
        assert_eq!(code(&key(2).verifier().to_text()).unwrap(), 1);
        assert!(matches!(code("portcullis/box-1"), Err(Fault::Usage(_))));
        assert_eq!(verify(dir.path(), &[], None, Output::Json).unwrap(), 0);
    }
}
