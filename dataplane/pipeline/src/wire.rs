//! The one mapping from what happened to what is on the wire, and on record.
//!
//! Stages know no status codes. Here a fault becomes an HTTP status, a JSON-RPC code, a sentence
//! and its data, by matches without a wildcard. A denial that no scope cures travels with 200:
//! clients would otherwise step up for ever (PROTOCOL §5).

use std::fmt::Write as _;

use dataplane_audit::{End, Verdict};
use dataplane_ingress::{Body, FieldValue, Head, ResponseHead};
use dataplane_relay::{ReplyId, write_era_fault, write_error, write_parse_fault, write_string};

use crate::configuration::Configuration;
use crate::core::Stages;
use crate::fault::{Denial, Fault, Incident, Refusal, ServerFault, code};
use crate::words::sentence;

pub(crate) const JSON: &str = "application/json";
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

/// An answer without a body.
pub(crate) fn empty(head: &Head, status: u16, out: &mut Vec<u8>) {
    let mut answer = ResponseHead::new(status);
    answer.keep_alive = head.keep_alive;
    answer.write(out);
}

/// Answers a request that was read as JSON-RPC, or should have been.
pub(crate) fn answer(
    stages: &Stages,
    fault: &Fault<'_>,
    head: &Head,
    id: Option<&[u8]>,
    is_modern: bool,
    out: &mut Vec<u8>,
) {
    let told = ending(fault);
    let mut body = Vec::new();
    write_body(stages, fault, id, is_modern, &mut body);
    write_head(stages, fault, told.status, Some(head), head.keep_alive, body.len(), out);
    out.extend_from_slice(&body);
}

/// Answers a request that was refused before its body was judged.
pub(crate) fn refuse(
    stages: &Stages,
    fault: &Fault<'_>,
    head: Option<&Head>,
    inbox: &[u8],
    keep_alive: bool,
    out: &mut Vec<u8>,
) {
    let told = ending(fault);
    let version = head.and_then(|head| head.headers.mcp_protocol_version);
    let revision = version.and_then(|span| dataplane_parse::Revision::parse(span.of(inbox)));
    let is_modern = revision.is_some_and(dataplane_parse::Revision::is_modern);
    let mut body = Vec::new();
    write_body(stages, fault, None, is_modern, &mut body);
    out.clear();
    if let Fault::Caller(Refusal::Unauthenticated(_)) = fault {
        unauthorized(stages, fault, head, inbox, keep_alive, body.len(), out);
    } else {
        write_head(stages, fault, told.status, head, keep_alive, body.len(), out);
    }
    out.extend_from_slice(&body);
}

/// The answer to a call whose record did not become durable.
pub(crate) fn unrecorded(why: Box<str>, ran: bool, id: Option<&[u8]>, out: &mut Vec<u8>) {
    let mut text = String::new();
    let _ = write!(
        text,
        "the call cannot be recorded, and what is not on record is not answered: {why}"
    );
    if ran {
        text.push_str("; the server may have run it");
    }
    let mut body = Vec::new();
    let id = id.map_or(ReplyId::Null, ReplyId::Raw);
    write_error(&mut body, id, code::UNRECORDED, &text, None);
    let mut answer = ResponseHead::new(503);
    answer.body = Body::Length(body.len() as u64);
    answer.content_type = Some(JSON);
    answer.keep_alive = false;
    answer.write(out);
    out.extend_from_slice(&body);
}

fn write_head(
    stages: &Stages,
    fault: &Fault<'_>,
    status: u16,
    head: Option<&Head>,
    keep_alive: bool,
    length: usize,
    out: &mut Vec<u8>,
) {
    let _ = (stages, head);
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

/// RFC 6750 §3 and RFC 9728 §5.1.
fn unauthorized(
    stages: &Stages,
    fault: &Fault<'_>,
    head: Option<&Head>,
    inbox: &[u8],
    keep_alive: bool,
    length: usize,
    out: &mut Vec<u8>,
) {
    let base = stages.configuration().map(|one| one.catalog.gateway.public_url.clone());
    let path = head.map(|head| head.path.of(inbox)).unwrap_or_default();
    let mut challenge = String::from("Bearer resource_metadata=\"");
    challenge.push_str(base.as_deref().unwrap_or_default());
    challenge.push_str("/.well-known/oauth-protected-resource");
    challenge.push_str(std::str::from_utf8(path).unwrap_or_default());
    challenge.push('"');
    if let Fault::Caller(Refusal::Unauthenticated(Some(refused))) = fault {
        let _ = write!(
            challenge,
            ", error=\"invalid_token\", error_description=\"{}\"",
            refused.description()
        );
    }
    let mut answer = ResponseHead::new(401);
    answer.body = Body::Length(length as u64);
    answer.content_type = Some(JSON);
    answer.cache_control = Some(NO_STORE);
    answer.keep_alive = keep_alive;
    answer.www_authenticate = FieldValue::new(challenge.as_bytes()).ok();
    answer.write(out);
}

/// The JSON-RPC error of a fault.
pub(crate) fn write_body(
    stages: &Stages,
    fault: &Fault<'_>,
    id: Option<&[u8]>,
    is_modern: bool,
    out: &mut Vec<u8>,
) {
    let id = id.map_or(ReplyId::unreadable(is_modern), ReplyId::Raw);
    match fault {
        Fault::Caller(Refusal::Era(fault)) => write_era_fault(out, id, fault),
        Fault::Caller(Refusal::Parse(fault)) => write_parse_fault(out, is_modern, fault),
        other => {
            let mut data = Vec::new();
            write_data(stages, other, &mut data);
            let data = (!data.is_empty()).then_some(data.as_slice());
            write_error(out, id, ending(other).code, &sentence(stages, other), data);
        }
    }
}

fn write_data(stages: &Stages, fault: &Fault<'_>, out: &mut Vec<u8>) {
    let configuration = stages.configuration().ok();
    let configuration = configuration.as_deref();
    let mut fields = Fields { out, count: 0 };
    match fault {
        Fault::Caller(Refusal::Quota { quota, wait_ms }) => {
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
        Fault::Caller(Refusal::Killed(kill)) => {
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
            Refusal::Quota { .. } => refused(429, code::QUOTA),
            Refusal::Killed(_) => refused(200, code::KILLED),
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
        Fault::Caller(Refusal::Quota { quota, .. }) => {
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
        Fault::Caller(Refusal::Quota { wait_ms, .. } | Refusal::TooManyChecks { wait_ms })
        | Fault::Server(_, ServerFault::Down { wait_ms }) => Some(*wait_ms),
        Fault::Caller(Refusal::Draining) | Fault::Ours(Incident::NoConfiguration) => Some(1_000),
        Fault::Caller(_) | Fault::Server(..) | Fault::Ours(_) => None,
    }
}
