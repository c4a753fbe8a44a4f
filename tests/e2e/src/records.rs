//! What the gateway wrote down, read and verified as an auditor would: from the files alone.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use dataplane_audit::Record;
use dataplane_audit::verify::Report;
use dataplane_audit_writer::{Reader, verify_dir};
use tests_fixtures::stack::System;

/// Where a system's log is.
#[must_use]
pub fn folder(system: &System) -> PathBuf {
    system.place.path("gateway/audit")
}

/// Verifies a log.
///
/// # Errors
/// What verification found.
pub fn sound(folder: &Path) -> anyhow::Result<Report> {
    let report = verify_dir(folder, &[]);
    ensure!(report.is_sound(), "the log is not sound: {:#?}", report.findings);
    Ok(report)
}

/// Gives every record with its index, in order.
///
/// # Errors
/// When the log cannot be read, or an index is missing or used twice.
pub fn each(folder: &Path, mut each: impl FnMut(u64, &Record<'_>)) -> anyhow::Result<u64> {
    let mut reader = Reader::open(folder);
    let mut expected = 0;
    let mut fault = None;
    while reader.read(u64::MAX, |entry| {
        if entry.index != expected {
            fault.get_or_insert(format!("index {} where {expected} should be", entry.index));
        }
        expected += 1;
        match Record::decode(entry.bytes) {
            Ok(record) => each(entry.index, &record),
            Err(why) => fault = Some(format!("record {}: {why:?}", entry.index)),
        }
    })? {}
    ensure!(fault.is_none(), "{fault:?}");
    Ok(expected)
}
