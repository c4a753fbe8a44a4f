//! Decisions on a real table: the guard, the rows and the fallback, lists, obligations.

use dataplane_policy::{
    Call, CallerFacts, CallerKind, Context, Decision, Era, SET_LEN_MAX, Subject, Table, ToolIndex,
    Why, fuzz,
};
use dataplane_telemetry::WallNanos;

const SHOP: &[u8] = include_bytes!("fixtures/shop.table");

/// Noon of a day in May 2026.
const NOON: WallNanos = WallNanos::from_secs(1_777_636_800);

fn shop() -> Table {
    Table::load(SHOP).unwrap()
}

fn tool(table: &Table, name: &str) -> ToolIndex {
    let (server, tool) = name.split_once('/').unwrap();
    table.find_tool(table.find_server(server).unwrap(), tool.as_bytes()).unwrap()
}

fn user<'a>(roles: &'a [&'a str], groups: &'a [&'a str]) -> CallerFacts<'a> {
    CallerFacts {
        tenant: "acme",
        kind: CallerKind::User,
        user: Some("ann"),
        agent: None,
        roles,
        groups,
    }
}

fn decide(table: &Table, subject: &Subject, name: &str, json: &str) -> Decision {
    decide_at(table, subject, name, json, NOON)
}

fn decide_at(table: &Table, subject: &Subject, name: &str, json: &str, now: WallNanos) -> Decision {
    let mut json = json.as_bytes().to_vec();
    let tape = simd_json::to_tape(&mut json).unwrap();
    let context = Context { now, era: Era::Modern };
    let call = Call { tape: &tape.0, arguments: Some(0), context };
    table.decide(subject, tool(table, name), &call)
}

/// The id of the policy behind a decision, or the reason's name.
fn why(table: &Table, decision: &Decision) -> String {
    match decision.why {
        Why::Policy(policy) => table.policy(policy).unwrap().id.to_owned(),
        Why::BadArgument(argument) => format!("bad argument {}", table.argument(argument)),
        Why::NoPermit => "no permit".to_owned(),
        Why::Error => "error".to_owned(),
    }
}

#[test]
fn names_are_found_and_nothing_else_is() {
    let table = shop();
    assert_eq!(table.servers().map(|(_, name)| name).collect::<Vec<_>>(), ["crm", "git"]);
    let crm = table.find_server("crm").unwrap();
    let tools: Vec<_> = table.tools(crm).map(|(_, name)| name).collect();
    assert_eq!(tools, ["get", "refund"]);
    assert_eq!(table.tool(tool(&table, "git/push")).unwrap().1, "push");
    assert_eq!(table.find_server("cr"), None);
    assert_eq!(table.find_tool(crm, b"push"), None);
    assert_eq!(table.find_tool(crm, b"get\xff"), None);
    assert!(
        table.tool(ToolIndex(99)).is_none()
            && table.policy(dataplane_policy::PolicyIndex(99)).is_none()
    );
}

#[test]
fn arguments_have_their_pinned_types() {
    let table = shop();
    let ann = table.subject(&user(&["support"], &[]));
    let long = format!("{{\"amount\":1,\"tags\":[{}]}}", vec!["\"a\""; SET_LEN_MAX + 1].join(","));
    let longest = long.replacen("\"a\",", "", 1);
    for (arguments, expected) in [
        (r#"{"amount":1}"#, "refund"),
        (r#"{"amount":1,"note":null}"#, "refund"),
        (r#"{"amount":1,"other":{"anything":[1]}}"#, "refund"),
        (longest.as_str(), "refund"),
        (long.as_str(), "bad argument tags"),
        (r#"{"amount":"1"}"#, "bad argument amount"),
        (r#"{"amount":1.0}"#, "bad argument amount"),
        (r#"{"amount":null}"#, "bad argument amount"),
        (r#"{"amount":9223372036854775808}"#, "bad argument amount"),
        (r#"{}"#, "bad argument amount"),
        (r#"{"amount":1,"amount":1}"#, "bad argument amount"),
        (r#"{"amount":1,"Amount":1}"#, "bad argument "),
        (r#"{"amount":1,"tags":["a",1]}"#, "bad argument tags"),
        (r#"{"amount":1,"tags":["a",["b"]]}"#, "bad argument tags"),
        (r#"{"amount":1,"customer":[]}"#, "bad argument customer"),
        (r#"{"amount":1,"customer":{"region":7}}"#, "bad argument customer.region"),
        (r#"{"amount":1,"customer":{"region":"a","region":"b"}}"#, "bad argument customer.region"),
        (r#"{"amount":1,"customer":{"tier":"unlooked at"}}"#, "refund"),
        (r#"[]"#, "bad argument "),
        (r#""amount""#, "bad argument "),
    ] {
        let decision = decide(&table, &ann, "crm/refund", arguments);
        assert_eq!(why(&table, &decision), expected, "{arguments}");
        assert_eq!(decision.allow, expected == "refund", "{arguments}");
    }
}

#[test]
fn no_arguments_are_an_empty_object() {
    let table = shop();
    let ann = table.subject(&user(&["support"], &[]));
    let context = Context { now: NOON, era: Era::Modern };
    let call = Call { tape: &[], arguments: None, context };
    let refund = table.decide(&ann, tool(&table, "crm/refund"), &call);
    assert_eq!(why(&table, &refund), "bad argument amount");
    let read = table.decide(&ann, tool(&table, "crm/get"), &call);
    assert_eq!((read.allow, why(&table, &read).as_str()), (true, "read"));
}

#[test]
fn forbids_win_and_are_named() {
    let table = shop();
    let ann = table.subject(&user(&["support"], &[]));
    for (arguments, expected) in [
        (r#"{"amount":1,"currency":"EUR"}"#, "refund"),
        (r#"{"amount":1,"currency":"GBP"}"#, "currency"),
        (r#"{"amount":1,"note":"a secret about a key"}"#, "notes"),
        (r#"{"amount":1,"customer":{"region":"XX"}}"#, "region"),
        (r#"{"amount":1,"tags":["a","test"]}"#, "tags"),
        (r#"{"amount":500}"#, "refund-own"),
        (r#"{"amount":50000}"#, "no permit"),
        (r#"{"amount":9223372036854775807}"#, "error"),
    ] {
        let decision = decide(&table, &ann, "crm/refund", arguments);
        assert_eq!(why(&table, &decision), expected, "{arguments}");
        assert_eq!(decision.allow, expected.starts_with("refund"), "{arguments}");
    }
}

#[test]
fn obligations_of_all_permits_that_are_true() {
    let table = shop();
    let ann = table.subject(&user(&["support"], &[]));
    let due = |arguments: &str| {
        let decision = decide(&table, &ann, "crm/refund", arguments);
        let all = table.obligations_of(&decision);
        all.map(|o| format!("{}={}", o.key, o.value)).collect::<Vec<_>>()
    };
    assert_eq!(due(r#"{"amount":1}"#), ["quota=refunds", "approval=finance"]);
    assert_eq!(due(r#"{"amount":500}"#), ["approval=finance"]);
    assert_eq!(due(r#"{"amount":1,"currency":"GBP"}"#), [""; 0]);
}

#[test]
fn a_signature_without_a_row_is_answered_the_same() {
    let table = shop();
    let crm = table.find_server("crm").unwrap();
    let row = table.subject(&user(&["support"], &[]));
    // A role that no policy knows changes nothing; the group brings the role along.
    let same = table.subject(&user(&["support", "juggler"], &["chess"]));
    assert!(!row.is_fallback(crm) && !same.is_fallback(crm));
    let agent = CallerFacts {
        kind: CallerKind::Agent,
        agent: Some("x"),
        ..user(&["support"], &["oncall"])
    };
    let fallback = table.subject(&user(&[], &["oncall"]));
    let both = table.subject(&agent);
    for arguments in [r#"{"amount":1}"#, r#"{"amount":700}"#, r#"{"amount":1,"currency":"GBP"}"#] {
        let expected = !arguments.contains("GBP");
        for subject in [&fallback, &both] {
            assert_eq!(
                decide(&table, subject, "crm/refund", arguments).allow,
                expected,
                "{arguments}"
            );
        }
    }
}

#[test]
fn what_may_not_be_called_is_not_seen() {
    let table = shop();
    let sees = |facts: &CallerFacts<'_>| {
        let subject = table.subject(facts);
        ["crm/get", "crm/refund", "git/push"]
            .map(|name| table.may_see(&subject, tool(&table, name)))
    };
    let ann = user(&[], &[]);
    assert_eq!(sees(&user(&["support"], &[])), [true, true, true]);
    // Ann has a permit of her own, bob of another tenant has nothing at all.
    assert_eq!(sees(&ann), [false, true, true]);
    let bob = CallerFacts { tenant: "bolt", user: Some("bob"), ..ann };
    assert_eq!(sees(&bob), [false, false, false]);
    assert_eq!(sees(&CallerFacts { roles: &["support"], ..bob }), [true, true, false]);
    // The agent is known, so a permit that it rules out is ruled out in lists too.
    assert_eq!(sees(&CallerFacts { agent: Some("rogue"), ..ann }), [false, true, false]);
}

#[test]
fn tenants_times_and_addresses() {
    let table = shop();
    let ann = table.subject(&user(&[], &[]));
    let night = WallNanos::from_secs(1_777_593_600);
    let push = |from: &str, at| {
        let json = format!("{{\"from\":\"{from}\",\"rate\":0.25}}");
        why(&table, &decide_at(&table, &ann, "git/push", &json, at))
    };
    assert_eq!(push("192.0.2.1", NOON), "tenants");
    assert_eq!(push("10.2.3.4", NOON), "branches");
    assert_eq!(push("192.0.2.1", night), "branches");
    assert_eq!(push("::1", NOON), "bad argument from");
    let bob = CallerFacts { tenant: "bolt", ..user(&[], &[]) };
    let json = r#"{"from":"192.0.2.1","rate":0.25}"#;
    assert!(!decide(&table, &table.subject(&bob), "git/push", json).allow);
    let machine = CallerFacts { kind: CallerKind::Agent, agent: Some("m"), user: None, ..bob };
    let machine = table.subject(&machine);
    assert_eq!(why(&table, &decide(&table, &machine, "git/push", json)), "machines");
}

#[test]
fn a_subject_of_another_table_is_denied() {
    let table = shop();
    let ann = table.subject(&user(&["support"], &[]));
    let mut bytes = SHOP.to_vec();
    let at = bytes.windows(9).position(|w| w == b"all.cedar").unwrap();
    bytes[at] = b'x';
    let other = Table::load(&bytes).unwrap();
    let decision = decide(&other, &ann, "crm/get", "{}");
    assert_eq!((decision.allow, decision.why), (false, Why::Error));
    assert!(!other.may_see(&ann, tool(&other, "crm/get")));
    let unknown =
        Call { tape: &[], arguments: None, context: Context { now: NOON, era: Era::Legacy } };
    assert_eq!(table.decide(&ann, ToolIndex(99), &unknown).why, Why::Error);
}

#[test]
fn a_tenant_cannot_pass_for_another() {
    let table = shop();
    let refund = r#"{"amount":700}"#;
    let ann = table.subject(&user(&[], &[]));
    assert!(decide(&table, &ann, "crm/refund", refund).allow);
    // `User::"acme/ann"` is not the user `ann` of a tenant without a name, nor of `acme/`.
    for (tenant, name) in
        [("", "acme/ann"), ("acme/", "ann"), ("acme/ann", ""), ("bolt", "acme/ann")]
    {
        let caller = CallerFacts { tenant, user: Some(name), ..user(&["support"], &[]) };
        let decision = decide(&table, &table.subject(&caller), "crm/refund", refund);
        assert!(!decision.allow, "{tenant:?} {name:?}");
    }
    let slash = CallerFacts { tenant: "acme/x", ..user(&["support"], &[]) };
    assert_eq!(decide(&table, &table.subject(&slash), "crm/get", "{}").why, Why::Error);
}

#[test]
fn hostile_arguments_never_panic() {
    for json in [
        "{}",
        "[]",
        "null",
        "7",
        "\"x\"",
        "{\"amount\":{\"amount\":{}}}",
        "{\"customer\":{\"customer\":{}}}",
        "{\"\":1}",
        "{\"tags\":[]}",
        "{\"amount\":-9223372036854775808,\"tags\":[\"\\u0000\"]}",
        "{\"a\":1e999}",
    ] {
        fuzz::any_arguments(json.as_bytes());
        fuzz::any_text(json.as_bytes());
    }
    for text in ["2026-05-01T00:00:00Z", "P1D", "9999-12-31T23:59:59.999+23:59", "é", "::1", "-1.0"]
    {
        fuzz::any_text(text.as_bytes());
    }
}
