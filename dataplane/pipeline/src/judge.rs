//! A whole request, judged: which era, which method, which tool, and whether it may.
//!
//! The body is parsed once; everything is decided while the parsed message is at hand, and what
//! remains of it are places in the connection's inbox. Whatever cannot be decided is refused.

use std::ops::Range;
use std::rc::Rc;

use dataplane_ingress::Head;
use dataplane_ingress::limits::MCP_PARAMS_MAX;
use dataplane_parse::{
    Entry, EraHeaders, Message, Method, Notice, ParamHeader, ParamValue, Revision, Rules,
    SessionView, VersionHeader, era,
};
use dataplane_telemetry::Now;

use crate::admit::Admitted;
use crate::call::{Target, ToolCall, target};
use crate::configuration::Configuration;
use crate::core::Core;
use crate::exchange::Exchange;
use crate::fault::{Fault, Refusal};
use crate::ladder::Known;
use crate::ledger::RecordNumber;
use crate::route::{Endpoint, route};
use crate::session::Session;
use crate::stages::Stages;
use crate::{methods, wire};

/// A request whose caller is known and whose body is whole.
pub(crate) struct Asked<'a> {
    pub head: &'a Head,
    pub inbox: &'a [u8],
    /// In the inbox.
    pub body: Range<usize>,
    pub caller: &'a Rc<Admitted>,
    /// The connection, and who has used it.
    pub known: &'a Known,
    pub now: Now,
    params: [ParamValue<'a>; MCP_PARAMS_MAX],
    params_len: usize,
}

/// What becomes of a request.
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation a call")]
pub(crate) enum Verdict {
    /// The outbox holds the answer, which may leave once the record is durable.
    /// `id` is the request's, in the inbox: should the record be lost, the answer changes.
    Reply { gate: Option<RecordNumber>, id: Range<usize> },
    /// The server is to be told what `forward` holds, once the record is durable.
    Forward { exchange: Exchange, gate: Option<RecordNumber> },
}

impl<'a> Asked<'a> {
    pub(crate) fn new(
        head: &'a Head,
        inbox: &'a [u8],
        body: Range<usize>,
        caller: &'a Rc<Admitted>,
        known: &'a Known,
        now: Now,
    ) -> Self {
        let mut params = [ParamValue { suffix: b"", value: b"" }; MCP_PARAMS_MAX];
        let mut params_len = 0;
        for (slot, (suffix, value)) in params.iter_mut().zip(head.headers.mcp_params.iter(inbox)) {
            *slot = ParamValue { suffix, value };
            params_len += 1;
        }
        Self { head, inbox, body, caller, known, now, params, params_len }
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

    /// Where the request's id is, as it was sent; empty where it has none.
    pub(crate) fn id_place(&self, message: &Message<'_>) -> Range<usize> {
        match message.id {
            dataplane_parse::Id::Value(raw) => {
                let place = raw.range();
                self.body.start + place.start..self.body.start + place.end
            }
            dataplane_parse::Id::Absent | dataplane_parse::Id::Invalid => 0..0,
        }
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
        let read = parser.with(asked.body(), |message| {
            match stages.judge(asked, message, outbox, forward) {
                Ok(verdict) => verdict,
                Err((fault, is_modern, gate)) => {
                    outbox.clear();
                    let id = message.id_text();
                    stages.tell(&fault, asked.head, id, is_modern, outbox);
                    Verdict::Reply { gate, id: asked.id_place(message) }
                }
            }
        });
        read.unwrap_or_else(|fault| {
            let is_modern = is_modern_header(asked);
            let fault = Refusal::Parse(fault).into();
            stages.counters.refused += 1;
            stages.tell(&fault, asked.head, None, is_modern, outbox);
            Verdict::Reply { gate: None, id: 0..0 }
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
        let target = target(&configuration, endpoint, message);
        let entry = self.entry(&configuration, asked, message, session.as_ref(), target);
        let entry = entry.map_err(|fault| {
            self.counters.refused += 1;
            early(Refusal::Era(fault).into())
        })?;
        let (revision, method) = match entry {
            Entry::Modern { revision, method } | Entry::Legacy { revision, method } => {
                (revision, method)
            }
            Entry::Handshake { revision } => (revision, Method::Initialize),
            Entry::ModernNotification
            | Entry::LegacyNotification { .. }
            | Entry::LegacyResponse { .. } => {
                let barred = self.refuse_barred(asked).map_err(Refusal::unasked);
                barred.map_err(|refusal| early(refusal.into()))?;
                if let Entry::LegacyNotification { notice: Notice::Cancelled, .. } = entry
                    && let Some(Some(session)) = &session
                    && let dataplane_parse::Id::Value(id) = message.request_id
                {
                    self.cancel(session.id, id.of(message.body()));
                }
                wire::empty(asked.head, 202, outbox);
                return Ok(Verdict::Reply { gate: None, id: 0..0 });
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
        let barred = self.refuse_barred(asked);
        barred.map_err(|refusal| (refusal.into(), is_modern, None))?;
        let query = methods::Query { configuration: &configuration, endpoint, revision, message };
        self.answer_method(asked, &query, method, outbox)
            .map_err(|fault| (fault, is_modern, None))?;
        Ok(Verdict::Reply { gate: None, id: asked.id_place(message) })
    }

    /// Who is killed, or on the last rung of a ladder, is refused whatever it asks.
    pub(crate) fn refuse_barred(&mut self, asked: &Asked<'_>) -> Result<(), Refusal<'static>> {
        if let Some(kill) = self.kill_of_caller(asked.caller, asked.now.wall) {
            self.counters.killed += 1;
            self.on_killed(asked, &kill);
            return Err(Refusal::Killed(kill));
        }
        self.refuse_dropped(asked)
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
