//! What is said of drops: every bound one past it, what is left out of a long report, and places.

mod world;

use dataplane_bundle::drops::{
    CARDS_MAX, CardPackets, Chosen, DROPS_BYTES_MAX, DropRow, DroppedPacket, DropsReport, Order,
    PACKETS_MAX, ROWS_MAX, ROWS_OF_A_DROP_MAX, THINNED_MAX, Thinned,
};
use dataplane_bundle::limits::{CONNECTIONS_MAX, IDENTITY_BYTES_MAX, REASON_BYTES_MAX};
use dataplane_bundle::message::{HEAD_BYTES, Head, ToAppliance, ToControl};
use dataplane_bundle::{Connections, Rate, Refused};
use dataplane_drops::packet::PACKET_BYTES_MAX;
use dataplane_drops::{
    Attribution, Cause, Counters, DropRule, Fill, LadderRule, Listed, PIN_MS_MAX, PLACES_MAX,
    Place, Prefix, Target,
};
use dataplane_telemetry::WallNanos;
use world::dropping::{card, known, order, packets, report, row, targets};
use world::{NOW, catalog};

fn told(report: DropsReport) -> Result<DropsReport, Refused> {
    let bytes = ToControl::Drops(report).encode()?;
    let (head, body) = bytes.split_first_chunk::<HEAD_BYTES>().unwrap();
    let ToControl::Drops(report) = ToControl::decode(Head::read(*head)?.kind, body)? else {
        unreachable!()
    };
    Ok(report)
}

fn flow(port: u16) -> Target {
    Target::Service(([192, 0, 2, 1], port).into())
}

fn listed(drop: u64, count: u16) -> impl Iterator<Item = Listed> {
    (0..count).map(move |port| row(drop, flow(port)).listed(NOW))
}

#[test]
fn the_longest_report_fits_and_one_row_more_is_refused() {
    let long = "x".repeat(IDENTITY_BYTES_MAX);
    let longest = DropRow {
        tenant: long.clone(),
        user: Some(long.clone()),
        agent: Some(long.clone()),
        cause: Cause::Kill(long.as_str().into()),
        pinned_by: Some(long.clone()),
        ..row(1, targets().next().unwrap())
    };
    let mut full = report(vec![longest.clone(); ROWS_MAX]);
    full.cards = (0..CARDS_MAX).map(|number| card(&format!("interface-{number:06}"))).collect();
    for card in &mut full.cards {
        let longest = Thinned { tenant: long.clone(), ..card.thinned[0].clone() };
        card.thinned = vec![longest; THINNED_MAX];
    }
    assert_eq!(told(full.clone()).unwrap(), full);
    assert!(ToControl::Drops(full.clone()).encode().unwrap().len() <= DROPS_BYTES_MAX);
    let mut past = full.clone();
    past.rows.push(longest);
    assert_eq!(told(past).unwrap_err().to_string(), "drops: 1025 is more than the limit of 1024");
    let mut past = full.clone();
    let one = past.cards[0].thinned[0].clone();
    past.cards[0].thinned.push(one);
    assert_eq!(
        told(past).unwrap_err().to_string(),
        "card.thinned: 65 is more than the limit of 64"
    );
    let mut past = full;
    past.cards.push(card("eth0"));
    assert_eq!(told(past).unwrap_err().to_string(), "cards: 17 is more than the limit of 16");
    let past = report(vec![]);
    let past = DropsReport { cards: vec![card(&"x".repeat(17))], ..past };
    assert!(told(past).is_err());
}

fn told_packets(cards: Vec<CardPackets>) -> Result<Vec<CardPackets>, String> {
    let bytes = ToControl::Packets { id: 1, cards }.encode().map_err(|fault| fault.to_string())?;
    let (head, body) = bytes.split_first_chunk::<HEAD_BYTES>().unwrap();
    let kind = Head::read(*head).map_err(|fault| fault.to_string())?.kind;
    let ToControl::Packets { cards, .. } = ToControl::decode(kind, body).unwrap() else {
        unreachable!()
    };
    Ok(cards)
}

#[test]
fn the_longest_list_of_packets_fits_and_one_more_of_anything_is_refused() {
    let mut one = packets(&"x".repeat(16));
    let longest = DroppedPacket {
        tenant: "x".repeat(IDENTITY_BYTES_MAX),
        header: vec![1; PACKET_BYTES_MAX],
        ..one.packets[0].clone()
    };
    one.packets = vec![longest.clone(); PACKETS_MAX];
    let full = vec![one.clone(); CARDS_MAX];
    assert_eq!(told_packets(full.clone()).unwrap(), full);
    let mut past = full.clone();
    past.push(one.clone());
    assert_eq!(told_packets(past).unwrap_err(), "cards: 17 is more than the limit of 16");
    let mut past = full.clone();
    past[0].packets.push(longest);
    assert_eq!(told_packets(past).unwrap_err(), "packets: 65 is more than the limit of 64");
    let mut past = full;
    past[0].packets[0].header.push(1);
    assert_eq!(told_packets(past).unwrap_err(), "packet.header: 97 is more than the limit of 96");
}

#[test]
fn what_leaves_the_box_of_a_packet_is_its_headers() {
    let mut packet = packets("eth0").packets.remove(0);
    // Ethernet, IPv4, TCP without options; then what somebody has said.
    packet.header = vec![2; 12];
    packet
        .header
        .extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 7, 192, 0, 2, 1]);
    packet
        .header
        .extend([0x9c, 0x40, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x18, 0, 0, 0, 0, 0, 0]);
    let headers = packet.header.clone();
    packet.header.extend(b"GET /salaries HTTP/1.1\r\nAuthorization: Bearer 0123456789012345678901");
    assert_eq!(packet.cut().header, headers);
}

#[test]
fn a_name_that_is_too_long_is_cut_and_costs_nobody_the_report() {
    let named = DropRow { tenant: "é".repeat(200), ..row(1, flow(1)) };
    assert_eq!(told(report(vec![named])).unwrap().rows[0].tenant, "é".repeat(128));
}

#[test]
fn a_long_report_keeps_some_of_each_drop_and_counts_all() {
    let of = |listed: Vec<Listed>| {
        DropsReport::new(listed, Counters::default(), Fill::default(), vec![card("e"); 20])
    };
    let all = of(listed(2, 1_000).chain(listed(1, 24)).collect());
    assert_eq!((all.entries, all.rows.len(), all.cards.len()), (1_024, 1_024, CARDS_MAX));
    let some = of(listed(2, 1_000).chain(listed(1, 25)).collect());
    assert_eq!((some.entries, some.rows.len()), (1_025, ROWS_OF_A_DROP_MAX + 25));
    let many = of((0..2_000).rev().flat_map(|drop| listed(drop, 1)).collect());
    assert_eq!((many.entries, many.rows.len(), many.rows[0].drop), (2_000, ROWS_MAX, 1_999));
}

#[test]
fn what_changes_by_the_second_alone_is_no_news() {
    let before = report(vec![row(1, flow(1))]);
    let moved = |by: u64| {
        let until = WallNanos(before.rows[0].until.0 + by);
        report(vec![DropRow { until, ..before.rows[0].clone() }])
    };
    assert!(before.is_like(&before) && moved(499_999_999).is_like(&before));
    assert!(!moved(500_000_000).is_like(&before));
    assert!(!report(vec![]).is_like(&before));
    assert!(!report(vec![row(2, flow(1))]).is_like(&before));
    let unpinned = DropRow { pinned_by: None, ..before.rows[0].clone() };
    assert!(!report(vec![unpinned]).is_like(&before));
    let mut counted = before.clone();
    counted.cards[0].drops += 1;
    assert!(!counted.is_like(&before) && counted.has_rows_of(&before));
    assert!(!moved(500_000_000).has_rows_of(&before) && !report(vec![]).has_rows_of(&before));
}

#[test]
fn a_row_is_said_as_the_appliance_would_say_it() {
    let one = row(3, flow(443)).listed(WallNanos(NOW.0 + 1));
    assert_eq!(one.ends_in_ms, 60_000);
    assert_eq!(
        one.sentence,
        "The card drops everything to 192.0.2.1:443: user ann of tenant acme went on calling before \
         the time that quota agents had told. This is drop 2 in a row; calm makes the next one \
         shorter. olga holds it. It ends by itself in 60 s; `portcullis drops release --drop 3` ends \
         it now."
    );
    assert_eq!(row(3, flow(443)).listed(WallNanos(u64::MAX)).ends_in_ms, 0);
}

#[test]
fn orders_are_bounded() {
    let sent = |one| ToAppliance::DropOrder(one).encode().map(drop);
    let pin = |for_ms| order(Order::Pin { drop: 1, for_ms });
    assert!(sent(pin(PIN_MS_MAX)).is_ok());
    let past = sent(pin(PIN_MS_MAX + 1)).unwrap_err().to_string();
    assert_eq!(past, "order.for_ms: 43200001 is more than the limit of 43200000");
    assert!(sent(pin(0)).is_err());
    let by = |by: &str| sent(world_order(by, "why"));
    assert!(by("olga").is_ok() && by("").is_err() && by("ol\nga").is_err());
    let why = |count| sent(world_order("olga", &"x".repeat(count)));
    assert!(why(REASON_BYTES_MAX).is_ok() && why(REASON_BYTES_MAX + 1).is_err());
    let tenant = |tenant: &str| sent(order(Order::Release(Chosen::Tenant(tenant.to_owned()))));
    assert!(tenant("acme").is_ok() && tenant("").is_err());
    assert!(tenant(&"x".repeat(IDENTITY_BYTES_MAX + 1)).is_err());
}

fn world_order(by: &str, reason: &str) -> dataplane_bundle::drops::DropOrder {
    let (by, reason) = (by.to_owned(), reason.to_owned());
    dataplane_bundle::drops::DropOrder { by, reason, ..order(Order::Release(Chosen::All)) }
}

#[test]
fn a_sentence_is_cut() {
    let mut long = known();
    long.sentence = "é".repeat(300);
    let message = ToControl::AddressExplained { id: 1, explained: Some(long) }.encode().unwrap();
    let (head, body) = message.split_first_chunk::<HEAD_BYTES>().unwrap();
    let read = ToControl::decode(Head::read(*head).unwrap().kind, body).unwrap();
    let ToControl::AddressExplained { explained: Some(read), .. } = read else { unreachable!() };
    assert_eq!(read.sentence, "é".repeat(256));
}

fn place(tenant: &str, target: Target) -> Place {
    Place { tenant: tenant.to_owned(), target }
}

fn prefix(text: &str, bits: u8) -> Target {
    Target::Prefix(Prefix::new(text.parse().unwrap(), bits).unwrap())
}

#[test]
fn of_many_bounds_those_are_told_that_dropped_most() {
    let mut one = card("eth0");
    let of = |at: u64| Thinned {
        tenant: format!("t{at}"),
        drops: at * 7 % 100,
        ..one.thinned[0].clone()
    };
    let all: Vec<Thinned> = (0..100).map(of).collect();
    one.thinned = all;
    let report = DropsReport::new(vec![], Counters::default(), Fill::default(), vec![one]);
    let told: Vec<u64> = report.cards[0].thinned.iter().map(|one| one.drops).collect();
    let most: Vec<u64> = (100 - THINNED_MAX as u64..100).rev().collect();
    assert_eq!(told, most);
}

#[test]
fn bounds_of_connections_are_bounded() {
    let bound = |tenant: &str| Connections {
        tenant: tenant.to_owned(),
        rate: Rate { units: 200, period_ms: 1_000 },
        burst: 400,
    };
    let checked = |connections: Vec<Connections>| {
        let mut catalog = catalog();
        catalog.connections = connections;
        catalog.check().map_err(|refused| refused.to_string())
    };
    let many = |count: usize| (0..count).map(|at| bound(&format!("t{at}"))).collect();
    assert_eq!(checked(many(CONNECTIONS_MAX)), Ok(()));
    let past = checked(many(CONNECTIONS_MAX + 1)).unwrap_err();
    assert_eq!(past, "connections: 1025 is more than the limit of 1024");
    assert!(checked(vec![bound("acme"), bound("acme")]).is_err());
    let wrong = [
        Connections { burst: 0, ..bound("acme") },
        Connections { rate: Rate { units: 0, period_ms: 1_000 }, ..bound("acme") },
        Connections { rate: Rate { units: 1, period_ms: 0 }, ..bound("acme") },
        Connections { rate: Rate { units: 1, period_ms: 31 * 86_400_000 + 1 }, ..bound("acme") },
        bound(""),
    ];
    for wrong in wrong {
        assert!(checked(vec![wrong.clone()]).is_err(), "{wrong:?}");
    }
}

fn checked(places: Vec<Place>) -> Result<(), String> {
    let mut catalog = catalog();
    catalog.places = places;
    catalog.check().map_err(|refused| refused.to_string())
}

#[test]
fn places_are_bounded_and_one_tenants() {
    let vlans = |count: usize| -> Vec<Place> {
        let vlan = |outer| place("acme", Target::Vlan { outer, inner: 0 });
        (1..=u16::try_from(count).unwrap()).map(vlan).collect()
    };
    assert_eq!(checked(vlans(PLACES_MAX)), Ok(()));
    let past = checked(vlans(PLACES_MAX + 1)).unwrap_err();
    assert_eq!(past, "places: 1025 is more than the limit of 1024");
    let both = |one: &str, other: &str| {
        checked(vec![place(one, prefix("10.0.0.0", 8)), place(other, prefix("10.1.0.0", 16))])
    };
    assert_eq!(both("acme", "acme"), Ok(()));
    assert_eq!(
        both("acme", "zeta").unwrap_err(),
        "places: \"everything from 10.0.0.0/8 and everything from 10.1.0.0/16\" overlap and are two \
         tenants'; keep them apart"
    );
    let none = checked(vec![place("acme", Target::Vlan { outer: 4_095, inner: 0 })]).unwrap_err();
    assert!(none.contains("is no prefix, address and port, or VLAN"), "{none}");
    assert!(checked(vec![place("", prefix("10.0.0.0", 8))]).is_err());
}

#[test]
fn places_travel_and_their_unknown_fields_are_refused() {
    let mut with = catalog();
    with.places = targets().skip(2).map(|target| place("acme", target)).collect();
    with.kill_ladder =
        Some(LadderRule { drop: Some(DropRule::default()), ..LadderRule::default() });
    with.attribution = Some(Attribution { certain_after_ms: 5_000, ..Attribution::default() });
    let text = serde_json::to_string(&with).unwrap();
    let read = |text: &str| serde_json::from_str::<dataplane_bundle::Catalog>(text);
    assert_eq!(read(&text).unwrap(), with);
    for (from, to) in [("\"bits\":8", "\"bits\":8,\"x\":1"), ("\"inner\":7", "\"inner\":7,\"x\":1")]
    {
        assert!(text.contains(from) && read(&text.replace(from, to)).is_err(), "{from}");
    }
    // What says nothing of drops reads as before.
    let text = serde_json::to_string(&catalog()).unwrap();
    assert!(!["places", "kill_ladder", "attribution"].iter().any(|field| text.contains(field)));
}

#[test]
fn the_ladder_of_kills_and_the_memory_of_addresses_are_within_their_bounds() {
    let mut with = catalog();
    let drop = DropRule { drop_ms_max: 3_600_001, ..DropRule::default() };
    with.kill_ladder = Some(LadderRule { drop: Some(drop), ..LadderRule::default() });
    let refused = with.check().unwrap_err().to_string();
    assert_eq!(refused, "kill_ladder.drop.drop_ms_max: \"3600001\" is out of its bounds");
    with.kill_ladder = None;
    assert_eq!(with.kill_ladder().unwrap().drop_ms(0), None);
    with.attribution = Some(Attribution { certain_after_ms: 999, ..Attribution::default() });
    let refused = with.check().unwrap_err().to_string();
    assert_eq!(refused, "attribution.certain_after_ms: \"999\" is out of its bounds");
}
