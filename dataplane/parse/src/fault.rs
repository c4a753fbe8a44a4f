//! Why a text is not a message that may be judged: always the sender's fault.
//!
//! Each names the rule and where it was broken, in bytes from the start. Nothing of the text itself
//! is repeated, so a fault may be logged.

use crate::limits::{ID_BYTES_MAX, NUMBER_BYTES_MAX};

/// Why a text was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseFault {
    #[error("the message is longer than {bytes_max} bytes")]
    TooLong { bytes_max: usize },
    #[error("the message holds more than {values_max} values")]
    TooManyValues { values_max: usize },
    #[error("the message is nested deeper than {depth_max} levels")]
    TooDeep { depth_max: usize },
    #[error("the message starts with a byte order mark: send plain UTF-8")]
    ByteOrderMark,
    #[error("the message is not UTF-8")]
    NotUtf8,
    #[error("the message is not JSON (RFC 8259), near byte {at}")]
    Syntax { at: usize },
    #[error("a string holds a NUL, at byte {at}")]
    Nul { at: usize },
    #[error("an escape names half of a surrogate pair, at byte {at}")]
    LoneSurrogate { at: usize },
    #[error("a number is longer than {NUMBER_BYTES_MAX} bytes, at byte {at}")]
    NumberTooLong { at: usize },
    #[error("an object holds the same key twice, at byte {at}")]
    DuplicateKey { at: usize },
    #[error("the message is neither a JSON object nor an array")]
    NotAnObject,
    #[error("\"jsonrpc\" must be \"2.0\"")]
    NotJsonRpc,
    #[error("the message has neither \"method\" nor \"result\" nor \"error\"")]
    NotAMessage,
    #[error("a message has one of \"method\", \"result\" and \"error\", not several")]
    Ambiguous,
    #[error("the key at byte {at} equals \"{known}\" but for its case: write it exactly")]
    NearKey { known: &'static str, at: usize },
    #[error("the key at byte {at} holds an escape: write envelope keys plainly")]
    EscapedKey { at: usize },
    #[error("the key at byte {at} is not ASCII: envelope keys are")]
    NonAsciiKey { at: usize },
    #[error("\"{field}\" holds an escape: write it plainly")]
    EscapedText { field: &'static str },
    #[error("\"{field}\" must be {wanted}")]
    WrongType { field: &'static str, wanted: &'static str },
    #[error("\"id\" is longer than {ID_BYTES_MAX} bytes")]
    IdTooLong,
    /// Two readings of the text disagree: refused, whoever is right.
    #[error("the message can be read in two ways, near byte {at}")]
    Inconsistent { at: usize },
}

impl ParseFault {
    /// The JSON-RPC code: -32700 when it is not acceptable JSON, -32600 when it is not a message.
    #[must_use]
    pub const fn code(&self) -> i32 {
        match self {
            Self::TooLong { .. }
            | Self::TooManyValues { .. }
            | Self::TooDeep { .. }
            | Self::ByteOrderMark
            | Self::NotUtf8
            | Self::Syntax { .. }
            | Self::Nul { .. }
            | Self::LoneSurrogate { .. }
            | Self::NumberTooLong { .. }
            | Self::DuplicateKey { .. }
            | Self::Inconsistent { .. } => -32700,
            Self::NotAnObject
            | Self::NotJsonRpc
            | Self::NotAMessage
            | Self::Ambiguous
            | Self::NearKey { .. }
            | Self::EscapedKey { .. }
            | Self::NonAsciiKey { .. }
            | Self::EscapedText { .. }
            | Self::WrongType { .. }
            | Self::IdTooLong => -32600,
        }
    }

    /// The HTTP status: 413 for a message that is too long, else 400.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooLong { .. } => 413,
            _ => 400,
        }
    }
}
