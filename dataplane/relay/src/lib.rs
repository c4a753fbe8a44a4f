//! Answers on their way back: SSE events, tool lists, and what an answer says.
//!
//! What a server sends is bounded and judged before a client sees it: it must be one JSON-RPC answer
//! to the request that was sent, of a kind that we know. What the gateway itself answers (errors,
//! `initialize`, `server/discover`, `tools/list`) is written here too, straight into the buffer that
//! is sent, in the form of the client's revision.
//!
//! Pure. Nothing is allocated but by the growth of buffers that are kept.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod answer;
mod bridge;
pub mod fuzz;
pub mod list;
pub mod long;
mod reply;
mod scan;
pub mod sse;
mod welcome;

pub use dataplane_parse::{Revision, write_string};
pub use reply::{
    ReplyId, close_result, open_result, write_era_fault, write_error, write_parse_fault,
    write_result, write_tool_error,
};
pub use welcome::{Product, write_discover, write_initialize, write_pong};
