//! Every route against every role; the OpenAPI document as it is checked in; foreign hosts.

mod support;

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use support::{Client, Plane};

/// What each role may, route by route. A route that is not here fails the test: decide who may.
const ROLES: &str = include_str!("golden/roles.txt");

fn listed() -> BTreeMap<(String, String), String> {
    let lines = ROLES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let [method, path, role] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("{line}: write METHOD PATH ROLE")
            };
            ((method.to_owned(), path.to_owned()), role.to_owned())
        })
        .collect()
}

fn routes_of(document: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        all.extend(
            methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())),
        );
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_open_to_its_roles_and_to_no_other() {
    let plane = Plane::start().await;
    let document = plane.admin.get("/v1/openapi.json").await;
    let listed = listed();
    let routes = routes_of(&document);
    for route in &routes {
        assert!(listed.contains_key(route), "{} {} is not in golden/roles.txt", route.0, route.1);
    }
    assert_eq!(routes.len(), listed.len(), "golden/roles.txt lists a route that is gone");
    let nobody = Client { token: None, ..plane.admin.clone() };
    let stranger = Client { token: Some("pct_0000_0000".into()), ..plane.admin.clone() };
    let ranks = ["auditor", "operator", "admin"];
    for rank in 0..ranks.len() {
        let client = plane.client(ranks[rank]).await;
        for ((method, path), needed) in &listed {
            let allowed = needed == "nobody" || ranks[..=rank].contains(&needed.as_str());
            let status = try_route(&client, method, path).await;
            let refused = status == 401 || status == 403;
            assert_eq!(!refused, allowed, "{method} {path} as {}: {status}", ranks[rank]);
        }
    }
    for ((method, path), needed) in &listed {
        for client in [&nobody, &stranger] {
            let status = try_route(client, method, path).await;
            assert_eq!(status == 401, needed != "nobody", "{method} {path}: {status}");
        }
    }
}

/// With a body that no route takes: who may is judged before what is said.
async fn try_route(client: &Client, method: &str, path: &str) -> u16 {
    let path = path.replace("{revision}", "7").replace("{id}", "7");
    let path = path.replace("{name}", "none").replace("{path}", "none.cedar");
    let method: Method = method.parse().unwrap();
    let body = (method != Method::GET).then(|| json!({ "no": "such field" }));
    client.ask(method, &path, body).await.0.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_the_one_that_is_checked_in() {
    let plane = Plane::start().await;
    support::golden("../../docs/openapi.json", &controlplane_server::openapi_json());
    let served = plane.admin.get("/v1/openapi.json").await;
    let text: Value = serde_json::from_str(&controlplane_server::openapi_json()).unwrap();
    assert_eq!(served, text);
    for (path, methods) in served["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let answers = &operation["responses"];
            assert!(answers["default"].is_object(), "{method} {path} tells no problem");
        }
    }
    check_references(&served, &served);
}

/// Every `$ref` leads somewhere.
fn check_references(document: &Value, at: &Value) {
    match at {
        Value::Object(map) => {
            if let Some(Value::String(to)) = map.get("$ref") {
                let pointer = to.trim_start_matches('#');
                assert!(document.pointer(pointer).is_some(), "{to} leads nowhere");
            }
            map.values().for_each(|value| check_references(document, value));
        }
        Value::Array(items) => items.iter().for_each(|value| check_references(document, value)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_somebodys_browser_gets_nothing() {
    let plane = Plane::start().await;
    let send = |name: &'static str, value: String| {
        let client = plane.admin.clone();
        async move {
            let request = client.http.get(format!("{}/v1/status", client.url));
            let request = request.bearer_auth(client.token.unwrap()).header(name, value);
            request.send().await.unwrap().status().as_u16()
        }
    };
    assert_eq!(send("host", "evil.example".into()).await, 421);
    assert_eq!(send("host", "127.0.0.1".into()).await, 421, "the port is part of it");
    assert_eq!(send("host", plane.running.rest.to_string()).await, 200);
    assert_eq!(send("origin", "http://evil.example".into()).await, 403);
    assert_eq!(send("origin", "null".into()).await, 403);
    assert_eq!(send("origin", format!("http://{}", plane.running.rest)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_that_changes_is_in_the_admin_log() {
    let plane = Plane::start().await;
    let auditor = plane.client("auditor").await;
    let kill = json!({ "target": { "tool": "crm/refund" }, "reason": "loop" });
    auditor.refused(403, Method::POST, "/v1/kills", Some(kill.clone())).await;
    plane.admin.ok(Method::POST, "/v1/kills", Some(kill)).await;
    plane.admin.refused(422, Method::POST, "/v1/apply", Some(json!({ "files": {} }))).await;
    let log = auditor.get("/v1/admin-log").await;
    let lines: Vec<String> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            format!(
                "{} {} {} {} {}",
                text("who"),
                text("method"),
                text("path"),
                entry["status"],
                text("outcome")
            )
        })
        .collect();
    assert_eq!(lines, [
        "bootstrap POST /v1/apply 422 Not valid",
        "bootstrap POST /v1/kills 201 kill 1: tool crm/refund",
        "auditor-1 POST /v1/kills 403 Not allowed",
        "bootstrap POST /v1/tokens 201 token ID for auditor-1",
    ].map(|line| line.replace("ID", log["items"][3]["outcome"].as_str().unwrap().split(' ').nth(1).unwrap())));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other() {
    let plane = Plane::start().await;
    for index in 0..5 {
        let kill = json!({ "target": { "tenant": format!("t{index}") }, "reason": "x" });
        plane.admin.ok(Method::POST, "/v1/kills", Some(kill)).await;
    }
    let (mut seen, mut after) = (0, String::new());
    loop {
        let page = plane.admin.get(&format!("/v1/kills?limit=2&after={after}")).await;
        seen += page["items"].as_array().unwrap().len();
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, 5);
    plane.admin.refused(400, Method::GET, "/v1/kills?limit=1001", None).await;
    plane.admin.refused(400, Method::GET, "/v1/kills?limits=1", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_leaves_no_change_half_done() {
    use tokio::io::AsyncWriteExt;
    let plane = Plane::start().await;
    // A server that takes a connection and says nothing: the change waits for it.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", silent.local_addr().unwrap());
    let body = json!({ "url": url, "era": "legacy" }).to_string();
    let mut stream = tokio::net::TcpStream::connect(plane.running.rest).await.unwrap();
    let request = format!(
        "PUT /v1/servers/crm HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        plane.running.rest,
        plane.admin.token.as_deref().unwrap(),
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let (waiting, _) = silent.accept().await.unwrap();
    // Closed with a reset, and the control plane is given turns to hear of it.
    stream.set_zero_linger().unwrap();
    drop(stream);
    for _ in 0..50 {
        plane.admin.get("/v1/health").await;
    }
    drop((waiting, silent));
    plane.running.stop().await;
    let plane = Plane::start_in(plane.dir).await;
    let log = plane.admin.get("/v1/admin-log").await;
    assert_eq!(
        (&log["items"][0]["status"], &log["items"][0]["outcome"]),
        (&json!(200), &json!("revision 1"))
    );
    assert_eq!(plane.admin.get("/v1/status").await["revision"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_past_the_body_is_refused() {
    use controlplane_api::bounds::BODY_BYTES_MAX;
    let plane = Plane::start().await;
    let send = |bytes: usize| {
        let (http, url) = (plane.admin.http.clone(), format!("{}/v1/apply", plane.admin.url));
        let token = plane.admin.token.clone().unwrap();
        async move {
            let request = http.post(url).bearer_auth(token).body(" ".repeat(bytes));
            let request = request.header("content-type", "application/json");
            request.send().await.unwrap().status().as_u16()
        }
    };
    assert_eq!(send(BODY_BYTES_MAX).await, 400, "read whole, and no JSON");
    assert_eq!(send(BODY_BYTES_MAX + 1).await, 413);
}
