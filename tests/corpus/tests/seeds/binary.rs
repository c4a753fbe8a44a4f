//! Seeds that only a builder makes: signed, hashed or laid out.
//!
//! Keys and times are fixed, so the bytes are the same each time. The signing seed is the one that
//! `dataplane_bundle::fuzz` trusts.

use std::collections::BTreeSet;

use controlplane_compile::{
    Input, PolicyFile, Server as PolicyServer, Tool as PolicyTool, compile,
};
use dataplane_audit::log::{Log, Start, Step};
use dataplane_audit::{
    Batch, Body, BootId, Call, CallId, CallerNames, Checkpoint, GROUP_BYTES_MAX, NoteSigner, Phase,
    Record, Stamp,
};
use dataplane_bundle::drops::{
    CardMode, CardPackets, CardState, DropOrder, DropReason, DropRow, DropTable, DroppedPacket,
    DropsReport, Order,
};
use dataplane_bundle::message::{Hello, Records, Status, ToAppliance, ToControl};
use dataplane_bundle::{
    ApplianceId, CallerKind, Catalog, Draft, Era, Expect, GatewaySettings, Kill, KillList,
    KillTarget, Lease, Revision, SelfTest, Server, Signer, TestCaller, Timeouts, Tool,
};
use dataplane_drops::{Cause, Flow, Per, Prefix, Target};
use dataplane_telemetry::{Nanos, WallNanos};
use serde_json::json;

const NOW: WallNanos = WallNanos::from_secs(1_800_000_000);
const SEGMENT_BYTES: usize = 16_384;

/// Target, name, content.
pub(crate) fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let table = table();
    let bundle = bundle(&table);
    let kills = kills();
    let (segment, note) = segment();
    let mut seeds = vec![
        ("conversation", "call", dataplane_pipeline::fuzz::sound_call()),
        ("conversation", "answer", dataplane_pipeline::fuzz::sound_answer()),
        ("drops", "loop", dataplane_drops::fuzz::sound_loop()),
        ("packet", "syn", syn()),
        ("packet", "quic", quic()),
        ("policy_table", "orders", table),
        ("bundle", "signed", bundle.clone()),
        ("kill_list", "signed", kills.clone()),
        ("audit_segment", "two_groups", segment),
        ("audit_record", "intent", encoded(&record(1))),
        ("audit_record", "outcome", encoded(&record(2))),
        ("audit_note", "signed", note.into_bytes()),
    ];
    let status = Status { calls: 7, trouble: "none".to_owned(), ..Status::default() };
    let hello = Hello { revision: Revision(7), version: "0.1.0".to_owned(), ..Hello::default() };
    let lease = Lease {
        secret: "crm-key".to_owned(),
        revision: 1,
        value: b"value".to_vec().into(),
        expires_at: NOW,
    };
    let records = Records { first_index: 3, records: vec![encoded(&record(1))] };
    let to_appliance = [
        ("kills", ToAppliance::Kills(kills)),
        ("leases", ToAppliance::Leases(vec![lease])),
        ("stored", ToAppliance::RecordsStored { next: 9 }),
        ("drop_order", ToAppliance::DropOrder(drop_order())),
        ("list_packets", ToAppliance::ListPackets { id: 3 }),
        ("explain", ToAppliance::ExplainAddress { id: 3, address: [192, 0, 2, 7].into() }),
    ];
    for (name, message) in to_appliance {
        seeds.push(("push_message", name, message.encode().unwrap().to_vec()));
    }
    let refused = Err("the signature is not ours".to_owned());
    let to_control = [
        ("hello", ToControl::Hello(hello)),
        ("status", ToControl::Status(status)),
        ("records", ToControl::Records(records)),
        ("drops", ToControl::Drops(drops())),
        ("packets", ToControl::Packets { id: 3, cards: vec![packets()] }),
        (
            "order_refused",
            ToControl::DropOrderResult { id: 3, result: Err("no drop 7".to_owned()) },
        ),
        ("refused", ToControl::BundleResult { revision: Revision(7), result: refused }),
    ];
    for (name, message) in to_control {
        seeds.push(("push_message", name, message.encode().unwrap().to_vec()));
    }
    seeds
}

fn drop_order() -> DropOrder {
    let (by, reason) = ("olga".to_owned(), "they called".to_owned());
    DropOrder { id: 3, by, reason, order: Order::Pin { drop: 7, for_ms: 60_000 } }
}

/// Ethernet with two tags, IPv4, TCP with an option.
fn syn() -> Vec<u8> {
    let mut packet = [2; 12].to_vec();
    packet.extend([0x88, 0xa8, 0, 100, 0x81, 0, 0, 7, 8, 0]);
    packet.extend([0x45, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 7, 198, 51, 100, 1]);
    packet.extend([0x9c, 0x40, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 4, 0, 0, 0, 0, 0]);
    packet.extend([2, 4, 5, 0xb4]);
    packet
}

/// Ethernet, IPv6 with hop-by-hop options and a fragment, UDP, an Initial.
fn quic() -> Vec<u8> {
    let mut packet = [2; 12].to_vec();
    packet.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 40, 0, 64]);
    packet.extend([[0x20; 16], [0x21; 16]].concat());
    packet.extend([44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 9]);
    packet.extend([0x9c, 0x40, 1, 0xbb, 0, 24, 0, 0, 0xc3, 0, 0, 0, 1, 8]);
    packet
}

fn packets() -> CardPackets {
    let packet = |header, reason, table| DroppedPacket {
        at: NOW,
        tenant: "acme".to_owned(),
        reason,
        table,
        length: 1_514,
        header,
    };
    let syn = packet(syn(), DropReason::Connections, DropTable::Bucket);
    let packets = vec![syn, packet(quic(), DropReason::Kill, DropTable::Source)];
    CardPackets { interface: "eth0".to_owned(), one_in: 1_024, lost: 3, packets }
}

fn drops() -> DropsReport {
    let address = [192, 0, 2, 7].into();
    let row = |target| DropRow {
        drop: 7,
        target,
        tenant: "acme".to_owned(),
        user: None,
        agent: Some("bot".to_owned()),
        per: Per::Agent,
        cause: Cause::Quota("agents".into()),
        since: NOW,
        until: WallNanos(NOW.0 + 60_000_000_000),
        level: 1,
        pinned_by: Some("olga".to_owned()),
    };
    let card = CardState {
        interface: "eth0".to_owned(),
        mode: CardMode::Generic,
        program_sha256: [7; 32],
        drops: 9,
        entries: 3,
        entries_max: 16_384,
        thinned: Vec::new(),
    };
    let flow = Flow::new((address, 40_000).into(), ([198, 51, 100, 1], 443).into());
    let rows = vec![
        row(Target::Flow(flow)),
        row(Target::Source(Prefix::source(address))),
        row(Target::Vlan { outer: 100, inner: 7 }),
    ];
    DropsReport { entries: 3, rows, cards: vec![card], ..DropsReport::default() }
}

fn table() -> Vec<u8> {
    let tool = |name: &str, destructive| PolicyTool {
        name: name.to_owned(),
        input_schema: json!({
            "type": "object",
            "properties": {"amount": {"type": "integer"}, "note": {"type": "string"}},
            "required": ["amount"],
        }),
        destructive,
        read_only: !destructive,
    };
    let mut input = Input {
        servers: vec![PolicyServer {
            name: "crm".to_owned(),
            tools: vec![tool("get_orders", false), tool("refund", true)],
        }],
        policies: vec![PolicyFile {
            path: "support.cedar".to_owned(),
            text: "permit(principal in Role::\"support\", action == Action::\"call\", resource in Server::\"crm\");\n\
                   forbid(principal, action == Action::\"call\", resource == Tool::\"crm/refund\") when { context.arguments.amount > 500 };\n"
                .to_owned(),
        }],
        ..Input::default()
    };
    input.directory.roles = BTreeSet::from(["support".to_owned()]);
    compile(&input).unwrap().table
}

fn signer() -> Signer {
    Signer::from_seed(&[7; 32]).unwrap()
}

fn bundle(table: &[u8]) -> Vec<u8> {
    let catalog = Catalog {
        gateway: GatewaySettings {
            public_url: "https://gateway.example.com".to_owned(),
            hosts: vec!["gateway.example.com".to_owned()],
            origins: vec![],
        },
        servers: vec![Server {
            name: "crm".to_owned(),
            url: "http://crm.internal:8000/mcp".to_owned(),
            era: Era::Modern,
            protocol: "2026-07-28".to_owned(),
            ca_pem: None,
            inject: None,
            timeouts: Timeouts::default(),
            tools: vec![Tool {
                name: "refund".to_owned(),
                digest: "ab".repeat(32),
                definition: r#"{"name":"refund","inputSchema":{"type":"object"}}"#.to_owned(),
                destructive: true,
                read_only: false,
            }],
        }],
        ..Catalog::default()
    };
    let test = SelfTest {
        caller: TestCaller {
            tenant: "acme".to_owned(),
            user: Some("ann".to_owned()),
            agent: None,
            kind: CallerKind::User,
            roles: vec!["support".to_owned()],
            groups: vec![],
        },
        server: "crm".to_owned(),
        tool: "refund".to_owned(),
        arguments: Some(r#"{"amount":900}"#.to_owned()),
        at: NOW,
        expect: Expect::Deny,
    };
    let draft = Draft::new(Revision(7), NOW, table.to_vec(), &catalog, &[test]).unwrap();
    draft.seal(&ApplianceId::new("box-1").unwrap(), &signer())
}

fn kills() -> Vec<u8> {
    let kill = Kill {
        id: "k1".to_owned(),
        target: KillTarget::Tool { server: "crm".to_owned(), tool: "refund".to_owned() },
        reason: "an agent loops".to_owned(),
        author: "ops".to_owned(),
        at: NOW,
        expires_at: None,
    };
    KillList { serial: 7, created_at: NOW, kills: vec![kill] }.seal(&signer()).unwrap()
}

fn record(call: u64) -> Record<'static> {
    let stamp = Stamp { boot: BootId([1; 16]), lane: 0, wall: NOW, mono: Nanos(call) };
    let phase = if call % 2 == 1 { Phase::Intent } else { Phase::Outcome };
    let caller = CallerNames { tenant: "acme", user: "ann", agent: "bot", client: "" };
    let call = Call {
        phase,
        call: CallId(call),
        caller,
        method: "tools/call",
        server: "crm",
        tool: "refund",
        request_id: "7",
        ..Call::default()
    };
    Record::new(stamp, Body::Call(call))
}

fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

/// A segment of two groups and the checkpoint over them.
fn segment() -> (Vec<u8>, String) {
    let origin = "box-1.example/log";
    let mut log = Log::new(origin, BootId([1; 16]), Start::Empty);
    let mut file = vec![0; SEGMENT_BYTES];
    let mut buffer = vec![0; GROUP_BYTES_MAX];
    for calls in [1..3, 3..6] {
        let mut batch = Batch::default();
        for call in calls {
            batch.push(&record(call)).unwrap();
        }
        assert!(log.add(batch.bytes(), &mut buffer));
        loop {
            let written = match log.step() {
                Step::Open => {
                    let block = log.open(1, SEGMENT_BYTES as u64, NOW);
                    file[..block.len()].copy_from_slice(&block);
                    block.len()
                }
                Step::Write { offset, bytes, .. } => {
                    let offset = usize::try_from(offset).unwrap();
                    file[offset..offset + bytes].copy_from_slice(&buffer[..bytes]);
                    bytes
                }
                Step::Idle if log.pending() == 0 => break,
                Step::Idle => {
                    log.seal(&mut buffer);
                    continue;
                }
                Step::Refused(fault) => panic!("{fault:?}"),
            };
            log.on_written(Ok(written));
        }
    }
    let signer = NoteSigner::from_seed(origin, &[7; 32]).unwrap();
    let note = Checkpoint::of(origin, log.tree()).sign(&signer);
    file.truncate(SEGMENT_BYTES);
    (file, note)
}
