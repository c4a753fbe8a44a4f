//! Kill lists, leases and the channel's messages: round trips, refusals, and the fuzzed properties
//! on random bytes and on changed good ones.

mod world;

use dataplane_bundle::drops::{Chosen, DropsReport, Order};
use dataplane_bundle::limits::{KILLS_MAX, LEASES_MAX, REASON_BYTES_MAX, SECRET_BYTES_MAX};
use dataplane_bundle::message::{
    Certified, Enrol, Enrolled, HEAD_BYTES, Head, Hello, Kind, RECORDS_BYTES_MAX, Records, Status,
    ToAppliance, ToControl,
};
use dataplane_bundle::{Kill, KillList, KillTarget, Lease, Refused, Revision, fuzz, lease};
use dataplane_telemetry::WallNanos;
use proptest::prelude::*;
use ring::signature::Ed25519KeyPair;
use world::dropping::{known, order, packets, report, row, targets};
use world::{NOW, appliance, draft, signer};

fn kill(number: usize) -> Kill {
    Kill {
        id: format!("k{number}"),
        target: KillTarget::Tool { server: "crm".to_owned(), tool: "refund".to_owned() },
        reason: "refunds twice \"since\" 3 a.m.".to_owned(),
        author: "ann".to_owned(),
        at: NOW,
        expires_at: Some(WallNanos(NOW.0 + 1)),
    }
}

fn list(kills: usize) -> KillList {
    KillList { serial: 5, created_at: NOW, kills: (0..kills).map(kill).collect() }
}

fn open(bytes: &[u8], floor: u64) -> Result<KillList, Refused> {
    KillList::open(bytes, &[signer(1).public_key()], floor)
}

#[test]
fn every_kind_of_kill_opens_as_it_was_sealed() {
    let text = |text: &str| text.to_owned();
    let mut list = list(7);
    list.kills[1].target = KillTarget::Server { server: text("crm") };
    list.kills[2].target = KillTarget::Tenant { tenant: text("acme") };
    list.kills[3].target = KillTarget::User { tenant: text("acme"), user: text("ann@example.com") };
    list.kills[4].target = KillTarget::Agent { tenant: text("acme"), agent: text("nightly") };
    list.kills[5].target = KillTarget::Client { client: text("ide") };
    list.kills[6].target = KillTarget::Token { token: text("jti-1") };
    list.kills[6].expires_at = None;
    let sealed = list.seal(&signer(1)).unwrap();
    assert_eq!(open(&sealed, 5).unwrap(), list);
}

#[test]
fn a_kill_ends_at_its_expiry() {
    let mut kill = kill(0);
    assert!(kill.is_active(NOW));
    assert!(!kill.is_active(WallNanos(NOW.0 + 1)));
    kill.expires_at = None;
    assert!(kill.is_active(WallNanos(u64::MAX)));
}

#[test]
fn every_flipped_bit_and_truncation_of_a_kill_list_is_refused() {
    let good = list(2).seal(&signer(1)).unwrap();
    let mut bytes = good.clone();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&bytes, 0).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for length in 0..good.len() {
        assert!(open(&good[..length], 0).is_err(), "{length} bytes");
    }
    assert!(open(&[&good[..], b"\0"].concat(), 0).is_err());
}

#[test]
fn an_older_or_foreign_kill_list_is_refused() {
    let sealed = list(1).seal(&signer(1)).unwrap();
    assert_eq!(open(&sealed, 6).unwrap_err(), Refused::OlderKills { found: 5, floor: 6 });
    let foreign = list(1).seal(&signer(2)).unwrap();
    assert!(matches!(open(&foreign, 0), Err(Refused::UnknownKey { .. })));
}

/// The right key, the right bytes, another purpose: signed by hand.
#[test]
fn a_signature_for_one_purpose_is_none_for_another() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let sealed = list(1).seal(&signer(1)).unwrap();
    let signed = &sealed[..sealed.len() - 64];
    let under = |purpose: &[u8]| {
        let signature = pair.sign(&[purpose, signed].concat());
        open(&[signed, signature.as_ref()].concat(), 0)
    };
    assert!(under(b"portcullis kill list v1\0").is_ok());
    for purpose in [&b""[..], b"portcullis bundle v1\0", b"portcullis kill list v2\0"] {
        assert_eq!(under(purpose).unwrap_err(), Refused::Signature { what: "kill list" });
    }
    let bundle = draft(7).seal(&appliance("box-1"), &signer(1));
    assert!(matches!(open(&bundle, 0), Err(Refused::Magic { what: "kill list", .. })));
}

#[test]
fn kills_are_bounded() {
    assert!(list(KILLS_MAX).seal(&signer(1)).is_ok());
    let past = list(KILLS_MAX + 1).seal(&signer(1)).unwrap_err();
    assert_eq!(past.to_string(), "kills: 1025 is more than the limit of 1024");
    let refused = |change: fn(&mut Kill)| {
        let mut list = list(1);
        change(&mut list.kills[0]);
        list.seal(&signer(1)).unwrap_err()
    };
    refused(|kill| kill.reason = "a".repeat(REASON_BYTES_MAX + 1));
    refused(|kill| kill.author = "a\nb".to_owned());
    refused(|kill| kill.id = "K 1".to_owned());
    refused(|kill| kill.target = KillTarget::Server { server: "a_b".to_owned() });
    refused(|kill| kill.target = KillTarget::Tenant { tenant: String::new() });
    let mut twice = list(2);
    twice.kills[1].id = twice.kills[0].id.clone();
    assert!(matches!(twice.seal(&signer(1)), Err(Refused::Twice { .. })));
}

fn lease(number: usize) -> Lease {
    Lease {
        secret: format!("s{number}"),
        revision: 3,
        value: b"hunter2".to_vec().into(),
        expires_at: NOW,
    }
}

#[test]
fn leases_are_bounded_and_never_shown() {
    let leases: Vec<_> = (0..3).map(lease).collect();
    let bytes = lease::encode(&leases).unwrap();
    assert_eq!(lease::decode(&bytes).unwrap(), leases);
    assert!(!format!("{leases:?}").contains("hunter2"));
    let many: Vec<_> = (0..=LEASES_MAX).map(lease).collect();
    assert!(lease::encode(&many).is_err());
    assert!(lease::encode(&many[1..]).is_ok());
    let mut long = lease(0);
    long.value = vec![b'a'; SECRET_BYTES_MAX].into();
    assert!(lease::encode(&[long.clone()]).is_ok());
    long.value = vec![b'a'; SECRET_BYTES_MAX + 1].into();
    assert!(lease::encode(&[long]).is_err());
}

/// One message of each kind, as bytes.
fn messages() -> Vec<Vec<u8>> {
    let certified =
        Certified { certificate: vec![0x30; 500], renew_at: NOW, expires_at: WallNanos(NOW.0 * 2) };
    let enrolled = Enrolled {
        appliance: appliance("box-1"),
        certified: certified.clone(),
        ca: vec![0x30; 400],
        signing_keys: vec![signer(1).public_key()],
    };
    let enrol = Enrol { secret: "ab".repeat(16).into(), public_key: vec![0x30; 91] };
    let down = [
        ToAppliance::Welcome { records_next: 9 },
        ToAppliance::Bundle(vec![1, 2, 3]),
        ToAppliance::Kills(vec![]),
        ToAppliance::Leases(vec![lease(1), lease(2)]),
        ToAppliance::RecordsStored { next: u64::MAX },
        ToAppliance::Certificate(certified),
        ToAppliance::DropOrder(order(Order::Release(Chosen::All))),
        ToAppliance::DropOrder(order(Order::Release(Chosen::Drop(7)))),
        ToAppliance::DropOrder(order(Order::Release(Chosen::Tenant("acme".to_owned())))),
        ToAppliance::DropOrder(order(Order::Release(Chosen::Address([192, 0, 2, 1].into())))),
        ToAppliance::DropOrder(order(Order::Pin { drop: 7, for_ms: 60_000 })),
        ToAppliance::ExplainAddress { id: 4, address: std::net::Ipv6Addr::LOCALHOST.into() },
        ToAppliance::ListPackets { id: 5 },
    ];
    let up = [
        ToControl::Hello(Hello {
            revision: Revision(7),
            content: [3; 32],
            kill_serial: 2,
            version: "0.1.0".to_owned(),
            cores: 8,
            log_key: "portcullis/box-1+00000000+AAAA".to_owned(),
        }),
        ToControl::BundleResult { revision: Revision(7), result: Ok(()) },
        ToControl::BundleResult { revision: Revision(0), result: Err("no".to_owned()) },
        ToControl::KillsResult { serial: 1, result: Ok(()) },
        ToControl::LeasesResult { result: Ok(()) },
        ToControl::Status(Status { calls: 5, trouble: "disk".to_owned(), ..Status::default() }),
        ToControl::Records(Records {
            first_index: 4,
            records: vec![vec![1], vec![], vec![2; 300]],
        }),
        ToControl::Renew { public_key: vec![0x30; 91] },
        ToControl::Drops(report(targets().map(|target| row(1, target)).collect())),
        ToControl::Drops(DropsReport::default()),
        ToControl::DropOrderResult { id: 3, result: Ok(2) },
        ToControl::DropOrderResult { id: 3, result: Err("there is no drop 7".to_owned()) },
        ToControl::AddressExplained { id: 4, explained: None },
        ToControl::AddressExplained { id: 4, explained: Some(known()) },
        ToControl::Packets { id: 5, cards: vec![] },
        ToControl::Packets { id: 5, cards: vec![packets("eth0"), packets("eth1")] },
    ];
    let mut all: Vec<Vec<u8>> = Vec::new();
    for message in &down {
        let bytes = message.encode().unwrap();
        let (kind, body) = split(&bytes);
        assert_eq!(&ToAppliance::decode(kind, body.to_vec().into()).unwrap(), message);
        all.push(bytes.to_vec());
    }
    for message in &up {
        let bytes = message.encode().unwrap();
        let (kind, body) = split(&bytes);
        assert_eq!(&ToControl::decode(kind, body).unwrap(), message);
        all.push(bytes.to_vec());
    }
    all.push(enrol.encode().unwrap().to_vec());
    for answer in [Ok(enrolled), Err("the token was used".to_owned())] {
        let bytes = Enrolled::encode(&answer).unwrap();
        let (kind, body) = split(&bytes);
        assert_eq!(Enrolled::decode(kind, body).unwrap(), answer);
        all.push(bytes.to_vec());
    }
    all
}

fn split(bytes: &[u8]) -> (Kind, &[u8]) {
    let (head, body) = bytes.split_first_chunk::<HEAD_BYTES>().unwrap();
    let Head { kind, length } = Head::read(*head).unwrap();
    assert_eq!(length, body.len());
    (kind, body)
}

#[test]
fn every_message_decodes_to_itself_and_from_its_own_side_alone() {
    for bytes in messages() {
        let (kind, body) = split(&bytes);
        let down = ToAppliance::decode(kind, body.to_vec().into()).is_ok();
        let up = ToControl::decode(kind, body).is_ok();
        let enrol = Enrol::decode(kind, body).is_ok();
        let enrolled = Enrolled::decode(kind, body).is_ok();
        let sides = [down, up, enrol, enrolled].iter().filter(|side| **side).count();
        assert_eq!(sides, 1, "{kind:?}");
    }
}

#[test]
fn a_message_past_its_kinds_bound_is_refused_by_its_head() {
    let head = |kind: Kind, length: usize| {
        let mut head = [kind as u8; HEAD_BYTES];
        head[1..].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
        Head::read(head)
    };
    for kind in [Kind::Bundle, Kind::Kills, Kind::Leases, Kind::Status, Kind::Records, Kind::Enrol]
    {
        assert!(head(kind, kind.bytes_max()).is_ok(), "{kind:?}");
        assert!(head(kind, kind.bytes_max() + 1).is_err(), "{kind:?}");
    }
    assert!(Head::read([0; 5]).is_err() && Head::read([200, 0, 0, 0, 0]).is_err());
    let record = vec![0; 65_535];
    let fits = Records::ROOM / Records::cost(&record);
    let full = |count| {
        ToControl::Records(Records { first_index: 0, records: vec![record.clone(); count] })
    };
    assert!(full(fits).encode().unwrap().len() <= HEAD_BYTES + RECORDS_BYTES_MAX);
    assert!(full(fits + 1).encode().is_err());
}

#[test]
fn a_reason_is_cut_between_characters() {
    let reason = "é".repeat(2_000);
    let message = ToControl::LeasesResult { result: Err(reason) }.encode().unwrap();
    let (kind, body) = split(&message);
    let ToControl::LeasesResult { result } = ToControl::decode(kind, body).unwrap() else {
        unreachable!()
    };
    assert_eq!(result.unwrap_err(), "é".repeat(512));
}

proptest! {
    #[test]
    fn random_bytes_keep_the_properties(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz::bundle(&bytes);
        fuzz::kill_list(&bytes);
        fuzz::message(&bytes);
    }

    #[test]
    fn changed_messages_keep_the_properties(pick in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), to in any::<u8>(), cut in 0..4_usize) {
        let messages = messages();
        let mut bytes = pick.get(&messages).clone();
        let at = at.index(bytes.len());
        bytes[at] = to;
        bytes.truncate(bytes.len() - cut);
        fuzz::message(&bytes);
    }

    #[test]
    fn changed_documents_keep_the_properties(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let sealed = list(2).seal(&signer(1)).unwrap();
        let mut json = sealed[38..sealed.len() - 64].to_vec();
        fuzz::kill_list(&json);
        let place = at.index(json.len());
        json[place] = to;
        fuzz::kill_list(&json);
    }
}
