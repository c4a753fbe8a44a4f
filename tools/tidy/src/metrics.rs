//! Metric names exist once: in `dataplane/telemetry`.
//!
//! A name that is spelt a second time is one that a dashboard loses when the first is changed.

use crate::Finding;
use crate::tokens::{Source, What};

/// What every metric's name begins with. Split, so that this is not one.
const PREFIX: &str = concat!("portcullis", "_");
const OWNER: &str = "dataplane/telemetry/";

pub(crate) fn check(sources: &[Source<'_>], findings: &mut Vec<Finding>) {
    for source in sources.iter().filter(|source| !source.path.starts_with(OWNER)) {
        for word in source.words.iter().filter(|word| !word.in_test) {
            let What::Text(text) = &word.what else { continue };
            if text.starts_with(PREFIX) && text.bytes().all(is_name) {
                let message =
                    format!("metric name `{text}`: use its constant in {OWNER}src/metrics.rs");
                findings.push(Finding::new(source.path, word.line, message));
            }
        }
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}
