//! Idle connections of one core to one server.
//!
//! The freshest goes first, so that a quiet hour lets the others expire. Nothing is closed here: what
//! is given back to the caller, the caller closes. Its memory grows to what was idle at once, and stays.

use std::collections::VecDeque;

use dataplane_telemetry::Nanos;

#[derive(Debug)]
pub struct Pool<C> {
    /// Oldest first.
    idle: VecDeque<Idle<C>>,
    idle_max: usize,
    idle_ns: u64,
}

#[derive(Debug)]
struct Idle<C> {
    connection: C,
    expires_at: Nanos,
}

impl<C> Pool<C> {
    /// At most `idle_max` connections, each for at most `idle_ns`.
    #[must_use]
    pub fn new(idle_max: usize, idle_ns: u64) -> Self {
        Self { idle: VecDeque::new(), idle_max, idle_ns }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.idle.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }

    /// The connection that was used last. `None` when there is none, or it has expired: then ask
    /// [`Pool::expire`] for what to close.
    pub fn take(&mut self, now: Nanos) -> Option<C> {
        if self.idle.back()?.expires_at <= now {
            return None;
        }
        self.idle.pop_back().map(|idle| idle.connection)
    }

    /// Keeps a connection whose last answer was read to its end. `server_idle_ns` is what the server
    /// itself allows, if it said so. Returns the connection that must be closed instead: the oldest when
    /// the pool is full.
    pub fn put(&mut self, connection: C, now: Nanos, server_idle_ns: Option<u64>) -> Option<C> {
        if self.idle_max == 0 {
            return Some(connection);
        }
        let full = self.idle.len() >= self.idle_max;
        let evicted = if full { self.idle.pop_front() } else { None };
        let idle_ns = server_idle_ns.map_or(self.idle_ns, |server| server.min(self.idle_ns));
        self.idle.push_back(Idle { connection, expires_at: now.plus(idle_ns) });
        evicted.map(|idle| idle.connection)
    }

    /// A connection whose time is over, to be closed. Ask until `None`.
    pub fn expire(&mut self, now: Nanos) -> Option<C> {
        let at = self.idle.iter().position(|idle| idle.expires_at <= now)?;
        self.idle.remove(at).map(|idle| idle.connection)
    }

    /// When to ask [`Pool::expire`] next.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Nanos> {
        self.idle.iter().map(|idle| idle.expires_at).min()
    }

    /// The first connection that `is` finds, from the oldest on: the server closed it, or sent bytes.
    pub fn remove(&mut self, is: impl Fn(&C) -> bool) -> Option<C> {
        let at = self.idle.iter().position(|idle| is(&idle.connection))?;
        self.idle.remove(at).map(|idle| idle.connection)
    }
}
