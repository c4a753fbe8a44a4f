//! Records of every shape: what is written reads back, and what is too long is cut and says so.

use dataplane_audit::{
    ArgumentsDigest, BATCH_BYTES_MAX, Batch, BatchFull, Body, BootId, CONTROL_TEXT_BYTES_MAX, Call,
    CallId, CallerNames, Control, Decision, DigestKey, EXTRA_BYTES_MAX, End, Ending, Era, Extra,
    Malformed, Phase, RECORD_BYTES_MAX, RECORD_VERSION, Record, Stamp, TEXT_LIMITS, Verdict,
};
use dataplane_telemetry::{Nanos, WallNanos};
use proptest::prelude::*;

fn stamp() -> Stamp {
    Stamp { boot: BootId([4; 16]), lane: 3, wall: WallNanos(u64::MAX), mono: Nanos(17) }
}

/// Texts of all lengths around their limits, with characters of one to four bytes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z/]{0,40}",
        1 => proptest::collection::vec(prop_oneof![Just('a'), Just('é'), Just('€'), Just('𝄞')], 0..600)
            .prop_map(String::from_iter),
    ]
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

proptest! {
    #[test]
    fn what_is_encoded_decodes(
        texts in proptest::collection::vec(text(), 12),
        numbers in any::<(u64, u64, u64, u64, u64, i32, u16, u16)>(),
        places in (0..Phase::ALL.len(), 0..Era::ALL.len(), 0..Verdict::ALL.len(), 0..End::ALL.len()),
        digest in proptest::option::of(any::<(u32, [u8; 32])>()),
        trace_id in any::<[u8; 16]>(),
    ) {
        let [tenant, user, agent, client, method, server, tool, request_id, rule, quota, kill, reason] =
            std::array::from_fn::<&str, 12, _>(|place| texts[place].as_str());
        let (call, revision, latency_ns, bytes_in, bytes_out, rpc_code, status, upstream_status) = numbers;
        let body = Call {
            phase: Phase::ALL[places.0],
            call: CallId(call),
            caller: CallerNames { tenant, user, agent, client },
            era: Era::ALL[places.1],
            method,
            server,
            tool,
            request_id,
            trace_id,
            arguments: digest.map(|(key, mac)| ArgumentsDigest { key, mac }),
            decision: Decision { verdict: Verdict::ALL[places.2], rule, revision, quota, kill, reason },
            ending: Ending {
                end: End::ALL[places.3],
                status,
                upstream_status,
                rpc_code,
                latency_ns,
                upstream_ns: latency_ns / 2,
                bytes_in,
                bytes_out,
            },
        };
        let record = Record::new(stamp(), Body::Call(body));
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let read = Record::decode(&bytes).unwrap();
        // The same again, cut where it was too long.
        let most = TEXT_LIMITS;
        let mut expected = record;
        let whole = body;
        expected.body = Body::Call(Call {
            caller: CallerNames {
                tenant: cut(tenant, most.tenant),
                user: cut(user, most.user),
                agent: cut(agent, most.agent),
                client: cut(client, most.client),
            },
            method: cut(method, most.method),
            server: cut(server, most.server),
            tool: cut(tool, most.tool),
            request_id: cut(request_id, most.request_id),
            decision: Decision {
                rule: cut(rule, most.rule),
                quota: cut(quota, most.quota),
                kill: cut(kill, most.kill),
                reason: cut(reason, most.reason),
                ..whole.decision
            },
            ..whole
        });
        expected.truncated = read.truncated;
        prop_assert_eq!(read, expected);
        prop_assert_eq!(read.truncated.any(), read.body != Body::Call(whole));
        // What was cut once says so for ever.
        let mut again = Vec::new();
        read.encode(&mut again);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn any_bytes_are_one_record_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        dataplane_audit::fuzz::record(&bytes);
        dataplane_audit::fuzz::checkpoint(&bytes);
    }
}

fn longest(text: &str) -> Call<'_> {
    Call {
        caller: CallerNames { tenant: text, user: text, agent: text, client: text },
        method: text,
        server: text,
        tool: text,
        request_id: text,
        arguments: Some(DigestKey::new(1, &[0; 32]).digest(b"{}")),
        decision: Decision {
            rule: text,
            quota: text,
            kill: text,
            reason: text,
            ..Decision::default()
        },
        ..Call::default()
    }
}

#[test]
fn the_longest_record_fits() {
    let (text, mut extra) = ("€".repeat(10_000), vec![9, 0]);
    extra.extend(((EXTRA_BYTES_MAX - 4) as u16).to_le_bytes());
    extra.resize(EXTRA_BYTES_MAX, 1);
    let mut record = Record::new(stamp(), Body::Call(longest(&text)));
    record.extra = Extra::new(&extra).unwrap();
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    assert!(
        bytes.len() <= EXTRA_BYTES_MAX + 8_192 && bytes.len() < RECORD_BYTES_MAX,
        "{}",
        bytes.len()
    );
    let read = Record::decode(&bytes).unwrap();
    assert_eq!(read.truncated.0, 0xFFF, "all twelve texts were cut");
    assert_eq!(
        read.extra.iter().map(|(tag, value)| (tag, value.len())).next(),
        Some((9, EXTRA_BYTES_MAX - 4))
    );
    extra.push(0);
    assert!(Extra::new(&extra).is_err(), "one byte past the limit");
}

#[test]
fn encoding_into_a_used_vector_does_not_grow_it() {
    let record = Record::new(stamp(), Body::Call(longest("name")));
    let mut batch = Batch::with_capacity(4_096);
    batch.push(&record).unwrap();
    let (place, len) = (batch.bytes().as_ptr(), batch.bytes().len());
    batch.clear();
    for _ in 0..4_096 / len {
        batch.push(&record).unwrap();
    }
    assert_eq!(batch.bytes().as_ptr(), place);
}

#[test]
fn every_control_record_reads_back() {
    let long = "x".repeat(CONTROL_TEXT_BYTES_MAX + 1);
    let controls = [
        Control::Started { version: "1", revision: 2 },
        Control::Stopped { reason: "SIGTERM" },
        Control::ClockStep { by_ns: -5 },
        Control::BundleActivated { revision: 3, digest: [1; 32], author: "ann" },
        Control::BundleRefused { revision: 3, reason: "older" },
        Control::KillListApplied { serial: 4, kills: 5, digest: [2; 32] },
        Control::LogOpened { size: 6, root: [3; 32], segment: 7 },
        Control::LogRecovered { size: 6, root: [3; 32], segment: 7, disowned_bytes: 8 },
        Control::LogClosed { size: 9 },
        Control::LogResumed { segment: 10, errno: 28, refused_ns: 11 },
        Control::LogKeyChanged {
            old_key: [1; 32],
            new_key: [2; 32],
            old_signature: [3; 64],
            new_signature: [4; 64],
        },
        Control::DigestKeyChanged { key: 12 },
        Control::LossAccepted { expected_size: 2, found_size: 1, operator: "ann", reason: "disk" },
        Control::RevocationsApplied { serial: 13, entries: 14 },
        Control::Noted { topic: "t", text: "u" },
    ];
    for (place, control) in controls.into_iter().enumerate() {
        let (record, mut bytes) = (Record::new(stamp(), Body::Control(control)), Vec::new());
        record.encode(&mut bytes);
        assert_eq!(Record::decode(&bytes), Ok(record), "{}", control.name());
        let code_at = 4 + 34;
        assert_eq!(usize::from(bytes[code_at]), place + 1, "codes never change");
    }
    let mut bytes = Vec::new();
    Record::new(stamp(), Body::Control(Control::Stopped { reason: &long })).encode(&mut bytes);
    assert_eq!(Record::decode(&bytes).unwrap().truncated.0, 1);
}

#[test]
fn what_is_not_canonical_is_refused() {
    let mut bytes = Vec::new();
    Record::new(stamp(), Body::Call(longest("name"))).encode(&mut bytes);
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = bytes.clone();
        change(&mut changed);
        Record::decode(&changed).unwrap_err()
    };
    assert_eq!(refused(&|bytes| bytes[0] = RECORD_VERSION + 1), Malformed::Version(2));
    assert_eq!(refused(&|bytes| bytes[1] = 3), Malformed::Value("kind"));
    assert_eq!(refused(&|bytes| bytes.push(0)), Malformed::Trailing);
    assert_eq!(refused(&|bytes| bytes.truncate(bytes.len() - 1)), Malformed::Short);
    assert_eq!(refused(&|bytes| bytes[3] = 0x10), Malformed::Value("truncated bits"));
    assert_eq!(refused(&|bytes| bytes[38] = 9), Malformed::Value("phase"));
    // The tenant's length, and a byte of it that is not UTF-8.
    assert_eq!(refused(&|bytes| bytes[48] = 1), Malformed::Text("tenant"));
    assert_eq!(refused(&|bytes| bytes[49] = 0xFF), Malformed::Text("tenant"));
    for (extra, fine) in [
        (&[1, 0, 0, 0, 2, 0, 1, 0, 7][..], true),
        (&[1, 0, 0, 0, 1, 0, 0, 0], false),
        (&[2, 0, 0, 0, 1, 0, 0, 0], false),
        (&[1, 0, 5, 0, 1], false),
        (&[1], false),
    ] {
        assert_eq!(Extra::new(extra).is_ok(), fine, "{extra:?}");
    }
}

#[test]
fn one_record_past_a_full_batch_is_refused() {
    let (mut batch, record) = (Batch::default(), Record::new(stamp(), Body::Call(longest("name"))));
    while batch.push(&record).is_ok() {}
    let (records, len) = (batch.records(), batch.bytes().len());
    assert_eq!(batch.push(&record), Err(BatchFull));
    assert_eq!((batch.records(), batch.bytes().len()), (records, len), "as it was");
    assert!(len <= BATCH_BYTES_MAX && BATCH_BYTES_MAX - len < 1_000);
}
