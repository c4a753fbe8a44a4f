//! Why a head was refused: the rule or the limit, in a sentence for the person who wrote the client.
//!
//! Every one of them ends the connection.

use thiserror::Error;

/// A head that is not forwarded. The text is safe to send: it repeats nothing of the request.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum HeadFault {
    #[error("the request head is not HTTP/1.1: {0}")]
    Syntax(&'static str),
    #[error("a request starts with its request line, not with an empty line")]
    LeadingLineEnd,
    #[error("a line of the request head ends with a bare LF; lines end with CRLF (RFC 9112 §2.2)")]
    BareLineFeed,
    #[error("this is not HTTP/1.1 or HTTP/1.0")]
    Version,
    #[error("the request head is longer than {max} bytes")]
    HeadTooLong { max: usize },
    #[error("the request has more than {max} header lines")]
    TooManyHeaders { max: usize },
    #[error("the request has more than {max} Mcp-Param headers")]
    TooManyParams { max: usize },
    #[error("the request target is longer than {max} bytes")]
    TargetTooLong { max: usize },
    #[error("the request target {0}")]
    Target(TargetRule),
    #[error("the header {0} is there twice")]
    Repeated(&'static str),
    #[error("the header Host is missing")]
    HostMissing,
    #[error("Content-Length is not a plain decimal number")]
    Length,
    #[error("the request has both Content-Length and Transfer-Encoding; send one of them")]
    LengthAndCoding,
    #[error("Transfer-Encoding is not exactly `chunked`, the one coding that is served")]
    Coding,
    #[error("an HTTP/1.0 request cannot have Transfer-Encoding")]
    CodingInOldVersion,
    #[error("the body is longer than {max} bytes")]
    BodyTooLong { max: u64 },
    #[error("a request with this method has no body here")]
    BodyNotExpected,
    #[error("trailers are refused: send every header before the body")]
    Trailer,
    #[error(
        "Upgrade is refused: speak plain HTTP/1.1, or choose the protocol in the TLS handshake"
    )]
    Upgrade,
    #[error("Expect is refused: send the body right away")]
    Expect,
}

impl HeadFault {
    /// The HTTP status that says so.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Syntax(_)
            | Self::LeadingLineEnd
            | Self::BareLineFeed
            | Self::Target(_)
            | Self::Repeated(_)
            | Self::HostMissing
            | Self::Length
            | Self::LengthAndCoding
            | Self::CodingInOldVersion
            | Self::BodyNotExpected
            | Self::Trailer
            | Self::Upgrade => 400,
            Self::BodyTooLong { .. } => 413,
            Self::TargetTooLong { .. } => 414,
            // RFC 9110 §10.1.1; a client that waits for 100 sends again without `Expect`.
            Self::Expect => 417,
            Self::HeadTooLong { .. } | Self::TooManyHeaders { .. } | Self::TooManyParams { .. } => {
                431
            }
            // RFC 9112 §6.1: a coding that the server does not understand.
            Self::Coding => 501,
            Self::Version => 505,
        }
    }
}

/// What a target may not be: each of these is read differently by some server.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TargetRule {
    #[error("is not a path: it must start with `/` (no absolute form, no `*`, no authority)")]
    NotAPath,
    #[error("holds `//`")]
    DoubleSlash,
    #[error("holds a `.` or `..` segment")]
    DotSegment,
    #[error("holds `%`: no path here needs an escape")]
    Percent,
    #[error("holds `;`: path parameters are refused")]
    Semicolon,
    #[error("holds a byte that is not allowed in a path")]
    Byte,
}
