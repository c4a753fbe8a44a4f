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

#[derive(Clone, Debug)]
pub(crate) struct UpstreamSession {
    /// Absent where the server keeps none.
    pub id: Option<Box<[u8]>>,
    pub revision: Revision,
}

#[derive(Debug, Default)]
pub(crate) struct UpstreamSessions {
    open: HashMap<Key, UpstreamSession>,
    /// Oldest first. A key that was forgotten meanwhile is passed over.
    order: VecDeque<Key>,
}

impl UpstreamSessions {
    pub(crate) fn find(&self, key: Key) -> Option<&UpstreamSession> {
        self.open.get(&key)
    }

    pub(crate) fn keep(&mut self, key: Key, id: Option<Box<[u8]>>, revision: Revision) {
        if self.open.insert(key, UpstreamSession { id, revision }).is_none() {
            self.order.push_back(key);
        }
        while self.open.len() > UPSTREAM_SESSIONS_MAX
            || self.order.len() > 2 * UPSTREAM_SESSIONS_MAX
        {
            let Some(oldest) = self.order.pop_front() else { break };
            self.open.remove(&oldest);
        }
    }

    /// Whether there was one.
    pub(crate) fn forget(&mut self, key: Key) -> bool {
        self.open.remove(&key).is_some()
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
