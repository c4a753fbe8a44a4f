//! What a server may cost us.

/// Bytes of an answer's head, interim answers (1xx) included. As much as a client may send.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 16_384;

/// Header lines of an answer's head. As many as a client may send.
pub const RESPONSE_HEADERS_MAX: usize = 100;

/// Bytes of a server's session id. The specification allows a JWT there; ours is the bound.
pub const SESSION_ID_BYTES_MAX: usize = 1_024;

/// Bytes of a server's URL. **Ours.**
pub const URL_BYTES_MAX: usize = 2_048;

/// Idle connections of one core to one server. **Ours:** calls come and go in groups, with the log's
/// writes, so nearly all of a busy core's connections are idle at once; with fewer places it would
/// open and close them all day.
pub const POOL_IDLE_MAX: usize = 256;

/// How long an idle connection is kept, unless the server asks for less: below the 5 s after which
/// Node (`keepAliveTimeout`) and uvicorn (`--timeout-keep-alive`) close theirs.
pub const POOL_IDLE_NS: u64 = 4_000_000_000;

/// Failures in a row after which a server rests. **Ours.**
pub const HEALTH_FAILURES_MAX: u32 = 3;

/// The first rest; it doubles with each failed trial. **Ours:** a restart of a server takes about that.
pub const HEALTH_REST_NS_MIN: u64 = 500_000_000;

/// The longest rest, and so the longest that a repaired server stays unused. **Ours.**
pub const HEALTH_REST_NS_MAX: u64 = 30_000_000_000;

/// After so long without a verdict, a trial is taken to be lost and another is let through. **Ours:**
/// the default time-out of an answer's head.
pub const HEALTH_TRIAL_NS: u64 = 60_000_000_000;
