//! What a text may look like: a table of cases after the well-known JSON suites, and for all that is
//! accepted the same reading as serde_json's.

use dataplane_parse::{
    DEPTH_MAX, Document, Field, ID_BYTES_MAX, Id, Kind, Limits, NUMBER_BYTES_MAX, Node, ParseFault,
    Parser, StaticNode,
};
use proptest::prelude::*;
use serde_json::Value;

fn parser() -> Parser {
    Parser::new(Limits::REQUEST)
}

/// Whether a value is accepted as an argument.
fn accepts(json: &[u8]) -> bool {
    parser().with_document(json, |_| ()).is_ok()
}

fn fault(message: &str) -> Option<ParseFault> {
    parser().with(message.as_bytes(), |_| ()).err()
}

/// A message with these members beside `jsonrpc`.
fn message(members: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0",{members}}}"#)
}

#[test]
fn accepted() {
    for json in [
        "[]",
        "{}",
        "[[]   ]",
        "[\"\"]",
        "[false]",
        "[null]",
        "[1]",
        "[-0]",
        "[0]",
        "[0e1]",
        "[0e+1]",
        "[1E22]",
        "[1E-2]",
        "[123.456e78]",
        "[-123123]",
        "[1.0]",
        "[20e1]",
        "[1e-10000]",
        "[-237462374673276894279832749832423479823246327846]",
        "[18446744073709551615]",
        "[-9223372036854775808]",
        r#"["\u0060\u012a\u12AB"]"#,
        r#"["\uD801\udc37"]"#,
        r#"["\"\\\/\b\f\n\r\t"]"#,
        r#"["\\u0000"]"#,
        r#"["\"" ]"#,
        r#"["a/*b*/c/*d//e"]"#,
        r#"["\uDBFF\uDFFF"]"#,
        "[\"\u{7f}\"]",
        "[\"€𝄞\"]",
        "[\"\u{2028}\"]",
        "[\"\u{ffff}\"]",
        r#"["\uFFFE"]"#,
        " \t\r\n[1,\n1\n,1]\n",
        r#"{"a":{"a":{"a":1}}}"#,
        r#"{"":0}"#,
        r#"{"a":"b","asdf":"b"}"#,
        r#"{"a":[],"b":{}}"#,
    ] {
        assert!(accepts(json.as_bytes()), "{json}");
        assert!(serde_json::from_str::<Value>(json).is_ok(), "{json}");
    }
}

#[test]
fn refused() {
    let nested_open = "[".repeat(100_000);
    let digits = format!("[{}]", "9".repeat(1_000_000));
    let cases: Vec<&[u8]> = vec![
        b"",
        b" ",
        b"[",
        b"]",
        b"{",
        b"}",
        b"[1",
        b"[1,",
        b"[1,]",
        b"[,1]",
        b"[1,,2]",
        b"[1 2]",
        b"[1:2]",
        b"[\"a\",\n4\n,1,",
        b"{\"a\":",
        b"{\"a\"",
        b"{\"a\" \"b\"}",
        b"{\"a\":1,}",
        b"{\"a\":1,,\"b\":2}",
        b"{,}",
        b"{1:1}",
        b"{a:1}",
        b"{'a':1}",
        b"{\"a\":\"a\" 123}",
        b"{\"a\":/**/1}",
        b"[1]x",
        b"[1] x",
        b"[1][2]",
        b"{}{}",
        b"{} {}",
        b"[1]\0",
        b"[1]]",
        b"[nul]",
        b"[tru]",
        b"[fals]",
        b"[nulls]",
        b"[True]",
        b"[truex]",
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[+1]",
        b"[.5]",
        b"[1.]",
        b"[1.e1]",
        b"[-]",
        b"[-.1]",
        b"[--1]",
        b"[01]",
        b"[-01]",
        b"[00]",
        b"[1e]",
        b"[1e+]",
        b"[1eE2]",
        b"[1.2.3]",
        b"[0x1]",
        b"[1_000]",
        b"[1e400]",
        b"[-1e400]",
        b"[1 000]",
        "[\u{ff11}]".as_bytes(),
        b"[\"a]",
        b"[\"]",
        b"[\"\\\"]",
        b"[\"\\x00\"]",
        b"[\"\\a\"]",
        b"[\"\\u\"]",
        b"[\"\\u00\"]",
        b"[\"\\u00G0\"]",
        b"[\"\\U0041\"]",
        b"[\"\\'\"]",
        b"['a']",
        b"[\"a\nb\"]",
        b"[\"a\tb\"]",
        b"[\"a\0b\"]",
        b"[\"\x1f\"]",
        // Surrogates and NUL.
        b"[\"\\ud800\"]",
        b"[\"\\udc00\"]",
        b"[\"\\ud800\\ud800\"]",
        b"[\"\\ud800x\"]",
        b"[\"\\ud800\\n\"]",
        b"[\"\\uDFAA\"]",
        b"[\"\\ud800\\u0041\"]",
        b"[\"\\u0000\"]",
        b"{\"\\u0000\":1}",
        // Not UTF-8: lone continuation, overlong, surrogate, beyond U+10FFFF, Latin-1, cut.
        b"[\"\x81\"]",
        b"[\"\xc0\xaf\"]",
        b"[\"\xe0\x80\xaf\"]",
        b"[\"\xed\xa0\x80\"]",
        b"[\"\xf4\xbf\xbf\xbf\"]",
        b"[\"\xe9\"]",
        b"[\"\xe2\x82\"]",
        b"[\xff]",
        b"\xe2\x82",
        // Byte order marks, UTF-16.
        b"\xef\xbb\xbf{}",
        b"\xfe\xff\x00[\x00]",
        b"[\x00]\x00",
        b"\xff\xfe[\x00]\x00",
        b"\xc2\xa0[]",
        b"[\x0c]",
        b"[\x0b]",
        b"\xe2\x81\xa0[]",
        b"/**/[]",
        b"[]//",
        b"#\n[]",
        nested_open.as_bytes(),
        digits.as_bytes(),
    ];
    for json in cases {
        assert!(!accepts(json), "{}", String::from_utf8_lossy(&json[..json.len().min(60)]));
    }
}

#[test]
fn each_limit_and_one_past_it() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(accepts(nested(DEPTH_MAX).as_bytes()));
    let too_deep = parser().with_document(nested(DEPTH_MAX + 1).as_bytes(), |_| ());
    assert_eq!(too_deep, Err(ParseFault::TooDeep { depth_max: DEPTH_MAX }));

    let number = |length: usize| format!("[{}]", "1".repeat(length));
    assert!(accepts(number(NUMBER_BYTES_MAX).as_bytes()));
    let too_long = parser().with_document(number(NUMBER_BYTES_MAX + 1).as_bytes(), |_| ());
    assert_eq!(too_long, Err(ParseFault::NumberTooLong { at: 1 }));

    let limits = Limits { bytes_max: 10, values_max: 4, ..Limits::REQUEST };
    let read = |json: &str| Parser::new(limits).with_document(json.as_bytes(), |_| ());
    assert_eq!(read("[1,2,3]   "), Ok(()));
    assert_eq!(read("[1,2,3]    "), Err(ParseFault::TooLong { bytes_max: 10 }));
    assert_eq!(read("[1,2,3,4]"), Err(ParseFault::TooManyValues { values_max: 4 }));

    // Refused before memory is taken, by how it is written: dense, and with text between.
    let limits = Limits { values_max: 10, ..Limits::REQUEST };
    let read = |json: &str| Parser::new(limits).with_document(json.as_bytes(), |_| ());
    for item in ["1", "[]", "{}", r#""[,{:\\\",,,""#, r#"{"":1}"#] {
        let list = |count: usize| format!("[{}]", vec![item; count].join(","));
        let values = if item == r#"{"":1}"# { 3 } else { 1 };
        assert_eq!(read(&list(9 / values)), Ok(()), "{item}");
        for count in [10, 12, 24, 1_000] {
            let many = Err(ParseFault::TooManyValues { values_max: 10 });
            assert_eq!(read(&list(count)), many, "{item}");
        }
    }

    let id = |length: usize| message(&format!(r#""id":"{}","method":"m""#, "i".repeat(length - 2)));
    assert_eq!(fault(&id(ID_BYTES_MAX)), None);
    assert_eq!(fault(&id(ID_BYTES_MAX + 1)), Some(ParseFault::IdTooLong));
}

#[test]
fn a_key_stands_once_in_an_object_at_every_depth() {
    let duplicate = |json: &str| {
        let read = parser().with_document(json.as_bytes(), |_| ());
        matches!(read, Err(ParseFault::DuplicateKey { .. }))
    };
    for json in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":1}"#,
        r#"{"na\u006de":1,"n\u0061me":1}"#,
        r#"{"":1,"":2}"#,
        r#"{"é":1,"\u00e9":2}"#,
        r#"{"\ud83e\udd80":1,"🦀":2}"#,
        r#"[[{"x":[{"a":{"b":1},"c":[],"a":2}]}]]"#,
    ] {
        assert!(duplicate(json), "{json}");
    }
    for json in [r#"{"a":{"a":{"a":1}}}"#, r#"[{"a":1},{"a":1}]"#, r#"{"a":1,"A":1,"á":1}"#] {
        assert!(!duplicate(json), "{json}");
    }
    // Many keys are sorted, few are compared: both ways, at every place.
    for count in [2, 11, 12, 13, 14, 60] {
        let keys = |double: Option<(usize, usize)>| {
            let name = |n: usize| match double {
                Some((from, to)) if n == to => from,
                _ => n,
            };
            let members: Vec<String> =
                (0..count).map(|n| format!(r#""key{}":{{"key0":[{n}]}}"#, name(n))).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(!duplicate(&keys(None)));
        for to in 1..count {
            assert!(duplicate(&keys(Some((to / 2, to)))), "{count} {to}");
        }
    }
    // The place is that of the second.
    let twice = parser().with_document(br#"{"a":1, "a":2}"#, |_| ());
    assert_eq!(twice, Err(ParseFault::DuplicateKey { at: 8 }));
}

#[test]
fn envelope_keys_are_exact() {
    let near = |members: &str, known: &str| {
        let fault = fault(&message(members));
        let is = matches!(fault, Some(ParseFault::NearKey { known: saw, .. }) if saw == known);
        assert!(is, "{members}: {fault:?}");
    };
    near(r#""id":1,"method":"m","Method":"n""#, "method");
    near(r#""Id":1,"method":"m""#, "id");
    near(r#""id":1,"method":"m","Params":{}"#, "params");
    near(r#""id":1,"method":"m","params":{"Name":"x"}"#, "name");
    near(r#""id":1,"method":"m","params":{"name":"x","ARGUMENTS":{}}"#, "arguments");
    near(r#""id":1,"method":"m","params":{"_META":{}}"#, "_meta");
    near(r#""id":1,"method":"m","params":{"_meta":{"ProgressToken":1}}"#, "progressToken");
    let version = "io.modelcontextprotocol/protocolVersion";
    let upper = version.to_uppercase();
    near(&format!(r#""id":1,"method":"m","params":{{"_meta":{{"{upper}":1}}}}"#), version);

    for key in ["paramſ", "\u{212a}ey", "ｎame", "ﬁle", "nаme"] {
        for members in [
            format!(r#""id":1,"method":"m","{key}":1"#),
            format!(r#""id":1,"method":"m","params":{{"{key}":1}}"#),
            format!(r#""id":1,"method":"m","params":{{"_meta":{{"{key}":1}}}}"#),
        ] {
            let fault = fault(&message(&members));
            assert!(matches!(fault, Some(ParseFault::NonAsciiKey { .. })), "{members}: {fault:?}");
        }
    }
    for members in [
        r#""id":1,"m\u0065thod":"m""#,
        r#""id":1,"method":"m","params":{"na\u006de":"x"}"#,
        r#""id":1,"method":"m","params":{"_meta":{"trace\u0070arent":"x"}}"#,
        r#""id":1,"method":"m","x\/y":1"#,
    ] {
        let fault = fault(&message(members));
        assert!(matches!(fault, Some(ParseFault::EscapedKey { .. })), "{members}: {fault:?}");
    }
    // Arguments are the tool's: any key is allowed there.
    let free = r#""id":1,"method":"m","params":{"arguments":{"Name":1,"paramſ":1,"a\u0062":1}}"#;
    assert_eq!(fault(&message(free)), None);
    assert_eq!(fault(&message(r#""id":1,"method":"m","x-foreign":{"Name":1}"#)), None);
}

#[test]
fn names_that_are_judged_hold_no_escapes() {
    for (members, field) in [
        (r#""id":1,"method":"tools\/call""#, "method"),
        (r#""id":1,"method":"tools\u002fcall""#, "method"),
        (r#""id":1,"method":"m","params":{"name":"a\u0062"}"#, "name"),
        (r#""id":1,"method":"m","params":{"uri":"a\/b"}"#, "uri"),
        (r#""id":1,"method":"m","params":{"taskId":"\n"}"#, "taskId"),
    ] {
        assert_eq!(fault(&message(members)), Some(ParseFault::EscapedText { field }), "{members}");
    }
}

#[test]
fn messages_are_messages() {
    use ParseFault::{Ambiguous, NotAMessage, NotAnObject, NotJsonRpc};
    for (text, expected) in [
        (r#""text""#.to_owned(), NotAnObject),
        ("1".into(), NotAnObject),
        ("null".into(), NotAnObject),
        ("{}".into(), NotJsonRpc),
        (r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#.into(), NotJsonRpc),
        (r#"{"jsonrpc":2.0,"id":1,"method":"m"}"#.into(), NotJsonRpc),
        (r#"{"jsonrpc":"2\u002e0","id":1,"method":"m"}"#.into(), NotJsonRpc),
        (r#"{"id":1,"method":"m"}"#.into(), NotJsonRpc),
        (message(r#""id":1"#), NotAMessage),
        (message(r#""id":1,"method":"m","result":{}"#), Ambiguous),
        (message(r#""id":1,"result":{},"error":{}"#), Ambiguous),
        (
            message(r#""id":1,"method":1"#),
            ParseFault::WrongType { field: "method", wanted: "a string" },
        ),
    ] {
        assert_eq!(fault(&text), Some(expected), "{text}");
    }
    for params in ["[]", "null", "1", "\"{}\""] {
        let fault = fault(&message(&format!(r#""id":1,"method":"m","params":{params}"#)));
        assert_eq!(fault, Some(ParseFault::WrongType { field: "params", wanted: "an object" }));
    }
    for arguments in ["[]", "null", "1", "\"{}\""] {
        let members = format!(r#""id":1,"method":"m","params":{{"arguments":{arguments}}}"#);
        let wrong = ParseFault::WrongType { field: "arguments", wanted: "an object" };
        assert_eq!(fault(&message(&members)), Some(wrong));
    }
}

#[test]
fn the_fields_of_a_call_and_where_they_stand() {
    let body = message(
        r#" "id" : "a\"1" , "method":"tools/call","params":{"name":"crm__get","arguments": { "a" : [1, {"b":2}] } ,
        "_meta":{"progressToken":7,"io.modelcontextprotocol/protocolVersion":"2026-07-28",
        "io.modelcontextprotocol/clientCapabilities":{"roots":{}},
        "io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"}}}"#,
    );
    parser()
        .with(body.as_bytes(), |message| {
            assert_eq!(message.kind, Kind::Request);
            assert_eq!(message.id_text(), Some(&br#""a\"1""#[..]));
            let name = message.name.value().unwrap();
            assert_eq!((name.value, name.raw.of(message.body())), ("crm__get", &b"crm__get"[..]));
            assert_eq!(message.method_raw.of(message.body()), b"tools/call");
            assert_eq!(message.arguments_text(), br#"{ "a" : [1, {"b":2}] }"#);
            assert_eq!(message.meta.protocol_version, Field::Value("2026-07-28"));
            let token = message.meta.progress_token.value().unwrap();
            assert_eq!(token.of(message.body()), b"7");
            let capabilities = message.meta.client_capabilities.value().unwrap();
            assert_eq!(message.document.raw(capabilities), br#"{"roots":{}}"#);
            assert_eq!(message.meta.client_name, Some("c"));
        })
        .unwrap();
    let cancelled = message(r#""method":"notifications/cancelled","params":{"requestId":"x"}"#);
    parser()
        .with(cancelled.as_bytes(), |message| {
            assert_eq!((message.kind, message.id), (Kind::Notification, Id::Absent));
            let Id::Value(raw) = message.request_id else { panic!("{:?}", message.request_id) };
            assert_eq!(raw.of(message.body()), br#""x""#);
        })
        .unwrap();
}

#[test]
fn a_new_name_can_be_spliced_in() {
    let body =
        message(r#""id":1,"method":"tools/call","params":{"name":"crm__get","x":"crm__get"}"#);
    let raw = parser().with(body.as_bytes(), |m| m.name.value().unwrap().raw).unwrap().range();
    let spliced = format!("{}get{}", &body[..raw.start], &body[raw.end..]);
    let value: Value = serde_json::from_str(&spliced).unwrap();
    assert_eq!(value["params"]["name"], "get");
    assert_eq!(value["params"]["x"], "crm__get");
}

#[test]
fn a_parser_forgets_the_message_before() {
    let mut parser = parser();
    let long =
        message(&format!(r#""id":1,"method":"m","params":{{"name":"{}"}}"#, "n".repeat(900_000)));
    for _ in 0..3 {
        assert_eq!(
            parser.with(long.as_bytes(), |m| m.name.value().unwrap().value.len()),
            Ok(900_000)
        );
        assert!(parser.with(b"{\"a\":1", |_| ()).is_err());
        let short = message(r#""method":"n""#);
        assert_eq!(parser.with(short.as_bytes(), |m| m.name.is_absent()), Ok(true));
    }
}

/// The value at an index, by our tape.
fn value(document: Document<'_>, index: usize) -> Value {
    match document.node(index).unwrap() {
        Node::String(text) => text.into(),
        Node::Array { .. } => document.items(index).map(|item| value(document, item)).collect(),
        Node::Object { .. } => {
            let member =
                |(key, inner)| (document.text(key).unwrap().into(), value(document, inner));
            Value::Object(document.members(index).map(member).collect())
        }
        Node::Static(StaticNode::Null) => Value::Null,
        Node::Static(StaticNode::Bool(truth)) => truth.into(),
        Node::Static(StaticNode::I64(number)) => number.into(),
        Node::Static(StaticNode::U64(number)) => number.into(),
        Node::Static(StaticNode::F64(number)) => number.into(),
    }
}

/// Equal, but for the last digit of a fraction, which serde_json rounds in a hurry, and for `-0`,
/// an integer here and a fraction there.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((x, a), (y, b))| x == y && same(a, b))
        }
        (Value::Number(x), Value::Number(y)) if x.is_f64() || y.is_f64() => {
            let (x, y) = (x.as_f64().unwrap(), y.as_f64().unwrap());
            (x - y).abs() <= f64::EPSILON * x.abs()
        }
        _ => a == b,
    }
}

/// What we accept, serde_json accepts and reads alike, also value by value from our byte ranges.
fn differs(json: &[u8]) -> Option<String> {
    let read = parser().with_document(json, |document| {
        let theirs = serde_json::from_slice::<Value>(json).ok()?;
        let whole = same(&theirs, &value(document, 0));
        let parts = (0..document.tape.len()).all(|index| {
            let raw = std::str::from_utf8(document.raw(index)).unwrap();
            let exact = match document.node(index) {
                Some(Node::Static(StaticNode::F64(number))) => raw.parse() == Ok(number),
                _ => true,
            };
            let part = serde_json::from_str::<Value>(raw);
            exact && part.is_ok_and(|part| same(&part, &value(document, index)))
        });
        Some(whole && parts)
    });
    (matches!(read, Ok(None | Some(false)))).then(|| String::from_utf8_lossy(json).into_owned())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
        "[ -~]{0,9}".prop_map(Value::from),
        "\\PC{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-c\"\\\\\n€]{0,3}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_what_serde_json_writes(value in any_json(), pretty in any::<bool>()) {
        let json = match pretty {
            true => serde_json::to_vec_pretty(&value).unwrap(),
            false => serde_json::to_vec(&value).unwrap(),
        };
        prop_assert!(accepts(&json));
        prop_assert_eq!(differs(&json), None);
    }

    #[test]
    fn accepts_nothing_that_serde_json_refuses(
        value in any_json(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"{}[],:\"\\u0-1e. x\nt\xc3\xa9".to_vec())), 1..4),
    ) {
        let mut json = serde_json::to_vec(&value).unwrap();
        for (at, byte) in changes {
            let at = at.index(json.len());
            json[at] = byte;
        }
        prop_assert_eq!(differs(&json), None);
        dataplane_parse::fuzz::message(&json);
    }

    #[test]
    fn accepts_no_soup_that_serde_json_refuses(
        json in prop::collection::vec(prop::sample::select(b"{}[],:\"\\/u0d8c-1eE+. ntrufalse".to_vec()), 0..24),
    ) {
        prop_assert_eq!(differs(&json), None);
        dataplane_parse::fuzz::message(&json);
    }

    #[test]
    fn any_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        dataplane_parse::fuzz::message(&bytes);
    }
}
