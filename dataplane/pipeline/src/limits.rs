//! How long and how much one connection may take.

/// From the first byte of a connection or request to its whole head. HAProxy's advice against slow
/// clients (`timeout http-request 5s`).
pub const HEAD_NS_MAX: u64 = 5_000_000_000;

/// A body comes at least this fast, after the time for a head. **Ours**, as Apache's
/// `RequestReadTimeout body=20,MinRate=500`, doubled.
pub const BODY_BYTES_PER_S_MIN: u64 = 1_024;

/// An idle connection is kept this long. nginx's default (`keepalive_timeout 75s`).
pub const IDLE_NS_MAX: u64 = 75_000_000_000;

/// An answer of ours, or a piece of a server's, is taken by the client within this. nginx's default
/// (`send_timeout 60s`).
pub const ANSWER_NS_MAX: u64 = 60_000_000_000;

/// Of a server's answer in JSON so much is held and judged whole; a longer one passes piece by piece.
/// **Ours**: few answers are longer, and what is held is what one slow client can make us keep.
pub const HELD_ANSWER_BYTES_MAX: usize = 256 * 1_024;

/// Longer answers that a core holds at a time, whole, for clients before 2025-06-18.
/// **Ours**: each is at most `answer_bytes_max`, and there twice while it is written anew.
pub const LONG_ANSWERS_HELD_MAX: usize = 16;

/// What a core has to tell the ladder's machine and has not handed over yet: it does after each turn.
pub const HEARD_MAX: usize = 256;

/// Memory that is kept between two pieces of one answer.
pub(crate) const PIECE_BYTES_KEPT: usize = 32 * 1_024;

/// Memory that an idle connection keeps of each buffer.
pub const BUFFER_BYTES_KEPT: usize = 4_096;

/// Upstream sessions that one core keeps; beyond it the oldest is forgotten and opened again.
pub const UPSTREAM_SESSIONS_MAX: usize = 4_096;

/// Ended legacy sessions that a core remembers until they would have expired; beyond it the oldest is
/// forgotten.
pub const ENDED_SESSIONS_MAX: usize = 65_536;
