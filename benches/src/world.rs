//! One core that is ready to serve: configuration, callers, quotas, a clock that only we move.

use std::sync::Arc;

use anyhow::Context;
use dataplane_audit::{BootId, DigestKey};
use dataplane_auth::MissBudget;
use dataplane_bundle::{
    ApplianceId, Bundle, Catalog, ClaimMap, Draft, Era, GatewaySettings, IdentityProvider, Inject,
    Lease, Limits, Per, Quota, Rate, Revision, Server, Signer, TenantFrom, Timeouts, Tool,
};
use dataplane_drops::Keys;
use dataplane_pipeline::session::Sealer;
use dataplane_pipeline::{Configuration, Core, Resources};
use dataplane_quota::Buckets;
use dataplane_telemetry::{Nanos, Now, WallNanos};
use serde_json::{Value, json};

use crate::material::{ALLOWED, AUDIENCE, CONDITIONAL, Credential, DENIED, ISSUER, NOW_S, SERVER};

/// Tools of the one server.
pub const TOOLS: usize = 500;
/// The secret that the gateway adds for the server.
const SECRET: &str = "orders-key";
/// Between two calls, so that the quota never refuses.
const STEP_NS: u64 = 1_000_000;

/// Names of all tools, in order.
pub fn tool_names() -> impl Iterator<Item = String> {
    let named = [ALLOWED, DENIED, CONDITIONAL].into_iter().map(ToOwned::to_owned);
    named.chain((3..TOOLS).map(|number| format!("tool_{number:04}")))
}

/// What every tool takes.
#[must_use]
pub fn input_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "customer_id": {"type": "string"},
            "status": {"type": "string"},
            "limit": {"type": "integer"},
            "sort": {"type": "string"},
        },
        "required": ["customer_id", "limit"],
    })
}

/// A core, its clock and its caller.
pub struct World {
    pub core: Core,
    pub now: Now,
    pub configuration: Arc<Configuration>,
    pub credential: Credential,
    /// Records that were handed to the log.
    pub records: u64,
}

impl World {
    /// With this policy table.
    ///
    /// # Errors
    /// When something does not fit together.
    pub fn new(table: &[u8]) -> anyhow::Result<Self> {
        let credential = Credential::fixed();
        let configuration = Arc::new(Configuration::new(bundle(table, &catalog(&credential))?)?);
        let memory: &'static mut [u8] = Box::leak(vec![0; 1 << 16].into_boxed_slice());
        let mut core = Core::new(Resources {
            lane: 0,
            boot: BootId([1; 16]),
            digest: DigestKey::new(1, &[2; 32]),
            quotas: Arc::new(Buckets::new(1_024, [3; 16])),
            misses: Arc::new(MissBudget::new(1_024, [4; 16])?),
            sealer: Arc::new(Sealer::new(&[5; 32]).context("a key for sessions")?),
            lease_memory: memory,
            seed: [6; 32],
            drop_keys: Keys::new([7; 16]),
        })?;
        core.on_configuration(Arc::clone(&configuration))?;
        let now = Now { mono: Nanos(1_000_000_000), wall: WallNanos::from_secs(NOW_S) };
        let lease = Lease {
            secret: SECRET.into(),
            revision: 1,
            value: b"upstream-credential-0123456789".to_vec().into(),
            expires_at: WallNanos::from_secs(NOW_S + 3_600),
        };
        core.on_leases(&[lease], now.wall);
        Ok(Self { core, now, configuration, credential, records: 0 })
    }

    /// A little time passes.
    pub fn pass(&mut self) {
        self.now.mono = self.now.mono.plus(STEP_NS);
        self.now.wall = WallNanos(self.now.wall.0 + STEP_NS);
    }

    /// The log has made everything durable that waits.
    pub fn commit(&mut self) {
        let batch = self.core.batch();
        self.records += u64::from(batch.records());
        batch.clear();
        self.core.on_durable(self.records);
    }
}

fn catalog(credential: &Credential) -> Catalog {
    let definition = |name: &str| {
        let description = format!("Works on the orders of one customer ({name}).");
        json!({"name": name, "description": description, "inputSchema": input_schema()}).to_string()
    };
    let tools = tool_names().map(|name| Tool {
        digest: "0".repeat(64),
        definition: definition(&name),
        name,
        destructive: false,
        read_only: true,
    });
    let claim = |name: &str| Some(name.to_owned());
    Catalog {
        gateway: GatewaySettings {
            public_url: "https://gateway.test".into(),
            hosts: vec!["gateway.test".into()],
            origins: Vec::new(),
        },
        identity: vec![IdentityProvider {
            name: "idp".into(),
            issuer: ISSUER.into(),
            audiences: vec![AUDIENCE.into()],
            jwks: credential.jwks.clone(),
            claims: ClaimMap {
                tenant: TenantFrom::Claim("org".into()),
                user: None,
                agent: claim("azp"),
                roles: claim("roles"),
                groups: claim("groups"),
            },
            clock_skew_s: 30,
        }],
        api_keys: Vec::new(),
        servers: vec![Server {
            name: SERVER.into(),
            url: "http://10.0.0.7:8000/mcp".into(),
            era: Era::Modern,
            protocol: "2026-07-28".into(),
            ca_pem: None,
            inject: Some(Inject {
                header: "Authorization".into(),
                prefix: "Bearer ".into(),
                secret: SECRET.into(),
            }),
            timeouts: Timeouts::default(),
            tools: tools.collect(),
        }],
        quotas: vec![Quota {
            name: "agents".into(),
            per: Per::Agent,
            calls: Rate { units: 1_000_000, period_ms: 1_000 },
            burst: 1_000_000,
            server: None,
            tool: None,
            ladder: None,
        }],
        limits: Limits::default(),
        ..Catalog::default()
    }
}

fn bundle(table: &[u8], catalog: &Catalog) -> anyhow::Result<Bundle> {
    let signer = Signer::from_seed(&[7; 32]).context("32 bytes are a seed")?;
    let appliance = ApplianceId::new("bench").context("a name")?;
    let draft = Draft::new(Revision(1), WallNanos(1), table.to_vec(), catalog, &[])
        .map_err(|refused| anyhow::anyhow!("{refused}"))?;
    let sealed = draft.seal(&appliance, &signer);
    Bundle::open(&sealed, &[signer.public_key()], &appliance, Revision(0))
        .map_err(|refused| anyhow::anyhow!("{refused}"))
}
