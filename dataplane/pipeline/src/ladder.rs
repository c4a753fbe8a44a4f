//! What the ladder's machine hears of callers, and where they stand by its last word.
//!
//! The machine ([`dataplane_drops::Drops`]) is one for the box. A core tells it of refusals, of who
//! uses a connection and of who has no credential, and asks nobody: it reads the newest
//! [`dataplane_drops::Standings`], which are empty on most days. What finds no room in the queue is
//! lost and counted.

use std::net::IpAddr;
use std::sync::Arc;

use dataplane_bundle::Kill;
use dataplane_drops::{Flow, Owner, REPORT_MS_MAX, Refusal as Ignorable, Rung};
use dataplane_quota::Refusal as QuotaRefusal;
use dataplane_telemetry::{Nanos, Now};

use crate::admit::{Admitted, Counted};
use crate::fault::Refusal;
use crate::judge::Asked;
use crate::limits::HEARD_MAX;
use crate::stages::Stages;

/// One thing that the machine is told.
#[derive(Clone, Debug)]
pub enum Heard {
    Refused(Ignorable),
    /// The same by a kill, whose subject the machine's shell knows.
    Killed {
        kill: Arc<Kill>,
        flow: Flow,
        flow_owner: Owner,
        caller: Owner,
        at: Nanos,
    },
    /// A request's credential was good.
    Authenticated {
        flow: Flow,
        /// Everybody who has called on this connection.
        flow_owner: Owner,
        caller: Owner,
    },
    /// A request's credential was not, or a connection on which something was asked ended without one.
    Unauthenticated {
        peer: IpAddr,
    },
    Closed {
        flow: Flow,
    },
}

/// Who has used a connection, as far as the machine was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub flow: Flow,
    /// Everybody's, and the last one's.
    owners: Option<(Owner, Owner)>,
    told: Nanos,
    /// Wrong credentials are told once.
    told_unauthenticated: bool,
    /// Whether anything was asked on it. A handshake that was given up says nothing of who is there.
    pub has_asked: bool,
}

impl Known {
    pub(crate) const fn new(flow: Flow) -> Self {
        Self { flow, owners: None, told: Nanos(0), told_unauthenticated: false, has_asked: false }
    }

    pub(crate) fn owner_with(&self, caller: Owner) -> Owner {
        self.owners.map_or(caller, |(all, _)| all.and(caller))
    }
}

impl Stages {
    /// A request's credential was good: told when that is news.
    pub(crate) fn on_authenticated(&mut self, known: &mut Known, caller: Owner, now: Nanos) {
        let all = known.owner_with(caller);
        let is_old = now.since(known.told) < REPORT_MS_MAX * 1_000_000;
        if known.owners == Some((all, caller)) && is_old {
            return;
        }
        (known.owners, known.told) = (Some((all, caller)), now);
        self.tell_ladder(Heard::Authenticated { flow: known.flow, flow_owner: all, caller });
    }

    pub(crate) fn on_unauthenticated(&mut self, known: &mut Known) {
        if !std::mem::replace(&mut known.told_unauthenticated, true) {
            self.tell_ladder(Heard::Unauthenticated { peer: known.flow.peer.ip() });
        }
    }

    pub(crate) fn on_flow_closed(&mut self, known: &mut Known) {
        match known.owners {
            Some(_) => self.tell_ladder(Heard::Closed { flow: known.flow }),
            None if known.has_asked => self.on_unauthenticated(known),
            None => {}
        }
    }

    /// Whether this caller's connection is closed after the answer. Those of who is dropped stay: a new
    /// one would cost a handshake, and what comes on these dies at the card. But where the card drops new
    /// connections from the address, it is the new one that dies.
    pub(crate) fn closes(&self, caller: &Admitted, peer: IpAddr, now: Nanos) -> bool {
        let closes = |one: &Counted| match self.standings.of(&one.climber, now).rung {
            Rung::Tell => false,
            Rung::Slow => true,
            Rung::Drop => self.standings.is_dropped_from(peer, now),
        };
        !self.standings.is_empty() && caller.counted.iter().any(closes)
    }

    /// A kill has refused a caller.
    pub(crate) fn on_killed(&mut self, asked: &Asked<'_>, kill: &Arc<Kill>) {
        let (caller, flow) = (asked.caller.owner, asked.known.flow);
        let flow_owner = asked.known.owner_with(caller);
        let (kill, at) = (Arc::clone(kill), asked.now.mono);
        self.tell_ladder(Heard::Killed { kill, flow, flow_owner, caller, at });
    }

    /// Whose packets may be dropped is refused whatever it asks, and told until when.
    pub(crate) fn refuse_dropped(&mut self, asked: &Asked<'_>) -> Result<(), Refusal<'static>> {
        if self.standings.is_empty() {
            return Ok(());
        }
        let now = asked.now.mono;
        for Counted { quota, climber, .. } in &asked.caller.counted {
            let standing = self.standings.of(climber, now);
            if standing.rung == Rung::Drop {
                self.counters.over_quota += 1;
                self.on_refused(asked, *quota, standing.until);
                return Err(Refusal::Dropped { quota: *quota, wait_ms: standing.wait_ms(now) });
            }
        }
        Ok(())
    }

    /// A quota has refused a call; only who was told a time can ignore it.
    pub(crate) fn on_over_quota(&mut self, asked: &Asked<'_>, quota: usize, why: QuotaRefusal) {
        if let QuotaRefusal::Wait(until) = why {
            self.on_refused(asked, quota, until);
        }
    }

    fn on_refused(&mut self, asked: &Asked<'_>, quota: usize, told_until: Nanos) {
        let counted = asked.caller.counted.iter().find(|one| one.quota == quota);
        let Some(Counted { climber, .. }) = counted else { return };
        let (caller, Now { mono: at, .. }) = (asked.caller.owner, asked.now);
        let flow_owner = asked.known.owner_with(caller);
        let (subject, flow) = (Arc::clone(climber), asked.known.flow);
        let refusal = Ignorable { subject, caller, flow_owner, flow, at, told_until };
        self.tell_ladder(Heard::Refused(refusal));
    }

    fn tell_ladder(&mut self, heard: Heard) {
        if self.heard.len() < HEARD_MAX {
            self.heard.push_back(heard);
        } else {
            self.counters.heard_lost += 1;
        }
    }
}
