//! A signer, an appliance and a small catalog that the tests share.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod dropping;

use dataplane_bundle::{
    ApiKey, ApplianceId, CallerKind, Catalog, ClaimMap, Draft, Era, Expect, GatewaySettings,
    IdentityProvider, Inject, Per, Quota, Rate, Revision, SelfTest, Server, Signer, TenantFrom,
    TestCaller, Timeouts, Tool,
};
use dataplane_telemetry::WallNanos;

pub(crate) const NOW: WallNanos = WallNanos::from_secs(1_800_000_000);

pub(crate) fn signer(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32]).unwrap()
}

pub(crate) fn appliance(name: &str) -> ApplianceId {
    ApplianceId::new(name).unwrap()
}

pub(crate) fn draft(revision: u64) -> Draft {
    Draft::new(Revision(revision), NOW, b"a table".to_vec(), &catalog(), &[self_test()]).unwrap()
}

pub(crate) fn catalog() -> Catalog {
    Catalog {
        gateway: GatewaySettings {
            public_url: "https://gateway.example.com".to_owned(),
            hosts: vec!["gateway.example.com".to_owned()],
            origins: vec![],
        },
        identity: vec![provider("okta")],
        api_keys: vec![api_key("k1")],
        servers: vec![server("crm", 2)],
        quotas: vec![quota("agents")],
        ..Catalog::default()
    }
}

pub(crate) fn provider(name: &str) -> IdentityProvider {
    IdentityProvider {
        name: name.to_owned(),
        issuer: format!("https://{name}.example.com"),
        audiences: vec!["https://gateway.example.com/mcp".to_owned()],
        jwks: r#"{"keys":[]}"#.to_owned(),
        claims: ClaimMap {
            tenant: TenantFrom::Claim("org".to_owned()),
            user: Some("sub".to_owned()),
            agent: None,
            roles: Some("groups".to_owned()),
            groups: None,
        },
        clock_skew_s: 30,
    }
}

pub(crate) fn api_key(id: &str) -> ApiKey {
    ApiKey {
        id: id.to_owned(),
        secret_sha256: "0f".repeat(32),
        tenant: "acme".to_owned(),
        user: None,
        agent: Some("nightly".to_owned()),
        kind: CallerKind::Agent,
        roles: vec!["support".to_owned()],
        groups: vec![],
        expires_at: Some(NOW),
    }
}

pub(crate) fn server(name: &str, tools: usize) -> Server {
    Server {
        name: name.to_owned(),
        url: "http://crm.internal:8000/mcp".to_owned(),
        era: Era::Modern,
        protocol: "2026-07-28".to_owned(),
        ca_pem: None,
        inject: Some(Inject {
            header: "Authorization".to_owned(),
            prefix: "Bearer ".to_owned(),
            secret: "crm-key".to_owned(),
        }),
        timeouts: Timeouts::default(),
        tools: (0..tools).map(|number| tool(&format!("tool_{number}"), 60)).collect(),
    }
}

/// A tool whose definition is `length` bytes long, quotes and line ends included.
pub(crate) fn tool(name: &str, length: usize) -> Tool {
    let head = format!("{{\"name\":\"{name}\",\"description\":\"\\n");
    let filling = "x".repeat(length.saturating_sub(head.len() + 2));
    Tool {
        name: name.to_owned(),
        digest: "ab".repeat(32),
        definition: format!("{head}{filling}\"}}"),
        destructive: false,
        read_only: true,
    }
}

pub(crate) fn quota(name: &str) -> Quota {
    Quota {
        name: name.to_owned(),
        per: Per::Agent,
        calls: Rate { units: 600, period_ms: 60_000 },
        burst: 100,
        server: Some("crm".to_owned()),
        tool: None,
        ladder: None,
    }
}

pub(crate) fn self_test() -> SelfTest {
    SelfTest {
        caller: TestCaller {
            tenant: "acme".to_owned(),
            user: Some("ann".to_owned()),
            agent: None,
            kind: CallerKind::User,
            roles: vec!["support".to_owned()],
            groups: vec![],
        },
        server: "crm".to_owned(),
        tool: "tool_1".to_owned(),
        arguments: Some(r#"{"amount":900}"#.to_owned()),
        at: NOW,
        expect: Expect::Deny,
    }
}
