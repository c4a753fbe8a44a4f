//! An appliance that says that it drops, and does what it is told about it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use dataplane_bundle::drops::{
    CardMode, CardPackets, CardState, DropOrder, DropReason, DropRow, DropTable, DroppedPacket,
    DropsReport, Order, Thinned,
};
use dataplane_bundle::message::Status;
use dataplane_bundle::{Bundle, KillList, Lease, Rate};
use dataplane_drops::{Cause, Explained, Flow, Per, Prefix, Seen, Target};
use dataplane_sync::{Dirs, Handle, Sink, Standing};
use dataplane_telemetry::WallNanos;

use super::NOW;

/// Ethernet, IPv4, TCP, and what its sender said.
const SYN: &[u8] = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0\
    \x45\0\0\x30\0\0\0\0\x40\x06\0\0\xc0\0\x02\x07\xc6\x33\x64\x01\
    \x9c\x40\x01\xbb\0\0\0\x01\0\0\0\0\x50\x02\x04\0\0\0\0\0\
    a secret";

struct Dropping;

impl Sink for Dropping {
    fn on_bundle(&self, _: Bundle) -> Result<(), String> {
        Ok(())
    }

    fn on_kills(&self, _: &KillList) {}

    fn on_leases(&self, _: Vec<Lease>) {}

    fn status(&self) -> Status {
        Status::default()
    }

    fn drops(&self) -> Option<DropsReport> {
        let card = CardState {
            interface: "eth0".to_owned(),
            mode: CardMode::Generic,
            program_sha256: [0xab; 32],
            drops: 9_000,
            entries: 2,
            entries_max: 16_384,
            thinned: vec![Thinned {
                tenant: "acme".to_owned(),
                rate: Rate { units: 200, period_ms: 1_000 },
                burst: 400,
                drops: 1_200,
            }],
        };
        let cards = vec![card];
        Some(DropsReport { entries: 2, rows: rows(), cards, ..DropsReport::default() })
    }

    fn on_drop_order(&self, order: &DropOrder) -> Result<u32, String> {
        match order.order {
            Order::Pin { drop: 7, .. } | Order::Release(_) => Ok(2),
            Order::Pin { drop, .. } => {
                Err(format!("there is no drop {drop}; `portcullis drops` shows what there is"))
            }
        }
    }

    fn explain_address(&self, address: IpAddr) -> Option<Explained> {
        let entries = rows().into_iter().filter(|row| row.target.touches(address));
        let entries = entries.map(|row| row.listed(at(0))).collect();
        let sentence = format!(
            "2 entries drop packets of {address}; as for the address, one tenant alone has used it for long enough."
        );
        Some(Explained { address, seen: Seen::OneTenant, sentence, entries })
    }

    fn packets(&self) -> Vec<CardPackets> {
        let packet = |age_s: u64, reason, table, header: &[u8]| DroppedPacket {
            at: WallNanos(at(0).0 - age_s * 1_000_000_000),
            tenant: "acme".to_owned(),
            reason,
            table,
            length: 1_514,
            header: header.to_vec(),
        };
        let packets = vec![
            packet(12, DropReason::Connections, DropTable::Bucket, SYN),
            packet(400, DropReason::Refusals, DropTable::Source, &SYN[..16]),
        ];
        vec![CardPackets { interface: "eth0".to_owned(), one_in: 1_024, lost: 3, packets }]
    }
}

fn at(seconds: u64) -> WallNanos {
    WallNanos((NOW.0 + seconds * 1_000) * 1_000_000)
}

fn rows() -> Vec<DropRow> {
    let address = "192.0.2.7".parse().unwrap();
    let flow = Flow::new((address, 40_000).into(), ([198, 51, 100, 1], 443).into());
    let row = |target, pinned_by: Option<&str>| DropRow {
        drop: 7,
        target,
        tenant: "acme".to_owned(),
        user: None,
        agent: Some("bot".to_owned()),
        per: Per::Agent,
        cause: Cause::Quota("agents".into()),
        since: at(0),
        until: at(1_800),
        level: 3,
        pinned_by: pinned_by.map(ToOwned::to_owned),
    };
    vec![
        row(Target::Flow(flow), Some("olga")),
        row(Target::Source(Prefix::source(address)), Some("olga")),
    ]
}

/// Enrols it and connects it.
pub(crate) fn start(dir: &Path, control: &str, token: &str) -> Handle {
    let dirs = Dirs::new(dir);
    dataplane_sync::enrol(&dirs, control, &token.parse().unwrap()).unwrap();
    let config = dataplane_sync::Config::new(dirs, Standing::default(), 7);
    dataplane_sync::start(config, Arc::new(Dropping), None).unwrap()
}
