//! One core, with a policy that the real compiler has compiled.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use controlplane_compile::{Directory, Input, PolicyFile, Server, Tool, compile};
use dataplane_audit::{Body, BootId, Call, DigestKey, Record};
use dataplane_auth::{MissBudget, mint};
use dataplane_bundle::{
    ApiKey, ApplianceId, Bundle, CallerKind, Catalog, Draft, Era, GatewaySettings, Inject, Kill,
    KillList, Lease, Limits, Quota, Revision, Signer, Timeouts,
};
use dataplane_drops::{Flow, Keys};
use dataplane_pipeline::session::Sealer;
use dataplane_pipeline::{Configuration, Core, Kills, Resources};
use dataplane_quota::Buckets;
use dataplane_telemetry::{Nanos, Now, WallNanos};
use serde_json::{Value, json};

/// One tool of the world's server `crm`, or of another.
#[derive(Clone, Debug)]
pub struct ToolSpec {
    pub server: &'static str,
    pub name: &'static str,
    pub schema: Value,
    pub destructive: bool,
}

/// What the world is made of.
#[derive(Clone, Debug)]
pub struct WorldSpec {
    pub policy: String,
    pub tools: Vec<ToolSpec>,
    pub quotas: Vec<Quota>,
    pub era: Era,
    /// Servers of the legacy era, whatever `era` says of the others.
    pub legacy: Vec<&'static str>,
    pub inject: bool,
    pub limits: Limits,
    pub revision: u64,
}

impl Default for WorldSpec {
    fn default() -> Self {
        let orders = json!({"type": "object", "properties": {"customer": {"type": "string"}}});
        let refund = json!({
            "type": "object",
            "properties": {"order": {"type": "string"}, "amount": {"type": "integer"}},
            "required": ["order", "amount"],
        });
        let tool =
            |name, schema, destructive| ToolSpec { server: "crm", name, schema, destructive };
        Self {
            policy: r#"
                permit(principal in Role::"support", action == Action::"call", resource in Server::"crm");
                @id("no-large-refunds")
                forbid(principal, action == Action::"call", resource == Tool::"crm/refund")
                    when { context.arguments.amount > 500 };
                @id("no-deletions")
                forbid(principal, action == Action::"call", resource == Tool::"crm/delete_account");
            "#
            .into(),
            tools: vec![
                tool("get_orders", orders, false),
                tool("refund", refund, true),
                tool("delete_account", json!({"type": "object"}), true),
            ],
            quotas: Vec::new(),
            era: Era::Modern,
            legacy: Vec::new(),
            inject: false,
            limits: Limits::default(),
            revision: 1,
        }
    }
}

/// A core and its clock.
pub struct World {
    pub core: Core,
    pub now: Now,
    pub configuration: Arc<Configuration>,
    keys: Vec<(String, String)>,
    /// Records that were handed to the log, in order.
    pub log: Vec<Vec<u8>>,
}

/// Callers of every world: name, kind, roles.
const CALLERS: &[(&str, CallerKind, &[&str])] = &[
    ("ann", CallerKind::User, &["support"]),
    ("bob", CallerKind::User, &[]),
    ("bot", CallerKind::Agent, &["support"]),
];

/// A bundle that the real compiler has compiled, and the keys of its callers.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub configuration: Arc<Configuration>,
    /// Caller and API key.
    pub keys: Vec<(String, String)>,
}

impl Compiled {
    /// # Panics
    /// When the policy does not compile: the test's own fault.
    #[must_use]
    pub fn new(spec: &WorldSpec) -> Self {
        let (catalog, keys) = catalog(spec);
        let configuration = Configuration::new(bundle(spec, &catalog)).unwrap();
        Self { configuration: Arc::new(configuration), keys }
    }

    /// As a box makes it ready that starts from its disk, with what `edit` makes of the catalog there.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn on_disk(spec: &WorldSpec, edit: impl FnOnce(&mut Catalog)) -> Self {
        let (mut catalog, keys) = catalog(spec);
        edit(&mut catalog);
        let configuration = Configuration::known(bundle(spec, &catalog)).unwrap();
        Self { configuration: Arc::new(configuration), keys }
    }
}

/// What the cores of one box share.
#[derive(Debug)]
pub struct Shared {
    quotas: Arc<Buckets>,
    misses: Arc<MissBudget>,
    sealer: Arc<Sealer>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            quotas: Arc::new(Buckets::new(1_024, [3; 16])),
            misses: Arc::new(MissBudget::new(1_024, [4; 16]).unwrap()),
            sealer: Arc::new(Sealer::new(&[5; 32]).unwrap()),
        }
    }
}

impl Shared {
    /// One core of the box, without a configuration. Its locked memory is never given back.
    ///
    /// # Panics
    /// Never: an empty catalog is always accepted.
    #[must_use]
    pub fn core(&self, lane: u16, lease_bytes: usize) -> Core {
        Core::new(Resources {
            lane,
            boot: BootId([1; 16]),
            digest: digest_key(),
            quotas: Arc::clone(&self.quotas),
            misses: Arc::clone(&self.misses),
            sealer: Arc::clone(&self.sealer),
            lease_memory: Box::leak(vec![0; lease_bytes].into_boxed_slice()),
            seed: [6 + lane as u8; 32],
            drop_keys: Keys::new([7; 16]),
        })
        .unwrap()
    }
}

/// A client's connection, where nothing depends on which.
pub const FLOW: Flow = Flow {
    peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50_000),
    local: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 443),
};

/// Keys the digests of arguments in records.
#[must_use]
pub fn digest_key() -> DigestKey {
    DigestKey::new(1, &[2; 32])
}

/// A server's secret, lent for an hour.
#[must_use]
pub fn lease(server: &str, value: &[u8], revision: u64, wall: WallNanos) -> Lease {
    Lease {
        secret: format!("{server}-key"),
        revision,
        value: value.to_vec().into(),
        expires_at: WallNanos::from_secs(wall.secs() + 3_600),
    }
}

impl World {
    /// # Panics
    /// When the policy does not compile: the test's own fault.
    #[must_use]
    pub fn new(spec: &WorldSpec) -> Self {
        let Compiled { configuration, keys } = Compiled::new(spec);
        let mut core = Shared::default().core(0, 1 << 16);
        core.on_configuration(Arc::clone(&configuration)).unwrap();
        let now = Now { mono: Nanos(1_000_000_000), wall: WallNanos::from_secs(1_790_000_000) };
        if spec.inject {
            core.on_leases(&[lease("crm", b"sekrit-canary", 1, now.wall)], now.wall);
        }
        Self { core, now, configuration, keys, log: Vec::new() }
    }

    /// The API key of a caller.
    ///
    /// # Panics
    /// For a caller that is not there.
    #[must_use]
    pub fn key(&self, caller: &str) -> &str {
        &self.keys.iter().find(|(name, _)| name == caller).unwrap().1
    }

    /// Time passes.
    pub fn pass_ms(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus(ms * 1_000_000);
        self.now.wall = WallNanos(self.now.wall.0 + ms * 1_000_000);
    }

    pub fn kill(&mut self, kills: Vec<Kill>) {
        let list = KillList { serial: 1, created_at: self.now.wall, kills };
        self.core.on_kills(Arc::new(Kills::new(1, list, &self.configuration)));
    }

    /// Another bundle, as the shell brings it.
    ///
    /// # Panics
    /// When it cannot be used.
    pub fn deploy(&mut self, compiled: &Compiled) {
        self.configuration = Arc::clone(&compiled.configuration);
        self.core.on_configuration(Arc::clone(&self.configuration)).unwrap();
    }

    /// The log takes everything that waits and makes it durable.
    pub fn commit(&mut self) {
        let batch = self.core.batch();
        let mut rest = batch.bytes();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let (record, after) = after.split_at(u16::from_le_bytes(*length).into());
            self.log.push(record.to_vec());
            rest = after;
        }
        batch.clear();
        self.core.on_durable(self.log.len() as u64);
    }

    /// The calls on record.
    pub fn records(&self) -> impl Iterator<Item = Call<'_>> {
        self.log.iter().filter_map(|bytes| match Record::decode(bytes).unwrap().body {
            Body::Call(call) => Some(call),
            Body::Control(_) => None,
        })
    }
}

fn catalog(spec: &WorldSpec) -> (Catalog, Vec<(String, String)>) {
    let mut servers: Vec<dataplane_bundle::Server> = Vec::new();
    for tool in &spec.tools {
        if !servers.iter().any(|server| server.name == tool.server) {
            servers.push(server(spec, tool.server));
        }
        let definition = json!({"name": tool.name, "inputSchema": tool.schema});
        let server = servers.iter_mut().find(|server| server.name == tool.server).unwrap();
        server.tools.push(dataplane_bundle::Tool {
            name: tool.name.into(),
            digest: "0".repeat(64),
            definition: definition.to_string(),
            destructive: tool.destructive,
            read_only: false,
        });
    }
    let mut keys = Vec::new();
    let mut api_keys = Vec::new();
    for (number, (name, kind, roles)) in CALLERS.iter().enumerate() {
        let minted = mint([number as u8; 8], &[number as u8; 32]);
        let is_agent = *kind == CallerKind::Agent;
        api_keys.push(ApiKey {
            id: minted.id.clone(),
            secret_sha256: minted.secret_sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            tenant: "acme".into(),
            user: (!is_agent).then(|| (*name).to_owned()),
            agent: is_agent.then(|| (*name).to_owned()),
            kind: *kind,
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            groups: Vec::new(),
            expires_at: None,
        });
        keys.push(((*name).to_owned(), minted.text.clone()));
    }
    let gateway = GatewaySettings {
        public_url: "https://gateway.test".into(),
        hosts: vec!["gateway.test".into()],
        origins: Vec::new(),
    };
    let quotas = spec.quotas.clone();
    let catalog = Catalog {
        gateway,
        identity: Vec::new(),
        api_keys,
        servers,
        quotas,
        limits: spec.limits,
        ..Catalog::default()
    };
    (catalog, keys)
}

fn server(spec: &WorldSpec, name: &str) -> dataplane_bundle::Server {
    let inject = Inject {
        header: "Authorization".into(),
        prefix: "Bearer ".into(),
        secret: format!("{name}-key"),
    };
    let era = if spec.legacy.contains(&name) { Era::Legacy } else { spec.era };
    dataplane_bundle::Server {
        name: name.into(),
        url: "http://127.0.0.1:9/mcp".into(),
        era,
        protocol: match era {
            Era::Modern => "2026-07-28".into(),
            Era::Legacy => "2025-11-25".into(),
        },
        ca_pem: None,
        inject: spec.inject.then_some(inject),
        timeouts: Timeouts::default(),
        tools: Vec::new(),
    }
}

fn bundle(spec: &WorldSpec, catalog: &Catalog) -> Bundle {
    let mut input = Input::default();
    for server in &catalog.servers {
        let tools = spec.tools.iter().filter(|tool| tool.server == server.name);
        let tool = |tool: &ToolSpec| Tool {
            name: tool.name.into(),
            input_schema: tool.schema.clone(),
            destructive: tool.destructive,
            read_only: false,
        };
        input.servers.push(Server { name: server.name.clone(), tools: tools.map(tool).collect() });
    }
    input.obligations.insert("audit".into());
    input.directory = Directory::default();
    input.directory.tenants.insert("acme".into());
    input.directory.roles.insert("support".into());
    input.policies.push(PolicyFile { path: "policy/test.cedar".into(), text: spec.policy.clone() });
    let compiled = compile(&input).unwrap_or_else(|complaints| panic!("{complaints:#?}"));
    let signer = Signer::from_seed(&[7; 32]).unwrap();
    let appliance = ApplianceId::new("test").unwrap();
    let table = compiled.table.clone();
    let draft = Draft::new(Revision(spec.revision), WallNanos(1), table, catalog, &[]).unwrap();
    let sealed = draft.seal(&appliance, &signer);
    Bundle::open(&sealed, &[signer.public_key()], &appliance, Revision(0)).unwrap()
}
