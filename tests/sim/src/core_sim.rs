//! One simulated core and its side of the log: what is pushed, what is durable, and whether the
//! records by themselves make sense.

use std::collections::{BTreeMap, BTreeSet};

use dataplane_audit::{ArgumentsDigest, Body, CallId, Phase, Record};
use dataplane_pipeline::Core;

/// A record, as far as the checks need it.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    /// From one, as the core numbers them.
    pub(crate) number: u64,
    pub(crate) phase: Phase,
    pub(crate) trace: [u8; 16],
    pub(crate) digest: Option<ArgumentsDigest>,
}

/// A core, its log, and what they said.
pub(crate) struct CoreSim {
    pub(crate) core: Core,
    pub(crate) records: Vec<Noted>,
    pub(crate) durable: u64,
    /// Since when the log takes nothing.
    pub(crate) is_lost: bool,
    ended: BTreeSet<CallId>,
    begun: BTreeMap<CallId, [u8; 16]>,
}

impl CoreSim {
    #[must_use]
    pub(crate) fn new(core: Core) -> Self {
        let (ended, begun) = (BTreeSet::new(), BTreeMap::new());
        Self { core, records: Vec::new(), durable: 0, is_lost: false, ended, begun }
    }

    /// Hands what waits over to the log, which is not durable thereby. Returns the bytes.
    ///
    /// # Panics
    /// When a call has two intents, two outcomes, an outcome without intent, or a record a secret.
    pub(crate) fn hand_over(&mut self) -> Vec<u8> {
        let bytes = self.core.batch().bytes().to_vec();
        self.core.batch().clear();
        let mut rest = bytes.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let (record, after) = after.split_at(u16::from_le_bytes(*length).into());
            self.note(record);
            rest = after;
        }
        bytes
    }

    fn note(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("sekrit") && !text.contains("canary"), "a record tells: {text}");
        let Body::Call(call) = Record::decode(bytes).unwrap().body else { return };
        let is_new = !self.begun.contains_key(&call.call) && !self.ended.contains(&call.call);
        match call.phase {
            Phase::Intent => {
                assert!(is_new, "a second intent of {:?}", call.call);
                self.begun.insert(call.call, call.trace_id);
            }
            Phase::Outcome => {
                let begun = self.begun.get(&call.call);
                assert_eq!(begun, Some(&call.trace_id), "an outcome without its intent");
                assert!(self.ended.insert(call.call), "a second outcome of {:?}", call.call);
            }
            Phase::Refused => assert!(is_new && self.ended.insert(call.call), "refused twice"),
        }
        self.records.push(Noted {
            number: self.records.len() as u64 + 1,
            phase: call.phase,
            trace: call.trace_id,
            digest: call.arguments,
        });
    }

    /// Everything handed over, or a part of it, becomes durable.
    pub(crate) fn commit(&mut self, records: u64) {
        self.durable = (self.durable + records).min(self.records.len() as u64);
        self.core.on_durable(self.durable);
    }

    pub(crate) fn set_lost(&mut self, is_lost: bool) {
        self.is_lost = is_lost;
        self.core.on_log(is_lost.then(|| "no space left".into()));
    }

    /// Whether the call with these arguments has a durable record of its end.
    #[must_use]
    pub(crate) fn has_durable_end(&self, digest: ArgumentsDigest) -> bool {
        let durable = self.records.iter().take(self.durable as usize).rev();
        durable.filter(|record| record.digest == Some(digest)).any(|r| r.phase != Phase::Intent)
    }

    /// The intents of a trace, and of those the last one's number.
    #[must_use]
    pub(crate) fn intents(&self, trace: [u8; 16]) -> Vec<u64> {
        let of_trace = |record: &&Noted| record.trace == trace && record.phase == Phase::Intent;
        self.records.iter().filter(of_trace).map(|record| record.number).collect()
    }

    /// Calls that began and have no outcome.
    #[must_use]
    pub(crate) fn unfinished(&self) -> usize {
        self.begun.keys().filter(|call| !self.ended.contains(call)).count()
    }
}
