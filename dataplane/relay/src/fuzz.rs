//! Properties that the fuzz targets check.

use dataplane_parse::{Limits, Parser, Revision};

use crate::answer::{AnswerKind, Client, judge, judge_into};
use crate::reply::ReplyId;
use crate::sse;

/// Any bytes, cut where their own first byte says: the events are those of the uncut stream, and
/// never longer than the limit.
pub fn sse(bytes: &[u8]) {
    let limits = sse::Limits { event_bytes_max: 64 };
    let whole = events(&mut sse::Reader::new(limits), &[bytes], limits);
    let step = usize::from(bytes.first().copied().unwrap_or(0) % 7) + 1;
    let pieces: Vec<&[u8]> = bytes.chunks(step).collect();
    assert_eq!(whole, events(&mut sse::Reader::new(limits), &pieces, limits));
}

type Seen = (Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>, bool);

fn events(reader: &mut sse::Reader, pieces: &[&[u8]], limits: sse::Limits) -> Seen {
    let mut seen = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        loop {
            match reader.next(&mut rest) {
                Ok(Some(event)) => {
                    assert!(event.data.len() + event.name.len() <= limits.event_bytes_max);
                    seen.push((event.id.to_vec(), event.name.to_vec(), event.data.to_vec()));
                }
                Ok(None) => break,
                Err(sse::SseFault::TooLong { .. }) => return (seen, true),
            }
        }
    }
    (seen, false)
}

/// Any bytes: no panic; an answer that is relayed is judged the same again by a client of either
/// era, and what is not relayed leaves nothing behind.
pub fn answer(bytes: &[u8]) {
    let mut parser = Parser::new(Limits::ANSWER);
    let judged = judge(&mut parser, bytes, b"7");
    for revision in [Revision::V2024_11_05, Revision::V2025_11_25, Revision::V2026_07_28] {
        let client = Client { id: ReplyId::Raw(b"\"mine\""), revision };
        let mut out = b"before".to_vec();
        let relayed = judge_into(&mut parser, bytes, b"7", &client, &mut out);
        let sent = out.get(6..).unwrap_or_default();
        match relayed {
            Ok(answer) => {
                assert_eq!(judged, Ok(answer));
                let AnswerKind::Result { is_error, .. } = answer.kind else { continue };
                let again = judge(&mut parser, sent, b"\"mine\"").map(|answer| answer.kind);
                assert!(
                    matches!(again, Ok(AnswerKind::Result { is_error: same, .. }) if same == is_error)
                );
            }
            Err(_) => assert!(sent.is_empty()),
        }
    }
}
