//! The control plane's side of the push channel.
//!
//! [`Rollout::start`] listens for appliances over QUIC. A new box trades a one-time token for a
//! certificate of our [`Authority`]; afterwards mutual TLS says who it is, and it is sent the newest
//! bundle (signed for it alone), the kill list, and its leases, until it acknowledges each. What it
//! says back goes to the [`Directory`], which the control plane's state implements. What it drops is
//! kept as it said last; orders about that are asked of it, and answered, while somebody waits.
//!
//! Promises: a kill has a stream of its own and waits for nothing; every connection is a task of its
//! own, whose failure is that connection's end; source addresses are proven before any memory is
//! spent on them.

mod ask;
mod authority;
mod directory;
mod push;
mod rollout;
mod session;
mod state;
mod stream;
mod tls;

pub use ask::{ANSWER_MS_MAX, ASKED_MAX, AskFault};
pub use authority::{AUTHORITY_DAYS, Authority, AuthorityFault, SERVER_DAYS};
pub use directory::{Directory, Report, Secret};
pub use rollout::{
    APPLIANCES_MAX, Config, ENROLMENTS_MAX, HANDSHAKE_MS_MAX, Rollout, StartFault, new_seed,
};
pub use state::{ApplianceState, DropsState};
pub use tls::{
    HANDSHAKES_WAITING_MAX, IDLE_MS_MAX, STREAM_WINDOW_BYTES, STREAMS_MAX, WINDOW_BYTES,
};
