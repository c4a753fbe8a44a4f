//! Requests to MCP servers and the framing, health and pooling of their answers.
//!
//! A request head is built anew from what was judged: no header of the client crosses by itself.
//! An answer is read as strictly as a request, because a connection whose framing is in doubt would
//! hand one caller's answer to another. [`Pool`] keeps idle connections, [`Health`] decides when a
//! failing server rests, [`Timeouts`] says how long each step may take.
//!
//! Pure: the shell owns sockets and clocks and passes bytes and time.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod body;
pub mod fuzz;
mod health;
pub mod limits;
mod origin;
mod pool;
mod request;
mod response;
mod timeouts;

pub use body::{BodyDecoder, Piece};
pub use health::{Health, HealthState};
pub use origin::{Origin, OriginFault, Scheme};
pub use pool::Pool;
pub use request::{Inject, Request, Verb};
pub use response::{Content, Framing, ResponseFault, ResponseHead, parse_response};
pub use timeouts::Timeouts;
