//! Properties that the fuzz targets check.

use dataplane_parse::{Limits, Parser, Revision};

use crate::answer::{AnswerFault, AnswerKind, Client, judge, judge_into};
use crate::long::LongAnswer;
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
    for revision in [Revision::V2025_06_18, Revision::V2026_07_28] {
        long(&mut parser, bytes, revision);
    }
}

/// What passes as a long answer is the same however it is cut, and judged as if it had been held;
/// what does not pass is never ended.
fn long(parser: &mut Parser, bytes: &[u8], revision: Revision) {
    let client = Client { id: ReplyId::Raw(b"\"mine\""), revision };
    let step = usize::from(bytes.first().copied().unwrap_or(0) % 7) + 1;
    let whole = pass(&client, &[bytes]);
    let pieces: Vec<&[u8]> = bytes.chunks(step).collect();
    let cut = pass(&client, &pieces);
    assert_eq!(whole.is_ok(), cut.is_ok(), "{whole:?} {cut:?}");
    let Ok((kind, sent)) = whole else { return };
    assert_eq!(cut, Ok((kind, sent.clone())));
    // Numbers that no double holds are refused by the held answers' parser only.
    if let Ok(held) = judge(parser, bytes, b"7") {
        assert_eq!(held.kind, kind);
        let again = judge(parser, &sent, b"\"mine\"").map(|answer| answer.kind);
        let AnswerKind::Result { is_error, .. } = kind else { return };
        assert!(
            matches!(again, Ok(AnswerKind::Result { is_error: same, .. }) if same == is_error),
            "{again:?}"
        );
    }
}

type Passed = Result<(AnswerKind, Vec<u8>), AnswerFault>;

fn pass(client: &Client<'_>, pieces: &[&[u8]]) -> Passed {
    let mut answer = LongAnswer::new(Limits::ANSWER, [9; 16]);
    let mut out = Vec::new();
    for piece in pieces {
        answer.push(piece, b"7", client, &mut out)?;
    }
    answer.finish(client, &mut out).map(|kind| (kind, out))
}
