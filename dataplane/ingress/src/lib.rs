//! HTTP/1.1 request framing: what two parsers could read two ways is refused.
//!
//! [`parse_head`] reads a head (httparse checks its syntax, the rules on top are ours),
//! [`ChunkDecoder`] unwraps a chunked body in place, and [`ResponseHead`] writes our answers.
//! Nothing is allocated or copied: what was read are [`Span`]s into the connection's buffer.
//! A stream reads the same however it was cut into pieces. After a [`HeadFault`] or a [`ChunkFault`]
//! nobody knows where the next request starts, so the connection is answered once and closed.
//!
//! Pure: bytes in, values out. Deadlines and minimum rates against slow clients are the shell's.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod chunk;
mod date;
mod fault;
mod field;
pub mod framing;
pub mod fuzz;
mod head;
mod headers;
pub mod limits;
mod response;
mod span;
mod target;

pub use chunk::{ChunkDecoder, ChunkFault, Chunked};
pub use date::HttpDate;
pub use fault::{HeadFault, TargetRule};
pub use field::{BadField, FieldName, FieldValue};
pub use framing::Framing;
pub use head::{Head, Method, parse_head};
pub use headers::{Accept, KnownHeaders, McpParams};
pub use limits::Limits;
pub use response::{
    Body, LAST_CHUNK, ResponseHead, write_chunk_end, write_chunk_head, write_decimal,
};
pub use span::{Parsed, Span};
