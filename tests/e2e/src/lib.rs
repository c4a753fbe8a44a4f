//! End to end: real processes, sockets and SDKs.
//!
//! [`play`] starts a whole system, runs a scene on it, and prints every log when the scene fails.
//! [`Door`] and [`Wire`] are a client whose every byte is ours, [`Agent`] speaks MCP over it in either
//! era, [`sdk`] runs the official SDKs, and [`records`] reads what the gateway wrote down.

mod agent;
mod door;
mod folder;
mod message;
pub mod records;
mod scene;
pub mod sdk;

pub use agent::{Agent, code_of, names_of, text_of};
pub use door::{Door, Wire};
pub use folder::{Canary, everything_below};
pub use message::{Era, Reply, Request, legacy, modern};
pub use scene::{acknowledged, in_parallel, play, skip, told};
