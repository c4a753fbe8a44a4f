//! Bundles that are signed and wrong: the gateway tries each before it decides by it, refuses it with
//! the reason, keeps the one it has, and takes the next good one.
//!
//! The real push channel, with a control plane of the test's own behind it: the real one does not
//! make such bundles.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use controlplane_compile::{
    Directory as People, Input, PolicyFile, Server as Judged, Tool as JudgedTool, compile,
};
use controlplane_rollout::{Authority, Config, Directory, Report, Rollout, Secret};
use dataplane_bundle::message::{Certified, Records};
use dataplane_bundle::{
    ApplianceId, CallerKind, Catalog, Draft, Era, Expect, GatewaySettings, KillList, Revision,
    SelfTest, Server, Signer, TestCaller, Timeouts, Tool,
};
use dataplane_telemetry::WallNanos;
use serde_json::json;
use tests_fixtures::stack::{Place, Process, binary, free_port, get, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

fn wall() -> WallNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    WallNanos(u64::try_from(since.as_nanos()).unwrap())
}

/// The state behind the channel.
#[derive(Default)]
struct Store {
    tokens: Mutex<BTreeMap<String, ApplianceId>>,
    bundle: Mutex<Option<Arc<Draft>>>,
    reports: Mutex<Vec<Report>>,
}

impl Directory for Store {
    async fn redeem(&self, secret: &str, _: SocketAddr) -> Result<ApplianceId, String> {
        self.tokens.lock().unwrap().remove(secret).ok_or_else(|| "unknown".to_owned())
    }

    async fn certified(&self, _: &ApplianceId, _: [u8; 32], _: &Certified) -> Result<(), String> {
        Ok(())
    }

    async fn admit(&self, _: &ApplianceId, _: [u8; 32]) -> Result<(), String> {
        Ok(())
    }

    async fn bundle(&self, _: &ApplianceId) -> Result<Option<Arc<Draft>>, String> {
        Ok(self.bundle.lock().unwrap().clone())
    }

    async fn secrets(&self, _: &ApplianceId) -> Result<Vec<Secret>, String> {
        Ok(Vec::new())
    }

    async fn records_next(&self, _: &ApplianceId) -> Result<u64, String> {
        Ok(0)
    }

    async fn keep_records(&self, _: &ApplianceId, batch: Records) -> Result<u64, String> {
        Ok(batch.first_index + batch.records.len() as u64)
    }

    fn report(&self, _: &ApplianceId, report: Report) {
        self.reports.lock().unwrap().push(report);
    }
}

impl Store {
    /// What came of the bundle of this revision: why it was refused, if it was.
    fn outcome(&self, wanted: u64) -> Option<Result<(), String>> {
        self.reports.lock().unwrap().iter().rev().find_map(|report| match report {
            Report::BundleActive { revision } if revision.0 == wanted => Some(Ok(())),
            Report::BundleRefused { revision, reason } if revision.0 == wanted => {
                Some(Err(reason.clone()))
            }
            _ => None,
        })
    }
}

/// One server with one tool, which role `support` may call.
fn table() -> Vec<u8> {
    let input_schema = json!({"type": "object", "properties": {"customer": {"type": "string"}}});
    let tool =
        JudgedTool { name: "get_orders".into(), input_schema, destructive: false, read_only: true };
    let rule = "permit(principal in Role::\"support\", action == Action::\"call\", resource == Tool::\"crm/get_orders\");";
    let input = Input {
        servers: vec![Judged { name: "crm".into(), tools: vec![tool] }],
        directory: People {
            tenants: BTreeSet::from(["acme".to_owned()]),
            roles: BTreeSet::from(["support".to_owned()]),
            ..People::default()
        },
        policies: vec![PolicyFile { path: "support.cedar".into(), text: rule.into() }],
        quotas: None,
        obligations: BTreeSet::new(),
    };
    compile(&input).unwrap().table
}

fn catalog(port: u16) -> Catalog {
    let tool = Tool {
        name: "get_orders".into(),
        digest: "0".repeat(64),
        definition: json!({"name": "get_orders", "inputSchema": {"type": "object"}}).to_string(),
        destructive: false,
        read_only: true,
    };
    let server = Server {
        name: "crm".into(),
        url: "http://127.0.0.1:9/mcp".into(),
        era: Era::Modern,
        protocol: "2026-07-28".into(),
        ca_pem: None,
        inject: None,
        timeouts: Timeouts::default(),
        tools: vec![tool],
    };
    let gateway = GatewaySettings {
        public_url: format!("https://localhost:{port}"),
        hosts: vec![format!("localhost:{port}")],
        origins: Vec::new(),
    };
    Catalog { gateway, servers: vec![server], ..Catalog::default() }
}

/// Someone of this role calls the tool.
fn case(role: &str, expect: Expect) -> SelfTest {
    SelfTest {
        caller: TestCaller {
            tenant: "acme".into(),
            user: Some("ann".into()),
            agent: None,
            kind: CallerKind::User,
            roles: vec![role.into()],
            groups: Vec::new(),
        },
        server: "crm".into(),
        tool: "get_orders".into(),
        arguments: Some("{}".into()),
        at: wall(),
        expect,
    }
}

fn metric(admin: &str, name: &str) -> Option<u64> {
    let page = get(admin, "/metrics").ok()?.body;
    let line = page.lines().find(|line| line.split(' ').next() == Some(name))?;
    line.split(' ').nth(1)?.parse().ok()
}

#[test]
fn a_signed_bundle_that_is_wrong_is_refused_with_its_reason() {
    let place = Place::new("portcullis-poison").unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.unwrap();
    let inside = runtime.enter();
    let store = Arc::new(Store::default());
    let config = Config { retry_ms: 200, ..Config::new((Ipv4Addr::LOCALHOST, 0).into()) };
    let kills = KillList { serial: 1, created_at: wall(), kills: Vec::new() };
    let signer = Signer::from_seed(&[7; 32]).unwrap();
    let authority = Authority::create(wall()).unwrap();
    let rollout = Rollout::start(config, authority, signer, &kills, Arc::clone(&store)).unwrap();
    drop(inside);
    let token = rollout.enrolment_token().unwrap();
    let appliance = ApplianceId::new("box").unwrap();
    store.tokens.lock().unwrap().insert(token.secret.clone(), appliance);

    let (listen, admin) = (free_port().unwrap(), format!("127.0.0.1:{}", free_port().unwrap()));
    let (table, catalog) = (table(), catalog(listen));
    let push = |revision: u64, table: Vec<u8>, catalog: &Catalog, tests: &[SelfTest]| {
        let draft = Draft::new(Revision(revision), wall(), table, catalog, tests).unwrap();
        *store.bundle.lock().unwrap() = Some(Arc::new(draft));
        rollout.bundles_changed();
        wait_until(LIMIT, &format!("an answer to {revision}"), || store.outcome(revision)).unwrap()
    };
    let arguments = [
        "--data-dir".to_owned(),
        place.path("gateway").display().to_string(),
        "--listen".to_owned(),
        format!("127.0.0.1:{listen}"),
        "--admin-listen".to_owned(),
        admin.clone(),
        "--control".to_owned(),
        rollout.local_addr().unwrap().to_string(),
        "--enrol".to_owned(),
        token.to_string(),
    ];
    let program = binary("portcullis-gateway").unwrap();
    let log = place.path("gateway.log");
    let mut gateway = Process::start("gateway", &program, &arguments, &[], &log).unwrap();
    gateway.until(LIMIT, "the management listener", || get(&admin, "/healthz").is_ok()).unwrap();
    assert_eq!(get(&admin, "/readyz").unwrap().status, 503, "ready without a bundle");

    let honest = [case("support", Expect::Allow), case("guest", Expect::Deny)];
    assert_eq!(push(1, table.clone(), &catalog, &honest), Ok(()));
    let in_force = || metric(&admin, "portcullis_bundle_revision");
    wait_until(LIMIT, "revision 1", || in_force().filter(|revision| *revision == 1)).unwrap();

    let lying = push(2, table.clone(), &catalog, &[case("guest", Expect::Allow)]).unwrap_err();
    assert!(lying.contains("test"), "{lying}");
    let broken = push(3, vec![7; table.len()], &catalog, &honest).unwrap_err();
    assert!(!broken.is_empty());
    let mut unfit = catalog.clone();
    unfit.servers[0].tools.clear();
    let unfit = push(4, table.clone(), &unfit, &[]).unwrap_err();
    assert!(!unfit.is_empty() && unfit != broken, "{unfit}");
    assert_eq!(in_force(), Some(1), "a refused bundle decides");
    assert_eq!(metric(&admin, "portcullis_bundles_refused_total"), Some(3));
    assert_eq!(get(&admin, "/readyz").unwrap().status, 200);
    let log = gateway.log_text();
    assert!(log.contains(&lying), "the log does not say why: {log}");

    // On disk, too, the good one stayed; and nothing older than it is ever taken.
    gateway.restart().unwrap();
    wait_until(LIMIT, "revision 1 again", || in_force().filter(|revision| *revision == 1)).unwrap();
    assert_eq!(push(5, table, &catalog, &honest), Ok(()));
    wait_until(LIMIT, "revision 5", || in_force().filter(|revision| *revision == 5)).unwrap();
    gateway.terminate();
    runtime.block_on(rollout.stop());
    runtime.shutdown_timeout(Duration::from_secs(10));
}
