//! Every fuzz property, over its corpus and over seeded mutations of it.
//!
//! `tests/fuzz` searches for new inputs with a sanitizer; this crate runs the same properties in a
//! plain test, on any machine and in any run. One seed decides all, and a failure prints the seed
//! and the input.

pub mod audit;
mod mutate;

pub use mutate::Mutator;

use std::fs;
use std::path::{Path, PathBuf};

/// A property that holds for any bytes; it panics where it does not.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As the file in `tests/fuzz/fuzz_targets`.
    pub name: &'static str,
    pub property: fn(&[u8]),
}

/// One for each file in `tests/fuzz/fuzz_targets`.
pub const TARGETS: &[Target] = &[
    Target { name: "http_head", property: dataplane_ingress::fuzz::one_reading },
    Target { name: "http_chunks", property: dataplane_ingress::fuzz::chunks },
    Target { name: "json_rpc", property: dataplane_parse::fuzz::message },
    Target { name: "jwt", property: dataplane_auth::fuzz::jwt },
    Target { name: "jwks", property: dataplane_auth::fuzz::jwks },
    Target { name: "bundle", property: dataplane_bundle::fuzz::bundle },
    Target { name: "kill_list", property: dataplane_bundle::fuzz::kill_list },
    Target { name: "push_message", property: dataplane_bundle::fuzz::message },
    Target { name: "policy_table", property: dataplane_policy::fuzz::any_table },
    Target { name: "policy_text", property: dataplane_policy::fuzz::any_text },
    Target { name: "drops", property: dataplane_drops::fuzz::operations },
    Target { name: "packet", property: dataplane_drops::fuzz::packet },
    Target { name: "rate", property: dataplane_quota::fuzz::rate },
    Target { name: "upstream_response", property: dataplane_upstream::fuzz::response },
    Target { name: "upstream_origin", property: dataplane_upstream::fuzz::origin },
    Target { name: "sse", property: dataplane_relay::fuzz::sse },
    Target { name: "answer", property: dataplane_relay::fuzz::answer },
    Target { name: "conversation", property: dataplane_pipeline::fuzz::conversation },
    Target { name: "audit_segment", property: audit::segment },
    Target { name: "audit_record", property: audit::record },
    Target { name: "audit_note", property: audit::note },
];

/// `tests/fuzz`.
#[must_use]
pub fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// The inputs that a target starts from, in the order of their names.
///
/// # Panics
/// When its folder cannot be read.
#[must_use]
pub fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz_folder().join("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|fault| panic!("{folder:?}: {fault}"));
    let mut inputs: Vec<(String, Vec<u8>)> = entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a seed"))
        })
        .collect();
    inputs.sort();
    inputs
}
