//! Long answers, read as they pass, against the same answers held whole.

use dataplane_parse::{Limits, ParseFault, Parser};
use dataplane_relay::answer::{AnswerFault, AnswerKind, Client, ResultType, judge, judge_into};
use dataplane_relay::long::LongAnswer;
use dataplane_relay::{ReplyId, Revision};
use proptest::prelude::*;
use serde_json::{Value, json};

const NEW: [Revision; 3] = [Revision::V2025_06_18, Revision::V2025_11_25, Revision::V2026_07_28];
const MODERN: Revision = Revision::V2026_07_28;

fn client(revision: Revision) -> Client<'static> {
    Client { id: ReplyId::Raw(b"\"client\""), revision }
}

/// What passed, whether or not it was ended.
fn passed(
    text: &[u8],
    revision: Revision,
    step: usize,
) -> (Vec<u8>, Result<AnswerKind, AnswerFault>) {
    let mut answer = LongAnswer::new(Limits::ANSWER, [7; 16]);
    let mut out = Vec::new();
    for piece in text.chunks(step) {
        if let Err(fault) = answer.push(piece, b"7", &client(revision), &mut out) {
            return (out, Err(fault));
        }
    }
    let kind = answer.finish(&client(revision), &mut out);
    (out, kind)
}

fn result(result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#)
}

/// What is wrong with a text, which is not ended in any cut.
fn fault(text: &str) -> AnswerFault {
    for step in 1..text.len().min(40) {
        let (out, cut) = passed(text.as_bytes(), MODERN, step);
        assert!(cut.is_err() && serde_json::from_slice::<Value>(&out).is_err(), "{text} by {step}");
    }
    passed(text.as_bytes(), MODERN, usize::MAX).1.unwrap_err()
}

#[test]
fn a_client_sees_what_it_would_see_of_a_held_one() {
    let rich = r#"{ "content":[ {"type":"text","text":"t\u00e9\ud83d\ude00\n"} , {"type":"text","text":"é😀"}],
        "ttlMs": 0, "structuredContent" :{"n":[1,-0.5e+3,true,null,{}]},"resultType":"complete",
        "cacheScope":"private", "isError" : true , "x/y": [] } "#;
    let mut parser = Parser::new(Limits::ANSWER);
    for sent in ["{}", r#"{"isError":false}"#, r#"{"content":[]}"#, rich] {
        let around = [
            result(sent),
            format!(
                "\r\n {{\"result\":{sent} , \"other\":[{{\"id\":1}},[7]],\n\"id\" : 7,\
                 \"jsonrpc\":\"2.0\"}}\t"
            ),
        ];
        for (text, revision) in around.iter().flat_map(|text| NEW.map(|one| (text, one))) {
            let (mut held, client) = (Vec::new(), client(revision));
            let answer = judge_into(&mut parser, text.as_bytes(), b"7", &client, &mut held);
            let held: Value = serde_json::from_slice(&held).unwrap();
            for step in 1..80 {
                let (out, kind) = passed(text.as_bytes(), revision, step);
                assert_eq!(kind, answer.map(|answer| answer.kind), "{text} by {step}");
                let out: Value = serde_json::from_slice(&out).unwrap();
                assert_eq!(out, held, "{text} by {step}");
            }
        }
    }
}

#[test]
fn what_is_wrong_at_its_end_was_never_ended() {
    use AnswerFault::{BadResult, Batch, InputRequired, LongAndNoResult, NearKey, WrongId};
    use AnswerFault::{Parse, UnknownResultType};
    let long = "x".repeat(100);
    let wrong_id = format!(r#"{{"jsonrpc":"2.0","result":{{"content":"{long}"}},"id":8}}"#);
    let (out, kind) = passed(wrong_id.as_bytes(), MODERN, 10);
    assert_eq!(kind, Err(WrongId));
    assert!(out.ends_with(b"xxx\""), "what came before has passed");
    for (text, expected) in [
        (r#"{"jsonrpc":"2.0","result":{}}"#.to_owned(), WrongId),
        (r#"{"jsonrpc":"2.0","id":[7],"result":{}}"#.into(), WrongId),
        (r#"{"jsonrpc":"2.0","id":{"a":7},"result":{}}"#.into(), WrongId),
        (r#"{"jsonrpc":"2.0","id":"7","result":{}}"#.into(), WrongId),
        (format!(r#"{{"jsonrpc":"2.0","id":"{}","result":{{}}}}"#, "7".repeat(400)), WrongId),
        (r#"{"id":7,"result":{}}"#.into(), Parse(ParseFault::NotJsonRpc)),
        (r#"{"jsonrpc":"2.0","id":7}"#.into(), LongAndNoResult),
        (r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":""}}"#.into(), LongAndNoResult),
        (r#"{"jsonrpc":"2.0","id":7,"result":{},"method":"x"}"#.into(), LongAndNoResult),
        ("[]".into(), Batch),
        ("7 ".into(), Parse(ParseFault::NotAnObject)),
        (result("[]"), BadResult),
        (result(r#"{"isError":1}"#), BadResult),
        (result(r#"{"isError":[true]}"#), BadResult),
        (result(r#"{"IsError":true}"#), NearKey { known: "isError" }),
        (result(r#"{"reſultType":"task"}"#), NearKey { known: "resultType" }),
        (result(r#"{"resultType":"later"}"#), UnknownResultType),
        (result(r#"{"content":[],"resultType":"task"}"#), InputRequired),
        (result(r#"{"content":[],"resultType":"input_required"}"#), InputRequired),
    ] {
        assert_eq!(fault(&text), expected, "{text}");
    }
    let escaped = result(r#"{"isErr\u006fr":true}"#);
    assert!(matches!(fault(&escaped), Parse(ParseFault::EscapedKey { .. })));
    let structured = result(r#"{"structuredContent":[1]}"#);
    assert_eq!(passed(structured.as_bytes(), Revision::V2025_11_25, 9).1, Err(BadResult));
    assert!(passed(structured.as_bytes(), MODERN, 9).1.is_ok());
}

fn nested(depth: usize) -> String {
    format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
}

fn many(count: usize) -> String {
    format!(r#"{{"a":[{}]}}"#, vec!["0"; count].join(","))
}

fn number(digits: usize) -> String {
    format!(r#"{{"a":0.{}}}"#, "1".repeat(digits - 2))
}

#[test]
fn the_grammar_is_that_of_held_answers() {
    let broken = [
        r#"{"a":[1,]}"#,
        r#"{"a":[,1]}"#,
        r#"{"a":{"b":1,}}"#,
        r#"{"a":{,}}"#,
        r#"{"a":{"b"}}"#,
        r#"{"a":{"b":}}"#,
        r#"{"a":[1}}"#,
        r#"{"a":{]}}"#,
        r#"{"a":01}"#,
        r#"{"a":-}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":1e}"#,
        r#"{"a":+1}"#,
        r#"{"a":tru}"#,
        r#"{"a":nul1}"#,
        r#"{"a":truefalse}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\ud800\u0041"}"#,
        r#"{"a":"\udc00"}"#,
        r#"{"a":"\u12g4"}"#,
        "{\"a\":\"\n\"}",
        r#"{"a":{"k":1,"\u006b":2}}"#,
        r#"{"a":[{"k":1,"l":[{"k":3}],"k":2}]}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"a":1}}"#,
        r#"{"a":1"#,
        r#"{"a":1} {}"#,
    ];
    let beyond = [nested(63), many(1 << 18), number(129)];
    let mut parser = Parser::new(Limits::ANSWER);
    for case in broken.iter().copied().chain(beyond.iter().map(String::as_str)) {
        let text = result(case);
        let shown = text.get(..80).unwrap_or(&text);
        assert!(judge(&mut parser, text.as_bytes(), b"7").is_err(), "held: {shown}");
        for step in [1, 3, usize::MAX] {
            let (out, kind) = passed(text.as_bytes(), MODERN, step);
            assert!(kind.is_err(), "{shown} by {step}");
            assert!(serde_json::from_slice::<Value>(&out).is_err(), "{shown} by {step}");
        }
    }
    let odd = r#"{"a":"\u0000\ud83d\ude00\/\b","k":{"k":{"k":[]}},"é":-0,"z":1E+2}"#.to_owned();
    for case in [nested(62), many(1 << 17), number(128), odd] {
        let text = result(&case);
        let held = judge(&mut parser, text.as_bytes(), b"7");
        assert!(held.is_ok(), "{held:?}");
        for step in [1, 3, usize::MAX] {
            assert!(passed(text.as_bytes(), MODERN, step).1.is_ok(), "by {step}");
        }
    }
}

#[test]
fn what_is_not_utf_8_is_found_in_any_cut() {
    for bad in [&b"\xff"[..], b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf"] {
        let text = [br#"{"jsonrpc":"2.0","id":7,"result":{"a":""#, bad, b"\"}}"].concat();
        for step in 1..text.len() {
            let fault = passed(&text, MODERN, step).1;
            assert_eq!(fault, Err(ParseFault::NotUtf8.into()), "{bad:?} by {step}");
        }
    }
}

#[test]
fn one_byte_past_a_judged_key() {
    for (length, passes) in [(256, true), (257, false)] {
        let text = result(&json!({"k".repeat(length): 1}).to_string());
        for step in [1, 7, usize::MAX] {
            let kind = passed(text.as_bytes(), MODERN, step).1;
            assert_eq!(kind.is_ok(), passes, "{length} by {step}");
        }
        // Deeper ones are relayed, whatever their length.
        let text = result(&json!({"a": {"k".repeat(length): 1}}).to_string());
        assert!(passed(text.as_bytes(), MODERN, 7).1.is_ok());
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1.0e9..1.0e9_f64).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(".{0,6}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_result_in_any_cut_is_the_held_one(
        members in prop::collection::hash_map("[a-zA-Zé]{1,8}", value(), 0..5),
        is_error: Option<bool>,
        pretty: bool,
        step in 1..50_usize,
        place in 0..10_000_usize,
        byte: u8,
    ) {
        let mut members: serde_json::Map<_, _> = members.into_iter().collect();
        members.extend(is_error.map(|is_error| ("isError".to_owned(), json!(is_error))));
        let message = json!({"id": 7, "jsonrpc": "2.0", "result": members});
        let text = if pretty { format!("{message:#}") } else { message.to_string() };
        let mut parser = Parser::new(Limits::ANSWER);
        for revision in NEW {
            let mut held = Vec::new();
            let kind = judge_into(&mut parser, text.as_bytes(), b"7", &client(revision), &mut held);
            let (out, long) = passed(text.as_bytes(), revision, step);
            prop_assert_eq!(long, kind.map(|answer| answer.kind));
            let held: Value = serde_json::from_slice(&held).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), held);
        }
        // And with one byte changed, what passes is what would have been relayed.
        let mut changed = text.into_bytes();
        let place = place % changed.len();
        changed[place] = byte;
        let (_, long) = passed(&changed, MODERN, step);
        let held = judge(&mut parser, &changed, b"7").map(|answer| answer.kind);
        match (long, held) {
            (Ok(long), Ok(held)) => prop_assert_eq!(long, held),
            (Err(_), Err(_)) => {}
            (Err(fault), Ok(AnswerKind::Result { result_type, .. })) => prop_assert!(
                matches!(fault, AnswerFault::Parse(ParseFault::EscapedKey { .. }))
                    || matches!(result_type, ResultType::InputRequired | ResultType::Task),
                "{fault:?}"
            ),
            // A number that no double holds.
            (Ok(_), Err(AnswerFault::Parse(ParseFault::Syntax { .. }))) => {}
            (long, held) => prop_assert!(false, "{long:?} {held:?}"),
        }
    }
}
