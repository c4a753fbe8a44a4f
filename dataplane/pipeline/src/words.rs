//! What a person, and a model, reads when a call was refused or failed.
//!
//! Each sentence names the rule, the limit or the field, and what to do. Whether something may have
//! run is always told: nothing is sent twice, so the reader has to know.

use crate::configuration::Configuration;
use crate::core::Stages;
use crate::fault::{Denial, Fault, Incident, Refusal, ServerFault};

/// What a person, and a model, reads.
pub(crate) fn sentence(stages: &Stages, fault: &Fault<'_>) -> String {
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
