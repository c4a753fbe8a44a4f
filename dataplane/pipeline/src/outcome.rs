//! A call on record: what is written before it is sent, and once when it has ended.
//!
//! Both records carry the call's number, so that an intent without an outcome is seen. Where the log
//! takes no record there is none, and the caller is told that instead of the answer.

use dataplane_audit::{Call, CallerNames, Decision, End, Ending, Phase, Verdict};
use dataplane_parse::Revision;
use dataplane_relay::answer::AnswerKind;
use dataplane_telemetry::Now;

use crate::core::Core;
use crate::exchange::Exchange;
use crate::fault::{Fault, Refusal};
use crate::ledger::RecordNumber;
use crate::wire::{self, Told};

/// How a call ended, for its record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome<'f> {
    Answered {
        upstream_status: u16,
        kind: AnswerKind,
        bytes: u64,
    },
    CallerGone,
    Cancelled,
    /// Not sent: another bundle has to judge it.
    Superseded,
    Fault {
        told: Told,
        /// The id of the kill that ended it.
        kill: Option<&'f str>,
    },
}

impl<'f> Outcome<'f> {
    /// A call that ends with an answer of ours.
    pub(crate) fn of(fault: &'f Fault<'_>) -> Self {
        let kill = match fault {
            Fault::Caller(Refusal::Killed(kill)) => Some(kill.id.as_str()),
            Fault::Caller(_) | Fault::Server(..) | Fault::Ours(_) => None,
        };
        Self::Fault { told: wire::ending(fault), kill }
    }
}

impl Exchange {
    /// Writes the outcome down; `None` when the log takes nothing.
    pub(crate) fn record_end(
        &self,
        core: &mut Core,
        inbox: &[u8],
        outcome: Outcome<'_>,
        now: Now,
    ) -> Option<RecordNumber> {
        let mut ending = Ending {
            latency_ns: now.mono.since(self.started),
            upstream_ns: self.forwarded.map_or(0, |at| now.mono.since(at)),
            bytes_in: self.body.len() as u64,
            ..Ending::default()
        };
        let mut killed_by = None;
        match outcome {
            Outcome::Answered { upstream_status, kind, bytes } => {
                (ending.end, ending.rpc_code) = match kind {
                    AnswerKind::Error { code } => (End::RpcError, clamp(code)),
                    AnswerKind::Result { is_error: true, .. } => (End::ToolError, 0),
                    _ => (End::Answered, 0),
                };
                ending.upstream_status = upstream_status;
                (ending.status, ending.bytes_out) = (200, bytes);
            }
            Outcome::CallerGone => ending.end = End::CallerGone,
            Outcome::Cancelled => ending.end = End::Cancelled,
            Outcome::Superseded => ending.end = End::Refused,
            Outcome::Fault { told, kill } => {
                (ending.end, ending.status, ending.rpc_code) = (told.end, told.status, told.code);
                killed_by = kill;
            }
        }
        core.stages.counters.on_end(ending.end);
        let mut call = self.call_record(inbox, Phase::Outcome, ending);
        if let Some(kill) = killed_by {
            // The rule that had allowed it stays beside it.
            (call.decision.verdict, call.decision.kill) = (Verdict::Killed, kill);
            core.stages.counters.killed += 1;
        }
        core.stages.ledger.push(call, now).ok()
    }

    /// The record of this call in one of its phases.
    pub(crate) fn call_record<'a>(
        &'a self,
        inbox: &'a [u8],
        phase: Phase,
        ending: Ending,
    ) -> Call<'a> {
        let table = &self.configuration.table;
        let (_, tool) = table.tool(self.tool).unwrap_or((self.server, ""));
        let rule = self.rule.and_then(|rule| table.policy(rule)).map_or("", |policy| policy.id);
        Call {
            phase,
            call: self.call,
            caller: self.caller_names(),
            era: era(self.revision),
            method: "tools/call",
            server: table.server(self.server).unwrap_or_default(),
            tool,
            request_id: std::str::from_utf8(self.request_id(inbox)).unwrap_or_default(),
            trace_id: self.trace.trace_id,
            arguments: Some(self.arguments),
            decision: Decision {
                verdict: Verdict::Allowed,
                rule,
                revision: self.configuration.revision.0,
                ..Decision::default()
            },
            ending,
        }
    }

    fn caller_names(&self) -> CallerNames<'_> {
        self.caller.names()
    }
}

pub(crate) const fn era(revision: Revision) -> dataplane_audit::Era {
    if revision.is_modern() { dataplane_audit::Era::Modern } else { dataplane_audit::Era::Legacy }
}

/// A server's code outside 32 bits is recorded as the nearest one inside.
fn clamp(code: i64) -> i32 {
    i32::try_from(code).unwrap_or(if code < 0 { i32::MIN } else { i32::MAX })
}
