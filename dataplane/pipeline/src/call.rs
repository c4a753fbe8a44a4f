//! A `tools/call`, from its name to the bytes that its server is told.
//!
//! In order: is the caller killed, is the tool there and may it be seen, does the call ask for what is
//! not carried, is the tool killed, does policy allow it, is there quota, is the server worth asking.
//! The first that refuses is on record; what none refuses has its intent written before anything is
//! sent.

use std::ops::Range;
use std::rc::Rc;

use dataplane_audit::{Call, Decision, Ending, Phase, Verdict as Judged};
use dataplane_parse::{Message, Revision};
use dataplane_policy::{PolicyIndex, ServerIndex, ToolIndex, Why};
use dataplane_relay::list::SEPARATOR;
use dataplane_telemetry::TraceContext;

use crate::configuration::Configuration;
use crate::exchange::{Exchange, Stage};
use crate::fault::{Denial, Fault, Incident, Refusal, ServerFault};
use crate::judge::{Asked, Verdict};
use crate::ledger::RecordNumber;
use crate::route::Endpoint;
use crate::session::Session;
use crate::stages::{Shared, Stages};
use crate::{outcome, outgoing, wire};

/// What a `tools/call` is judged by.
pub(crate) struct ToolCall<'c, 'm> {
    pub configuration: &'c Shared,
    pub target: Option<Target>,
    pub revision: Revision,
    pub session: Option<Option<Session>>,
    pub message: &'c Message<'m>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub server: ServerIndex,
    pub tool: ToolIndex,
}

/// The tool that a call names at this endpoint, whether or not the caller may see it.
pub(crate) fn target(
    configuration: &Configuration,
    endpoint: Endpoint<'_>,
    message: &Message<'_>,
) -> Option<Target> {
    let name = message.name.value()?.value;
    let (server, tool) = match endpoint {
        Endpoint::Server(server) => (server, name),
        Endpoint::Federated => name.split_once(SEPARATOR)?,
    };
    let server = configuration.find_server(server)?;
    let tool = configuration.table.find_tool(server, tool.as_bytes())?;
    Some(Target { server, tool })
}

impl Stages {
    /// A tool call, from its name to the bytes that its server is told.
    pub(crate) fn call<'m>(
        &mut self,
        asked: &Asked<'m>,
        call: &ToolCall<'_, 'm>,
        forward: &mut Vec<u8>,
    ) -> Result<Verdict, Fault<'m>> {
        let now = asked.now;
        let configuration = call.configuration;
        self.ledger.is_open().map_err(|why| Incident::Unrecorded(why.to_string().into()))?;
        self.refuse_barred(asked)?;
        let target = call.target.ok_or(Refusal::UnknownTool)?;
        let Target { server, tool } = target;
        if !configuration.table.may_see(&asked.caller.subject, tool) {
            return Err(Refusal::UnknownTool.into());
        }
        let message = call.message;
        if message.request_state.is_some() || message.input_responses.is_some() {
            return Err(Refusal::NotCarried("requestState and inputResponses").into());
        }
        if message.task.is_some() {
            return Err(Refusal::NotCarried("task").into());
        }
        if let Some(kill) = self.kill_of_tool(server, tool, configuration, now.wall) {
            self.counters.killed += 1;
            return Err(Refusal::Killed(kill).into());
        }
        let (rule, gate_before_forward) = self.decide(asked, call, tool)?;
        let upstream = configuration.upstream(server).ok_or(Refusal::UnknownTool)?;
        let is_modern = call.revision.is_modern();
        if (upstream.era == dataplane_bundle::Era::Modern) != is_modern {
            return Err(Fault::Server(server, ServerFault::OtherEra));
        }
        self.take_quotas(asked, server, tool)?;
        self.may_try(server, now.mono)
            .map_err(|wait_ms| Fault::Server(server, ServerFault::Down { wait_ms }))?;
        let exchange = self.exchange(asked, call, target, rule);
        self.start(asked, exchange, gate_before_forward, forward)
    }

    /// Policy's answer: the rule that permits, and whether the intent must be durable first.
    fn decide<'m>(
        &mut self,
        asked: &Asked<'_>,
        call: &ToolCall<'_, 'm>,
        tool: ToolIndex,
    ) -> Result<(Option<PolicyIndex>, bool), Fault<'m>> {
        let table = &call.configuration.table;
        let era = match call.revision.is_modern() {
            true => dataplane_policy::Era::Modern,
            false => dataplane_policy::Era::Legacy,
        };
        let decision = table.decide(
            &asked.caller.subject,
            tool,
            &dataplane_policy::Call {
                tape: call.message.document.tape,
                arguments: call.message.arguments.map(|arguments| arguments.index),
                context: dataplane_policy::Context { now: asked.now.wall, era },
            },
        );
        let denial = match (decision.allow, decision.why) {
            (true, Why::Policy(rule)) => {
                self.counters.allowed += 1;
                let mut gate = call.configuration.is_destructive(tool);
                for duty in table.obligations_of(&decision) {
                    match (duty.key, duty.value) {
                        ("audit", "before_forward") => gate = true,
                        // An obligation that cannot be met is no permission.
                        _ => return Err(Refusal::Denied(Denial::Undecidable).into()),
                    }
                }
                return Ok((Some(rule), gate));
            }
            (true, _) | (false, Why::Error) => Denial::Undecidable,
            (false, Why::Policy(rule)) => Denial::By(rule),
            (false, Why::NoPermit) => Denial::NoPermit,
            (false, Why::BadArgument(argument)) => Denial::BadArgument(argument),
        };
        self.counters.denied += 1;
        Err(Refusal::Denied(denial).into())
    }

    fn exchange(
        &mut self,
        asked: &Asked<'_>,
        call: &ToolCall<'_, '_>,
        target: Target,
        rule: Option<PolicyIndex>,
    ) -> Exchange {
        let Target { server, tool } = target;
        let message = call.message;
        let session = call.session.flatten().map(|session| session.id);
        let has_session = self.upstream_sessions.find((session.unwrap_or_default(), server));
        let is_open = call.revision.is_modern() || has_session.is_some();
        Exchange {
            server,
            tool,
            configuration: Rc::clone(call.configuration),
            caller: Rc::clone(asked.caller),
            revision: call.revision,
            session,
            call: self.ledger.next_call(),
            arguments: self.ledger.digest(message.arguments_text()),
            trace: self.trace(asked),
            rule,
            intent: RecordNumber(0),
            id: asked.id_place(message),
            body: asked.body.clone(),
            name: message.name.value().map_or(0..0, |name| -> Range<usize> { name.raw.range() }),
            head: *asked.head,
            started: asked.now.mono,
            stage: if is_open { Stage::Calling } else { Stage::Opening },
            forwarded: None,
            is_sent: false,
            stream: None,
            passing: None,
            held: None,
            sent_in: None,
            may_reopen: is_open,
        }
    }

    /// Writes the intent down and the request out.
    fn start<'m>(
        &mut self,
        asked: &Asked<'_>,
        mut exchange: Exchange,
        gate_before_forward: bool,
        forward: &mut Vec<u8>,
    ) -> Result<Verdict, Fault<'m>> {
        let server = exchange.server;
        let sent_in = outgoing::write(&exchange, self, asked.inbox, forward, asked.now);
        exchange.sent_in = sent_in.map_err(|fault| Fault::Server(server, fault))?;
        let bytes_in = asked.body.len() as u64;
        let ending = Ending { bytes_in, ..Ending::default() };
        let record = exchange.call_record(asked.inbox, Phase::Intent, ending);
        let intent = self.ledger.push(record, asked.now);
        exchange.intent = intent.map_err(|why| Incident::Unrecorded(why.to_string().into()))?;
        let gate = gate_before_forward.then_some(exchange.intent);
        Ok(Verdict::Forward { exchange, gate })
    }

    /// The one record of a call that was not forwarded.
    pub(crate) fn record_refusal(
        &mut self,
        asked: &Asked<'_>,
        call: &ToolCall<'_, '_>,
        fault: &Fault<'_>,
    ) -> Result<RecordNumber, Incident> {
        let names = call.target.and_then(|target| call.configuration.table.tool(target.tool));
        let (server, tool) = match names {
            Some((server, tool)) => (call.configuration.table.server(server).unwrap_or(""), tool),
            None => ("", call.message.name.value().map_or("", |name| name.value)),
        };
        let caller = asked.caller.names();
        let arguments = self.ledger.digest(call.message.arguments_text());
        let told = wire::ending(fault);
        let (verdict, rule, quota, kill) = wire::grounds(call.configuration, fault);
        let text = wire::reason(fault);
        let record = Call {
            phase: Phase::Refused,
            call: self.ledger.next_call(),
            caller,
            era: outcome::era(call.revision),
            method: call.message.method,
            server,
            tool,
            request_id: std::str::from_utf8(call.message.id_text().unwrap_or_default())
                .unwrap_or_default(),
            trace_id: self.trace(asked).trace_id,
            arguments: Some(arguments),
            decision: Decision {
                verdict,
                rule,
                revision: call.configuration.revision.0,
                quota,
                kill,
                reason: text,
            },
            ending: Ending {
                end: told.end,
                status: told.status,
                rpc_code: told.code,
                bytes_in: asked.body.len() as u64,
                ..Ending::default()
            },
        };
        debug_assert!(verdict != Judged::Allowed, "a refusal allows nothing");
        let pushed = self.ledger.push(record, asked.now);
        pushed.map_err(|why| Incident::Unrecorded(why.to_string().into()))
    }

    /// The trace that the client began, continued; or one of our own.
    fn trace(&mut self, asked: &Asked<'_>) -> TraceContext {
        let header = asked.head.headers.traceparent.map(|span| span.of(asked.inbox));
        let (trace_id, span_id) = self.random.trace_ids();
        match header.and_then(TraceContext::parse) {
            Some(found) => found.child(span_id),
            None => TraceContext { trace_id, span_id, sampled: false },
        }
    }
}
