//! What the gateway answers itself, read by the protocol's own SDK.

use dataplane_parse::{
    EraHeaders, Limits, ParseFault, Parser, Rules, SUPPORTED_LEGACY, SessionView, VersionHeader,
    era,
};
use dataplane_relay::{
    Product, ReplyId, Revision, write_discover, write_era_fault, write_error, write_initialize,
    write_parse_fault, write_pong, write_result, write_tool_error,
};
use rmcp::model::{
    CallToolResult, DiscoverResult, EmptyResult, ErrorData, InitializeResult, JsonRpcMessage,
    ProtocolVersion, RequestId, ServerJsonRpcMessage, ServerResult,
};
use serde_json::{Value, json};

const PRODUCT: Product<'static> = Product {
    name: "portcullis",
    title: "Portcullis \"gateway\"",
    version: "0.1.0",
    instructions: "Tools are named server__tool.\nAsk.",
    list_changed: true,
};

fn result(out: &[u8]) -> Value {
    match serde_json::from_slice::<ServerJsonRpcMessage>(out).expect("the SDK reads it") {
        JsonRpcMessage::Response(response) => assert_eq!(response.id, RequestId::Number(5)),
        other => panic!("{other:?}"),
    }
    serde_json::from_slice::<Value>(out).unwrap()["result"].take()
}

const ID: ReplyId<'static> = ReplyId::Raw(b"5");

#[test]
fn discover() {
    let mut out = Vec::new();
    write_discover(&mut out, ID, &PRODUCT, 60_000);
    let value = result(&out);
    let read: DiscoverResult = serde_json::from_value(value.clone()).expect("the SDK reads it");
    assert!(read.result_type.is_complete());
    assert_eq!(read.supported_versions, [ProtocolVersion::V_2026_07_28]);
    assert_eq!(read.capabilities.tools.as_ref().unwrap().list_changed, Some(true));
    assert_eq!(read.instructions.as_deref(), Some(PRODUCT.instructions));
    assert_eq!((read.ttl_ms, value["cacheScope"].as_str()), (60_000, Some("private")));
    let info = read.server_info().unwrap();
    assert_eq!((info.name.as_str(), info.title.as_deref()), ("portcullis", Some(PRODUCT.title)));
    // Every member that we wrote is one that the SDK knows.
    assert_eq!(serde_json::to_value(read).unwrap(), value);
}

#[test]
fn initialize_for_each_revision() {
    for revision in SUPPORTED_LEGACY {
        for product in [PRODUCT, Product { instructions: "", list_changed: false, ..PRODUCT }] {
            let mut out = Vec::new();
            write_initialize(&mut out, ID, *revision, &product);
            let value = result(&out);
            let read: InitializeResult = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(read.protocol_version.to_string(), revision.as_str());
            let tools = read.capabilities.tools.as_ref().unwrap();
            assert_eq!(tools.list_changed, Some(product.list_changed));
            assert_eq!(read.instructions.is_some(), !product.instructions.is_empty());
            assert_eq!(read.server_info.title.is_some(), *revision >= Revision::V2025_06_18);
            assert_eq!(serde_json::to_value(read).unwrap(), value);
        }
    }
}

#[test]
fn results() {
    let mut out = Vec::new();
    write_pong(&mut out, ID);
    serde_json::from_value::<EmptyResult>(result(&out)).unwrap();
    out.clear();
    write_result(&mut out, ID, br#"{"content":[]}"#);
    assert_eq!(result(&out), json!({"content": []}));
    for (revision, result_type) in
        [(Revision::V2024_11_05, Value::Null), (Revision::V2026_07_28, json!("complete"))]
    {
        out.clear();
        write_tool_error(&mut out, ID, revision, "denied by \"refunds\"\u{1}");
        let value = result(&out);
        assert_eq!(value["resultType"], result_type);
        let read: CallToolResult = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(read.is_error, Some(true));
        assert_eq!(value["content"][0]["text"], "denied by \"refunds\"\u{1}");
        match serde_json::from_slice::<ServerJsonRpcMessage>(&out).unwrap() {
            JsonRpcMessage::Response(response) => {
                assert!(matches!(response.result, ServerResult::CallToolResult(_)));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn errors_echo_the_id_as_it_was_sent() {
    for (id, expected) in [
        (ReplyId::Raw(b"\"a\\u0062\""), Some(json!("ab"))),
        (ReplyId::Raw(b"-3"), Some(json!(-3))),
        (ReplyId::Null, Some(Value::Null)),
        (ReplyId::Absent, None),
    ] {
        let mut out = Vec::new();
        write_error(&mut out, id, -32602, "no \"such\"\ntool", Some(br#"{"a":1}"#));
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value.get("id"), expected.as_ref());
        assert_eq!(
            value["error"],
            json!({"code": -32602, "message": "no \"such\"\ntool", "data": {"a": 1}})
        );
        serde_json::from_value::<ErrorData>(value["error"].clone()).unwrap();
        out.clear();
        write_error(&mut out, id, 1, "", None);
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["error"], json!({"code": 1, "message": ""}));
    }
}

#[test]
fn faults_are_told() {
    let body = br#"{"jsonrpc":"2.0","id":"x","method":"tools/list","params":{"_meta":
        {"io.modelcontextprotocol/protocolVersion":"2031-01-01"}}}"#;
    let version = VersionHeader::Value(b"2031-01-01");
    let headers = EraHeaders { version, ..EraHeaders::default() };
    let mut out = Vec::new();
    Parser::new(Limits::REQUEST)
        .with(body, |message| {
            let fault = era(&headers, message, SessionView::None, &Rules::default()).unwrap_err();
            write_era_fault(&mut out, ReplyId::of(message, true), &fault);
        })
        .unwrap();
    let value: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value["id"], "x");
    assert_eq!(value["error"]["code"], -32022);
    assert_eq!(
        value["error"]["data"],
        json!({"supported": ["2026-07-28"], "requested": "2031-01-01"})
    );
    for (modern, id) in [(true, None), (false, Some(&Value::Null))] {
        out.clear();
        write_parse_fault(&mut out, modern, &ParseFault::NotUtf8);
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value.get("id"), id);
        assert_eq!(value["error"], json!({"code": -32700, "message": "the message is not UTF-8"}));
    }
}
