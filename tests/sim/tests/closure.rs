//! What a caller may not call it does not reach: by no entry point, by no method, by no spelling.
//!
//! Entry points are those of the router itself, so a new one that nobody thought of fails here.

use dataplane_bundle::{Era, Kill, KillTarget};
use dataplane_pipeline::route::{ENTRY_POINTS, Purpose};
use dataplane_telemetry::WallNanos;
use serde_json::{Value, json};
use tests_sim::http::{call, initialize, legacy, modern};
use tests_sim::model::{CALLERS, May, Policy, TOOLS, has_server, may, spec, visible};
use tests_sim::{Client, Compiled, ToolSpec, World, WorldSpec, lease};

/// What no policy of the two denies by its arguments.
fn arguments() -> Value {
    json!({"customer": "c", "amount": 501})
}

fn world(policy: Policy) -> World {
    let mut world = World::new(&spec(policy));
    let leases = ["aaa", "crm", "old"].map(|name| lease(name, b"s", 2, world.now.wall));
    world.core.on_leases(&leases, world.now.wall);
    world
}

#[test]
fn every_denied_pair_is_denied_by_every_entry_point() {
    for policy in [Policy::A, Policy::B] {
        let mut world = world(policy);
        let mut pairs = 0;
        for caller in CALLERS {
            let denied = TOOLS.iter().filter(|(server, tool, _)| {
                may(policy, caller, server, tool, &arguments()) != May::Call
            });
            for (server, tool, is_modern) in denied {
                for point in ENTRY_POINTS {
                    let name = if point.is_federated {
                        format!("{server}__{tool}")
                    } else {
                        (*tool).into()
                    };
                    assert_no_way(&mut world, caller, &point.path(server), &name, *is_modern);
                    if point.purpose == Purpose::Mcp {
                        let only = (!point.is_federated).then_some(*server);
                        assert_list(&mut world, policy, caller, &point.path(server), only);
                    }
                    pairs += 1;
                }
            }
        }
        assert!(pairs >= 40, "{pairs} pairs under {policy:?}");
        assert!(world.records().all(|record| record.phase == dataplane_audit::Phase::Refused));
    }
}

fn assert_no_way(world: &mut World, caller: &str, path: &str, name: &str, is_modern: bool) {
    let key = world.key(caller).to_owned();
    let mut client = Client::new(world);
    let mut requests = Vec::new();
    if is_modern {
        requests.push(call(path, &key, json!(1), name, arguments()));
        for method in
            ["tools/list", "prompts/get", "resources/read", "completion/complete", "tasks/get"]
        {
            let params = json!({"name": name, "uri": name, "taskId": name});
            requests.push(modern(path, &key, json!(1), method, params));
        }
    } else {
        let opened = client.ask(world, &legacy(path, &key, None, &initialize()));
        let session = opened.header("Mcp-Session-Id").map(str::to_owned);
        for method in ["tools/call", "prompts/get", "resources/subscribe", "completion/complete"] {
            let params = json!({"name": name, "uri": name, "arguments": arguments()});
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            requests.push(legacy(path, &key, session.as_deref(), &body));
        }
    }
    // The body says one thing and the headers another.
    let honest = String::from_utf8(call(path, &key, json!(1), name, arguments())).unwrap();
    requests.push(honest.replacen("Mcp-Name: ", "Mcp-Name: x", 1).into_bytes());
    requests
        .push(honest.replacen("Mcp-Method: tools/call", "Mcp-Method: tools/list", 1).into_bytes());
    for request in requests {
        let reply = client.ask(world, &request);
        assert!(client.forwarded.is_empty(), "{caller} reached {name} by {path}: {reply:?}");
        if reply.status == 200 && !reply.body.contains("\"tools\":[") {
            assert!(reply.json()["error"].is_object(), "{caller} {name} {path}: {reply:?}");
        }
    }
}

fn assert_list(world: &mut World, policy: Policy, caller: &str, path: &str, only: Option<&str>) {
    let key = world.key(caller).to_owned();
    let mut client = Client::new(world);
    let reply = client.ask(world, &modern(path, &key, json!(1), "tools/list", json!({})));
    let listed = reply.json()["result"]["tools"].as_array().cloned().unwrap_or_default();
    let mut listed: Vec<_> =
        listed.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect();
    listed.sort();
    let mut right = visible(policy, caller, only.filter(|only| has_server(policy, only)));
    if only.is_some_and(|only| !has_server(policy, only)) {
        right.clear();
    }
    right.sort();
    assert_eq!(listed, right, "{caller} at {path} under {policy:?}");
}

#[test]
fn a_federated_name_splits_at_the_first_separator() {
    let tool = |server, name| ToolSpec {
        server,
        name,
        schema: json!({"type": "object"}),
        destructive: false,
    };
    let tools = vec![tool("crm", "a"), tool("crm", "a__b"), tool("crm", "_a"), tool("crm-a", "b")];
    let policy = "permit(principal, action == Action::\"call\", resource);".into();
    let mut world = World::new(&WorldSpec { policy, tools, ..WorldSpec::default() });
    let key = world.key("bob").to_owned();
    for (name, reached) in [
        ("crm__a", Some("a")),
        ("crm__a__b", Some("a__b")),
        ("crm___a", Some("_a")),
        ("crm-a__b", Some("b")),
        ("crm_a", None),
        ("__a", None),
        ("crm__", None),
        ("crm__A", None),
        ("crm__a ", None),
        ("CRM__a", None),
    ] {
        let mut client = Client::new(&world);
        client.ask(&mut world, &call("/mcp", &key, json!(1), name, json!({})));
        let sent = client.forwarded.first().map(|sent| tests_sim::http::message(sent));
        let sent = sent.map(|message| message["params"]["name"].as_str().unwrap().to_owned());
        assert_eq!(sent.as_deref(), reached, "{name}");
    }
}

#[test]
fn a_long_list_comes_in_pages_of_one_revision() {
    let schema = json!({"type": "object", "description": "x".repeat(60_000)});
    let names: Vec<&'static str> =
        (0..50).map(|n| &*Box::leak(format!("tool-{n:02}").into_boxed_str())).collect();
    let tool = |name: &&'static str| ToolSpec {
        server: "crm",
        name,
        schema: schema.clone(),
        destructive: false,
    };
    let policy = "permit(principal in Role::\"support\", action == Action::\"call\", resource);";
    let spec = WorldSpec {
        policy: policy.into(),
        tools: names.iter().map(tool).collect(),
        ..WorldSpec::default()
    };
    let mut world = World::new(&spec);
    let key = world.key("ann").to_owned();
    let page = |world: &mut World, key: &str, cursor: Option<&Value>| {
        let params = cursor.map_or(json!({}), |cursor| json!({"cursor": cursor}));
        let mut client = Client::new(world);
        client.ask(world, &modern("/mcp", key, json!(1), "tools/list", params)).json()
    };
    let (mut listed, mut cursors) = (Vec::new(), vec![]);
    loop {
        let answer = page(&mut world, &key, cursors.last());
        let tools = answer["result"]["tools"].as_array().unwrap().clone();
        listed.extend(tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
        match answer["result"].get("nextCursor") {
            Some(next) => cursors.push(next.clone()),
            None => break,
        }
    }
    let right: Vec<_> = names.iter().map(|name| format!("crm__{name}")).collect();
    assert_eq!(listed, right);
    assert!(cursors.len() >= 2, "{cursors:?}");
    // A cursor grants nothing to who sees nothing.
    let other = world.key("bob").to_owned();
    assert_eq!(page(&mut world, &other, cursors.last())["result"]["tools"], json!([]));
    for odd in ["", "r1", "r1p", "rp1", "r2p20", "nonsense"] {
        let error = page(&mut world, &key, Some(&json!(odd)))["error"]["code"].clone();
        assert_eq!(error, -32_602, "cursor {odd:?}");
    }
    world.deploy(&Compiled::new(&WorldSpec { revision: 2, ..spec }));
    let stale = page(&mut world, &key, cursors.last());
    assert_eq!(stale["error"]["code"], -32_602, "a cursor of another revision: {stale}");
}

fn kill(target: KillTarget) -> Kill {
    Kill {
        id: "k".into(),
        target,
        reason: "why".into(),
        author: "ops".into(),
        at: WallNanos(0),
        expires_at: None,
    }
}

#[test]
fn a_kill_names_callers_and_servers_and_nobody_else_suffers() {
    let tenant = || "acme".to_owned();
    let key_id = |world: &World, caller: &str| {
        // `pck_ID_SECRET`.
        world.key(caller).split('_').nth(1).unwrap().to_owned()
    };
    let world = World::new(&WorldSpec::default());
    let ann = key_id(&world, "ann");
    let cases = [
        (KillTarget::Tenant { tenant: tenant() }, true, true),
        (KillTarget::Tenant { tenant: "other".into() }, false, false),
        (KillTarget::User { tenant: tenant(), user: "ann".into() }, true, false),
        (KillTarget::User { tenant: "other".into(), user: "ann".into() }, false, false),
        (KillTarget::Agent { tenant: tenant(), agent: "bot".into() }, false, true),
        (KillTarget::Token { token: ann.clone() }, true, false),
        (KillTarget::Client { client: ann }, false, false),
        (KillTarget::Server { server: "crm".into() }, true, true),
        (KillTarget::Server { server: "other".into() }, false, false),
        (KillTarget::Tool { server: "crm".into(), tool: "refund".into() }, false, false),
    ];
    for (target, ann_is_off, bot_is_off) in cases {
        let mut world = World::new(&WorldSpec::default());
        world.kill(vec![kill(target.clone())]);
        for (caller, is_off) in [("ann", ann_is_off), ("bot", bot_is_off)] {
            let key = world.key(caller).to_owned();
            let mut client = Client::new(&world);
            let request = call("/mcp", &key, json!(1), "crm__get_orders", json!({}));
            let reply = client.ask(&mut world, &request).json();
            assert_eq!(reply["error"]["code"] == -31_410, is_off, "{target:?} {caller}: {reply}");
            assert_eq!(client.forwarded.is_empty(), is_off);
        }
    }
}

/// Every method of either era that is answered here, and what has no JSON-RPC answer.
fn every_method(world: &World, caller: &str, session: &str) -> Vec<(&'static str, Vec<u8>)> {
    let key = world.key(caller).to_owned();
    let old = |body: Value| legacy("/mcp", &key, Some(session), &body);
    let end = format!(
        "DELETE /mcp HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {key}\r\n\
         Mcp-Session-Id: {session}\r\nMCP-Protocol-Version: 2025-11-25\r\n\r\n"
    );
    let cancelled = json!({"requestId": 7});
    vec![
        ("server/discover", modern("/mcp", &key, json!(1), "server/discover", json!({}))),
        ("tools/list", modern("/mcp", &key, json!(1), "tools/list", json!({}))),
        ("a hidden tool", call("/mcp", &key, json!(1), "crm__nothing", json!({}))),
        ("initialize", legacy("/mcp", &key, None, &initialize())),
        ("tools/list", old(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))),
        ("ping", old(json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}))),
        (
            "a notification",
            old(
                json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled}),
            ),
        ),
        ("DELETE", end.into_bytes()),
    ]
}

#[test]
fn a_killed_caller_is_told_so_by_every_method() {
    let tenant = || "acme".to_owned();
    let mut world = World::new(&WorldSpec::default());
    let session = |world: &mut World, caller: &str| {
        let mut client = Client::new(world);
        let request = legacy("/mcp", world.key(caller), None, &initialize());
        client.ask(world, &request).header("Mcp-Session-Id").unwrap().to_owned()
    };
    let sessions = ["ann", "bot"].map(|caller| session(&mut world, caller));
    let token = world.key("ann").split('_').nth(1).unwrap().to_owned();
    for (target, bot_is_off) in [
        (KillTarget::Tenant { tenant: tenant() }, true),
        (KillTarget::User { tenant: tenant(), user: "ann".into() }, false),
        (KillTarget::Token { token }, false),
    ] {
        for (caller, session, is_off) in
            [("ann", &sessions[0], true), ("bot", &sessions[1], bot_is_off)]
        {
            for (what, request) in every_method(&world, caller, session) {
                let mut client = Client::new(&world);
                world.kill(vec![kill(target.clone())]);
                let reply = client.ask(&mut world, &request);
                let code = serde_json::from_str::<Value>(&reply.body)
                    .map_or(0, |body| body["error"]["code"].as_i64().unwrap_or(0));
                assert_eq!(code == -31_410, is_off, "{target:?} {caller} {what}: {reply:?}");
                if is_off {
                    let is_quiet = matches!(what, "a notification" | "DELETE");
                    assert_eq!(reply.status, if is_quiet { 403 } else { 200 }, "{what}");
                    assert_eq!(reply.json()["error"]["data"]["by"], "ops", "{what}");
                    // What it asked had no effect: its session is still open.
                    world.kill(Vec::new());
                    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
                    let key = world.key(caller).to_owned();
                    let ping = legacy("/mcp", &key, Some(session), &ping);
                    assert_eq!(client.ask(&mut world, &ping).status, 200, "{what}");
                }
            }
        }
    }
    let mut calls = world.records().filter(|record| record.tool == "crm__nothing");
    assert!(calls.any(|record| record.decision.verdict == dataplane_audit::Verdict::Killed));
}

#[test]
fn a_killed_tool_stays_listed_and_refuses_calls() {
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    for target in [
        KillTarget::Tool { server: "crm".into(), tool: "get_orders".into() },
        KillTarget::Server { server: "crm".into() },
    ] {
        world.kill(vec![kill(target)]);
        let mut client = Client::new(&world);
        for path in ["/mcp", "/servers/crm/mcp"] {
            let list = modern(path, &key, json!(1), "tools/list", json!({}));
            let listed = client.ask(&mut world, &list).json();
            assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(2), "{listed}");
        }
        let call = call("/mcp", &key, json!(1), "crm__get_orders", json!({}));
        assert_eq!(client.ask(&mut world, &call).json()["error"]["code"], -31_410);
    }
}

#[test]
fn a_kill_of_what_is_not_there_waits_for_it() {
    let mut world = world(Policy::A);
    let target = KillTarget::Tool { server: "aaa".into(), tool: "get_orders".into() };
    world.kill(vec![kill(target)]);
    let key = world.key("bob").to_owned();
    let request = call("/mcp", &key, json!(1), "aaa__get_orders", json!({}));
    let mut client = Client::new(&world);
    assert_eq!(client.ask(&mut world, &request).json()["error"]["code"], -32_602);
    // The bundle that brings it finds it off, before anybody has sent the list again.
    world.deploy(&Compiled::new(&spec(Policy::B)));
    assert_eq!(client.ask(&mut world, &request).json()["error"]["code"], -31_410);
    assert!(client.forwarded.is_empty());
}

#[test]
fn a_legacy_list_shows_the_same() {
    let mut world = World::new(&WorldSpec { era: Era::Legacy, ..WorldSpec::default() });
    let key = world.key("ann").to_owned();
    let mut client = Client::new(&world);
    let opened = client.ask(&mut world, &legacy("/mcp", &key, None, &initialize()));
    let session = opened.header("Mcp-Session-Id").unwrap().to_owned();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let reply = client.ask(&mut world, &legacy("/mcp", &key, Some(&session), &body)).json();
    let tools = reply["result"]["tools"].as_array().unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["crm__get_orders", "crm__refund"]);
    assert!(reply["result"].get("ttlMs").is_none(), "a key of the other era");
}
