//! Era rows (PROTOCOL §1) through the whole pipeline, and what it does not carry.

use dataplane_bundle::Era;
use serde_json::{Value, json};
use tests_sim::http::{call, initialize, legacy, message, modern, ok, post};
use tests_sim::{Client, Reply, World, WorldSpec};

const MODERN: (&str, &str) = ("MCP-Protocol-Version", "2026-07-28");
const LIST: (&str, &str) = ("Mcp-Method", "tools/list");

fn meta(version: &Value) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

fn body(method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": 9, "method": method, "params": params}).to_string()
}

/// Status and JSON-RPC code; zero for a result.
fn said(reply: &Reply) -> (u16, i64) {
    (reply.status, reply.json()["error"]["code"].as_i64().unwrap_or(0))
}

/// Names and values.
type Headers<'h> = Vec<(&'h str, &'h str)>;

#[test]
fn each_row_of_the_modern_era_answers_as_the_table_says() {
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    let right = || json!({"_meta": meta(&json!("2026-07-28"))});
    let list = |params: Value| body("tools/list", params);
    let bad_capabilities =
        json!({"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}});
    let notice = json!({"jsonrpc": "2.0", "method": "tools/list", "params": right()}).to_string();
    let null_id = json!({"jsonrpc": "2.0", "id": null, "method": "tools/list", "params": right()});
    let named = |name: &str| {
        let params = json!({"name": name, "arguments": {}, "_meta": meta(&json!("2026-07-28"))});
        body("tools/call", params)
    };
    let call_headers = |name| vec![MODERN, ("Mcp-Method", "tools/call"), ("Mcp-Name", name)];
    let unknown = ("MCP-Protocol-Version", "2030-01-01");
    let rows: Vec<(u8, Headers<'_>, String, (u16, i64))> = vec![
        (1, vec![MODERN, MODERN, LIST], list(right()), (400, -32_020)),
        (1, vec![("MCP-Protocol-Version", "2026-07-28, x"), LIST], list(right()), (400, -32_020)),
        (2, vec![MODERN, LIST], format!("[{}]", list(right())), (400, -32_600)),
        (3, vec![LIST], list(right()), (400, -32_020)),
        (3, vec![("MCP-Protocol-Version", "2025-11-25"), LIST], list(right()), (400, -32_020)),
        (4, vec![MODERN, LIST], list(json!({})), (400, -32_602)),
        (4, vec![MODERN, LIST], list(json!({"_meta": meta(&json!(7))})), (400, -32_602)),
        (
            5,
            vec![unknown, LIST],
            list(json!({"_meta": meta(&json!("2030-01-01"))})),
            (400, -32_022),
        ),
        (6, vec![MODERN, LIST], list(bad_capabilities), (400, -32_602)),
        (7, vec![MODERN], list(right()), (400, -32_020)),
        (7, vec![MODERN, ("Mcp-Method", "Tools/List")], list(right()), (400, -32_020)),
        (8, vec![MODERN, ("Mcp-Method", "tools/call")], named("crm__get_orders"), (400, -32_020)),
        (8, call_headers("crm__refund"), named("crm__get_orders"), (400, -32_020)),
        (10, vec![MODERN, ("Mcp-Method", "ping")], body("ping", right()), (404, -32_601)),
        (
            10,
            vec![MODERN, ("Mcp-Method", "prompts/get")],
            body(
                "prompts/get",
                json!({
            "name": "p", "_meta": meta(&json!("2026-07-28"))}),
            ),
            (400, -32_020),
        ),
        (12, vec![MODERN, LIST], null_id.to_string(), (400, -32_600)),
        (13, vec![MODERN, LIST], notice, (400, -32_600)),
        (14, vec![MODERN, LIST, ("Mcp-Session-Id", "forged")], list(right()), (200, 0)),
        (15, vec![unknown, LIST], list(json!({})), (400, -32_022)),
        (19, vec![], list(json!({})), (400, -32_600)),
    ];
    for (row, headers, body, expected) in rows {
        let mut client = Client::new(&world);
        let reply = client.ask(&mut world, &post("/mcp", &key, &headers, &body));
        assert_eq!(said(&reply), expected, "row {row}: {headers:?} {body}\n{reply:?}");
        assert!(client.forwarded.is_empty(), "row {row}");
        assert_eq!(reply.header("Mcp-Session-Id"), None, "row {row}");
    }
    assert!(world.log.is_empty(), "nothing was called");
}

fn session(world: &mut World, client: &mut Client, path: &str, caller: &str) -> String {
    let key = world.key(caller).to_owned();
    let opened = client.ask(world, &legacy(path, &key, None, &initialize()));
    opened.header("Mcp-Session-Id").unwrap_or_else(|| panic!("{opened:?}")).to_owned()
}

#[test]
fn each_row_of_the_legacy_era_answers_as_the_table_says() {
    let mut world = World::new(&WorldSpec::default());
    let mut client = Client::new(&world);
    let key = world.key("ann").to_owned();
    let open = session(&mut world, &mut client, "/mcp", "ann");
    let ping = json!({"jsonrpc": "2.0", "id": 9, "method": "ping"}).to_string();
    let old = ("MCP-Protocol-Version", "2025-11-25");
    let mine = ("Mcp-Session-Id", open.as_str());
    let rows: Vec<(&str, Headers<'_>, (u16, i64))> = vec![
        ("open", vec![mine, old], (200, 0)),
        ("no version", vec![mine], (200, 0)),
        ("another version", vec![mine, ("MCP-Protocol-Version", "2025-06-18")], (400, -32_600)),
        ("forged", vec![("Mcp-Session-Id", "forged"), old], (404, -32_600)),
        ("none", vec![old], (400, -32_600)),
        // In the legacy era the modern headers mean nothing.
        ("headers that lie", vec![mine, old, ("Mcp-Method", "tools/call")], (200, 0)),
    ];
    for (why, headers, expected) in rows {
        let reply = client.ask(&mut world, &post("/mcp", &key, &headers, &ping));
        assert_eq!(said(&reply).0, expected.0, "{why}: {reply:?}");
        assert_eq!(said(&reply).1 == 0, expected.1 == 0, "{why}: {reply:?}");
    }
    let unknown = json!({"jsonrpc": "2.0", "id": 9, "method": "no/such"});
    let reply = client.ask(&mut world, &legacy("/mcp", &key, Some(&open), &unknown));
    assert_eq!(said(&reply), (200, -32_601), "a 404 would end the session");
    // An unknown version is answered with our newest legacy one.
    let mut asked = initialize();
    asked["params"]["protocolVersion"] = json!("1999-01-01");
    let reply = client.ask(&mut world, &legacy("/mcp", &key, None, &asked));
    assert_eq!(reply.json()["result"]["protocolVersion"], "2025-11-25");
}

/// GET and DELETE.
fn bare(method: &str, path: &str, key: &str, session: Option<&str>) -> Vec<u8> {
    let session = session.map(|id| format!("Mcp-Session-Id: {id}\r\n")).unwrap_or_default();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {key}\r\n{session}\r\n"
    )
    .into_bytes()
}

#[test]
fn a_session_ends_for_its_owner_only_and_then_is_unknown() {
    let mut world = World::new(&WorldSpec::default());
    let mut client = Client::new(&world);
    let (ann, bot) = (world.key("ann").to_owned(), world.key("bot").to_owned());
    let open = session(&mut world, &mut client, "/mcp", "ann");
    let ping = json!({"jsonrpc": "2.0", "id": 9, "method": "ping"});
    let stolen = client.ask(&mut world, &bare("DELETE", "/mcp", &bot, Some(&open)));
    assert_eq!(stolen.status, 404);
    let elsewhere = legacy("/servers/crm/mcp", &ann, Some(&open), &ping);
    assert_eq!(client.ask(&mut world, &elsewhere).status, 404, "another endpoint's");
    assert_eq!(client.ask(&mut world, &legacy("/mcp", &ann, Some(&open), &ping)).status, 200);
    let stream = client.ask(&mut world, &bare("GET", "/mcp", &ann, Some(&open)));
    assert_eq!((stream.status, stream.header("Allow")), (405, Some("POST, DELETE")));
    let stateless = client.ask(&mut world, &bare("GET", "/mcp", &ann, None));
    assert_eq!((stateless.status, stateless.header("Allow")), (405, Some("POST")));
    assert_eq!(client.ask(&mut world, &bare("DELETE", "/mcp", &ann, Some(&open))).status, 200);
    assert_eq!(client.ask(&mut world, &legacy("/mcp", &ann, Some(&open), &ping)).status, 404);
    assert!(world.core.announcement().is_some(), "the other cores hear of it");
}

#[test]
fn what_is_not_carried_is_refused_by_name() {
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    for (part, value) in [
        ("requestState", json!("blob")),
        ("inputResponses", json!({"a": {"action": "accept"}})),
        ("task", json!({"ttl": 1})),
    ] {
        let mut params = json!({"name": "crm__get_orders", "arguments": {}});
        params[part] = value;
        let mut client = Client::new(&world);
        let reply = client.ask(&mut world, &modern("/mcp", &key, json!(1), "tools/call", params));
        assert_eq!(said(&reply), (200, -32_602), "{part}: {reply:?}");
        assert!(reply.body.contains("is not carried"), "{part}: {reply:?}");
        assert!(client.forwarded.is_empty(), "{part}");
    }
    assert_eq!(world.records().count(), 3, "each is on record");
}

#[test]
fn what_would_have_to_be_redeemed_is_not_released() {
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    for kind in ["input_required", "task"] {
        let mut client = Client::new(&world);
        let request = call("/mcp", &key, json!(1), "crm__get_orders", json!({}));
        let mut server = |request: &[u8]| {
            let id = message(request)["id"].clone();
            let result = json!({"resultType": kind, "requestState": "state-canary"});
            Some(ok(&[], &json!({"jsonrpc": "2.0", "id": id, "result": result})))
        };
        client.send(&mut world, &request, &mut server);
        let reply = client.reply();
        assert_eq!(said(&reply), (200, -31_502), "{kind}");
        assert!(!reply.body.contains("canary"), "{kind}: {reply:?}");
    }
}

#[test]
fn eras_are_not_bridged_and_that_is_said() {
    for (era, request) in [(Era::Legacy, true), (Era::Modern, false)] {
        let mut world = World::new(&WorldSpec { era, ..WorldSpec::default() });
        let key = world.key("ann").to_owned();
        let mut client = Client::new(&world);
        let request = if request {
            call("/mcp", &key, json!(1), "crm__get_orders", json!({}))
        } else {
            let open = session(&mut world, &mut client, "/mcp", "ann");
            let params = json!({"name": "crm__get_orders", "arguments": {}});
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
            legacy("/mcp", &key, Some(&open), &body)
        };
        let reply = client.ask(&mut world, &request);
        assert_eq!(said(&reply), (200, -31_505), "{reply:?}");
        assert!(client.forwarded.is_empty());
    }
}

#[test]
fn a_trace_is_continued_and_a_broken_one_replaced() {
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    for (header, continues) in [
        (format!("00-{trace}-b7ad6b7169203331-01"), true),
        (format!("00-{trace}-0000000000000000-01"), false),
        ("nonsense".into(), false),
    ] {
        let mut client = Client::new(&world);
        let request = call("/mcp", &key, json!(1), "crm__get_orders", json!({}));
        let request = String::from_utf8(request).unwrap();
        let line = format!("\r\ntraceparent: {header}\r\n\r\n");
        client.ask(&mut world, request.replacen("\r\n\r\n", &line, 1).as_bytes());
        let sent = String::from_utf8(client.forwarded[0].clone()).unwrap();
        let sent = sent.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap();
        assert_eq!(sent.contains(trace), continues, "{header}: {sent}");
        assert!(!sent.contains("b7ad6b7169203331"), "our own span: {sent}");
        let recorded = world.records().last().unwrap().trace_id;
        let recorded: String = recorded.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(sent.contains(&recorded), "what is on record is what was sent");
    }
}
