//! Seeds that are text: each shows a parser something that it accepts, or nearly.

/// Target, name, content.
pub(crate) const SEEDS: &[(&str, &str, &str)] = &[
    (
        "http_head",
        "call",
        "POST /mcp HTTP/1.1\r\nHost: gateway.example.com\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n\
         Mcp-Method: tools/call\r\nMcp-Name: crm__get_orders\r\nAuthorization: Bearer a.b.c\r\n\
         Content-Length: 2\r\n\r\n{}GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n",
    ),
    (
        "http_head",
        "chunked",
        "POST /servers/crm/mcp HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\
         Mcp-Session-Id: s\r\n\r\n5;x=1\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "http_head",
        "two_lengths",
        "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    ),
    ("http_head", "bare_lf", "GET / HTTP/1.1\nHost: g\n\n"),
    ("http_head", "old", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
    (
        "conversation",
        "stream",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n\
         data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\n\
         data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[]}}\n\n",
    ),
    ("http_chunks", "two", "5\r\nhello\r\n6;name=\"v\"\r\n world\r\n0\r\n\r\n"),
    ("http_chunks", "trailer", "1\r\nx\r\n0\r\nA: b\r\n\r\n"),
    ("http_chunks", "huge", "ffffffff\r\n"),
    (
        "json_rpc",
        "call",
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"crm__refund","arguments":{"order":"A-1","amount":900,"note":"\u00e9"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{},"progressToken":"p"}}}"#,
    ),
    (
        "json_rpc",
        "initialize",
        r#"{"jsonrpc":"2.0","id":"a","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"t","version":"1"}}}"#,
    ),
    (
        "json_rpc",
        "cancelled",
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#,
    ),
    ("json_rpc", "response", r#"{"jsonrpc":"2.0","id":1,"result":{"a":[1,2.5e3,-0,true,null]}}"#),
    ("json_rpc", "doubled", r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#),
    ("json_rpc", "batch", r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#),
    (
        "jwt",
        "eddsa",
        "eyJhbGciOiJFZERTQSIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJpIiwiYXVkIjoiYSIsImV4cCI6OTk5OTk5OTk5OSwic3ViIjoieCIsInIiOlsicyJdfQ.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ),
    ("jwt", "none", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJpIn0."),
    ("jwt", "api_key", "pck_k1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    (
        "jwks",
        "three",
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","use":"sig","alg":"EdDSA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},{"kty":"EC","crv":"P-256","kid":"b","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"},{"kty":"RSA","kid":"c","n":"AQAB","e":"AQAB"}]}"#,
    ),
    ("jwks", "empty", r#"{"keys":[]}"#),
    (
        "kill_list",
        "json",
        r#"{"created_at":1800000000000000000,"kills":[{"id":"k1","target":{"tool":{"server":"crm","tool":"refund"}},"reason":"loop","author":"ops","at":1800000000000000000,"expires_at":null}]}"#,
    ),
    ("policy_text", "decimal", "12.3400"),
    ("policy_text", "date", "2026-07-28"),
    ("policy_text", "datetime", "2026-07-28T12:30:00.123+0200"),
    ("policy_text", "duration", "1d2h3m4s5ms"),
    ("policy_text", "address", "10.0.0.0/8"),
    ("policy_text", "address6", "2001:db8::1/64"),
    ("rate", "minute", "600/min"),
    ("rate", "second", "10/s"),
    ("rate", "day", "1/day"),
    (
        "upstream_response",
        "json",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nMcp-Session-Id: abc\r\n\r\n{}",
    ),
    (
        "upstream_response",
        "events",
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n10\r\ndata: {\"id\":1}\r\n\r\n0\r\n\r\n",
    ),
    ("upstream_response", "until_close", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nrest"),
    (
        "upstream_response",
        "retry",
        "HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "upstream_response",
        "early",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
    ),
    ("upstream_origin", "http", "http://crm.internal:8000/mcp"),
    ("upstream_origin", "https", "https://[2001:db8::1]/a/b?c=d"),
    ("upstream_origin", "userinfo", "http://a:b@c/"),
    (
        "sse",
        "events",
        "id: 1\nevent: message\ndata: {\"a\":\ndata: 1}\n\n: comment\nretry: 10\r\ndata:x\r\n\r\ndata: last\r\r",
    ),
    ("sse", "bom", "\u{feff}data: x\n\n"),
    (
        "answer",
        "result",
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"x"}],"isError":false,"resultType":"complete"}}"#,
    ),
    (
        "answer",
        "error",
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no","data":{}}}"#,
    ),
    (
        "answer",
        "progress",
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1}}"#,
    ),
    ("answer", "asks", r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#),
    (
        "audit_note",
        "not_signed",
        "box-1.example/log\n12\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} box-1.example/log Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n",
    ),
];
