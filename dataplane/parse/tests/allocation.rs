//! After the first message nothing is allocated, whatever the message is.

use allocation_counter::measure;
use dataplane_parse::{EraHeaders, Limits, Parser, Rules, SessionView, VersionHeader, era};

#[test]
fn nothing_is_allocated_after_warm_up() {
    let call = |arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":"é\u00e9","method":"tools/call","params":{{"name":"crm__get",
            "arguments":{arguments},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28",
            "io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        )
    };
    let many: Vec<String> = (0..50).map(|n| format!(r#""k{n}":[{n}.5,"\n{n}"]"#)).collect();
    let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(60_000));
    let messages = [
        call("{}"),
        call(&format!("{{{}}}", many.join(","))),
        call(&text),
        call(&format!("{}{}", r#"{"a":"#.repeat(60), "1".to_owned() + &"}".repeat(60))),
        call(r#"{"a":1,"a":2}"#),
        call(r#"{"a":"#),
        "[1,2,3]".to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"Method":"m"}"#.to_owned(),
    ];
    let headers = EraHeaders {
        version: VersionHeader::Value(b"2026-07-28"),
        method: Some(b"tools/call"),
        name: Some(b"=?base64?Y3JtX19nZXQ=?="),
        params: &[],
    };
    let mut parser = Parser::new(Limits::REQUEST);
    let mut read_all = || {
        let mut accepted = 0;
        for message in &messages {
            let read = parser.with(message.as_bytes(), |message| {
                era(&headers, message, SessionView::None, &Rules::default()).is_ok()
            });
            accepted += usize::from(read == Ok(true));
        }
        accepted
    };
    read_all();
    let mut accepted = 0;
    let seen = measure(|| accepted = read_all());
    assert_eq!(accepted, 4);
    assert_eq!(seen.count_total, 0, "{seen:?}");
}
