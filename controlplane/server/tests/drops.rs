//! Drops, from a folder to an appliance and back: what is written arrives, what is dropped is shown,
//! what is ordered is done where it is asked, by name, and refused with a reason where it cannot be.

mod support;

use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dataplane_bundle::drops::{
    CardMode, CardPackets, CardState, DropOrder, DropReason, DropRow, DropTable, DroppedPacket,
    DropsReport, Order, Thinned,
};
use dataplane_bundle::message::Status;
use dataplane_bundle::{Bundle, Connections, KillList, Lease, Rate};
use dataplane_drops::{Attribution, Cause, DropRule, Explained, LadderRule, Per, Seen, Target};
use dataplane_sync::{Dirs, Handle, Sink, Standing};
use dataplane_telemetry::WallNanos;
use reqwest::Method;
use serde_json::{Value, json};
use support::{Client, Plane, START_MS};

const PATIENCE: Duration = Duration::from_secs(30);

/// A box that drops what it is told to say, and remembers its orders.
struct Dropping {
    bundles: Mutex<Sender<Bundle>>,
    report: Mutex<DropsReport>,
    packets: Mutex<Vec<CardPackets>>,
    orders: Mutex<Vec<DropOrder>>,
}

impl Sink for Dropping {
    fn on_bundle(&self, bundle: Bundle) -> Result<(), String> {
        self.bundles.lock().unwrap().send(bundle).map_err(|error| error.to_string())
    }

    fn on_kills(&self, _: &KillList) {}

    fn on_leases(&self, _: Vec<Lease>) {}

    fn status(&self) -> Status {
        Status::default()
    }

    fn drops(&self) -> Option<DropsReport> {
        Some(self.report.lock().unwrap().clone())
    }

    fn on_drop_order(&self, order: &DropOrder) -> Result<u32, String> {
        self.orders.lock().unwrap().push(order.clone());
        match order.order {
            Order::Pin { drop: 404, .. } => Err("there is no drop 404".to_owned()),
            _ => Ok(2),
        }
    }

    fn explain_address(&self, address: IpAddr) -> Option<Explained> {
        let rows = self.report.lock().unwrap().rows.clone();
        let rows = rows.into_iter().filter(|row| row.target.touches(address));
        let entries = rows.map(|row| row.listed(at(0))).collect();
        let sentence = format!("{address} is shared by several tenants.");
        Some(Explained { address, seen: Seen::SeveralTenants, sentence, entries })
    }

    fn packets(&self) -> Vec<CardPackets> {
        self.packets.lock().unwrap().clone()
    }
}

struct Appliance {
    sink: Arc<Dropping>,
    bundles: Receiver<Bundle>,
    handle: Handle,
    _dir: tempfile::TempDir,
}

impl Appliance {
    async fn enrolled(plane: &Plane, name: &str, report: DropsReport) -> Self {
        let body = json!({ "name": name });
        let enrolment = plane.admin.ok(Method::POST, "/v1/appliances/enrolments", Some(body)).await;
        let token: String = enrolment["token"].as_str().unwrap().to_owned();
        let control = plane.running.quic.to_string();
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path().join("gateway"));
        let (to_bundles, bundles) = channel();
        let sink = Arc::new(Dropping {
            bundles: Mutex::new(to_bundles),
            report: Mutex::new(report),
            packets: Mutex::default(),
            orders: Mutex::default(),
        });
        let theirs = Arc::clone(&sink);
        let start = move || {
            dataplane_sync::enrol(&dirs, &control, &token.parse().unwrap()).unwrap();
            let config = dataplane_sync::Config::new(dirs, Standing::default(), 7);
            dataplane_sync::start(config, theirs, None).unwrap()
        };
        let handle = tokio::task::spawn_blocking(start).await.unwrap();
        Self { sink, bundles, handle, _dir: dir }
    }

    fn orders(&self) -> Vec<DropOrder> {
        std::mem::take(&mut *self.sink.orders.lock().unwrap())
    }

    async fn stop(self) {
        tokio::task::spawn_blocking(move || self.handle.stop()).await.unwrap();
    }
}

/// So many seconds after the control plane's start, by its clock.
fn at(seconds: u64) -> WallNanos {
    WallNanos((START_MS + seconds * 1_000) * 1_000_000)
}

fn row(drop: u64, target: Target, tenant: &str) -> DropRow {
    DropRow {
        drop,
        target,
        tenant: tenant.to_owned(),
        user: None,
        agent: Some("bot".to_owned()),
        per: Per::Agent,
        cause: Cause::Quota("agents".into()),
        since: at(drop),
        until: at(60),
        level: 1,
        pinned_by: None,
    }
}

fn source(text: &str) -> Target {
    Target::Source(dataplane_drops::Prefix::source(text.parse().unwrap()))
}

fn report(rows: Vec<DropRow>) -> DropsReport {
    let entries = u32::try_from(rows.len()).unwrap();
    let card = CardState {
        interface: "eth0".to_owned(),
        mode: CardMode::Generic,
        program_sha256: [0xab; 32],
        drops: 9,
        entries,
        entries_max: 16_384,
        thinned: Vec::new(),
    };
    DropsReport { entries, rows, cards: vec![card], ..DropsReport::default() }
}

/// Asks until the answer fits; each question waits for the channel's own progress.
async fn until(client: &Client, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client.get(path).await;
        if fits(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{path}: {answer:#}");
        tokio::task::yield_now().await;
    }
}

fn count(page: &Value) -> usize {
    page["items"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_folder_says_of_ladders_and_places_reaches_the_appliance() {
    let plane = Plane::start().await;
    let main = "[gateway.kill_ladder.drop]\ndrop_ms_first = 60_000\n\
                [gateway.attribution]\ncertain_after_ms = 5_000\n\
                [tenants.acme]\nservices = [\"10.0.0.5:443\"]\nprefixes = [\"192.0.2.0/24\"]\n\
                vlans = [120, \"100.7\"]\nconnections = \"200/s\"\nconnections_burst = 400\n\
                [quotas.agents]\nper = \"agent\"\ncalls = \"600/min\"\n\
                [quotas.agents.ladder]\ncalm_ms = 5_000\ndrop = { flows_before_source = 0 }\n\
                [quotas.users]\nper = \"user\"\ncalls = \"600/min\"\n";
    plane.admin.apply(&[("portcullis.toml", main)]).await;
    let appliance = Appliance::enrolled(&plane, "edge-1", DropsReport::default()).await;
    let catalog = appliance.bundles.recv_timeout(PATIENCE).unwrap().catalog;
    let drop = DropRule { flows_before_source: 0, ..DropRule::default() };
    let ladder = LadderRule { calm_ms: 5_000, drop: Some(drop), ..LadderRule::default() };
    assert_eq!(catalog.quotas[0].ladder, Some(ladder));
    assert_eq!(catalog.quotas[1].ladder, None);
    assert_eq!(catalog.kill_ladder().unwrap().drop_ms(0), Some(60_000));
    let attribution = Attribution { certain_after_ms: 5_000, ..Attribution::default() };
    assert_eq!(catalog.attribution, Some(attribution));
    let rate = Rate { units: 200, period_ms: 1_000 };
    let bound = Connections { tenant: "acme".to_owned(), rate, burst: 400 };
    assert_eq!(catalog.connections, [bound]);
    let places: Vec<String> =
        catalog.places.iter().map(|place| format!("{}: {}", place.tenant, place.target)).collect();
    assert_eq!(
        places,
        [
            "acme: everything to 10.0.0.5:443",
            "acme: everything from 192.0.2.0/24",
            "acme: everything of VLAN 120",
            "acme: everything of VLAN 100.7",
        ]
    );
    appliance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_dropped_is_listed_by_tenant_address_and_appliance() {
    let plane = Plane::start().await;
    let auditor = plane.client("auditor").await;
    assert_eq!(auditor.get("/v1/drops").await, json!({"items": [], "entries": 0, "away": []}));
    let one =
        report(vec![row(2, source("192.0.2.7"), "acme"), row(1, source("2001:db8::7"), "zeta")]);
    let one = Appliance::enrolled(&plane, "edge-1", one).await;
    let mut crowded = report(vec![row(3, source("192.0.2.7"), "acme")]);
    crowded.entries = 1_500;
    let other = Appliance::enrolled(&plane, "edge-2", crowded).await;
    let all = until(&auditor, "/v1/drops", |page| count(page) == 3).await;
    assert_eq!((&all["entries"], &all["items"][0]["drop"]), (&json!(1_502), &json!(3)));
    let first = &all["items"][1];
    assert_eq!(
        (&first["appliance"], &first["target"], &first["cause"], &first["ends_in_ms"]),
        (
            &json!("edge-1"),
            &json!({"source": "192.0.2.7"}),
            &json!({"quota": "agents"}),
            &json!(60_000)
        )
    );
    assert_eq!(first["until"], "2026-06-01T00:01:00.000Z");
    assert_eq!(
        first["sentence"],
        "The card drops new connections from 192.0.2.7: agent bot of tenant acme went on calling \
         before the time that quota agents had told. It ends by itself in 60 s; `portcullis drops \
         release --drop 2` ends it now."
    );
    for (query, expected) in [
        ("tenant=acme", 2),
        ("tenant=nobody", 0),
        ("address=192.0.2.7", 2),
        ("address=2001:db8::1:2:3:4", 1),
        ("address=192.0.2.8", 0),
        ("appliance=edge-1", 2),
        ("appliance=edge-1&tenant=zeta", 1),
    ] {
        assert_eq!(count(&auditor.get(&format!("/v1/drops?{query}")).await), expected, "{query}");
    }
    let page = auditor.get("/v1/drops?limit=2").await;
    assert_eq!((count(&page), &page["next"]), (2, &json!("2")));
    let page = auditor.get("/v1/drops?limit=2&after=2").await;
    assert_eq!((count(&page), &page["next"]), (1, &Value::Null));
    for bad in ["address=host", "limit=0", "limit=1001", "tenants=acme", "after=x"] {
        let (status, _) = auditor.ask(Method::GET, &format!("/v1/drops?{bad}"), None).await;
        assert!(status == 400 || status == 422, "{bad}: {status}");
    }
    auditor.refused(404, Method::GET, "/v1/drops?appliance=edge-9", None).await;
    other.stop().await;
    let page = until(&auditor, "/v1/drops", |page| page["away"] == json!(["edge-2"])).await;
    assert_eq!(count(&page), 3, "as it said last");
    plane.pass_ms(60_000);
    assert_eq!(count(&auditor.get("/v1/drops").await), 2, "what should have ended is not shown");
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cards_are_in_the_status_and_with_their_appliance() {
    let plane = Plane::start().await;
    let none = plane.admin.get("/v1/status").await;
    assert_eq!(none["cards"], Value::Null);
    let mut said = report(vec![row(1, source("192.0.2.7"), "acme")]);
    said.cards[0].thinned = vec![Thinned {
        tenant: "acme".to_owned(),
        rate: Rate { units: 200, period_ms: 1_000 },
        burst: 400,
        drops: 7,
    }];
    let appliance = Appliance::enrolled(&plane, "edge-1", said).await;
    let status = until(&plane.admin, "/v1/status", |status| status["cards"].is_array()).await;
    let thinned = json!({
        "appliance": "edge-1", "interface": "eth0", "tenant": "acme",
        "connections": "200/s", "burst": 400, "drops": 7,
    });
    let card = json!({
        "appliance": "edge-1", "interface": "eth0", "mode": "generic",
        "program_sha256": "ab".repeat(32), "drops": 9, "drops_per_s": 0,
        "entries": 1, "entries_max": 16_384, "thinned": [thinned],
    });
    assert_eq!(status["cards"], json!([card]));
    let shown = plane.admin.get("/v1/appliances/edge-1").await;
    assert_eq!((&shown["cards"], &shown["drops"]["ignored"]), (&json!([card]), &json!(0)));
    for (query, shown) in [("", true), ("?tenant=acme", true), ("?tenant=zeta", false)] {
        let page = plane.admin.get(&format!("/v1/drops{query}")).await;
        let wanted = if shown { json!([thinned]) } else { Value::Null };
        assert_eq!(page["thinned"], wanted, "{query}");
    }
    appliance.stop().await;
}

/// Ethernet, IPv4, TCP of these ends; then what its sender has said.
fn syn(source: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![2; 12];
    packet.extend([0x81, 0, 0, 120, 8, 0, 0x45, 0, 0, 48, 0, 0, 0, 0, 64, 6, 0, 0]);
    packet.extend([&source[..], &[198, 51, 100, 1]].concat());
    packet.extend([0x9c, 0x40, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0, 0, 0, 0, 0]);
    packet.extend(b"a secret");
    packet
}

fn sampled(age_s: u64, tenant: &str, header: Vec<u8>) -> DroppedPacket {
    DroppedPacket {
        at: at(60 - age_s),
        tenant: tenant.to_owned(),
        reason: DropReason::Connections,
        table: DropTable::Bucket,
        length: 66,
        header,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dropped_packets_are_asked_of_every_appliance_and_shown_without_payload() {
    let plane = Plane::start().await;
    let auditor = plane.client("auditor").await;
    let path = "/v1/drops/packets";
    assert_eq!(auditor.get(path).await, json!({"items": [], "cards": [], "not_asked": []}));
    let one = Appliance::enrolled(&plane, "edge-1", report(vec![])).await;
    let other = Appliance::enrolled(&plane, "edge-2", report(vec![])).await;
    let both = |status: &Value| status["cards"].as_array().is_some_and(|cards| cards.len() == 2);
    until(&auditor, "/v1/status", both).await;
    plane.pass_ms(60_000);
    let card = |interface: &str, packets| CardPackets {
        interface: interface.to_owned(),
        one_in: 1_024,
        lost: 3,
        packets,
    };
    let packets = vec![
        sampled(2, "acme", syn([192, 0, 2, 7])),
        // Of bytes that are no packet nothing is said, and nothing is shown.
        sampled(5, "zeta", vec![2; 40]),
    ];
    *one.sink.packets.lock().unwrap() = vec![card("eth0", packets)];
    let packets = vec![sampled(1, "acme", syn([192, 0, 2, 8]))];
    *other.sink.packets.lock().unwrap() = vec![card("eth1", packets)];
    let page = auditor.get(path).await;
    let headers = &syn([192, 0, 2, 7])[..58];
    assert_eq!(
        page["items"][1],
        json!({
            "appliance": "edge-1", "interface": "eth0", "at": "2026-06-01T00:00:58.000Z",
            "age_ms": 2_000, "tenant": "acme", "reason": "connections", "table": "bucket",
            "vlan": "120", "protocol": "TCP", "source": "192.0.2.7:40000",
            "destination": "198.51.100.1:443", "says": "SYN", "length": 66,
            "header": headers.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        })
    );
    let ages: Vec<&Value> =
        page["items"].as_array().unwrap().iter().map(|packet| &packet["age_ms"]).collect();
    assert_eq!(ages, [1_000, 2_000, 5_000], "the newest first");
    let unread = &page["items"][2];
    assert_eq!(
        (&unread["source"], &unread["says"], &unread["length"]),
        (&Value::Null, &Value::Null, &json!(66))
    );
    let told = json!({"appliance": "edge-2", "interface": "eth1", "one_in": 1_024, "lost": 3});
    assert_eq!(page["cards"][1], told);
    for (query, expected) in [
        ("tenant=acme", 2),
        ("tenant=nobody", 0),
        ("address=192.0.2.7", 1),
        ("address=::ffff:198.51.100.1", 2),
        ("address=192.0.2.9", 0),
        ("appliance=edge-1", 2),
        ("limit=1", 1),
    ] {
        assert_eq!(count(&auditor.get(&format!("{path}?{query}")).await), expected, "{query}");
    }
    for bad in ["address=host", "limit=0", "limit=1001", "tenants=acme", "after=1"] {
        let (status, _) = auditor.ask(Method::GET, &format!("{path}?{bad}"), None).await;
        assert!(status == 400 || status == 422, "{bad}: {status}");
    }
    other.stop().await;
    until(&auditor, "/v1/drops", |page| page["away"] == json!(["edge-2"])).await;
    let page = auditor.get(path).await;
    let away = json!([{"appliance": "edge-2", "trouble": "it is not connected"}]);
    assert_eq!((count(&page), &page["not_asked"]), (2, &away));
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn orders_are_done_by_name_and_are_in_the_admin_log() {
    let plane = Plane::start().await;
    let operator = plane.client("operator").await;
    let release = |what: Value| json!({ "what": what, "reason": "they called" });
    let path = "/v1/drops/release";
    let problem = operator.refused(409, Method::POST, path, Some(release(json!("all")))).await;
    assert_eq!(problem["detail"], "no appliance has connected yet");
    let one =
        report(vec![row(7, source("192.0.2.7"), "acme"), row(8, source("192.0.2.8"), "acme")]);
    let one = Appliance::enrolled(&plane, "edge-1", one).await;
    let other = report(vec![row(8, source("192.0.2.7"), "acme")]);
    let other = Appliance::enrolled(&plane, "edge-2", other).await;
    until(&operator, "/v1/drops", |page| count(page) == 3).await;

    let done = operator.ok(Method::POST, path, Some(release(json!({"tenant": "acme"})))).await;
    assert_eq!(done["done"], 4, "{done:#}");
    for appliance in [&one, &other] {
        let orders = appliance.orders();
        assert_eq!(
            (orders.len(), &*orders[0].by, &*orders[0].reason),
            (1, "operator-1", "they called")
        );
    }
    operator.ok(Method::POST, path, Some(release(json!({"drop": 7})))).await;
    assert_eq!((one.orders().len(), other.orders().len()), (1, 0), "where that drop is");
    let problem =
        operator.refused(409, Method::POST, path, Some(release(json!({"drop": 8})))).await;
    assert_eq!(problem["detail"], "several appliances have a drop 8: edge-1, edge-2");
    operator.refused(404, Method::POST, path, Some(release(json!({"drop": 9})))).await;
    let mut pin = json!({ "for_ms": 1_800_000, "reason": "until noon", "appliance": "edge-2" });
    operator.ok(Method::POST, "/v1/drops/8/pin", Some(pin.clone())).await;
    let orders = other.orders();
    assert_eq!((orders.len(), one.orders().len()), (1, 0));
    assert_eq!(orders[0].order, Order::Pin { drop: 8, for_ms: 1_800_000 });
    let problem = operator.refused(409, Method::POST, "/v1/drops/404/pin", Some(pin.clone())).await;
    assert_eq!(problem["detail"], "edge-2: there is no drop 404");
    assert_eq!(other.orders().len(), 1);
    pin["for_ms"] = json!(43_200_001);
    operator.refused(422, Method::POST, "/v1/drops/8/pin", Some(pin)).await;
    let empty = json!({ "what": "all", "reason": " " });
    operator.refused(422, Method::POST, path, Some(empty)).await;
    assert_eq!((one.orders().len(), other.orders().len()), (0, 0), "what is refused is not sent");

    let log = operator.get("/v1/admin-log?limit=20").await;
    let outcomes: Vec<&str> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["outcome"].as_str().unwrap())
        .collect();
    for expected in [
        "drops of tenant acme released, edge-1: 2, edge-2: 2; they called",
        "drop 7 released, edge-1: 2; they called",
        "drop 8 held for 1800000 ms, edge-2: 2; until noon",
    ] {
        assert!(outcomes.contains(&expected), "{expected}: {outcomes:#?}");
    }

    other.stop().await;
    until(&operator, "/v1/drops", |page| page["away"] == json!(["edge-2"])).await;
    let done = operator.ok(Method::POST, path, Some(release(json!("all")))).await;
    assert_eq!(done["appliances"][1]["trouble"], "it is not connected", "{done:#}");
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_address_is_explained_by_every_appliance() {
    let plane = Plane::start().await;
    let auditor = plane.client("auditor").await;
    let said = || report(vec![row(7, source("192.0.2.7"), "acme")]);
    let one = Appliance::enrolled(&plane, "edge-1", said()).await;
    let other = Appliance::enrolled(&plane, "edge-2", said()).await;
    until(&auditor, "/v1/drops", |page| count(page) == 2).await;
    other.stop().await;
    until(&auditor, "/v1/drops", |page| page["away"] == json!(["edge-2"])).await;
    let known = auditor.get("/v1/drops/explain?address=::ffff:192.0.2.7").await;
    assert_eq!(known["address"], "192.0.2.7");
    let (here, away) = (&known["appliances"][0], &known["appliances"][1]);
    assert_eq!((&here["seen"], &here["entries"]), (&json!("several_tenants"), &json!(1)));
    assert_eq!(here["drops"][0]["drop"], 7);
    assert_eq!(
        (&away["trouble"], &away["seen"], &away["drops"][0]["drop"]),
        (&json!("it is not connected"), &Value::Null, &json!(7))
    );
    auditor.refused(422, Method::GET, "/v1/drops/explain?address=host", None).await;
    auditor.refused(400, Method::GET, "/v1/drops/explain", None).await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_a_wrong_ladder_or_place_is_refused_where_it_stands() {
    let plane = Plane::start().await;
    let refused = async |main: &str| {
        let problem = plane.admin.apply_refused(&[("portcullis.toml", main)]).await;
        (problem.line.unwrap_or(0), problem.field.unwrap_or_default())
    };
    let quota = "[quotas.a]\nper = \"agent\"\ncalls = \"1/s\"\n";
    let ladder = format!("{quota}[quotas.a.ladder]\ncalm_ms = 999\n");
    assert_eq!(refused(&ladder).await, (5, "quotas.a.ladder.calm_ms".to_owned()));
    let ladder = format!("{quota}tool = \"crm/x\"\nladder = {{ drop = {{}} }}\n");
    assert_eq!(refused(&ladder).await.1, "quotas.a.ladder.drop");
    let vlan = "[tenants.acme]\nvlans = [4_095]\n";
    assert_eq!(refused(vlan).await, (2, "tenants.acme.vlans".to_owned()));
    let both = "[tenants.acme]\nvlans = [7]\n[tenants.zeta]\nvlans = [\"7\"]\n";
    assert_eq!(refused(both).await, (4, "tenants.zeta.vlans".to_owned()));
    let kills = "[gateway.kill_ladder.drop]\ndrop_ms_max = 99\n";
    assert_eq!(refused(kills).await, (2, "gateway.kill_ladder.drop.drop_ms_max".to_owned()));
    let seen = "[gateway.attribution]\nunauthenticated_ms = 999\n";
    assert_eq!(refused(seen).await, (2, "gateway.attribution.unauthenticated_ms".to_owned()));
}
