//! Drops as an appliance would tell them.

use dataplane_bundle::Rate;
use dataplane_bundle::drops::{
    AddressReport, CardMode, CardPackets, CardState, DropOrder, DropReason, DropRow, DropTable,
    DroppedPacket, DropsReport, Order, Thinned,
};
use dataplane_drops::{Cause, Counters, Fill, Flow, Per, Prefix, Seen, Target};
use dataplane_telemetry::WallNanos;

use super::NOW;

/// One of each kind.
pub(crate) fn targets() -> impl Iterator<Item = Target> {
    let flow = Flow {
        peer: "[2001:db8::7]:40000".parse().unwrap(),
        local: "192.0.2.1:443".parse().unwrap(),
    };
    let source = Prefix::source("2001:db8::7".parse().unwrap());
    let prefix = Prefix::new("10.0.0.0".parse().unwrap(), 8).unwrap();
    let all = [
        Target::Flow(flow),
        Target::Source(source),
        Target::Prefix(prefix),
        Target::Service("192.0.2.1:443".parse().unwrap()),
        Target::Vlan { outer: 100, inner: 7 },
    ];
    all.into_iter()
}

pub(crate) fn row(drop: u64, target: Target) -> DropRow {
    DropRow {
        drop,
        target,
        tenant: "acme".to_owned(),
        user: Some("ann".to_owned()),
        agent: None,
        per: Per::User,
        cause: Cause::Quota("agents".into()),
        since: NOW,
        until: WallNanos(NOW.0 + 60_000_000_000),
        level: 2,
        pinned_by: Some("olga".to_owned()),
    }
}

pub(crate) fn report(rows: Vec<DropRow>) -> DropsReport {
    DropsReport {
        entries: u32::try_from(rows.len()).unwrap(),
        rows,
        counters: Counters { refusals: 1, ignored: 2, events_lost: 13, ..Counters::default() },
        fill: Fill { subjects: 1, told: 2, flows: 3, sources: 4, entries: 5 },
        cards: vec![card("eth0")],
    }
}

pub(crate) fn card(interface: &str) -> CardState {
    CardState {
        interface: interface.to_owned(),
        mode: CardMode::Generic,
        program_sha256: [7; 32],
        drops: 9,
        entries: 5,
        entries_max: 16_384,
        thinned: vec![Thinned {
            tenant: "acme".to_owned(),
            rate: Rate { units: 200, period_ms: 1_000 },
            burst: 400,
            drops: 7,
        }],
    }
}

pub(crate) fn packets(interface: &str) -> CardPackets {
    let packet = DroppedPacket {
        at: NOW,
        tenant: "acme".to_owned(),
        reason: DropReason::Connections,
        table: DropTable::Bucket,
        length: 1_514,
        header: vec![2; 54],
    };
    let other = DroppedPacket { reason: DropReason::Kill, header: vec![], ..packet.clone() };
    CardPackets {
        interface: interface.to_owned(),
        one_in: 1_024,
        lost: 3,
        packets: vec![packet, other],
    }
}

pub(crate) fn known() -> AddressReport {
    AddressReport {
        seen: Seen::SeveralTenants,
        sentence: "Nothing of 192.0.2.7 is dropped.".to_owned(),
        entries: 5,
        rows: targets().map(|target| row(1, target)).collect(),
    }
}

pub(crate) fn order(order: Order) -> DropOrder {
    DropOrder { id: 3, by: "olga".to_owned(), reason: "they called".to_owned(), order }
}
