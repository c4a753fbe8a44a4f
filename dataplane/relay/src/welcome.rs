//! What the gateway says of itself: the results of `server/discover`, `initialize` and `ping`.
//!
//! Capabilities are what is carried, nothing more: tools.

use dataplane_parse::{Revision, SUPPORTED_MODERN, write_string};

use crate::reply::{ReplyId, close_result, open_result, write_integer};

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    pub name: &'a str,
    pub title: &'a str,
    pub version: &'a str,
    /// For the model. Empty for none.
    pub instructions: &'a str,
    /// Whether changes of the tool list are announced. Nothing announces them on a connection that
    /// is not open, so this is false where neither GET streams nor subscriptions are served.
    pub list_changed: bool,
}

/// Appends the answer to `server/discover`: fresh for `ttl_ms`, for this caller only.
pub fn write_discover(out: &mut Vec<u8>, id: ReplyId<'_>, product: &Product<'_>, ttl_ms: u32) {
    open_result(out, id);
    out.extend_from_slice(b"{\"resultType\":\"complete\",\"supportedVersions\":[");
    for (index, revision) in SUPPORTED_MODERN.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, revision.as_str());
    }
    out.extend_from_slice(b"],\"capabilities\":");
    write_capabilities(out, product);
    write_instructions(out, product);
    out.extend_from_slice(b",\"ttlMs\":");
    write_integer(out, i64::from(ttl_ms));
    out.extend_from_slice(
        b",\"cacheScope\":\"private\",\"_meta\":{\"io.modelcontextprotocol/serverInfo\":",
    );
    write_implementation(out, Revision::V2026_07_28, product);
    out.extend_from_slice(b"}}");
    close_result(out);
}

/// Appends the answer to `initialize` for the revision that was agreed on.
pub fn write_initialize(
    out: &mut Vec<u8>,
    id: ReplyId<'_>,
    revision: Revision,
    product: &Product<'_>,
) {
    open_result(out, id);
    out.extend_from_slice(b"{\"protocolVersion\":");
    write_string(out, revision.as_str());
    out.extend_from_slice(b",\"capabilities\":");
    write_capabilities(out, product);
    out.extend_from_slice(b",\"serverInfo\":");
    write_implementation(out, revision, product);
    write_instructions(out, product);
    out.push(b'}');
    close_result(out);
}

/// Appends the answer to `ping`.
pub fn write_pong(out: &mut Vec<u8>, id: ReplyId<'_>) {
    open_result(out, id);
    out.extend_from_slice(b"{}");
    close_result(out);
}

fn write_capabilities(out: &mut Vec<u8>, product: &Product<'_>) {
    out.extend_from_slice(match product.list_changed {
        true => b"{\"tools\":{\"listChanged\":true}}",
        false => b"{\"tools\":{\"listChanged\":false}}".as_slice(),
    });
}

/// `title` exists since 2025-06-18.
fn write_implementation(out: &mut Vec<u8>, revision: Revision, product: &Product<'_>) {
    out.extend_from_slice(b"{\"name\":");
    write_string(out, product.name);
    if revision >= Revision::V2025_06_18 && !product.title.is_empty() {
        out.extend_from_slice(b",\"title\":");
        write_string(out, product.title);
    }
    out.extend_from_slice(b",\"version\":");
    write_string(out, product.version);
    out.push(b'}');
}

fn write_instructions(out: &mut Vec<u8>, product: &Product<'_>) {
    if !product.instructions.is_empty() {
        out.extend_from_slice(b",\"instructions\":");
        write_string(out, product.instructions);
    }
}
