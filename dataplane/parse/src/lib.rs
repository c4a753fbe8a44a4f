//! JSON-RPC parsed once with SIMD, and the era that a request belongs to.
//!
//! What two JSON readers could read two ways is refused here: duplicate keys after unescaping, keys
//! that equal a known one but for case, escapes in names that are judged, lone surrogates, trailing
//! bytes. So the bytes that are forwarded are the bytes that were judged, and every value's byte
//! range is known without a second parse. [`era()`] is the table that says which protocol a request
//! speaks; its rows are numbered, and each has a test of its own name.
//!
//! Pure. After warm-up nothing is allocated for messages up to [`KEPT_BYTES_MAX`].

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod document;
mod envelope;
mod era;
mod fault;
pub mod fuzz;
mod header;
mod keys;
mod limits;
mod message;
mod param;
mod parser;
mod revision;
mod text;
mod walk;

pub use document::{Document, Extent, Members, skip};
pub use envelope::MESSAGE_KEYS;
pub use era::{
    Entry, EraData, EraFault, EraHeaders, Notice, Rules, SessionView, VersionHeader, era,
    without_body,
};
pub use fault::ParseFault;
pub use header::{BadBase64, header_value_decode, header_value_encode, header_value_equals};
pub use limits::{
    DEPTH_MAX, ID_BYTES_MAX, KEPT_BYTES_MAX, KEPT_NODES_MAX, Limits, NUMBER_BYTES_MAX,
};
pub use message::{Field, Id, Initialize, Kind, Message, Meta, Text, Value};
pub use param::{PARAM_HEADERS_MAX, ParamHeader, ParamValue, SchemaFault};
pub use parser::Parser;
pub use revision::{Method, Revision, SUPPORTED_LEGACY, SUPPORTED_MODERN};
pub use text::write_string;

/// The tape's node, as stages that judge arguments see it.
pub use simd_json::{Node, StaticNode};
