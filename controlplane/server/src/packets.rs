//! Packets that network cards have dropped: asked of the appliances when somebody asks, and not kept.
//!
//! What comes is headers, from whoever sends to a gateway: read with bounds, and shown as text.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};

use axum::extract::State;
use controlplane_api::Time;
use controlplane_api::wire::{
    DroppedPacket, NotAsked, PacketReason, PacketTable, PacketsPage, SampledCard, check_address,
};
use dataplane_bundle::drops::{CardPackets, DropReason, DropTable, DroppedPacket as Told};
use dataplane_drops::Prefix;
use dataplane_drops::packet::Headers;
use serde::Deserialize;

use crate::app::{App, Shared};
use crate::ask::{Params, limit};
use crate::drops::{ask_all, chosen};
use crate::fault::Fault;
use crate::route::Told as Answer;

/// `?tenant=&address=&appliance=&limit=`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    tenant: Option<String>,
    address: Option<String>,
    appliance: Option<String>,
    limit: Option<u32>,
}

pub(crate) const FILTER: &[(&str, &str)] = &[
    ("tenant", "Packets of this tenant"),
    ("address", "Packets from or to this address; of IPv6, from its /64"),
    ("appliance", "Packets that this appliance has dropped"),
    ("limit", "Items at most, the newest; 100 unless told"),
];

pub(crate) async fn list(
    State(app): State<Shared>,
    Params(filter): Params<Filter>,
) -> Result<Answer<PacketsPage>, Fault> {
    let limit = limit(filter.limit)? as usize;
    let address = filter.address.as_deref().map(check_address).transpose()?;
    let boxes = chosen(&app, filter.appliance.as_deref())?;
    let rollout = app.rollout()?;
    let answers = ask_all(&boxes, |appliance| {
        let rollout = rollout.clone();
        async move { rollout.dropped_packets(&appliance).await }
    });
    let mut page = PacketsPage { items: Vec::new(), cards: Vec::new(), not_asked: Vec::new() };
    for (appliance, answer) in answers.await {
        let appliance = appliance.to_string();
        match answer {
            Ok(cards) => add(&mut page, &app, &appliance, cards, (&filter.tenant, address)),
            Err(fault) => {
                page.not_asked.push(NotAsked { appliance, trouble: fault.to_string() });
            }
        }
    }
    page.items.sort_by_key(|packet| Reverse(packet.at));
    page.items.truncate(limit);
    Ok(Answer::ok(page))
}

fn add(
    page: &mut PacketsPage,
    app: &App,
    appliance: &str,
    cards: Vec<CardPackets>,
    (tenant, address): (&Option<String>, Option<IpAddr>),
) {
    for CardPackets { interface, one_in, lost, packets } in cards {
        for told in packets {
            let headers = Headers::read(&told.header);
            let is_wanted = tenant.as_ref().is_none_or(|tenant| told.tenant == *tenant)
                && address.is_none_or(|address| touches(&headers, address));
            if is_wanted {
                page.items.push(packet(appliance, &interface, told, &headers, app.now()));
            }
        }
        let appliance = appliance.to_owned();
        page.cards.push(SampledCard { appliance, interface, one_in, lost });
    }
}

/// As entries touch addresses: an IPv6 host is its /64.
fn touches(headers: &Headers, address: IpAddr) -> bool {
    let address = address.to_canonical();
    headers.addresses.is_some_and(|(source, destination)| {
        Prefix::source(source.to_canonical()) == Prefix::source(address)
            || destination.to_canonical() == address
    })
}

fn packet(
    appliance: &str,
    interface: &str,
    told: Told,
    headers: &Headers,
    now: Time,
) -> DroppedPacket {
    let end = |address: IpAddr, port: Option<u16>| {
        let address = address.to_canonical();
        port.map_or(address.to_string(), |port| SocketAddr::new(address, port).to_string())
    };
    DroppedPacket {
        appliance: appliance.to_owned(),
        interface: interface.to_owned(),
        at: Time::from_nanos(told.at.0),
        age_ms: now.nanos().saturating_sub(told.at.0) / 1_000_000,
        tenant: told.tenant,
        reason: match told.reason {
            DropReason::Refusals => PacketReason::Refusals,
            DropReason::Kill => PacketReason::Kill,
            DropReason::Operator => PacketReason::Operator,
            DropReason::Connections => PacketReason::Connections,
        },
        table: match told.table {
            DropTable::Source => PacketTable::Source,
            DropTable::Flow => PacketTable::Flow,
            DropTable::Service => PacketTable::Service,
            DropTable::Vlan => PacketTable::Vlan,
            DropTable::Bucket => PacketTable::Bucket,
        },
        vlan: match headers.vlans {
            [0, _] => None,
            [vlan, 0] => Some(vlan.to_string()),
            [outer, inner] => Some(format!("{outer}.{inner}")),
        },
        protocol: headers.protocol.map(protocol),
        source: headers.addresses.map(|(source, _)| end(source, headers.ports.map(|both| both.0))),
        destination: headers.addresses.map(|(_, to)| end(to, headers.ports.map(|both| both.1))),
        says: headers.says.map(|says| says.to_string()),
        length: told.length,
        header: told.header.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// As IANA names those that a card may drop.
fn protocol(number: u8) -> String {
    match number {
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        other => format!("IP {other}"),
    }
}
