//! The one mapping from what happened to what is on the wire, and on record.
//!
//! Stages know no status codes. Here a fault becomes an HTTP status, a JSON-RPC code, a sentence
//! and its data, by matches without a wildcard. A denial that no scope cures travels with 200:
//! clients would otherwise step up for ever (PROTOCOL §5).

use std::fmt::Write as _;

use dataplane_audit::{End, Verdict};
use dataplane_ingress::{
    Body, FieldValue, Head, LAST_CHUNK, ResponseHead, write_chunk_end, write_chunk_head,
};
use dataplane_relay::{ReplyId, write_era_fault, write_error, write_parse_fault, write_string};

use crate::configuration::Configuration;
use crate::fault::{Denial, Fault, Incident, Refusal, ServerFault, code};
use crate::limits::BUFFER_BYTES_KEPT;
use crate::words::write_sentence;

pub(crate) const JSON: &str = "application/json";
/// Server-sent events (HTML Living Standard, §9.2).
pub(crate) const EVENTS: &str = "text/event-stream";
const NO_STORE: &str = "no-store";

/// How a refused call ended: for its record, and for the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub end: End,
    pub status: u16,
    pub code: i32,
}

/// A JSON answer with this body.
pub(crate) fn json(head: &Head, status: u16, body: &[u8], out: &mut Vec<u8>) {
    let mut answer = ResponseHead::new(status);
    answer.body = Body::Length(body.len() as u64);
    answer.content_type = Some(JSON);
    answer.keep_alive = head.keep_alive;
    answer.cache_control = Some(NO_STORE);
    answer.write(out);
    out.extend_from_slice(body);
}

/// The head of an answer whose length nobody knows yet; [`piece`]s and an [`end`] follow.
pub(crate) fn open(head: &Head, content_type: &'static str, out: &mut Vec<u8>) {
    let mut answer = ResponseHead::new(200);
    answer.content_type = Some(content_type);
    answer.cache_control = Some(NO_STORE);
    answer.unbuffered = content_type == EVENTS;
    answer.body = if head.takes_chunks { Body::Chunked } else { Body::UntilClose };
    answer.keep_alive = head.keep_alive;
    answer.write(out);
}

/// A part of such an answer.
pub(crate) fn piece(head: &Head, bytes: &[u8], out: &mut Vec<u8>) {
    if !head.takes_chunks {
        out.extend_from_slice(bytes);
        return;
    }
    write_chunk_head(out, bytes.len());
    out.extend_from_slice(bytes);
    write_chunk_end(out);
}

/// The end of such an answer.
pub(crate) fn end(head: &Head, out: &mut Vec<u8>) {
    if head.takes_chunks {
        out.extend_from_slice(LAST_CHUNK);
    }
}

/// An answer without a body.
pub(crate) fn empty(head: &Head, status: u16, out: &mut Vec<u8>) {
    let mut answer = ResponseHead::new(status);
    answer.keep_alive = head.keep_alive;
    answer.write(out);
}

/// Writes what callers are told, with buffers that it keeps: a denial allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    pub body: Vec<u8>,
    data: Vec<u8>,
    text: String,
}

impl Teller {
    /// Answers a request that was read as JSON-RPC, or should have been. Names are those of the
    /// configuration that judged it.
    pub(crate) fn answer(
        &mut self,
        configuration: Option<&Configuration>,
        fault: &Fault<'_>,
        head: &Head,
        id: Option<&[u8]>,
        is_modern: bool,
        out: &mut Vec<u8>,
    ) {
        self.write_body(configuration, fault, id, is_modern);
        write_head(fault, ending(fault).status, head.keep_alive, self.body.len(), out);
        out.extend_from_slice(&self.body);
        self.rest();
    }

    /// Answers a request that was refused before its body was judged.
    pub(crate) fn refuse(
        &mut self,
        configuration: Option<&Configuration>,
        fault: &Fault<'_>,
        head: Option<&Head>,
        inbox: &[u8],
        keep_alive: bool,
        out: &mut Vec<u8>,
    ) {
        let version = head.and_then(|head| head.headers.mcp_protocol_version);
        let revision = version.and_then(|span| dataplane_parse::Revision::parse(span.of(inbox)));
        let is_modern = revision.is_some_and(dataplane_parse::Revision::is_modern);
        self.write_body(configuration, fault, None, is_modern);
        out.clear();
        if let Fault::Caller(Refusal::Unauthenticated(refused)) = fault {
            let path = head.map(|head| head.path.of(inbox)).unwrap_or_default();
            self.unauthorized(configuration, refused.as_ref(), path, keep_alive, out);
        } else {
            write_head(fault, ending(fault).status, keep_alive, self.body.len(), out);
        }
        out.extend_from_slice(&self.body);
        self.rest();
    }

    /// The answer to a call whose record did not become durable, on a connection that closes.
    pub(crate) fn unrecorded(&mut self, why: &str, ran: bool, id: &[u8], out: &mut Vec<u8>) {
        self.write_unrecorded(why, ran, id);
        let mut answer = ResponseHead::new(503);
        answer.body = Body::Length(self.body.len() as u64);
        answer.content_type = Some(JSON);
        answer.cache_control = Some(NO_STORE);
        answer.keep_alive = false;
        answer.write(out);
        out.extend_from_slice(&self.body);
    }

    /// The same, into `body` only: for an answer whose head has left.
    pub(crate) fn write_unrecorded(&mut self, why: &str, ran: bool, id: &[u8]) {
        self.body.clear();
        self.text.clear();
        self.text
            .push_str("the call cannot be recorded, and what is not on record is not answered: ");
        self.text.push_str(why);
        if ran {
            self.text.push_str("; the server may have run it");
        }
        let id = if id.is_empty() { ReplyId::Null } else { ReplyId::Raw(id) };
        write_error(&mut self.body, id, code::UNRECORDED, &self.text, None);
    }

    /// The JSON-RPC error of a fault, into `body`.
    pub(crate) fn write_body(
        &mut self,
        configuration: Option<&Configuration>,
        fault: &Fault<'_>,
        id: Option<&[u8]>,
        is_modern: bool,
    ) {
        let id = id.map_or(ReplyId::unreadable(is_modern), ReplyId::Raw);
        self.body.clear();
        match fault {
            Fault::Caller(Refusal::Era(fault)) => write_era_fault(&mut self.body, id, fault),
            Fault::Caller(Refusal::Parse(fault)) => {
                write_parse_fault(&mut self.body, is_modern, fault);
            }
            other => {
                self.data.clear();
                write_data(configuration, other, &mut self.data);
                let data = (!self.data.is_empty()).then_some(self.data.as_slice());
                self.text.clear();
                write_sentence(&mut self.text, configuration, other);
                write_error(&mut self.body, id, ending(other).code, &self.text, data);
            }
        }
    }

    /// RFC 6750 §3 and RFC 9728 §5.1.
    fn unauthorized(
        &mut self,
        configuration: Option<&Configuration>,
        refused: Option<&dataplane_auth::Refused>,
        path: &[u8],
        keep_alive: bool,
        out: &mut Vec<u8>,
    ) {
        let base = configuration.map_or("", |one| &one.catalog.gateway.public_url);
        let path = std::str::from_utf8(path).unwrap_or_default();
        self.text.clear();
        let _infallible = write!(
            self.text,
            "Bearer resource_metadata=\"{base}/.well-known/oauth-protected-resource{path}\""
        );
        if let Some(refused) = refused {
            let _infallible = write!(
                self.text,
                ", error=\"invalid_token\", error_description=\"{}\"",
                refused.description()
            );
        }
        let mut answer = ResponseHead::new(401);
        answer.body = Body::Length(self.body.len() as u64);
        answer.content_type = Some(JSON);
        answer.cache_control = Some(NO_STORE);
        answer.keep_alive = keep_alive;
        answer.www_authenticate = FieldValue::new(self.text.as_bytes()).ok();
        answer.write(out);
    }

    /// An id may be as long as a request; its memory is given back.
    fn rest(&mut self) {
        self.body.shrink_to(BUFFER_BYTES_KEPT);
    }
}

fn write_head(fault: &Fault<'_>, status: u16, keep_alive: bool, length: usize, out: &mut Vec<u8>) {
    let mut answer = ResponseHead::new(status);
    answer.body = Body::Length(length as u64);
    answer.content_type = Some(JSON);
    answer.cache_control = Some(NO_STORE);
    answer.keep_alive = keep_alive;
    answer.retry_after_s = wait_ms(fault).map(|ms| ms.div_ceil(1_000).max(1));
    if let Fault::Caller(Refusal::Method { allow }) = fault {
        answer.allow = Some(allow);
    }
    if let Fault::Caller(Refusal::Era(fault)) = fault
        && fault.status == 405
    {
        answer.allow = Some("POST");
    }
    answer.write(out);
}

fn write_data(configuration: Option<&Configuration>, fault: &Fault<'_>, out: &mut Vec<u8>) {
    let mut fields = Fields { out, count: 0 };
    match fault {
        Fault::Caller(Refusal::Quota { quota, wait_ms } | Refusal::Dropped { quota, wait_ms }) => {
            let name = configuration.and_then(|one| one.quotas.get(*quota));
            fields.text("quota", name.map_or("", |rule| &rule.name));
            fields.number("retryAfterMs", *wait_ms);
        }
        Fault::Caller(Refusal::TooManyChecks { wait_ms }) => {
            fields.number("retryAfterMs", *wait_ms)
        }
        Fault::Caller(Refusal::Denied(denial)) => {
            if let (Denial::By(rule), Some(one)) = (denial, configuration)
                && let Some(policy) = one.table.policy(*rule)
            {
                fields.text("rule", policy.id);
            }
            fields.number("revision", configuration.map_or(0, |one| one.revision.0));
        }
        Fault::Caller(Refusal::Killed(kill) | Refusal::KilledUnasked(kill)) => {
            fields.text("kill", &kill.id);
            fields.text("reason", &kill.reason);
            fields.text("by", &kill.author);
            fields.number("since", kill.at.secs());
            if let Some(end) = kill.expires_at {
                fields.number("until", end.secs());
            }
        }
        Fault::Server(server, what) => {
            let name = configuration.and_then(|one| one.table.server(*server));
            fields.text("server", name.unwrap_or_default());
            if let ServerFault::Down { wait_ms } = what {
                fields.number("retryAfterMs", *wait_ms);
            }
            if let ServerFault::Broken { maybe_ran } | ServerFault::TimedOut { maybe_ran } = what {
                fields.raw("mayHaveRun", if *maybe_ran { b"true" } else { b"false" });
            }
        }
        Fault::Caller(_) | Fault::Ours(_) => {}
    }
    if fields.count > 0 {
        fields.out.push(b'}');
    }
}

struct Fields<'o> {
    out: &'o mut Vec<u8>,
    count: usize,
}

impl Fields<'_> {
    fn raw(&mut self, name: &str, value: &[u8]) {
        self.out.push(if self.count == 0 { b'{' } else { b',' });
        self.count += 1;
        write_string(self.out, name);
        self.out.push(b':');
        self.out.extend_from_slice(value);
    }

    fn text(&mut self, name: &str, value: &str) {
        self.raw(name, b"");
        write_string(self.out, value);
    }

    fn number(&mut self, name: &str, value: u64) {
        self.raw(name, b"");
        dataplane_ingress::write_decimal(self.out, value);
    }
}

/// Status, code and end of a fault.
pub(crate) fn ending(fault: &Fault<'_>) -> Told {
    let refused = |status, code| Told { end: End::Refused, status, code };
    match fault {
        Fault::Caller(refusal) => match refusal {
            Refusal::Head(fault) => refused(fault.status(), code::MALFORMED),
            Refusal::Chunk(fault) => refused(fault.status(), code::MALFORMED),
            Refusal::NoSuchPath => refused(404, code::NOT_FOUND),
            Refusal::Method { .. } => refused(405, code::NOT_FOUND),
            Refusal::ForeignHost | Refusal::ForeignOrigin => refused(403, code::FOREIGN),
            Refusal::Unauthenticated(_) => refused(401, code::UNAUTHENTICATED),
            Refusal::TooManyChecks { .. } => refused(429, code::UNAUTHENTICATED),
            Refusal::NotJson | Refusal::Encoded => refused(415, code::MALFORMED),
            Refusal::NotAcceptable => refused(406, code::MALFORMED),
            Refusal::Parse(fault) => refused(fault.status(), fault.code()),
            Refusal::Era(fault) => refused(fault.status, fault.code),
            Refusal::UnknownTool
            | Refusal::UnknownServer
            | Refusal::StaleCursor
            | Refusal::NotCarried(_) => refused(200, code::INVALID_PARAMS),
            Refusal::Denied(_) => refused(200, code::DENIED),
            Refusal::Quota { .. } | Refusal::Dropped { .. } => refused(429, code::QUOTA),
            Refusal::Killed(_) => refused(200, code::KILLED),
            Refusal::KilledUnasked(_) => refused(403, code::KILLED),
            Refusal::Slow => refused(408, code::MALFORMED),
            Refusal::Draining => refused(503, code::BUSY),
        },
        Fault::Server(_, what) => server_ending(what),
        Fault::Ours(Incident::Unrecorded(_)) => refused(503, code::UNRECORDED),
        Fault::Ours(Incident::NoConfiguration) => refused(503, code::BUSY),
    }
}

fn server_ending(what: &ServerFault) -> Told {
    let told = |end, status, code| Told { end, status, code };
    match what {
        ServerFault::Down { .. } => told(End::Refused, 200, code::SERVER_DOWN),
        ServerFault::Unreachable => told(End::ServerFault, 200, code::SERVER_DOWN),
        ServerFault::TimedOut { .. } => told(End::TimedOut, 200, code::SERVER_TIMEOUT),
        ServerFault::OtherEra => told(End::Refused, 200, code::OTHER_ERA),
        ServerFault::NoLease | ServerFault::LeaseExpired { .. } => {
            told(End::Refused, 200, code::CREDENTIAL_MISSING)
        }
        ServerFault::Broken { .. }
        | ServerFault::Misframed
        | ServerFault::NotAnAnswer(_)
        | ServerFault::Nonsense(_)
        | ServerFault::TooLong { .. }
        | ServerFault::TooManyHeld
        | ServerFault::Status(_)
        | ServerFault::NoSession => told(End::ServerFault, 200, code::SERVER_FAULT),
    }
}

/// Verdict, rule, quota and kill of a refused call's record.
pub(crate) fn grounds<'a>(
    configuration: &'a Configuration,
    fault: &'a Fault<'_>,
) -> (Verdict, &'a str, &'a str, &'a str) {
    match fault {
        Fault::Caller(Refusal::Denied(Denial::By(rule))) => {
            let policy = configuration.table.policy(*rule);
            (Verdict::Denied, policy.map_or("", |policy| policy.id), "", "")
        }
        Fault::Caller(Refusal::Denied(_) | Refusal::UnknownTool | Refusal::UnknownServer) => {
            (Verdict::Denied, "", "", "")
        }
        Fault::Caller(Refusal::Quota { quota, .. } | Refusal::Dropped { quota, .. }) => {
            let rule = configuration.quotas.get(*quota);
            (Verdict::OverQuota, "", rule.map_or("", |rule| &rule.name), "")
        }
        Fault::Caller(Refusal::Killed(kill)) => (Verdict::Killed, "", "", &kill.id),
        Fault::Caller(_) => (Verdict::Malformed, "", "", ""),
        Fault::Server(..) | Fault::Ours(_) => (Verdict::Unavailable, "", "", ""),
    }
}

/// One constant sentence for a record, where its fields do not tell.
pub(crate) const fn reason(fault: &Fault<'_>) -> &'static str {
    match fault {
        Fault::Caller(Refusal::UnknownTool) => "no such tool, or none that the caller may see",
        Fault::Caller(Refusal::UnknownServer) => "no such server, or none that the caller may see",
        Fault::Caller(Refusal::Denied(Denial::NoPermit)) => "no rule allows it",
        Fault::Caller(Refusal::Denied(Denial::Undecidable)) => "a rule could not be decided",
        Fault::Caller(Refusal::Denied(Denial::BadArgument(_))) => {
            "an argument that rules look at has not its pinned type"
        }
        Fault::Caller(_) => "",
        Fault::Server(_, ServerFault::Down { .. }) => "the server rests after failures",
        Fault::Server(_, ServerFault::OtherEra) => "the server speaks the other era",
        Fault::Server(_, ServerFault::NoLease) => "the server's credential is not on this box",
        Fault::Server(_, ServerFault::LeaseExpired { .. }) => "the credential's lease is over",
        Fault::Server(..) => "the server could not be asked",
        Fault::Ours(_) => "the gateway could not serve it",
    }
}

fn wait_ms(fault: &Fault<'_>) -> Option<u64> {
    match fault {
        Fault::Caller(
            Refusal::Quota { wait_ms, .. }
            | Refusal::Dropped { wait_ms, .. }
            | Refusal::TooManyChecks { wait_ms },
        )
        | Fault::Server(_, ServerFault::Down { wait_ms }) => Some(*wait_ms),
        Fault::Caller(Refusal::Draining) | Fault::Ours(Incident::NoConfiguration) => Some(1_000),
        Fault::Caller(_) | Fault::Server(..) | Fault::Ours(_) => None,
    }
}
