//! What a person, and a model, reads when a call was refused or failed.
//!
//! Each sentence names the rule, the limit or the field, and what to do. Whether something may have
//! run is always told: nothing is sent twice, so the reader has to know.

use std::fmt::{self, Write as _};

use crate::configuration::Configuration;
use crate::fault::{Denial, Fault, Incident, Refusal, ServerFault};
use crate::limits::{HELD_ANSWER_BYTES_MAX, LONG_ANSWERS_HELD_MAX};

/// Appends what a person, and a model, reads.
pub(crate) fn write_sentence(
    out: &mut String,
    configuration: Option<&Configuration>,
    fault: &Fault<'_>,
) {
    // A `String` takes every character.
    let _infallible = match fault {
        Fault::Caller(refusal) => refusal_sentence(out, configuration, refusal),
        Fault::Server(server, what) => {
            let name = configuration.and_then(|one| one.table.server(*server)).unwrap_or("?");
            server_sentence(out, name, what)
        }
        Fault::Ours(Incident::Unrecorded(why)) => {
            write!(out, "the call cannot be recorded, so it is not made: {why}")
        }
        Fault::Ours(Incident::NoConfiguration) => out.write_str(
            "this gateway has no policy yet: enrol it, and apply one with `portcullis apply`",
        ),
    };
}

fn refusal_sentence(
    out: &mut String,
    configuration: Option<&Configuration>,
    refusal: &Refusal<'_>,
) -> fmt::Result {
    match refusal {
        Refusal::Head(fault) => write!(out, "{fault}"),
        Refusal::Chunk(fault) => write!(out, "{fault}"),
        Refusal::Parse(fault) => write!(out, "{fault}"),
        Refusal::Method { allow } => write!(out, "this path takes {allow} only"),
        Refusal::Unauthenticated(Some(refused)) => out.write_str(refused.description()),
        Refusal::TooManyChecks { wait_ms } => {
            write!(out, "this address has shown too many wrong credentials; retry in {wait_ms} ms")
        }
        Refusal::Era(fault) => out.write_str(fault.rule),
        Refusal::NotCarried(what) => write!(out, "{what} in a call is not carried by this gateway"),
        Refusal::Denied(denial) => denial_sentence(out, configuration, *denial),
        Refusal::Quota { quota, wait_ms } => {
            let name = configuration.and_then(|one| one.quotas.get(*quota));
            let name = name.map_or("", |rule| &rule.name);
            write!(out, "quota {name} is used up; retry in {wait_ms} ms")
        }
        Refusal::Dropped { quota, wait_ms } => {
            let name = configuration.and_then(|one| one.quotas.get(*quota));
            let name = name.map_or("", |rule| &rule.name);
            write!(
                out,
                "refusals of quota {name} were ignored: everything is refused, and packets may be \
                 dropped, for another {wait_ms} ms"
            )
        }
        Refusal::Killed(kill) | Refusal::KilledUnasked(kill) => {
            let at = Utc(kill.at.secs());
            write!(out, "switched off by {} at {at}: {}", kill.author, kill.reason)
        }
        Refusal::NoSuchPath => out.write_str("nothing is served at this path; MCP is at /mcp"),
        Refusal::ForeignHost => out.write_str("this gateway does not answer to this Host"),
        Refusal::ForeignOrigin => out.write_str("this gateway does not serve pages of this Origin"),
        Refusal::Unauthenticated(None) => {
            out.write_str("send a bearer token or an API key: Authorization: Bearer ...")
        }
        Refusal::NotJson => out.write_str("Content-Type must be application/json"),
        Refusal::Encoded => out.write_str("Content-Encoding is refused: send the body as it is"),
        Refusal::NotAcceptable => {
            out.write_str("Accept must list application/json and text/event-stream")
        }
        Refusal::UnknownTool => out.write_str("unknown tool, or not one that you may use"),
        Refusal::UnknownServer => out.write_str("unknown server, or not one that you may use"),
        Refusal::StaleCursor => {
            out.write_str("this cursor is not valid any more: list from the start")
        }
        Refusal::Slow => out.write_str("the request came too slowly"),
        Refusal::Draining => {
            out.write_str("this gateway is stopping; try again elsewhere, or shortly")
        }
    }
}

fn denial_sentence(
    out: &mut String,
    configuration: Option<&Configuration>,
    denial: Denial,
) -> fmt::Result {
    let revision = configuration.map_or(0, |one| one.revision.0);
    let table = configuration.map(|one| &one.table);
    match denial {
        Denial::By(rule) => {
            let policy = table.and_then(|table| table.policy(rule));
            let id = policy.map_or("?", |policy| policy.id);
            write!(out, "denied by rule {id} of policy revision {revision}")
        }
        Denial::NoPermit => {
            write!(out, "no rule of policy revision {revision} allows this call")
        }
        Denial::Undecidable => {
            write!(out, "a rule of policy revision {revision} could not be decided, so it denies")
        }
        Denial::BadArgument(argument) => {
            let name = table.map_or("?", |table| table.argument(argument));
            write!(out, "argument {name} is missing or not of the type that the tool declares")
        }
    }
}

fn server_sentence(out: &mut String, name: &str, what: &ServerFault) -> fmt::Result {
    let ran = |maybe_ran: bool| match maybe_ran {
        true => "it may have run the call, which is not sent again",
        false => "it has not run the call",
    };
    write!(out, "server {name} ")?;
    match what {
        ServerFault::Down { wait_ms } => {
            write!(out, "rests after failures; retry in {wait_ms} ms")
        }
        ServerFault::Unreachable => out.write_str("cannot be reached; it has not run the call"),
        ServerFault::Broken { maybe_ran } => {
            write!(out, "broke the connection; {}", ran(*maybe_ran))
        }
        ServerFault::TimedOut { maybe_ran } => {
            write!(out, "did not answer in time; {}", ran(*maybe_ran))
        }
        ServerFault::Misframed => out.write_str("broke HTTP framing; it may have run the call"),
        ServerFault::NotAnAnswer(fault) => write!(out, "gave no answer: {fault}"),
        ServerFault::Nonsense(what) => write!(out, "gave no answer: {what}"),
        ServerFault::TooLong { bytes_max } => {
            write!(out, "gave an answer that is longer than {bytes_max} bytes")
        }
        ServerFault::TooManyHeld => write!(
            out,
            "gave an answer that is longer than {HELD_ANSWER_BYTES_MAX} bytes, and \
             {LONG_ANSWERS_HELD_MAX} such answers are held for clients before 2025-06-18 already; \
             to newer clients they pass"
        ),
        ServerFault::Status(status) => write!(out, "answered with HTTP status {status}"),
        ServerFault::OtherEra => {
            out.write_str("speaks another era of MCP than this client, and is not bridged")
        }
        ServerFault::NoLease => out.write_str(
            "needs a credential that is not on this gateway; an operator sets it with \
             `portcullis secrets set`",
        ),
        ServerFault::LeaseExpired { since } => {
            let since = Utc(since.secs());
            write!(out, "needs a credential whose lease ended at {since} and was not renewed")
        }
        ServerFault::NoSession => out.write_str("did not open a session"),
    }
}

/// RFC 3339, from seconds since 1970. Civil date after H. Hinnant's `civil_from_days`.
struct Utc(u64);

impl fmt::Display for Utc {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.0 / 86_400, self.0 % 86_400);
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
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_as_rfc_3339() {
        assert_eq!(Utc(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Utc(951_782_400).to_string(), "2000-02-29T00:00:00Z");
        assert_eq!(Utc(1_785_196_799).to_string(), "2026-07-27T23:59:59Z");
    }
}
