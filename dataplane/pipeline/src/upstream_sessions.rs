//! Sessions that this core has opened at legacy servers, one for each client session and server.
//!
//! A server's session belongs to one client session, so nobody's ids, logs or subscriptions meet
//! another's. The table is bounded; what falls out is opened again when it is next needed.

use std::collections::{HashMap, VecDeque};

use dataplane_parse::Revision;
use dataplane_policy::ServerIndex;

use crate::limits::UPSTREAM_SESSIONS_MAX;

/// Client session and server. The session's id is random and ours: nobody chooses a key.
pub(crate) type Key = ([u8; 16], ServerIndex);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SessionNumber(u64);

#[derive(Clone, Debug)]
pub(crate) struct UpstreamSession {
    /// Which one it is, among all that this core has opened.
    pub number: SessionNumber,
    /// Absent where the server keeps none.
    pub id: Option<Box<[u8]>>,
    pub revision: Revision,
}

#[derive(Debug, Default)]
pub(crate) struct UpstreamSessions {
    open: HashMap<Key, UpstreamSession>,
    /// Oldest first. A key that was forgotten meanwhile is passed over.
    order: VecDeque<Key>,
    opened: u64,
}

impl UpstreamSessions {
    pub(crate) fn find(&self, key: Key) -> Option<&UpstreamSession> {
        self.open.get(&key)
    }

    pub(crate) fn keep(&mut self, key: Key, id: Option<Box<[u8]>>, revision: Revision) {
        self.opened += 1;
        let session = UpstreamSession { number: SessionNumber(self.opened), id, revision };
        if self.open.insert(key, session).is_none() {
            self.order.push_back(key);
        }
        while self.open.len() > UPSTREAM_SESSIONS_MAX
            || self.order.len() > 2 * UPSTREAM_SESSIONS_MAX
        {
            let Some(oldest) = self.order.pop_front() else { break };
            self.open.remove(&oldest);
        }
    }

    /// The server does not know this one. Another that was opened in its place meanwhile stays.
    pub(crate) fn forget(&mut self, key: Key, number: SessionNumber) {
        if self.open.get(&key).is_some_and(|found| found.number == number) {
            self.open.remove(&key);
        }
    }

    /// The client's session is over.
    pub(crate) fn forget_client(&mut self, client: &[u8; 16]) {
        self.open.retain(|(owner, _), _| owner != client);
        self.order.retain(|(owner, _)| owner != client);
    }

    /// Server numbers mean something else now.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.order.clear();
    }
}
