//! A whole request, judged: which era, which method, which tool, and whether it may.
//!
//! The body is parsed once; everything is decided while the parsed message is at hand, and what
//! remains of it are places in the connection's inbox. Whatever cannot be decided is refused.

use std::ops::Range;
use std::rc::Rc;

use dataplane_audit::{
    ArgumentsDigest, Call, CallerNames, Decision, Ending, Phase, Verdict as Judged,
};
use dataplane_ingress::Head;
use dataplane_ingress::limits::MCP_PARAMS_MAX;
use dataplane_parse::{
    Entry, EraHeaders, Message, Method, Notice, ParamHeader, ParamValue, Revision, Rules,
    SessionView, VersionHeader, era,
};
use dataplane_policy::{ServerIndex, ToolIndex, Why};
use dataplane_relay::list::SEPARATOR;
use dataplane_telemetry::{Now, TraceContext};

use crate::admit::Admitted;
use crate::configuration::Configuration;
use crate::core::{Core, Stages};
use crate::exchange::{self, Exchange, Stage};
use crate::fault::{Denial, Fault, Incident, Refusal, ServerFault};
use crate::ledger::RecordNumber;
use crate::route::{Endpoint, route};
use crate::session::Session;
use crate::{methods, outgoing, wire};

/// A request whose caller is known and whose body is whole.
pub(crate) struct Asked<'a> {
    pub head: &'a Head,
    pub inbox: &'a [u8],
    /// In the inbox.
    pub body: Range<usize>,
    pub caller: &'a Rc<Admitted>,
    pub now: Now,
    params: [ParamValue<'a>; MCP_PARAMS_MAX],
    params_len: usize,
}

/// What becomes of a request.
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation a call")]
pub(crate) enum Verdict {
    /// The outbox holds the answer, which may leave once the record is durable.
    Reply { gate: Option<RecordNumber>, keep_alive: bool },
    /// The server is to be told what `forward` holds, once the record is durable.
    Forward { exchange: Exchange, gate: Option<RecordNumber> },
}

impl<'a> Asked<'a> {
    pub(crate) fn new(
        head: &'a Head,
        inbox: &'a [u8],
        body: Range<usize>,
        caller: &'a Rc<Admitted>,
        now: Now,
    ) -> Self {
        let mut params = [ParamValue { suffix: b"", value: b"" }; MCP_PARAMS_MAX];
        let mut params_len = 0;
        for (slot, (suffix, value)) in params.iter_mut().zip(head.headers.mcp_params.iter(inbox)) {
            *slot = ParamValue { suffix, value };
            params_len += 1;
        }
        Self { head, inbox, body, caller, now, params, params_len }
    }

    pub(crate) fn headers(&self) -> EraHeaders<'_> {
        let known = &self.head.headers;
        let version = match known.mcp_protocol_version {
            _ if known.version_repeated => VersionHeader::Repeated,
            Some(span) => VersionHeader::Value(span.of(self.inbox)),
            None => VersionHeader::Absent,
        };
        EraHeaders {
            version,
            method: known.mcp_method.map(|span| span.of(self.inbox)),
            name: known.mcp_name.map(|span| span.of(self.inbox)),
            params: self.params.get(..self.params_len).unwrap_or_default(),
        }
    }

    fn body(&self) -> &[u8] {
        self.inbox.get(self.body.clone()).unwrap_or_default()
    }

    fn endpoint(&self) -> Option<Endpoint<'_>> {
        route(self.head.path.of(self.inbox)).map(|(_, endpoint)| endpoint)
    }
}

impl Core {
    /// Judges a request. Whatever it says is in `outbox` or `forward`.
    pub(crate) fn judge(
        &mut self,
        asked: &Asked<'_>,
        outbox: &mut Vec<u8>,
        forward: &mut Vec<u8>,
    ) -> Verdict {
        let Self { parser, stages, .. } = self;
        let keep_alive = asked.head.keep_alive;
        let read = parser.with(asked.body(), |message| {
            match stages.judge(asked, message, outbox, forward) {
                Ok(verdict) => verdict,
                Err((fault, is_modern, gate)) => {
                    outbox.clear();
                    let id = message.id_text();
                    wire::answer(stages, &fault, asked.head, id, is_modern, outbox);
                    Verdict::Reply { gate, keep_alive }
                }
            }
        });
        read.unwrap_or_else(|fault| {
            let is_modern = is_modern_header(asked);
            let fault = Refusal::Parse(fault).into();
            stages.counters.refused += 1;
            wire::answer(stages, &fault, asked.head, None, is_modern, outbox);
            Verdict::Reply { gate: None, keep_alive }
        })
    }
}

/// A fault, the era it is told in, and the record it waits for.
type Refused<'m> = (Fault<'m>, bool, Option<RecordNumber>);

impl Stages {
    fn judge<'m>(
        &mut self,
        asked: &'m Asked<'m>,
        message: &Message<'m>,
        outbox: &mut Vec<u8>,
        forward: &mut Vec<u8>,
    ) -> Result<Verdict, Refused<'m>> {
        let is_modern = is_modern_header(asked);
        let early = |fault: Fault<'m>| (fault, is_modern, None);
        let configuration = self.configuration().map_err(|incident| early(incident.into()))?;
        let endpoint = asked.endpoint().ok_or(early(Refusal::NoSuchPath.into()))?;
        let session = self.session(asked);
        let target = self.target(&configuration, asked, endpoint, message);
        let entry = self.entry(&configuration, asked, message, session.as_ref(), target);
        let entry = entry.map_err(|fault| {
            self.counters.refused += 1;
            early(Refusal::Era(fault).into())
        })?;
        let keep_alive = asked.head.keep_alive;
        let (revision, method) = match entry {
            Entry::Modern { revision, method } | Entry::Legacy { revision, method } => {
                (revision, method)
            }
            Entry::Handshake { revision } => (revision, Method::Initialize),
            Entry::ModernNotification
            | Entry::LegacyNotification { .. }
            | Entry::LegacyResponse { .. } => {
                if let Entry::LegacyNotification { notice: Notice::Cancelled, .. } = entry
                    && let Some(Some(session)) = &session
                    && let dataplane_parse::Id::Value(id) = message.request_id
                {
                    self.cancel(session.id, id.of(message.body()));
                }
                wire::empty(asked.head, 202, outbox);
                return Ok(Verdict::Reply { gate: None, keep_alive });
            }
        };
        let is_modern = revision.is_modern();
        if method == Method::CallTool {
            let call =
                ToolCall { configuration: &configuration, target, revision, session, message };
            return self.call(asked, &call, forward).map_err(|fault| {
                let gate = self.record_refusal(asked, &call, &fault);
                match gate {
                    Ok(gate) => (fault, is_modern, Some(gate)),
                    Err(incident) => (incident.into(), is_modern, None),
                }
            });
        }
        let query = methods::Query { configuration: &configuration, endpoint, revision, message };
        self.answer_method(asked, &query, method, outbox)
            .map_err(|fault| (fault, is_modern, None))?;
        Ok(Verdict::Reply { gate: None, keep_alive })
    }

    /// The session that the request names, if it is this caller's and not over.
    pub(crate) fn session(&self, asked: &Asked<'_>) -> Option<Option<Session>> {
        let text = asked.head.headers.mcp_session_id?.of(asked.inbox);
        let binding = asked.caller.binding(asked.head.path.of(asked.inbox));
        let session = self.sealer.open(text, binding, asked.now.wall);
        Some(session.filter(|session| !self.ended.contains(&session.id)))
    }

    fn entry<'m>(
        &self,
        configuration: &Configuration,
        asked: &'m Asked<'m>,
        message: &Message<'m>,
        session: Option<&Option<Session>>,
        target: Option<Target>,
    ) -> Result<Entry, dataplane_parse::EraFault<'m>> {
        let headers = asked.headers();
        let session = session_view(session);
        // A tool that is hidden has no declarations, as one that does not exist.
        let shown =
            target.filter(|target| configuration.table.may_see(&asked.caller.subject, target.tool));
        let tool_params: &[ParamHeader] = shown.map_or(&[], |target| {
            let (server, place) = configuration.place(target.server, target.tool);
            configuration.list.params(server, place)
        });
        era(&headers, message, session, &Rules { tool_params, needs: &[] })
    }

    /// The tool that a call names at this endpoint, whether or not the caller may see it.
    fn target(
        &self,
        configuration: &Configuration,
        asked: &Asked<'_>,
        endpoint: Endpoint<'_>,
        message: &Message<'_>,
    ) -> Option<Target> {
        let _ = asked;
        let name = message.name.value()?.value;
        let (server, tool) = match endpoint {
            Endpoint::Server(server) => (server, name),
            Endpoint::Federated => name.split_once(SEPARATOR)?,
        };
        let server = configuration.find_server(server)?;
        let tool = configuration.table.find_tool(server, tool.as_bytes())?;
        Some(Target { server, tool })
    }

    /// A tool call, from its name to the bytes that its server is told.
    fn call<'m>(
        &mut self,
        asked: &Asked<'m>,
        call: &ToolCall<'_, 'm>,
        forward: &mut Vec<u8>,
    ) -> Result<Verdict, Fault<'m>> {
        let now = asked.now;
        let configuration = call.configuration;
        self.ledger.is_open().map_err(|why| Incident::Unrecorded(why.to_string().into()))?;
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
        if let Some(kill) = self.kill_of(asked.caller, server, tool, configuration, now.wall) {
            self.counters.killed += 1;
            return Err(Refusal::Killed(kill).into());
        }
        let (rule, gate_before_forward) = self.decide(asked, call, tool)?;
        self.take_quotas(asked.caller, server, tool, now)?;
        let upstream = configuration.upstream(server).ok_or(Refusal::UnknownTool)?;
        let is_modern = call.revision.is_modern();
        if (upstream.era == dataplane_bundle::Era::Modern) != is_modern {
            return Err(Fault::Server(server, ServerFault::OtherEra));
        }
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
    ) -> Result<(Option<dataplane_policy::PolicyIndex>, bool), Fault<'m>> {
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
        rule: Option<dataplane_policy::PolicyIndex>,
    ) -> Exchange {
        let Target { server, tool } = target;
        let message = call.message;
        let in_inbox =
            |place: Range<usize>| asked.body.start + place.start..asked.body.start + place.end;
        let id = match message.id {
            dataplane_parse::Id::Value(raw) => in_inbox(raw.range()),
            dataplane_parse::Id::Absent | dataplane_parse::Id::Invalid => 0..0,
        };
        let session = call.session.flatten().map(|session| session.id);
        let has_session = self.upstream_sessions.find((session.unwrap_or_default(), server));
        let is_open = call.revision.is_modern() || has_session.is_some();
        Exchange {
            server,
            tool,
            configuration: call.configuration.clone(),
            caller: Rc::clone(asked.caller),
            revision: call.revision,
            session,
            call: self.ledger.next_call(),
            arguments: self.ledger.digest(message.arguments_text()),
            trace: self.trace(asked),
            rule,
            intent: RecordNumber(0),
            id,
            body: asked.body.clone(),
            name: message.name.value().map_or(0..0, |name| name.raw.range()),
            head: *asked.head,
            started: asked.now.mono,
            stage: if is_open { Stage::Calling } else { Stage::Opening },
            forwarded: None,
            stream: None,
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
        outgoing::write(&exchange, self, asked.inbox, forward, asked.now)
            .map_err(|fault| Fault::Server(server, fault))?;
        let bytes_in = asked.body.len() as u64;
        let ending = Ending { bytes_in, ..Ending::default() };
        let record = exchange.call_record(asked.inbox, Phase::Intent, ending);
        let intent = self.ledger.push(record, asked.now);
        exchange.intent = intent.map_err(|why| Incident::Unrecorded(why.to_string().into()))?;
        let gate = gate_before_forward.then_some(exchange.intent);
        Ok(Verdict::Forward { exchange, gate })
    }

    /// The one record of a call that was not forwarded.
    fn record_refusal(
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
        let caller: CallerNames<'_> = asked.caller.names();
        let arguments: ArgumentsDigest = self.ledger.digest(call.message.arguments_text());
        let told = wire::ending(fault);
        let (verdict, rule, quota, kill) = wire::grounds(call.configuration, fault);
        let text = wire::reason(fault);
        let record = Call {
            phase: Phase::Refused,
            call: self.ledger.next_call(),
            caller,
            era: exchange::era(call.revision),
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

/// What a `tools/call` is judged by.
struct ToolCall<'c, 'm> {
    configuration: &'c std::sync::Arc<Configuration>,
    target: Option<Target>,
    revision: Revision,
    session: Option<Option<Session>>,
    message: &'c Message<'m>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub server: ServerIndex,
    pub tool: ToolIndex,
}

/// What the era table is told of a session: absent, invalid, or open with its revision.
pub(crate) fn session_view(session: Option<&Option<Session>>) -> SessionView {
    let Some(session) = session else { return SessionView::None };
    let revision = session.as_ref().and_then(|session| {
        dataplane_parse::SUPPORTED_LEGACY.get(usize::from(session.revision)).copied()
    });
    revision.map_or(SessionView::Invalid, |revision| SessionView::Open { revision })
}

/// Whether the request says by its header that it is of the modern era: how errors are told before
/// the era is decided.
fn is_modern_header(asked: &Asked<'_>) -> bool {
    let version = asked.head.headers.mcp_protocol_version.map(|span| span.of(asked.inbox));
    version.and_then(Revision::parse).is_some_and(Revision::is_modern)
}
