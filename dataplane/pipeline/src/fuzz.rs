//! Properties that the fuzz targets check.
//!
//! A core with a real table, one server and one caller; the bytes are a client's stream, and a
//! server's. Whatever they are: no panic, an end, a bounded number of steps, and not one byte to a
//! client while a record of this core is not durable.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a property panics on purpose")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use dataplane_audit::{BootId, DigestKey};
use dataplane_auth::{MissBudget, mint};
use dataplane_bundle::{
    ApiKey, ApplianceId, Bundle, CallerKind, Catalog, Draft, Era, GatewaySettings, Limits,
    Revision, Server, Signer, Timeouts, Tool,
};
use dataplane_drops::{Flow, Keys};
use dataplane_policy::Table;
use dataplane_quota::Buckets;
use dataplane_telemetry::{Nanos, Now, WallNanos};

use crate::session::Sealer;
use crate::{Configuration, Connection, Core, Resources, Step};

/// The policy crate's own fixture: `crm/get` for the role `support`, and more.
const TABLE: &[u8] = include_bytes!("../../policy/tests/fixtures/shop.table");
const MODERN: &str = "2026-07-28";

const FLOW: Flow = Flow {
    peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50_000),
    local: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 443),
};

/// Any bytes as what a client sends, and as what a server answers to a sound call. Their first byte
/// says in how large pieces they come.
pub fn conversation(bytes: &[u8]) {
    let (configuration, key) = fixture();
    let piece = usize::from(bytes.first().copied().unwrap_or(0)) + 1;
    let sound = call(key, "{}");
    let answer = answer();
    Talk::new(configuration).run(bytes, &answer, piece);
    Talk::new(configuration).run(&sound, bytes, piece);
    // The caller is known, the call is sound, and only its arguments are anything.
    if let Ok(arguments) = std::str::from_utf8(bytes) {
        Talk::new(configuration).run(&call(key, arguments), &answer, piece);
    }
}

/// A call that reaches its server, for the corpus.
#[must_use]
pub fn sound_call() -> Vec<u8> {
    call(&fixture().1, "{}")
}

/// What its server answers.
#[must_use]
pub fn sound_answer() -> Vec<u8> {
    answer()
}

struct Talk {
    core: Core,
    machine: Connection,
    now: Now,
    durable: u64,
    forwarded: usize,
}

impl Talk {
    fn new(configuration: &Arc<Configuration>) -> Self {
        let now = Now { mono: Nanos(1), wall: WallNanos::from_secs(1_790_000_000) };
        let mut core = Core::new(Resources {
            lane: 0,
            boot: BootId([1; 16]),
            digest: DigestKey::new(1, &[2; 32]),
            quotas: Arc::new(Buckets::new(16, [3; 16])),
            misses: Arc::new(MissBudget::new(16, [4; 16]).unwrap()),
            sealer: Arc::new(Sealer::new(&[5; 32]).unwrap()),
            lease_memory: &mut [],
            seed: [6; 32],
            drop_keys: Keys::new([7; 16]),
        })
        .unwrap();
        core.on_configuration(Arc::clone(configuration)).unwrap();
        let machine = Connection::new(FLOW, now.mono);
        Self { core, machine, now, durable: 0, forwarded: 0 }
    }

    fn run(&mut self, client: &[u8], server: &[u8], piece: usize) {
        let mut from_client = client.chunks(piece);
        let mut from_server = server.chunks(piece);
        let steps_max = 64 + 8 * (client.len() + 2) * (server.len() / piece + 2);
        for _ in 0..steps_max {
            match self.machine.step(&self.core) {
                Step::ReadClient => match from_client.next() {
                    Some(bytes) => {
                        self.machine.inbox().extend_from_slice(bytes);
                        self.machine.on_client_bytes(&mut self.core, self.now);
                    }
                    // It says no more: its time runs out.
                    None => self.pass(),
                },
                Step::AwaitRecord(_) => {
                    self.durable += u64::from(self.core.batch().records());
                    self.core.batch().clear();
                    self.core.on_durable(self.durable);
                    self.machine.on_recorded(&mut self.core, true, self.now);
                }
                Step::WriteClient => {
                    assert!(self.core.batch().is_empty(), "an answer before its record");
                    self.machine.outbox().clear();
                    self.machine.on_written(&mut self.core, self.now);
                }
                Step::Forward(_) => {
                    self.forwarded += 1;
                    from_server = server.chunks(piece);
                    assert!(!self.machine.forward().is_empty());
                    self.machine.on_forwarded(&self.core, self.now);
                }
                Step::ReadUpstream => match from_server.next() {
                    Some(bytes) => {
                        self.machine.answer().extend_from_slice(bytes);
                        self.machine.on_upstream_bytes(&mut self.core, self.now);
                    }
                    None => self.machine.on_upstream_closed(&mut self.core, self.now),
                },
                Step::Close => {
                    assert!(!self.machine.is_calling(), "closed with a call");
                    return;
                }
            }
        }
        panic!("no end after {steps_max} steps");
    }

    fn pass(&mut self) {
        self.now.mono = self.machine.deadline();
        self.machine.on_deadline(&mut self.core, self.now);
    }
}

fn call(key: &str, arguments: &str) -> Vec<u8> {
    let body = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"crm__get\",\
         \"arguments\":{arguments},\"_meta\":{{\"io.modelcontextprotocol/protocolVersion\":\
         \"{MODERN}\",\"io.modelcontextprotocol/clientCapabilities\":{{}}}}}}}}"
    );
    format!(
        "POST /mcp HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: {MODERN}\r\nMcp-Method: tools/call\r\nMcp-Name: crm__get\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn answer() -> Vec<u8> {
    let body = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"resultType":"complete"}}"#;
    answer_of(body.len(), body)
}

fn answer_of(length: usize, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn fixture() -> &'static (Arc<Configuration>, String) {
    static FIXTURE: OnceLock<(Arc<Configuration>, String)> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let minted = mint([1; 8], &[1; 32]);
        let hex = minted.secret_sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        let catalog = catalog(minted.id.clone(), hex);
        let signer = Signer::from_seed(&[7; 32]).unwrap();
        let appliance = ApplianceId::new("fuzz").unwrap();
        let table = TABLE.to_vec();
        let draft = Draft::new(Revision(1), WallNanos(1), table, &catalog, &[]).unwrap();
        let sealed = draft.seal(&appliance, &signer);
        let keys = [signer.public_key()];
        let bundle = Bundle::open(&sealed, &keys, &appliance, Revision(0)).unwrap();
        (Arc::new(Configuration::new(bundle).unwrap()), minted.text.clone())
    })
}

/// Whatever servers and tools the table has, and one caller.
fn catalog(id: String, secret_sha256: String) -> Catalog {
    let table = Table::load(TABLE).unwrap();
    let tool = |name: &str| Tool {
        name: name.into(),
        digest: "0".repeat(64),
        definition: format!("{{\"name\":\"{name}\",\"inputSchema\":{{\"type\":\"object\"}}}}"),
        destructive: name != "get",
        read_only: false,
    };
    let servers = table.servers().map(|(index, name)| Server {
        name: name.into(),
        url: "http://127.0.0.1:9/mcp".into(),
        era: Era::Modern,
        protocol: MODERN.into(),
        ca_pem: None,
        inject: None,
        timeouts: Timeouts::default(),
        tools: table.tools(index).map(|(_, name)| tool(name)).collect(),
    });
    let caller = ApiKey {
        id,
        secret_sha256,
        tenant: "acme".into(),
        user: Some("ann".into()),
        agent: None,
        kind: CallerKind::User,
        roles: vec!["support".into()],
        groups: Vec::new(),
        expires_at: None,
    };
    Catalog {
        gateway: GatewaySettings {
            public_url: "https://gateway.test".into(),
            hosts: vec!["gateway.test".into()],
            origins: Vec::new(),
        },
        identity: Vec::new(),
        api_keys: vec![caller],
        servers: servers.collect(),
        quotas: Vec::new(),
        limits: Limits::default(),
        ..Catalog::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_conversation_reaches_its_server() {
        let (configuration, key) = fixture();
        let mut talk = Talk::new(configuration);
        talk.run(&[call(key, "{}"), call(key, "{}")].concat(), &answer(), 7);
        assert_eq!((talk.forwarded, talk.durable), (2, 4));
    }

    #[test]
    fn every_cut_and_every_changed_byte_of_either_side() {
        let (_, key) = fixture();
        // One that is announced to be long passes as it comes.
        let length = crate::limits::HELD_ANSWER_BYTES_MAX + 1;
        let long = answer_of(
            length,
            r#"{"jsonrpc":"2.0","id":1,"result":{"a":[1,"b"],"isError":true,"content":[]},"x":1"#,
        );
        for whole in [call(key, "{}"), answer(), long] {
            for at in 0..whole.len() {
                conversation(&whole[..at]);
                let mut changed = whole.clone();
                changed[at] ^= 1 << (at % 8);
                conversation(&changed);
            }
        }
    }
}
