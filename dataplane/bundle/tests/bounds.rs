//! Each bound of a catalog: the last value that is taken, and one past it.

mod world;

use dataplane_bundle::limits::{
    API_KEYS_MAX, AUDIENCES_MAX, CA_PEM_BYTES_MAX, DEFINITION_BYTES_MAX, HEADER_BYTES_MAX,
    HOSTS_MAX, IDENTITY_BYTES_MAX, JWKS_BYTES_MAX, MEMBERSHIPS_MAX, PROVIDERS_MAX,
    QUOTA_PERIOD_MS_MAX, QUOTAS_MAX, SELF_TEST_ARGUMENTS_BYTES_MAX, SELF_TESTS_MAX, SERVERS_MAX,
    TIMEOUT_MS_MAX, TOOLS_MAX, URL_BYTES_MAX,
};
use dataplane_bundle::{Catalog, Draft, Refused, Revision};
use world::{NOW, api_key, appliance, catalog, provider, quota, self_test, server, signer, tool};

/// The refusal of a catalog changed by `change`.
fn refusal(change: impl FnOnce(&mut Catalog)) -> String {
    let mut changed = catalog();
    change(&mut changed);
    changed.check().expect_err("not refused").to_string()
}

fn taken(change: impl FnOnce(&mut Catalog)) {
    let mut changed = catalog();
    change(&mut changed);
    changed.check().unwrap();
}

#[test]
fn counts_are_bounded() {
    let many = |count: usize| 0..count;
    taken(|c| c.servers = many(SERVERS_MAX).map(|n| server(&format!("s{n}"), 0)).collect());
    let past = refusal(|c| {
        c.servers = many(SERVERS_MAX + 1).map(|n| server(&format!("s{n}"), 0)).collect();
    });
    assert_eq!(past, "servers: 1025 is more than the limit of 1024");
    taken(|c| c.servers = vec![server("a", TOOLS_MAX / 2), server("b", TOOLS_MAX / 2)]);
    let past =
        refusal(|c| c.servers = vec![server("a", TOOLS_MAX / 2), server("b", TOOLS_MAX / 2 + 1)]);
    assert_eq!(past, "tools of all servers: 16385 is more than the limit of 16384");
    let past = refusal(|c| {
        c.identity = many(PROVIDERS_MAX + 1).map(|n| provider(&format!("p{n}"))).collect();
    });
    assert!(past.starts_with("identity: 65 "), "{past}");
    let past = refusal(|c| {
        c.api_keys = many(API_KEYS_MAX + 1).map(|n| api_key(&format!("k{n}"))).collect();
    });
    assert!(past.starts_with("api_keys: 16385 "), "{past}");
    let past =
        refusal(|c| c.quotas = many(QUOTAS_MAX + 1).map(|n| quota(&format!("q{n}"))).collect());
    assert!(past.starts_with("quotas: 257 "), "{past}");
    let past = refusal(|c| c.gateway.hosts = vec!["h".to_owned(); HOSTS_MAX + 1]);
    assert!(past.starts_with("gateway.hosts: 257 "), "{past}");
    let past = refusal(|c| c.identity[0].audiences = vec!["a".to_owned(); AUDIENCES_MAX + 1]);
    assert!(past.starts_with("identity.okta.audiences: 65 "), "{past}");
    let past = refusal(|c| c.api_keys[0].roles = vec!["r".to_owned(); MEMBERSHIPS_MAX + 1]);
    assert!(past.starts_with("api_keys.k1.roles: 257 "), "{past}");
}

#[test]
fn lengths_are_bounded() {
    taken(|c| c.servers[0].tools[0] = tool("t", DEFINITION_BYTES_MAX));
    let past = refusal(|c| c.servers[0].tools[0] = tool("t", DEFINITION_BYTES_MAX + 1));
    assert_eq!(past, "servers.crm.tools.t.definition: 65537 is more than the limit of 65536");
    let past = refusal(|c| c.servers[0].url = format!("http://{}", "a".repeat(URL_BYTES_MAX)));
    assert!(past.starts_with("servers.crm.url: 2055 "), "{past}");
    let past = refusal(|c| c.servers[0].ca_pem = Some("a".repeat(CA_PEM_BYTES_MAX + 1)));
    assert!(past.starts_with("servers.crm.ca_pem: 65537 "), "{past}");
    let past = refusal(|c| c.identity[0].jwks = "a".repeat(JWKS_BYTES_MAX + 1));
    assert!(past.starts_with("identity.okta.jwks: 131073 "), "{past}");
    let past = refusal(|c| c.api_keys[0].tenant = "a".repeat(IDENTITY_BYTES_MAX + 1));
    assert!(past.starts_with("api_keys.k1.tenant: 257 "), "{past}");
    let long = "a".repeat(HEADER_BYTES_MAX + 1);
    let past = refusal(|c| c.servers[0].inject.as_mut().unwrap().header = long);
    assert!(past.starts_with("servers.crm.inject.header: 129 "), "{past}");
}

#[test]
fn numbers_are_bounded() {
    let past = refusal(|c| c.servers[0].timeouts.call_ms = TIMEOUT_MS_MAX + 1);
    assert!(past.starts_with("servers.crm.timeouts.call_ms: 3600001 "), "{past}");
    let zero = refusal(|c| c.servers[0].timeouts.connect_ms = 0);
    assert_eq!(zero, "servers.crm.timeouts.connect_ms: \"0\" has to be at least 1");
    let past = refusal(|c| c.quotas[0].calls.period_ms = QUOTA_PERIOD_MS_MAX + 1);
    assert!(past.starts_with("quotas.agents.calls.period_ms: "), "{past}");
    refusal(|c| c.quotas[0].calls.units = 0);
    refusal(|c| c.quotas[0].burst = 0);
    refusal(|c| c.identity[0].clock_skew_s = 301);
    refusal(|c| c.limits.request_bytes_max = (16 << 20) + 1);
    refusal(|c| c.limits.connections_max = 0);
}

#[test]
fn names_and_texts_are_checked() {
    for bad in ["", "CRM", "crm_2", "-crm", "crm--2", "crm/2"] {
        refusal(|c| c.servers[0].name = bad.to_owned());
        refusal(|c| c.quotas[0].name = bad.to_owned());
    }
    for bad in ["", "a b", "a/b", "ä"] {
        refusal(|c| c.servers[0].tools[0].name = bad.to_owned());
    }
    for bad in ["", "ftp://x", "http://a b", "http://ä", "http://a\r\nb"] {
        refusal(|c| c.servers[0].url = bad.to_owned());
    }
    for bad in ["", "X-A\r\nB", "X A", "X:"] {
        refusal(|c| c.servers[0].inject.as_mut().unwrap().header = bad.to_owned());
    }
    refusal(|c| c.servers[0].inject.as_mut().unwrap().prefix = "a\r\n".to_owned());
    for bad in ["", &"0".repeat(63), &"A".repeat(64), &"g".repeat(64)] {
        refusal(|c| c.servers[0].tools[0].digest = bad.to_owned());
        refusal(|c| c.api_keys[0].secret_sha256 = bad.to_owned());
    }
    refusal(|c| c.api_keys[0].user = Some("a\nb".to_owned()));
    refusal(|c| c.identity[0].audiences.clear());
    refusal(|c| {
        c.quotas[0].server = None;
        c.quotas[0].tool = Some("t".to_owned());
    });
}

#[test]
fn nothing_is_there_twice() {
    let twice = refusal(|c| c.servers.push(server("crm", 0)));
    assert_eq!(twice, "servers: \"crm\" is there twice");
    let twice = refusal(|c| c.servers[0].tools.push(tool("tool_1", 60)));
    assert_eq!(twice, "servers.crm.tools: \"tool_1\" is there twice");
    refusal(|c| c.quotas.push(quota("agents")));
    refusal(|c| c.api_keys.push(api_key("k1")));
    let twice = refusal(|c| {
        c.identity.push(provider("other"));
        c.identity[1].issuer = c.identity[0].issuer.clone();
    });
    assert!(twice.starts_with("identity.issuer"), "{twice}");
}

#[test]
fn self_tests_are_bounded() {
    let draft = |tests: &[_]| Draft::new(Revision(1), NOW, vec![1], &catalog(), tests);
    assert!(draft(&vec![self_test(); SELF_TESTS_MAX]).is_ok());
    let past = draft(&vec![self_test(); SELF_TESTS_MAX + 1]).unwrap_err();
    assert!(matches!(past, Refused::TooMuch { .. }), "{past}");
    let mut long = self_test();
    long.arguments = Some("a".repeat(SELF_TEST_ARGUMENTS_BYTES_MAX + 1));
    assert!(draft(&[long]).is_err());
}

#[test]
fn a_bundle_past_its_size_is_neither_signed_nor_read() {
    use dataplane_bundle::limits::BUNDLE_BYTES_MAX;
    let draft = Draft::new(Revision(1), NOW, vec![1; BUNDLE_BYTES_MAX], &catalog(), &[]);
    assert!(matches!(draft.unwrap_err(), Refused::TooMuch { .. }));
    let bytes = vec![0; BUNDLE_BYTES_MAX + 1];
    let opened = dataplane_bundle::Bundle::open(
        &bytes,
        &[signer(1).public_key()],
        &appliance("box-1"),
        Revision(0),
    );
    assert!(matches!(opened.unwrap_err(), Refused::TooMuch { .. }));
}
