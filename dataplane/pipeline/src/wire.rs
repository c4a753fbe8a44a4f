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

/// What a person, and a model, reads.
fn sentence(stages: &Stages, fault: &Fault<'_>) -> String {
    let configuration = stages.configuration().ok();
    let configuration = configuration.as_deref();
    match fault {
        Fault::Caller(refusal) => refusal_sentence(configuration, refusal),
        Fault::Server(server, what) => {
            let name = configuration.and_then(|one| one.table.server(*server)).unwrap_or("?");
            server_sentence(name, what)
        }
        Fault::Ours(Incident::Unrecorded(why)) => {
            format!("the call cannot be recorded, so it is not made: {why}")
        }
        Fault::Ours(Incident::NoConfiguration) => {
            "this gateway has no policy yet: enrol it, and apply one with `portcullis apply`".into()
        }
    }
}

fn refusal_sentence(configuration: Option<&Configuration>, refusal: &Refusal<'_>) -> String {
    match refusal {
        Refusal::Head(fault) => fault.to_string(),
        Refusal::Chunk(fault) => fault.to_string(),
        Refusal::NoSuchPath => "nothing is served at this path; MCP is at /mcp".into(),
        Refusal::Method { allow } => format!("this path takes {allow} only"),
        Refusal::ForeignHost => "this gateway does not answer to this Host".into(),
        Refusal::ForeignOrigin => "this gateway does not serve pages of this Origin".into(),
        Refusal::Unauthenticated(None) => {
            "send a bearer token or an API key: Authorization: Bearer ...".into()
        }
        Refusal::Unauthenticated(Some(refused)) => refused.description().into(),
        Refusal::TooManyChecks { wait_ms } => {
            format!("this address has shown too many wrong credentials; retry in {wait_ms} ms")
        }
        Refusal::NotJson => "Content-Type must be application/json".into(),
        Refusal::Encoded => "Content-Encoding is refused: send the body as it is".into(),
        Refusal::NotAcceptable => "Accept must list application/json and text/event-stream".into(),
        Refusal::Parse(fault) => fault.to_string(),
        Refusal::Era(fault) => fault.rule.into(),
        Refusal::UnknownTool => "unknown tool, or not one that you may use".into(),
        Refusal::UnknownServer => "unknown server, or not one that you may use".into(),
        Refusal::NotCarried(what) => format!("{what} in a call is not carried by this gateway"),
        Refusal::StaleCursor => "this cursor is not valid any more: list from the start".into(),
        Refusal::Denied(denial) => denial_sentence(configuration, *denial),
        Refusal::Quota { quota, wait_ms } => {
            let name = configuration.and_then(|one| one.quotas.get(*quota));
            let name = name.map_or("", |rule| &rule.name);
            format!("quota {name} is used up; retry in {wait_ms} ms")
        }
        Refusal::Killed(kill) => {
            format!("switched off by {} at {}: {}", kill.author, utc(kill.at.secs()), kill.reason)
        }
        Refusal::Slow => "the request came too slowly".into(),
        Refusal::Draining => "this gateway is stopping; try again elsewhere, or shortly".into(),
    }
}

fn denial_sentence(configuration: Option<&Configuration>, denial: Denial) -> String {
    let revision = configuration.map_or(0, |one| one.revision.0);
    let table = configuration.map(|one| &one.table);
    match denial {
        Denial::By(rule) => {
            let policy = table.and_then(|table| table.policy(rule));
            let id = policy.map_or("?", |policy| policy.id);
            format!("denied by rule {id} of policy revision {revision}")
        }
        Denial::NoPermit => format!("no rule of policy revision {revision} allows this call"),
        Denial::Undecidable => {
            format!("a rule of policy revision {revision} could not be decided, so it denies")
        }
        Denial::BadArgument(argument) => {
            let name = table.map_or("?", |table| table.argument(argument));
            format!("argument {name} is missing or not of the type that the tool declares")
        }
    }
}

fn server_sentence(name: &str, what: &ServerFault) -> String {
    let ran = |maybe_ran: bool| match maybe_ran {
        true => "it may have run the call, which is not sent again",
        false => "it has not run the call",
    };
    match what {
        ServerFault::Down { wait_ms } => {
            format!("server {name} rests after failures; retry in {wait_ms} ms")
        }
        ServerFault::Unreachable => {
            format!("server {name} cannot be reached; it has not run the call")
        }
        ServerFault::Broken { maybe_ran } => {
            format!("the connection to server {name} broke; {}", ran(*maybe_ran))
        }
        ServerFault::TimedOut { maybe_ran } => {
            format!("server {name} did not answer in time; {}", ran(*maybe_ran))
        }
        ServerFault::Misframed => {
            format!("server {name} broke HTTP framing; it may have run the call")
        }
        ServerFault::NotAnAnswer(fault) => format!("server {name}: {fault}"),
        ServerFault::Nonsense(what) => format!("server {name}: {what}"),
        ServerFault::TooLong { bytes_max } => {
            format!("the answer of server {name} is longer than {bytes_max} bytes")
        }
        ServerFault::Status(status) => format!("server {name} answered with HTTP status {status}"),
        ServerFault::OtherEra => {
            format!("server {name} speaks another era of MCP than this client, and is not bridged")
        }
        ServerFault::NoLease => format!(
            "the credential for server {name} is not on this gateway; an operator sets it with \
             `portcullis secrets set`"
        ),
        ServerFault::LeaseExpired { since } => format!(
            "the credential's lease for server {name} ended at {} and was not renewed",
            utc(since.secs())
        ),
        ServerFault::NoSession => format!("server {name} did not open a session"),
    }
}

/// RFC 3339, from seconds since 1970. Civil date after H. Hinnant's `civil_from_days`.
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_place = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_place + 2) / 5 + 1;
    let month = if month_place < 10 { month_place + 3 } else { month_place - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_as_rfc_3339() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_785_196_799), "2026-07-27T23:59:59Z");
    }
}
