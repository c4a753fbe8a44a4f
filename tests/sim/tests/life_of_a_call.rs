//! The life of a call, from bytes to bytes: what is allowed, denied, over quota, killed, recorded.

use dataplane_audit::{End, Phase, Verdict};
use dataplane_bundle::{Era, Kill, KillTarget, Per, Quota, Rate};
use dataplane_telemetry::WallNanos;
use serde_json::{Value, json};
use tests_sim::http::{call, initialize, legacy, legacy_server, message, modern, ok, post, result};
use tests_sim::{Client, Compiled, Reply, Seed, World, WorldSpec};

fn ask(world: &mut World, client: &mut Client, request: &[u8]) -> Reply {
    client.send(world, request, &mut |request: &[u8]| Some(result(request, "done")));
    client.reply()
}

#[test]
fn an_allowed_call_reaches_its_server_and_is_on_record() {
    let mut world = World::new(&WorldSpec::default());
    let mut client = Client::new(&world);
    let key = world.key("ann").to_owned();
    let request = call("/mcp", &key, json!("a-1"), "crm__get_orders", json!({"customer": "c"}));
    let reply = ask(&mut world, &mut client, &request);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["id"], "a-1");
    assert_eq!(reply.json()["result"]["content"][0]["text"], "done");
    let sent = String::from_utf8(client.forwarded[0].clone()).unwrap();
    assert!(!sent.contains(&key), "the client's credential stays here: {sent}");
    assert!(sent.contains("Mcp-Name: get_orders\r\n"), "{sent}");
    assert_eq!(message(&client.forwarded[0])["params"]["name"], "get_orders");
    let records: Vec<_> = world.records().collect();
    let phases: Vec<_> = records.iter().map(|record| record.phase).collect();
    assert_eq!(phases, [Phase::Intent, Phase::Outcome]);
    assert_eq!(records[0].call, records[1].call);
    let outcome = records[1];
    assert_eq!((outcome.caller.tenant, outcome.caller.user), ("acme", "ann"));
    assert_eq!(
        (outcome.server, outcome.tool, outcome.request_id),
        ("crm", "get_orders", "\"a-1\"")
    );
    assert_eq!(outcome.decision.verdict, Verdict::Allowed);
    assert_eq!((outcome.ending.end, outcome.ending.status), (End::Answered, 200));
}

#[test]
fn a_kept_alive_connection_serves_many_calls_however_the_bytes_are_cut() {
    for seed in 0..50 {
        let mut world = World::new(&WorldSpec::default());
        let mut client = Client::new(&world);
        client.cuts = Some(Seed::new(seed));
        let key = world.key("ann").to_owned();
        for id in 0..5 {
            let request = call("/mcp", &key, json!(id), "crm__get_orders", json!({}));
            let reply = ask(&mut world, &mut client, &request);
            assert_eq!((reply.status, &reply.json()["id"]), (200, &json!(id)), "seed {seed}");
        }
        assert_eq!(world.log.len(), 10, "seed {seed}");
    }
}

#[test]
fn what_is_hidden_and_what_is_not_there_are_one_answer() {
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("bob").to_owned();
    let mut answers = Vec::new();
    for tool in ["crm__get_orders", "crm__nothing", "nowhere__get_orders", "get_orders"] {
        let mut client = Client::new(&world);
        let reply = ask(&mut world, &mut client, &call("/mcp", &key, json!(1), tool, json!({})));
        assert!(client.forwarded.is_empty(), "{tool}");
        answers.push((reply.status, reply.json()));
    }
    assert_eq!(answers[0].1["error"]["code"], -32602);
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
    let refused = world.records().all(|record| record.decision.verdict == Verdict::Denied);
    assert!(refused && world.log.len() == 4);
}

#[test]
fn a_denial_by_arguments_names_its_rule() {
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    let mut client = Client::new(&world);
    let small = json!({"order": "o", "amount": 500});
    let large = json!({"order": "o", "amount": 501});
    let text = json!({"order": "o", "amount": "501"});
    let mut refund = |arguments: &Value| {
        let request = call("/mcp", &key, json!(1), "crm__refund", arguments.clone());
        ask(&mut world, &mut client, &request)
    };
    assert_eq!(refund(&small).json()["result"]["content"][0]["text"], "done");
    let denied = refund(&large);
    assert_eq!((denied.status, &denied.json()["error"]["code"]), (200, &json!(-31403)));
    assert_eq!(denied.json()["error"]["data"]["rule"], "no-large-refunds");
    let mistyped = refund(&text).json();
    assert_eq!(mistyped["error"]["code"], -31403, "{mistyped}");
    assert_eq!(client.forwarded.len(), 1);
    let last = world.records().last().unwrap();
    assert_eq!((last.phase, last.decision.verdict), (Phase::Refused, Verdict::Denied));
}

#[test]
fn lists_show_what_may_be_called() {
    let mut world = World::new(&WorldSpec::default());
    assert_eq!(listed(&mut world, "ann", "/mcp"), ["crm__get_orders", "crm__refund"]);
    assert_eq!(listed(&mut world, "ann", "/servers/crm/mcp"), ["get_orders", "refund"]);
    assert!(listed(&mut world, "bob", "/mcp").is_empty());
    assert!(listed(&mut world, "bob", "/servers/crm/mcp").is_empty());
}

fn listed(world: &mut World, caller: &str, path: &str) -> Vec<String> {
    let key = world.key(caller).to_owned();
    let mut client = Client::new(world);
    let reply = ask(world, &mut client, &modern(path, &key, json!(1), "tools/list", json!({})));
    let tools = reply.json()["result"]["tools"].as_array().cloned().unwrap_or_default();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_start_lists_what_it_listed_before_but_what_it_cannot_read() {
    let mut world = World::new(&WorldSpec::default());
    let before = listed(&mut world, "ann", "/mcp");
    world.deploy(&Compiled::on_disk(&WorldSpec::default(), |_| {}));
    assert_eq!(listed(&mut world, "ann", "/mcp"), before);
    world.configuration.read_definitions().unwrap();
    // As if another release had taken it.
    world.deploy(&Compiled::on_disk(&WorldSpec::default(), |catalog| {
        catalog.servers[0].tools[0].definition = r#"{"name":"another"}"#.into();
    }));
    assert_eq!(listed(&mut world, "ann", "/mcp"), ["crm__refund"]);
    let fault = world.configuration.read_definitions().unwrap_err().to_string();
    assert!(fault.contains("crm/get_orders"), "{fault}");
}

#[test]
fn a_quota_says_its_name_and_when() {
    let quota = Quota {
        name: "agents".into(),
        per: Per::Caller,
        calls: Rate { units: 60, period_ms: 60_000 },
        burst: 2,
        server: None,
        tool: None,
        ladder: None,
    };
    let mut world = World::new(&WorldSpec { quotas: vec![quota], ..WorldSpec::default() });
    let key = world.key("ann").to_owned();
    let mut client = Client::new(&world);
    let request = call("/mcp", &key, json!(7), "crm__get_orders", json!({}));
    assert_eq!(ask(&mut world, &mut client, &request).status, 200);
    assert_eq!(ask(&mut world, &mut client, &request).status, 200);
    let refused = ask(&mut world, &mut client, &request);
    assert_eq!((refused.status, refused.header("Retry-After")), (429, Some("1")));
    let error = &refused.json()["error"];
    assert_eq!((&refused.json()["id"], &error["code"]), (&json!(7), &json!(-31429)));
    assert_eq!(error["data"], json!({"quota": "agents", "retryAfterMs": 1_000}));
    assert_eq!(world.records().last().unwrap().decision.quota, "agents");
    world.pass_ms(999);
    assert_eq!(ask(&mut world, &mut client, &request).status, 429);
    world.pass_ms(1);
    assert_eq!(ask(&mut world, &mut client, &request).status, 200);
}

#[test]
fn a_kill_says_who_and_why_and_ends_by_itself() {
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    let at = world.now.wall;
    let target = KillTarget::Tool { server: "crm".into(), tool: "get_orders".into() };
    let (reason, author) = ("leaks customers".to_owned(), "ops@acme".to_owned());
    let expires_at = Some(WallNanos(at.0 + 60_000_000_000));
    world.kill(vec![Kill { id: "k-1".into(), target, reason, author, at, expires_at }]);
    let mut client = Client::new(&world);
    let request = call("/mcp", &key, json!(1), "crm__get_orders", json!({}));
    let error = ask(&mut world, &mut client, &request).json()["error"].clone();
    assert_eq!(error["code"], -31410);
    assert_eq!(error["data"]["by"], "ops@acme");
    assert_eq!(error["data"]["reason"], "leaks customers");
    assert!(client.forwarded.is_empty());
    world.pass_ms(60_000);
    let mut client = Client::new(&world);
    assert_eq!(
        ask(&mut world, &mut client, &request).json()["result"]["content"][0]["text"],
        "done"
    );
}

#[test]
fn a_lease_is_injected_and_never_comes_back() {
    let mut world = World::new(&WorldSpec { inject: true, ..WorldSpec::default() });
    let key = world.key("ann").to_owned();
    let mut client = Client::new(&world);
    let request = call("/mcp", &key, json!(1), "crm__get_orders", json!({}));
    let reply = ask(&mut world, &mut client, &request);
    let sent = String::from_utf8(client.forwarded[0].clone()).unwrap();
    assert!(sent.contains("Authorization: Bearer sekrit-canary\r\n"), "{sent}");
    assert!(!format!("{reply:?}").contains("canary"));
    assert!(!world.log.iter().any(|record| record.windows(6).any(|part| part == b"canary")));
    world.pass_ms(3_600_000);
    let mut client = Client::new(&world);
    let late = ask(&mut world, &mut client, &request).json();
    assert_eq!(late["error"]["code"], -31511, "{late}");
    assert!(client.forwarded.is_empty(), "nothing is sent without its credential");
}

#[test]
fn a_legacy_client_opens_a_session_and_calls_in_it() {
    let mut world = World::new(&WorldSpec { era: Era::Legacy, ..WorldSpec::default() });
    let key = world.key("ann").to_owned();
    let mut client = Client::new(&world);
    let opened = ask(&mut world, &mut client, &legacy("/mcp", &key, None, &initialize()));
    assert_eq!(opened.json()["result"]["protocolVersion"], "2025-11-25", "{opened:?}");
    let session = opened.header("Mcp-Session-Id").unwrap().to_owned();
    let announced = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let answer = ask(&mut world, &mut client, &legacy("/mcp", &key, Some(&session), &announced));
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    let body = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "crm__get_orders", "arguments": {}}});
    let result = json!({"content": [{"type": "text", "text": "legacy"}]});
    let mut server = |request: &[u8]| Some(legacy_server(request, Some("upstream-1"), &result));
    client.send(&mut world, &legacy("/mcp", &key, Some(&session), &body), &mut server);
    let reply = client.reply();
    assert_eq!(reply.json()["result"]["content"][0]["text"], "legacy", "{reply:?}");
    let methods: Vec<_> =
        client.forwarded.iter().map(|sent| message(sent)["method"].clone()).collect();
    assert_eq!(methods, ["initialize", "notifications/initialized", "tools/call"]);
    // The second call finds the session open.
    client.send(&mut world, &legacy("/mcp", &key, Some(&session), &body), &mut server);
    assert_eq!(client.reply().status, 200);
    assert_eq!(client.forwarded.len(), 4);
    // Another caller does not know the session.
    let other = world.key("bot").to_owned();
    let stolen = ask(&mut world, &mut client, &legacy("/mcp", &other, Some(&session), &body));
    assert_eq!(stolen.status, 404);
}

#[test]
fn a_stream_passes_progress_and_holds_its_answer_for_the_record() {
    for seed in 0..30 {
        let mut world = World::new(&WorldSpec::default());
        let key = world.key("ann").to_owned();
        let mut client = Client::new(&world);
        client.cuts = Some(Seed::new(seed));
        let mut server = |request: &[u8]| {
            let id = message(request)["id"].clone();
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": 1, "progress": 0.5}});
            let answer = json!({"jsonrpc": "2.0", "id": id, "result":
                {"content": [], "resultType": "complete"}});
            let body = format!("id: 9\nevent: message\ndata: {progress}\n\ndata: {answer}\n\n");
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
            Some(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
        };
        let request = call("/mcp", &key, json!(3), "crm__get_orders", json!({}));
        client.send(&mut world, &request, &mut server);
        let reply = client.reply();
        assert_eq!(reply.header("Content-Type"), Some("text/event-stream"), "seed {seed}");
        assert!(reply.body.contains("notifications/progress"), "seed {seed}: {}", reply.body);
        assert!(reply.body.contains("\"id\":3"), "seed {seed}");
        assert!(reply.body.ends_with("0\r\n\r\n"), "seed {seed}");
        assert!(!reply.body.contains("id: 9"), "event ids of servers do not cross");
        let outcome = world.records().last().unwrap();
        assert_eq!(outcome.ending.end, End::Answered, "seed {seed}");
    }
}

#[test]
fn what_is_not_on_record_is_not_answered() {
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    world.core.on_log(Some("no space left".into()));
    let mut client = Client::new(&world);
    let request = call("/mcp", &key, json!(1), "crm__get_orders", json!({}));
    let refused = ask(&mut world, &mut client, &request);
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!(-31507)));
    assert!(refused.body.contains("no space left"));
    assert!(client.forwarded.is_empty());
    // Lists stay up: nothing is called.
    let list = modern("/mcp", &key, json!(2), "tools/list", json!({}));
    assert_eq!(ask(&mut world, &mut client, &list).status, 200);
}

#[test]
fn a_server_that_breaks_is_named_and_not_asked_again() {
    let mut world = World::new(&WorldSpec::default());
    let key = world.key("ann").to_owned();
    let mut client = Client::new(&world);
    let request = call("/mcp", &key, json!(1), "crm__get_orders", json!({}));
    client.send(&mut world, &request, &mut |_: &[u8]| None);
    let error = client.reply().json()["error"].clone();
    assert_eq!((&error["code"], &error["data"]["mayHaveRun"]), (&json!(-31502), &json!(true)));
    assert_eq!(client.forwarded.len(), 1, "what may have run is sent once");
    assert_eq!(world.records().last().unwrap().ending.end, End::ServerFault);
    let another = |request: &[u8]| {
        let wrong = message(request)["id"].as_i64().unwrap() + 1;
        Some(ok(&[], &json!({"jsonrpc": "2.0", "id": wrong, "result": {"content": []}})))
    };
    client.send(&mut world, &request, &mut { another });
    assert_eq!(client.reply().json()["error"]["code"], -31502, "another request's answer");
}

#[test]
fn nobody_is_answered_without_a_credential() {
    let mut world = World::new(&WorldSpec::default());
    for path in ["/mcp", "/servers/crm/mcp", "/servers/nowhere/mcp"] {
        let request = post(path, "pck_0000_wrong", &[], "{}");
        let mut client = Client::new(&world);
        let reply = ask(&mut world, &mut client, &request);
        assert_eq!(reply.status, 401, "{path}");
        let challenge = reply.header("WWW-Authenticate").unwrap();
        let metadata = format!("https://gateway.test/.well-known/oauth-protected-resource{path}");
        assert!(challenge.contains(&format!("resource_metadata=\"{metadata}\"")), "{challenge}");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    let key = world.key("ann").to_owned();
    let foreign = [
        ("Host: gateway.test", "Host: evil.test"),
        ("\r\n\r\n", "\r\nOrigin: https://evil.test\r\n\r\n"),
    ];
    for (from, to) in foreign {
        let request = String::from_utf8(post("/mcp", &key, &[], "{}")).unwrap();
        let mut client = Client::new(&world);
        let reply = ask(&mut world, &mut client, request.replacen(from, to, 1).as_bytes());
        assert_eq!(reply.status, 403, "{to}");
    }
}
