//! What a message may cost us.
//!
//! Bounds on length, depth, number of values and length of a number; with them memory is bounded by
//! a constant times `bytes_max`. Each is named in the fault that it causes.

/// Deepest nesting that is read. More is refused by the common decoders too late or never; 64 is
/// eight times what the specification's own messages need.
pub const DEPTH_MAX: usize = 64;

/// Longest request id, quotes included: it is echoed into answers and records.
pub const ID_BYTES_MAX: usize = 256;

/// Longest number: more digits than any 64-bit integer or exact double needs, with room.
pub const NUMBER_BYTES_MAX: usize = 128;

/// Buffers that grew past this many bytes are given back after the message.
pub const KEPT_BYTES_MAX: usize = 256 * 1024;

/// A tape that grew past this many values is given back after the message.
pub const KEPT_NODES_MAX: usize = 32 * 1024;

/// Limits of one parser.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Longest text, in bytes.
    pub bytes_max: usize,
    /// Most values, keys included. While a text is read, at most three times its length and 100
    /// bytes for each of these is in use.
    pub values_max: usize,
    /// Deepest nesting; more than [`DEPTH_MAX`] counts as [`DEPTH_MAX`].
    pub depth_max: usize,
    /// Whether `\u0000` may stand in a string. C readers end a string there.
    pub nul_allowed: bool,
}

impl Limits {
    /// What clients send. The MCP TypeScript SDK takes as many bytes (`MAXIMUM_MESSAGE_SIZE`).
    pub const REQUEST: Self =
        Self { bytes_max: 4 << 20, values_max: 1 << 16, depth_max: DEPTH_MAX, nul_allowed: false };

    /// What servers answer: longer, and tool output may hold a NUL, which is relayed, not judged.
    pub const ANSWER: Self =
        Self { bytes_max: 4 << 20, values_max: 1 << 18, depth_max: DEPTH_MAX, nul_allowed: true };
}
