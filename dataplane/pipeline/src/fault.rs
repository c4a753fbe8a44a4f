//! Whatever can go wrong with a call, by whose fault it is.
//!
//! Stages say what happened; `answer` alone knows what goes on the wire. Texts are told to the caller
//! in full when the fault is theirs: rule, limit, and when to retry. Ours carry an incident number
//! only.

use std::sync::Arc;

use dataplane_auth::Refused as CredentialRefused;
use dataplane_bundle::Kill;
use dataplane_ingress::{ChunkFault, HeadFault};
use dataplane_parse::{EraFault, ParseFault};
use dataplane_policy::{ArgumentIndex, PolicyIndex, ServerIndex};
use dataplane_relay::answer::AnswerFault;
use dataplane_telemetry::WallNanos;

/// JSON-RPC error codes of our own. MCP 2026-07-28, basic/index: outside -32768 to -32000.
pub mod code {
    pub const DENIED: i32 = -31_403;
    pub const QUOTA: i32 = -31_429;
    pub const KILLED: i32 = -31_410;
    pub const BUSY: i32 = -31_509;
    pub const SERVER_FAULT: i32 = -31_502;
    pub const UNRECORDED: i32 = -31_507;
    pub const SERVER_DOWN: i32 = -31_503;
    pub const SERVER_TIMEOUT: i32 = -31_504;
    pub const CREDENTIAL_MISSING: i32 = -31_511;
    pub const OTHER_ERA: i32 = -31_505;
    pub const MALFORMED: i32 = -31_400;
    pub const UNAUTHENTICATED: i32 = -31_401;
    pub const FOREIGN: i32 = -31_402;
    pub const NOT_FOUND: i32 = -31_404;
    /// JSON-RPC 2.0 and MCP server/tools: an unknown tool.
    pub const INVALID_PARAMS: i32 = -32_602;
}

#[derive(Clone, Debug)]
pub(crate) enum Fault<'m> {
    /// Told in full: rule, limit, when to retry.
    Caller(Refusal<'m>),
    /// A server's, named; never resent if it may have run.
    Server(ServerIndex, ServerFault),
    /// Ours: an incident on the wire, the rest in the log.
    Ours(Incident),
}

#[derive(Clone, Debug)]
pub(crate) enum Refusal<'m> {
    Head(HeadFault),
    Chunk(ChunkFault),
    /// Nothing is served at this path.
    NoSuchPath,
    Method {
        allow: &'static str,
    },
    ForeignHost,
    ForeignOrigin,
    Unauthenticated(Option<CredentialRefused>),
    /// This address has presented too many unknown credentials.
    TooManyChecks {
        wait_ms: u64,
    },
    NotJson,
    Encoded,
    NotAcceptable,
    Parse(ParseFault),
    Era(EraFault<'m>),
    /// Unknown server, unknown tool, hidden tool: one answer.
    UnknownTool,
    UnknownServer,
    Denied(Denial),
    Quota {
        quota: usize,
        wait_ms: u64,
    },
    /// Refusals of this quota were ignored for so long that everything is refused for a while.
    Dropped {
        quota: usize,
        wait_ms: u64,
    },
    Killed(Arc<Kill>),
    /// The same for what nobody answers with JSON-RPC: a notification, the end of a session.
    KilledUnasked(Arc<Kill>),
    StaleCursor,
    /// A part of the protocol that this gateway does not carry.
    NotCarried(&'static str),
    Slow,
    Draining,
}

impl Refusal<'_> {
    /// The same, for what nobody answers with JSON-RPC.
    pub(crate) fn unasked(self) -> Self {
        match self {
            Self::Killed(kill) => Self::KilledUnasked(kill),
            other => other,
        }
    }
}

/// Why policy denied, as far as the caller may know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Denial {
    By(PolicyIndex),
    NoPermit,
    Undecidable,
    BadArgument(ArgumentIndex),
}

/// What a server did wrong, or could not do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ServerFault {
    /// Resting after failures; nothing was sent.
    Down {
        wait_ms: u64,
    },
    /// No connection was made; nothing was sent.
    Unreachable,
    /// The connection broke. `maybe_ran` is told: nothing is sent twice.
    Broken {
        maybe_ran: bool,
    },
    TimedOut {
        maybe_ran: bool,
    },
    Misframed,
    /// The answer is not what the protocol asks.
    NotAnAnswer(AnswerFault),
    Nonsense(&'static str),
    TooLong {
        bytes_max: u64,
    },
    /// Too long to be held for this client beside the others that are.
    TooManyHeld,
    /// An HTTP status where a JSON-RPC answer should be.
    Status(u16),
    /// It speaks the other era, and bridging is not there.
    OtherEra,
    NoLease,
    LeaseExpired {
        since: WallNanos,
    },
    /// The upstream session could not be opened.
    NoSession,
}

impl ServerFault {
    /// Whether the server is to blame, rather than what we are missing.
    pub(crate) const fn counts_against_health(&self) -> bool {
        match self {
            Self::Unreachable
            | Self::Broken { .. }
            | Self::TimedOut { .. }
            | Self::Misframed
            | Self::NotAnAnswer(_)
            | Self::Nonsense(_)
            | Self::Status(500..)
            | Self::NoSession => true,
            Self::Down { .. }
            | Self::TooLong { .. }
            | Self::TooManyHeld
            | Self::Status(_)
            | Self::OtherEra
            | Self::NoLease
            | Self::LeaseExpired { .. } => false,
        }
    }
}

/// A fault of ours: what the caller is told is only its number.
#[derive(Clone, Debug)]
pub(crate) enum Incident {
    Unrecorded(Box<str>),
    NoConfiguration,
}

impl<'m> From<Refusal<'m>> for Fault<'m> {
    fn from(refusal: Refusal<'m>) -> Self {
        Self::Caller(refusal)
    }
}

impl From<Incident> for Fault<'_> {
    fn from(incident: Incident) -> Self {
        Self::Ours(incident)
    }
}
