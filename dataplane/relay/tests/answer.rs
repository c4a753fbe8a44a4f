//! What a server may answer, and what a client of each revision gets to see of it. The protocol's
//! own SDK reads what we write.

use dataplane_parse::{Limits, Parser};
use dataplane_relay::answer::{
    Answer, AnswerFault, AnswerKind, Client, Notice, ResultType, judge, judge_into,
};
use dataplane_relay::{ReplyId, Revision};
use proptest::prelude::*;
use rmcp::model::{CallToolResult, ErrorData};
use serde_json::{Value, json};

const LEGACY: [Revision; 4] =
    [Revision::V2024_11_05, Revision::V2025_03_26, Revision::V2025_06_18, Revision::V2025_11_25];

fn parser() -> Parser {
    Parser::new(Limits::ANSWER)
}

fn judged(text: &str) -> Result<AnswerKind, AnswerFault> {
    judge(&mut parser(), text.as_bytes(), b"7").map(|answer| answer.kind)
}

/// What the client sees.
fn shown(text: &str, revision: Revision) -> Result<Value, AnswerFault> {
    let client = Client { id: ReplyId::Raw(b"\"client\""), revision };
    let mut out = Vec::new();
    judge_into(&mut parser(), text.as_bytes(), b"7", &client, &mut out)?;
    let value: Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!((&value["jsonrpc"], &value["id"]), (&json!("2.0"), &json!("client")));
    Ok(value)
}

fn result(result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#)
}

#[test]
fn results_and_errors_of_our_request() {
    let is = |is_error, result_type| Ok(AnswerKind::Result { is_error, result_type });
    assert_eq!(judged(&result("{}")), is(false, ResultType::Absent));
    assert_eq!(judged(&result(r#"{"isError":true}"#)), is(true, ResultType::Absent));
    let complete = r#"{"resultType":"complete","isError":false}"#;
    assert_eq!(judged(&result(complete)), is(false, ResultType::Complete));
    let input = r#"{"resultType":"input_required"}"#;
    assert_eq!(judged(&result(input)), is(false, ResultType::InputRequired));
    assert_eq!(judged(&result(r#"{"resultType":"task"}"#)), is(false, ResultType::Task));

    let error =
        |id: &str| format!(r#"{{"jsonrpc":"2.0"{id},"error":{{"code":-32602,"message":""}}}}"#);
    for id in [r#","id":7"#, r#","id":null"#, ""] {
        assert_eq!(judged(&error(id)), Ok(AnswerKind::Error { code: -32602 }), "{id}");
    }
    for id in [r#","id":8"#, r#","id":"7""#, r#","id":7.0"#] {
        assert_eq!(judged(&error(id)), Err(AnswerFault::WrongId), "{id}");
    }
}

#[test]
fn what_is_not_the_answer_is_a_fault() {
    use AnswerFault::{BadError, BadResult, Batch, UnknownResultType, WrongId};
    for (text, expected) in [
        (r#"{"jsonrpc":"2.0","id":"7","result":{}}"#.to_owned(), WrongId),
        (r#"{"jsonrpc":"2.0","id":8,"result":{}}"#.into(), WrongId),
        (r#"{"jsonrpc":"2.0","id":7.0,"result":{}}"#.into(), WrongId),
        (r#"{"jsonrpc":"2.0","id":null,"result":{}}"#.into(), WrongId),
        (r#"{"jsonrpc":"2.0","result":{}}"#.into(), WrongId),
        ("[]".into(), Batch),
        (result("[]"), BadResult),
        (result("null"), BadResult),
        (result(r#"{"isError":1}"#), BadResult),
        (result(r#"{"resultType":"later"}"#), UnknownResultType),
        (result(r#"{"resultType":null}"#), UnknownResultType),
        (result(r#"{"IsError":true}"#), AnswerFault::NearKey { known: "isError" }),
        (result(r#"{"reſultType":"task"}"#), AnswerFault::NearKey { known: "resultType" }),
        (r#"{"jsonrpc":"2.0","id":7,"error":{"code":"1","message":""}}"#.into(), BadError),
        (r#"{"jsonrpc":"2.0","id":7,"error":{"code":1.5,"message":""}}"#.into(), BadError),
        (r#"{"jsonrpc":"2.0","id":7,"error":{"code":1}}"#.into(), BadError),
        (r#"{"jsonrpc":"2.0","id":7,"error":null}"#.into(), BadError),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#.into(), AnswerFault::BadRequest),
    ] {
        assert_eq!(judged(&text), Err(expected), "{text}");
    }
    for text in
        ["", "<html>", r#"{"id":7,"result":{}}"#, r#"{"jsonrpc":"2.0","id":7,"id":7,"result":{}}"#]
    {
        assert!(matches!(judged(text), Err(AnswerFault::Parse(_))), "{text}");
    }
}

#[test]
fn other_messages_of_a_server() {
    let notice = |text: &str| match judged(text) {
        Ok(AnswerKind::Notification(notice)) => notice,
        other => panic!("{other:?}"),
    };
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p1","progress":1}}"#;
    let Notice::Progress { token } = notice(progress) else { panic!() };
    assert_eq!(token.of(progress.as_bytes()), br#""p1""#);
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}"#;
    assert_eq!(notice(log), Notice::Log);
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    assert_eq!(notice(changed), Notice::ToolsChanged);
    assert_eq!(notice(r#"{"jsonrpc":"2.0","method":"x"}"#), Notice::Other);
    let ping = r#"{"jsonrpc":"2.0","id":"abc","method":"ping"}"#;
    match judge(&mut parser(), ping.as_bytes(), b"7") {
        Ok(Answer { kind: AnswerKind::Request { id, ping: true }, .. }) => {
            assert_eq!(id.of(ping.as_bytes()), br#""abc""#);
        }
        other => panic!("{other:?}"),
    }
}

const RICH: &str = r#"{"content":[{"type":"text","text":"t"},{"type":"audio","data":"AA==","mimeType":"audio/wav"},
    {"type":"resource_link","uri":"file:///a","name":"a"}],"structuredContent":{"n":1},"resultType":"complete","ttlMs":0,
    "cacheScope":"private","_meta":{"a/b":1,"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"isError":false}"#;

#[test]
fn a_modern_client_gets_a_result_type() {
    for (sent, expected) in [
        ("{}", json!({"resultType": "complete"})),
        (r#"{ "content" : [] }"#, json!({"resultType": "complete", "content": []})),
        (
            r#"{"content":[],"resultType":"complete"}"#,
            json!({"resultType": "complete", "content": []}),
        ),
        (r#"{"resultType":"task","taskId":"1"}"#, json!({"resultType": "task", "taskId": "1"})),
    ] {
        assert_eq!(shown(&result(sent), Revision::V2026_07_28).unwrap()["result"], expected);
    }
    let rich = shown(&result(RICH), Revision::V2026_07_28).unwrap();
    assert_eq!(rich["result"], serde_json::from_str::<Value>(RICH).unwrap());
}

#[test]
fn a_legacy_client_gets_what_its_revision_knows() {
    for revision in LEGACY {
        let result = shown(&result(RICH), revision).unwrap()["result"].take();
        for key in ["resultType", "ttlMs", "cacheScope"] {
            assert!(result.get(key).is_none(), "{key}");
        }
        assert_eq!(result["_meta"], json!({"a/b": 1}));
        assert_eq!(result["isError"], json!(false));
        let kinds: Vec<&str> = result["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|b| b["type"].as_str().unwrap())
            .collect();
        let expected = match revision {
            Revision::V2024_11_05 => ["text", "text", "text"],
            Revision::V2025_03_26 => ["text", "audio", "text"],
            _ => ["text", "audio", "resource_link"],
        };
        assert_eq!(kinds, expected);
        assert_eq!(result.get("structuredContent").is_some(), revision >= Revision::V2025_06_18);
        let read: CallToolResult = serde_json::from_value(result).expect("the SDK reads it");
        assert_eq!(read.content.len(), 3);
    }
    // Structured content is not lost when there is nothing else.
    for only in [r#"{"content":[],"structuredContent":[1,2]}"#, r#"{"structuredContent":[1,2]}"#] {
        for revision in LEGACY {
            let shown = shown(&result(only), revision).unwrap();
            assert_eq!(shown["result"], json!({"content": [{"type": "text", "text": "[1,2]"}]}));
        }
    }
    for other in ["input_required", "task"] {
        let asked = result(&format!(r#"{{"resultType":"{other}"}}"#));
        assert_eq!(shown(&asked, Revision::V2025_11_25), Err(AnswerFault::InputRequired));
    }
}

#[test]
fn codes_of_the_other_era_do_not_cross() {
    let error = |code: i64| {
        format!(
            r#"{{"jsonrpc":"2.0","id":7,"error":{{"code":{code},"message":"m","data":{{"uri":"x"}}}}}}"#
        )
    };
    for (code, modern, legacy) in [
        (-32602, -32602, -32602),
        (-32002, -32602, -32002),
        (-32042, -32603, -32603),
        (-32020, -32020, -32603),
        (-32022, -32022, -32603),
        (7, 7, 7),
    ] {
        for (revision, expected) in
            [(Revision::V2026_07_28, modern), (Revision::V2025_06_18, legacy)]
        {
            let shown = shown(&error(code), revision).unwrap()["error"].take();
            assert_eq!(shown, json!({"code": expected, "message": "m", "data": {"uri": "x"}}));
            serde_json::from_value::<ErrorData>(shown).expect("the SDK reads it");
        }
    }
}

#[test]
fn a_refused_answer_leaves_nothing_behind() {
    let client = Client { id: ReplyId::Raw(b"1"), revision: Revision::V2025_11_25 };
    let mut out = b"kept".to_vec();
    for text in [result("[]"), result(r#"{"content":[],"resultType":"task"}"#), "{".into()] {
        let refused = judge_into(&mut parser(), text.as_bytes(), b"7", &client, &mut out);
        assert!(refused.is_err());
        assert_eq!(out, b"kept");
    }
}

#[test]
fn a_warm_judge_allocates_nothing() {
    let (mut parser, mut out) = (parser(), Vec::new());
    let text = result(RICH);
    let mut relay = || {
        out.clear();
        for revision in LEGACY.into_iter().chain([Revision::V2026_07_28]) {
            let client = Client { id: ReplyId::Raw(b"1"), revision };
            let answer = judge_into(&mut parser, text.as_bytes(), b"7", &client, &mut out);
            assert!(answer.is_ok());
        }
    };
    relay();
    assert_eq!(allocation_counter::measure(relay).count_total, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_change_of_an_answer(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = result(RICH).into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        dataplane_relay::fuzz::answer(&bytes);
        dataplane_relay::fuzz::answer(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        dataplane_relay::fuzz::answer(&bytes);
        dataplane_relay::fuzz::sse(&bytes);
    }
}
