//! The event reader against a plain twin that is given the whole stream at once, cut at every byte.

use dataplane_relay::sse::{Event, KEEP_ALIVE, Limits, Reader, SseFault, write_event};
use proptest::prelude::*;

/// Data, id, name, retry.
type Seen = (String, String, String, Option<u64>);

fn seen(event: &Event<'_>) -> Seen {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(event.data), text(event.id), text(event.name), event.retry_ms)
}

fn read(pieces: &[&[u8]], limits: Limits) -> Result<Vec<Seen>, SseFault> {
    let mut reader = Reader::new(limits);
    let mut events = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while let Some(event) = reader.next(&mut rest)? {
            events.push(seen(&event));
        }
        assert!(rest.is_empty());
    }
    Ok(events)
}

/// The standard's algorithm, line by line.
fn twin(stream: &[u8]) -> Vec<Seen> {
    let text = String::from_utf8_lossy(stream).into_owned();
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut data, mut has_data) = (Vec::new(), false);
    let (mut id, mut name, mut retry) = (String::new(), String::new(), None);
    let mut events = Vec::new();
    let mut lines: Vec<&str> = unified.split('\n').collect();
    lines.pop(); // No line end, no line.
    for line in lines {
        if line.is_empty() {
            if has_data {
                events.push((data.join("\n"), id.clone(), name.clone(), retry));
            }
            (data, has_data) = (Vec::new(), false);
            name.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                data.push(value);
                has_data = true;
            }
            "event" => name = value.into(),
            "id" if !value.contains('\0') => id = value.into(),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                retry = value.parse().ok().or(retry);
            }
            _ => {}
        }
    }
    events
}

const STREAMS: &[&[u8]] = &[
    b"data: a\n\n",
    b"data:a\r\rdata:b\r\n\r\ndata:c\n\n",
    b"\xEF\xBB\xBFdata: a\n\n",
    b"\xEF\xBBdata: a\n\ndata: b\n\n",
    b"data: \xEF\xBB\xBFa\n\n\xEF\xBB\xBFdata: b\n\n",
    b"data: YHOO\ndata: +2\ndata: 10\n\n",
    b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
    b"data\n\ndata\ndata\n\ndata:",
    b"data:test\n\ndata: test\n\ndata:  test\n\n",
    b"id: 7\ndata:\n\n",
    b"id: 7\nretry: 250\ndata: \n\ndata: x\n\n",
    b"retry: 2x\nretry:\nretry: 99999999999999999999\nretry: 7\nretry: y\ndata: x\n\n",
    b"event: ping\n\ndata: x\n\nevent: a\nevent: b\ndata: y\n\n",
    b"id: a\0b\ndata: x\n\nid: c\n\ndata: y\n\n",
    b"dat: x\ndatas: x\n data: x\nDATA: x\nunknownfield: x\n:\n::\ndata: real\n\n",
    b"data: {\"a\":\r\ndata: 1}\r\n\r\n: keep-alive\r\n\r\n",
    b"data: cut off",
    b"\n\n\r\r\r\n\r\n",
    b"",
];

#[test]
fn every_stream_cut_at_every_byte() {
    for stream in STREAMS {
        let expected = twin(stream);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(&bytes, Limits::default()), Ok(expected.clone()));
        for cut in 0..=stream.len() {
            let (head, tail) = stream.split_at(cut);
            let events = read(&[head, tail], Limits::default()).unwrap();
            assert_eq!(events, expected, "{:?} at {cut}", String::from_utf8_lossy(stream));
        }
    }
}

#[test]
fn an_event_is_at_most_as_long_as_its_limit() {
    let limits = Limits { event_bytes_max: 8 };
    let long = Err(SseFault::TooLong { event_bytes_max: 8 });
    // Empty lines of data count beside a name.
    assert_eq!(read(&[b"event: abcde\ndata\ndata\ndata\ndata\n\n"], limits), long);
    let one = |data: &str| vec![(data.to_owned(), String::new(), String::new(), None)];
    assert_eq!(read(&[b"data: 1234567\n\n"], limits), Ok(one("1234567")));
    for stream in [
        &b"data: 12345678\n\n"[..],
        b"data: 1234\ndata: 5678\n\n",
        b"event: 1234\nid: 1\ndata: 5678\n\n",
        b"id: 123456789\n",
        b"data\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\n",
    ] {
        assert_eq!(read(&[stream], limits), long, "{}", String::from_utf8_lossy(stream));
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(&bytes, limits), long);
    }
    // What is not kept is not counted.
    let comment = [b":".as_slice(), &[b'c'; 1_000], b"\nfield: ", &[b'f'; 1_000], b"\n"].concat();
    assert_eq!(read(&[&comment, b"data: 1\n\n"], limits), Ok(one("1")));
}

#[test]
fn a_stream_that_ends_inside_an_event_is_known() {
    for (stream, inside) in [
        (&b""[..], false),
        (b"data: x\n\n", false),
        (b"data: x\n", true),
        (b"data: x", true),
        (b"dat", true),
        (b"data: x\n\nda", true),
        (b": keep-alive\n\n", false),
    ] {
        let mut reader = Reader::new(Limits::default());
        let mut rest = stream;
        while reader.next(&mut rest).unwrap().is_some() {}
        assert_eq!(reader.is_inside(), inside, "{}", String::from_utf8_lossy(stream));
    }
}

#[test]
fn a_reset_reader_is_a_new_one() {
    let mut reader = Reader::new(Limits::default());
    for stream in STREAMS {
        reader.reset();
        let mut rest = *stream;
        let mut events = Vec::new();
        while let Some(event) = reader.next(&mut rest).unwrap() {
            events.push(seen(&event));
        }
        assert_eq!(events, twin(stream));
    }
}

#[test]
fn a_warm_reader_allocates_nothing() {
    let stream = STREAMS.concat();
    let mut reader = Reader::new(Limits::default());
    let mut read_all = || {
        reader.reset();
        let mut rest = stream.as_slice();
        while let Ok(Some(_)) = reader.next(&mut rest) {}
    };
    read_all();
    let seen = allocation_counter::measure(read_all);
    assert_eq!(seen.count_total, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_stream_in_any_pieces(
        words in prop::collection::vec(prop::sample::select(vec![
            "data", "event", "id", "retry", ":", ": ", "\n", "\n\n", "\r", "\r\n", " ", "x", "12",
            "\0", "é", "\u{feff}", "dat", "dataa",
        ]), 0..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let stream = words.concat().into_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect();
        prop_assert_eq!(read(&pieces, Limits::default()), Ok(twin(&stream)));
        dataplane_relay::fuzz::sse(&stream);
    }

    #[test]
    fn what_is_written_reads_back(data in "[ -~é\n\r]{0,20}", id in "[ -~]{0,9}") {
        let id = id.trim_start();
        let mut out = KEEP_ALIVE.to_vec();
        write_event(&mut out, id.as_bytes(), data.as_bytes());
        let data = data.replace("\r\n", "\n").replace('\r', "\n");
        let expected = vec![(data, id.to_owned(), String::new(), None)];
        prop_assert_eq!(read(&[&out], Limits::default()), Ok(expected));
    }
}
