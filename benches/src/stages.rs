//! Every stage with a fixed workload.
//!
//! A stage prepares its inputs, makes sure that they do what its name says, and hands a closure to
//! the runner, which calls it as often as it likes. One call of the closure is one unit of work.

use std::hint::black_box;
use std::num::NonZeroU32;

use anyhow::{Context, ensure};
use dataplane_audit::{Batch, Body, Call, CallerNames, Decision, DigestKey, Record, Stamp};
use dataplane_auth::{Cache, Caller, CallerKind, CredentialKind};
use dataplane_ingress::{FieldName, FieldValue, Limits, Parsed, parse_head};
use dataplane_parse::{EraHeaders, Parser, Revision, Rules, SessionView, VersionHeader, era};
use dataplane_policy::{CallerFacts, Context as PolicyContext, ServerIndex, Subject, Table};
use dataplane_quota::{Buckets, Limit};
use dataplane_relay::ReplyId;
use dataplane_relay::answer::{Client, judge_into};
use dataplane_telemetry::{Nanos, WallNanos};
use dataplane_upstream::{Inject, Origin, Request, parse_response};

use crate::material::{self, ALLOWED, CONDITIONAL, Credential, DENIED, NOW_S, SERVER};
use crate::shell::Shell;
use crate::world::World;

/// Calls a stage's closure and makes something of it.
pub type Runner<'r> = dyn FnMut(&'static str, &mut dyn FnMut()) -> anyhow::Result<()> + 'r;

/// The stages in the order of a call's path.
pub const NAMES: &[&str] = &[
    "ingress/head",
    "parse/call",
    "parse/call_and_era",
    "auth/cache_hit",
    "policy/plain_cell",
    "policy/predicate",
    "policy/list_500",
    "quota/take",
    "audit/digest",
    "audit/record",
    "upstream/request_head",
    "upstream/response_head",
    "relay/answer",
    "pipeline/allowed_cached_caller",
    "pipeline/allowed_federated",
    "pipeline/denied",
    "pipeline/list_500",
];

/// Runs all stages with this policy table.
///
/// # Errors
/// When a stage does not do what it is there for, or the runner fails.
pub fn run_all(table: &[u8], run: &mut Runner<'_>) -> anyhow::Result<()> {
    let credential = Credential::fixed();
    ingress(&credential, run)?;
    parse(run)?;
    auth(&credential, run)?;
    policy(table, run)?;
    quota(run)?;
    audit(run)?;
    upstream(run)?;
    relay(run)?;
    pipeline(table, run)
}

fn ingress(credential: &Credential, run: &mut Runner<'_>) -> anyhow::Result<()> {
    let path = "/servers/orders/mcp";
    let bytes = material::head(path, &credential.token, "tools/call", Some(ALLOWED), 282);
    let limits = Limits::default();
    let whole = |bytes: &[u8]| matches!(parse_head(bytes, &limits), Ok(Parsed::Complete(_)));
    ensure!(whole(&bytes), "the head is refused");
    run("ingress/head", &mut || {
        black_box(whole(black_box(&bytes)));
    })
}

fn parse(run: &mut Runner<'_>) -> anyhow::Result<()> {
    let body = material::call_body(ALLOWED);
    let headers = EraHeaders {
        version: VersionHeader::Value(b"2026-07-28"),
        method: Some(b"tools/call"),
        name: Some(ALLOWED.as_bytes()),
        params: &[],
    };
    let mut parser = Parser::new(dataplane_parse::Limits::REQUEST);
    let named = parser.with(&body, |message| !message.name.is_absent());
    ensure!(named.is_ok_and(|named| named), "the call is refused");
    run("parse/call", &mut || {
        let _ = black_box(parser.with(black_box(&body), |message| message.method.len()));
    })?;
    let mut is_modern = || {
        let found = parser.with(black_box(&body), |message| {
            era(&headers, message, SessionView::None, &Rules::default()).is_ok()
        });
        found.is_ok_and(|found| found)
    };
    ensure!(is_modern(), "the call is of no era");
    run("parse/call_and_era", &mut || {
        black_box(is_modern());
    })
}

fn caller() -> Caller {
    let text = |text: &str| Some(text.to_owned());
    Caller {
        tenant: "acme-eu".into(),
        kind: CallerKind::User,
        user: text("jane.doe@example.test"),
        agent: text("claude-desktop"),
        roles: vec!["reader".into(), "support".into()],
        groups: vec!["eu-support".into()],
        client_id: text("claude-desktop"),
        token_id: text("b0f3c3a0-5f37-4a44-9d8f-2f1d5f9b6a10"),
        subject: text("jane.doe@example.test"),
        credential: CredentialKind::Token,
        provider: "idp".into(),
        issued_at: None,
        expires_at: WallNanos::from_secs(NOW_S + 86_400),
    }
}

fn auth(credential: &Credential, run: &mut Runner<'_>) -> anyhow::Result<()> {
    let mut cache = Cache::new(4_096, [8; 16]);
    let (audience, token) = (material::AUDIENCE, credential.token.as_bytes());
    let wall = WallNanos::from_secs(NOW_S);
    let key = cache.key(audience, token);
    cache.admit(key, caller(), 1);
    let mut hit = || {
        let key = cache.key(black_box(audience), black_box(token));
        cache.lookup(key, wall, 1).is_some()
    };
    ensure!(hit(), "the token is not in the cache");
    run("auth/cache_hit", &mut || {
        black_box(hit());
    })
}

fn policy(table: &[u8], run: &mut Runner<'_>) -> anyhow::Result<()> {
    let table = Table::load(table).map_err(|fault| anyhow::anyhow!("{fault}"))?;
    let subject = table.subject(&CallerFacts {
        tenant: "acme-eu",
        kind: dataplane_policy::CallerKind::User,
        user: Some("jane.doe@example.test"),
        agent: Some("claude-desktop"),
        roles: &["reader", "support"],
        groups: &["eu-support"],
    });
    let server = table.find_server(SERVER).context("the server")?;
    decide(&table, &subject, server, "policy/plain_cell", ALLOWED, run)?;
    decide(&table, &subject, server, "policy/predicate", CONDITIONAL, run)?;
    let seen = || table.tools(server).filter(|(tool, _)| table.may_see(&subject, *tool)).count();
    ensure!(seen() > 400 && seen() < 500, "{} tools are seen", seen());
    run("policy/list_500", &mut || {
        black_box(seen());
    })
}

/// The decision alone: the body was parsed before.
fn decide(
    table: &Table,
    subject: &Subject,
    server: ServerIndex,
    stage: &'static str,
    tool: &str,
    run: &mut Runner<'_>,
) -> anyhow::Result<()> {
    let tool_index = table.find_tool(server, tool.as_bytes()).context("the tool")?;
    let context =
        PolicyContext { now: WallNanos::from_secs(NOW_S), era: dataplane_policy::Era::Modern };
    let body = material::call_body(tool);
    let mut parser = Parser::new(dataplane_parse::Limits::REQUEST);
    let done = parser.with(&body, |message| {
        let arguments = message.arguments.map(|arguments| arguments.index);
        let call = dataplane_policy::Call { tape: message.document.tape, arguments, context };
        let decision = table.decide(subject, tool_index, &call);
        ensure!(decision.allow, "{stage}: {:?}", decision.why);
        run(stage, &mut || {
            black_box(table.decide(black_box(subject), black_box(tool_index), black_box(&call)));
        })
    });
    done.map_err(|fault| anyhow::anyhow!("{fault}"))?
}

fn quota(run: &mut Runner<'_>) -> anyhow::Result<()> {
    let buckets = Buckets::new(1_024, [3; 16]);
    let limit = Limit::parse("1000000/s", NonZeroU32::new(1_000_000).context("a burst")?)?;
    let key = buckets.key(0, &[b"acme-eu", b"claude-desktop"]);
    let mut now = Nanos(1_000_000_000);
    let mut take = || {
        now = now.plus(1_000_000);
        buckets.take(black_box(key), &limit, 1, now).is_ok()
    };
    ensure!(take(), "the quota refuses");
    run("quota/take", &mut || {
        black_box(take());
    })
}

fn audit(run: &mut Runner<'_>) -> anyhow::Result<()> {
    let key = DigestKey::new(1, &[2; 32]);
    let body = material::call_body(ALLOWED);
    let mut parser = Parser::new(dataplane_parse::Limits::REQUEST);
    let arguments = parser.with(&body, |message| message.arguments_text().to_vec());
    let arguments = arguments.map_err(|fault| anyhow::anyhow!("{fault}"))?;
    run("audit/digest", &mut || {
        black_box(key.digest(black_box(&arguments)));
    })?;
    let call = Call {
        caller: CallerNames {
            tenant: "acme-eu",
            user: "jane.doe@example.test",
            agent: "claude-desktop",
            client: "claude-desktop",
        },
        method: "tools/call",
        server: SERVER,
        tool: ALLOWED,
        request_id: "1000000007",
        arguments: Some(key.digest(&arguments)),
        decision: Decision { rule: "bench.cedar:1", revision: 1, ..Decision::default() },
        ..Call::default()
    };
    let record = Record::new(Stamp::default(), Body::Call(call));
    let mut batch = Batch::with_capacity(4_096);
    run("audit/record", &mut || {
        batch.clear();
        let _ = black_box(batch.push(black_box(&record)));
    })
}

fn upstream(run: &mut Runner<'_>) -> anyhow::Result<()> {
    let origin = Origin::parse("http://10.0.0.7:8000/mcp")?;
    let value = |bytes: &'static [u8]| {
        FieldValue::new(bytes).map_err(|_| anyhow::anyhow!("a value that cannot be sent"))
    };
    let header = FieldName::new(b"Authorization").map_err(|_| anyhow::anyhow!("a bad name"))?;
    let mut request = Request::new(&origin, 282);
    request.protocol_version = Some(value(b"2026-07-28")?);
    request.mcp_method = Some(value(b"tools/call")?);
    request.mcp_name = Some(ALLOWED);
    request.traceparent = Some(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let (prefix, secret) = (value(b"Bearer ")?, value(b"upstream-credential-0123456789")?);
    request.inject = Some(Inject { header, prefix, secret });
    let mut out = Vec::with_capacity(2_048);
    run("upstream/request_head", &mut || {
        out.clear();
        black_box(&request).write(&mut out);
        black_box(&out);
    })?;
    let answer = material::answer("1000000007");
    ensure!(matches!(parse_response(&answer), Ok(Parsed::Complete(_))), "the answer is refused");
    run("upstream/response_head", &mut || {
        let _ = black_box(parse_response(black_box(&answer)));
    })
}

fn relay(run: &mut Runner<'_>) -> anyhow::Result<()> {
    let id = b"1000000007";
    let body = material::answer_body("1000000007");
    let mut parser = Parser::new(dataplane_parse::Limits::ANSWER);
    let client = Client { id: ReplyId::Raw(id), revision: Revision::V2026_07_28 };
    let mut out = Vec::with_capacity(2_048);
    let mut judge = || {
        out.clear();
        judge_into(&mut parser, black_box(&body), id, &client, &mut out).is_ok()
    };
    ensure!(judge(), "the answer is refused");
    run("relay/answer", &mut || {
        black_box(judge());
    })
}

/// A call from the client's bytes to the client's bytes, on a kept connection.
fn pipeline(table: &[u8], run: &mut Runner<'_>) -> anyhow::Result<()> {
    let mut world = World::new(table)?;
    let token = world.credential.token.clone();
    let (server, all) = ("/servers/orders/mcp", "/mcp");
    let federated = format!("{SERVER}__{ALLOWED}");
    let stages = [
        ("pipeline/allowed_cached_caller", material::call(server, &token, ALLOWED), "O-100231"),
        ("pipeline/allowed_federated", material::call(all, &token, &federated), "O-100231"),
        ("pipeline/denied", material::call(server, &token, DENIED), "error"),
        ("pipeline/list_500", material::list(server, &token), "\"tool_0499\""),
    ];
    for (stage, request, mark) in stages {
        let mut shell = Shell::new(&world, material::answer("1000000007"));
        let kept = shell.call(&mut world, &request);
        let text = String::from_utf8_lossy(&shell.received);
        let shown: String = text.chars().take(600).collect();
        ensure!(kept && text.contains(mark), "{stage}: kept {kept}, {shown}");
        run(stage, &mut || {
            black_box(shell.call(&mut world, black_box(&request)));
        })?;
        let text = String::from_utf8_lossy(&shell.received);
        ensure!(text.contains(mark), "{stage}: a later call came out otherwise");
    }
    Ok(())
}

#[cfg(all(test, feature = "compile"))]
mod tests {
    use super::*;

    #[test]
    fn every_stage_does_what_its_name_says() {
        let mut seen = Vec::new();
        let mut runner = |name: &'static str, stage: &mut dyn FnMut()| {
            stage();
            seen.push(name);
            Ok(())
        };
        run_all(&crate::policy::table().unwrap(), &mut runner).unwrap();
        assert_eq!(seen, NAMES);
    }
}
