//! The era table, a test for each row. A row's test fails when the row is missing and when an
//! earlier row takes its place.

use dataplane_parse::{
    Entry, EraData, EraHeaders, Limits, Method, Notice, ParamHeader, ParamValue, Parser, Revision,
    Rules, SessionView, VersionHeader, era, without_body,
};

const MODERN: &str = "2026-07-28";
const OPEN: SessionView = SessionView::Open { revision: Revision::V2025_06_18 };

/// A request, and what is known beside it. The default is one that row 14 accepts.
#[derive(Clone)]
struct Case {
    version: VersionHeader<'static>,
    method: Option<&'static str>,
    name: Option<&'static str>,
    params: Vec<(&'static str, &'static str)>,
    body: String,
    session: SessionView,
    declared: Vec<ParamHeader>,
    needs: Vec<&'static str>,
}

#[derive(Debug, PartialEq)]
enum Seen {
    Ok(Entry),
    /// Row, HTTP status, code, data.
    No(u8, u16, i32, String),
}

impl Case {
    fn see(&self) -> Seen {
        let params: Vec<ParamValue<'_>> = self
            .params
            .iter()
            .map(|(suffix, value)| ParamValue {
                suffix: suffix.as_bytes(),
                value: value.as_bytes(),
            })
            .collect();
        let headers = EraHeaders {
            version: self.version,
            method: self.method.map(str::as_bytes),
            name: self.name.map(str::as_bytes),
            params: &params,
        };
        let rules = Rules { tool_params: &self.declared, needs: &self.needs };
        Parser::new(Limits::REQUEST)
            .with(self.body.as_bytes(), |message| {
                match era(&headers, message, self.session, &rules) {
                    Ok(entry) => Seen::Ok(entry),
                    Err(fault) => {
                        let mut data = Vec::new();
                        let some = fault.write_data(&mut data);
                        assert_eq!(some, fault.data != EraData::None);
                        let data = String::from_utf8(data).unwrap();
                        Seen::No(fault.row, fault.status, fault.code, data)
                    }
                }
            })
            .expect("strict JSON-RPC")
    }

    fn refuses(&self, row: u8, status: u16, code: i32) {
        match self.see() {
            Seen::No(saw_row, saw_status, saw_code, _) => {
                assert_eq!((saw_row, saw_status, saw_code), (row, status, code), "{}", self.body);
            }
            Seen::Ok(entry) => panic!("{entry:?} for {}", self.body),
        }
    }

    fn body(mut self, body: &str) -> Self {
        self.body = body.into();
        self
    }

    fn version(mut self, version: &'static str) -> Self {
        self.version = VersionHeader::Value(version.as_bytes());
        self
    }

    fn absent(mut self) -> Self {
        self.version = VersionHeader::Absent;
        self
    }

    fn session(mut self, session: SessionView) -> Self {
        self.session = session;
        self
    }

    /// Another method, in header and body; no name.
    fn method(mut self, method: &'static str) -> Self {
        self.method = Some(method);
        self.name = None;
        self.body = body(method, "", META);
        self
    }
}

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28",
    "io.modelcontextprotocol/clientCapabilities":{"roots":{}}"#;

fn body(method: &str, params: &str, meta: &str) -> String {
    let comma = if params.is_empty() { "" } else { "," };
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}{comma}"_meta":{{{meta}}}}}}}"#
    )
}

/// Accepted by row 14.
fn modern() -> Case {
    Case {
        version: VersionHeader::Value(MODERN.as_bytes()),
        method: Some("tools/call"),
        name: Some("crm__get"),
        params: vec![],
        body: body("tools/call", r#""name":"crm__get","arguments":{"a":1}"#, META),
        session: SessionView::None,
        declared: vec![],
        needs: vec![],
    }
}

/// Accepted by row 17.
fn legacy() -> Case {
    Case {
        version: VersionHeader::Value(b"2025-06-18"),
        method: None,
        name: None,
        body: r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#.into(),
        session: OPEN,
        ..modern()
    }
}

#[test]
fn row_01_version_header_twice_or_with_a_comma() {
    let repeated = Case { version: VersionHeader::Repeated, ..modern() };
    repeated.refuses(1, 400, -32020);
    repeated.clone().body("[]").refuses(1, 400, -32020);
    modern().version("2026-07-28, 2026-07-28").refuses(1, 400, -32020);
    legacy().version("2025-06-18,").refuses(1, 400, -32020);
}

#[test]
fn row_02_body_is_an_array() {
    for case in [modern(), legacy(), legacy().session(SessionView::Invalid)] {
        case.clone().body("[]").refuses(2, 400, -32600);
        case.body(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#).refuses(2, 400, -32600);
    }
    // Not carried even where the revision has them.
    let session = SessionView::Open { revision: Revision::V2025_03_26 };
    legacy().absent().session(session).body("[]").refuses(2, 400, -32600);
}

#[test]
fn row_03_header_differs_from_meta() {
    modern().absent().refuses(3, 400, -32020);
    modern().version("2025-11-25").refuses(3, 400, -32020);
    modern().version("2026-07-29").refuses(3, 400, -32020);
    modern().version("").refuses(3, 400, -32020);
    let old = META.replace(MODERN, "2025-11-25");
    modern().body(&body("tools/list", "", &old)).refuses(3, 400, -32020);
    // A session changes nothing about it.
    modern().absent().session(OPEN).refuses(3, 400, -32020);
    assert!(matches!(modern().version(" 2026-07-28\t").see(), Seen::Ok(_)));
}

#[test]
fn row_04_modern_header_without_a_version_inside() {
    let bodies = [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#.into(),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":[]}}"#.into(),
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.into(),
        body("tools/list", "", r#""io.modelcontextprotocol/protocolVersion":20260728"#),
        body("tools/list", "", r#""io.modelcontextprotocol/protocolVersion":null"#),
    ];
    for body in bodies {
        modern().body(&body).refuses(4, 400, -32602);
        modern().body(&body).session(OPEN).refuses(4, 400, -32602);
    }
    // Something was sent that no legacy client sends.
    let number = body("tools/list", "", r#""io.modelcontextprotocol/protocolVersion":1"#);
    legacy().body(&number).refuses(4, 400, -32602);
    legacy().absent().body(&number).refuses(4, 400, -32602);
}

#[test]
fn row_05_version_is_unknown_or_legacy() {
    for version in ["2025-11-25", "2024-11-05", "2027-01-01", "x\\\"y"] {
        let meta = META.replace(MODERN, version);
        let header: &'static str = if version.starts_with('x') { "x\"y" } else { version };
        let case = modern().version(header).body(&body("tools/list", "", &meta));
        let data = format!(r#"{{"supported":["2026-07-28"],"requested":"{version}"}}"#);
        assert_eq!(case.see(), Seen::No(5, 400, -32022, data));
        case.session(OPEN).refuses(5, 400, -32022);
    }
}

#[test]
fn row_06_client_capabilities() {
    let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    for rest in ["", "[]", "null", "true", "\"{}\""] {
        let meta = match rest {
            "" => version.to_owned(),
            rest => format!(r#"{version},"io.modelcontextprotocol/clientCapabilities":{rest}"#),
        };
        // Before row 7: the method differs as well.
        modern().body(&body("tools/list", "", &meta)).refuses(6, 400, -32602);
    }
}

#[test]
fn row_07_method_header() {
    let mut case = modern();
    for method in [None, Some(""), Some("Tools/call"), Some("tools/list"), Some("tools/call,x")] {
        case.method = method;
        case.refuses(7, 400, -32020);
    }
    case.method = Some(" tools/call ");
    assert!(matches!(case.see(), Seen::Ok(_)));
    // Before row 10.
    let mut unknown = modern().method("no/such");
    unknown.method = Some("no/other");
    unknown.refuses(7, 400, -32020);
}

#[test]
fn row_08_name_header() {
    let mut case = modern();
    for name in [None, Some(""), Some("crm__Get"), Some("crm__get2"), Some("=?base64?Y3?=")] {
        case.name = name;
        case.refuses(8, 400, -32020);
    }
    for name in ["crm__get", "\tcrm__get ", "=?base64?Y3JtX19nZXQ=?="] {
        case.name = Some(name);
        assert!(matches!(case.see(), Seen::Ok(_)), "{name}");
    }
    // A name that is missing or no string equals no header.
    for params in ["", r#""name":1"#, r#""name":null"#] {
        modern().body(&body("tools/call", params, META)).refuses(8, 400, -32020);
    }
    // Methods that are not carried are held to it as well: row 10 comes later.
    for (method, params) in [
        ("prompts/get", r#""name":"p""#),
        ("resources/read", r#""uri":"p""#),
        ("tasks/get", r#""taskId":"p""#),
        ("tasks/cancel", r#""taskId":"p""#),
    ] {
        let mut case = modern().method(method).body(&body(method, params, META));
        case.refuses(8, 400, -32020);
        case.name = Some("q");
        case.refuses(8, 400, -32020);
        case.name = Some("p");
        case.refuses(10, 404, -32601);
    }
}

#[test]
fn row_09_param_headers() {
    let declared = |suffix: &str, path: &[&str]| ParamHeader {
        suffix: suffix.into(),
        path: path.iter().map(|name| (*name).into()).collect(),
    };
    let call = |arguments: &str, params: &[(&'static str, &'static str)]| Case {
        declared: vec![declared("Region", &["region"]), declared("Limit", &["o", "limit"])],
        params: params.to_vec(),
        body: body("tools/call", &format!(r#""name":"crm__get"{arguments}"#), META),
        ..modern()
    };
    let region = r#","arguments":{"region":"eu","o":{"limit":null}}"#;
    let limit = |limit: &str| format!(r#","arguments":{{"o":{{"limit":{limit}}}}}"#);
    let accepted = [
        call("", &[]),
        call(region, &[("Region", "eu")]),
        call(region, &[("rEGION", " =?base64?ZXU=?= ")]),
        call(&limit("42"), &[("Limit", "42")]),
        call(&limit("42"), &[("Limit", "42.0")]),
        call(&limit("42.0"), &[("Limit", "42")]),
        call(&limit("-7"), &[("Limit", "-7")]),
        call(&limit("true"), &[("Limit", "true")]),
        call(&limit("9007199254740993"), &[("Limit", "9007199254740993")]),
        call(&limit("[1]"), &[]),
    ];
    for case in accepted {
        assert!(matches!(case.see(), Seen::Ok(_)), "{} {:?}", case.body, case.params);
    }
    let refused = [
        call("", &[("Region", "eu")]),
        call(region, &[]),
        call(region, &[("Region", "us")]),
        call(region, &[("Region", "EU")]),
        call(region, &[("Region", "=?base64?ZXU?=")]),
        call(region, &[("Region", "eu"), ("region", "eu")]),
        call(region, &[("Region", "eu"), ("Limit", "null")]),
        call(region, &[("Region", "eu"), ("Other", "x")]),
        call(&limit("42"), &[("Limit", "43")]),
        call(&limit("42"), &[("Limit", "+42")]),
        call(&limit("42"), &[("Limit", "42.5")]),
        call(&limit("\"42\""), &[("Limit", "42.0")]),
        call(&limit("9007199254740993"), &[("Limit", "9007199254740992")]),
        call(&limit("true"), &[("Limit", "True")]),
        call(&limit("[1]"), &[("Limit", "1")]),
    ];
    for case in refused {
        case.refuses(9, 400, -32020);
    }
    // Surplus where nothing is declared, and before row 10.
    let mut case = modern().method("no/such");
    case.params = vec![("Region", "eu")];
    case.refuses(9, 400, -32020);
}

#[test]
fn row_10_method_is_unknown_here() {
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/list",
        "prompts/list",
        "completion/complete",
        "subscriptions/listen",
        "tools/Call",
        "tools/call ",
        "",
        "rpc.discover",
    ] {
        // Before row 12.
        let body = body(method, "", META).replace("\"id\":1", "\"id\":null");
        let mut case = modern().method("x").body(&body);
        case.method = Some(if method == "tools/call " { continue } else { method });
        case.refuses(10, 404, -32601);
    }
}

#[test]
fn row_11_missing_client_capability() {
    let mut case = modern();
    case.needs = vec!["roots"];
    assert!(matches!(case.see(), Seen::Ok(_)));
    case.needs = vec!["roots", "elicitation"];
    let data = r#"{"requiredCapabilities":{"elicitation":{}}}"#;
    assert_eq!(case.see(), Seen::No(11, 400, -32021, data.into()));
    // Before row 12.
    case.body = case.body.replace("\"id\":1", "\"id\":1.5");
    case.refuses(11, 400, -32021);
}

#[test]
fn row_12_id() {
    for id in ["null", "1.5", "1e3", "1.0", "-0", "true", "{}", "[]", "9007199254740993"] {
        let body = modern().body.replace("\"id\":1", &format!("\"id\":{id}"));
        modern().body(&body).refuses(12, 400, -32600);
    }
    for id in ["0", "-1", "9007199254740992", "\"\"", "\"1\"", "\"\\u0061\""] {
        let body = modern().body.replace("\"id\":1", &format!("\"id\":{id}"));
        assert!(matches!(modern().body(&body).see(), Seen::Ok(_)), "{id}");
    }
}

#[test]
fn row_13_notifications_and_responses() {
    let without_id = |case: &Case| case.body.replace("\"id\":1,", "");
    for method in ["notifications/cancelled", "notifications/initialized", "notifications/x"] {
        let mut case = modern().method(method);
        case.body = without_id(&case);
        assert_eq!(case.see(), Seen::Ok(Entry::ModernNotification));
        case.method = None;
        assert_eq!(case.see(), Seen::Ok(Entry::ModernNotification));
        case.method = Some("tools/call");
        case.refuses(7, 400, -32020);
        // With an id it is a request.
        modern().method(method).refuses(10, 404, -32601);
    }
    // A request's method without an id: a server might run it.
    let body = without_id(&modern());
    modern().body(&body).refuses(13, 400, -32600);
    // A response has no place for a version, so row 4 is met first; with one, row 7.
    modern().body(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).refuses(4, 400, -32602);
    let odd =
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{}},"params":{{"_meta":{{{META}}}}}}}"#);
    modern().body(&odd).refuses(7, 400, -32020);
    let mut odd = modern().body(&odd);
    odd.method = Some("");
    odd.refuses(10, 404, -32601);
}

#[test]
fn row_14_modern() {
    let revision = Revision::V2026_07_28;
    let is = |method| Seen::Ok(Entry::Modern { revision, method });
    assert_eq!(modern().see(), is(Method::CallTool));
    assert_eq!(modern().method("tools/list").see(), is(Method::ListTools));
    assert_eq!(modern().method("server/discover").see(), is(Method::Discover));
    // The session is ignored.
    for session in [OPEN, SessionView::Invalid] {
        assert_eq!(modern().session(session).see(), is(Method::CallTool));
    }
}

#[test]
fn row_15_unknown_header() {
    for (version, session) in
        [("2027-01-01", SessionView::None), ("x", OPEN), ("", SessionView::Invalid)]
    {
        let case = legacy().version(version).session(session);
        let data = format!(r#"{{"supported":["2026-07-28"],"requested":"{version}"}}"#);
        assert_eq!(case.see(), Seen::No(15, 400, -32022, data));
    }
}

#[test]
fn row_16_initialize() {
    let initialize = |version: &str| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":{version},
            "capabilities":{{}},"clientInfo":{{"name":"c","version":"1"}}}}}}"#
        );
        legacy().absent().session(SessionView::None).body(&body)
    };
    for (asked, revision) in [
        ("\"2024-11-05\"", Revision::V2024_11_05),
        ("\"2025-03-26\"", Revision::V2025_03_26),
        ("\"2025-06-18\"", Revision::V2025_06_18),
        ("\"2025-11-25\"", Revision::V2025_11_25),
        ("\"2026-07-28\"", Revision::V2025_11_25),
        ("\"1999-01-01\"", Revision::V2025_11_25),
        ("1", Revision::V2025_11_25),
    ] {
        let expected = Seen::Ok(Entry::Handshake { revision });
        assert_eq!(initialize(asked).see(), expected);
        assert_eq!(initialize(asked).version("2025-03-26").see(), expected);
        // The headers of the other era mean nothing here.
        let mut case = initialize(asked);
        (case.method, case.name) = (Some("tools/call"), Some("x"));
        assert_eq!(case.see(), expected);
        case.body = case.body.replace("\"id\":1,", "");
        case.refuses(16, 400, -32600);
    }
    let bad = initialize("\"2025-11-25\"");
    bad.clone().body(&bad.body.replace("\"id\":1", "\"id\":null")).refuses(16, 400, -32600);
}

#[test]
fn row_17_open_session() {
    let revision = Revision::V2025_06_18;
    let is = |method| Seen::Ok(Entry::Legacy { revision, method });
    assert_eq!(legacy().see(), is(Method::ListTools));
    assert_eq!(legacy().absent().see(), is(Method::ListTools));
    legacy().version("2025-11-25").refuses(17, 400, -32600);
    let request = |rest: &str| legacy().body(&format!(r#"{{"jsonrpc":"2.0",{rest}}}"#));
    assert_eq!(request(r#""id":"p","method":"ping""#).see(), is(Method::Ping));
    let call = request(r#""id":1,"method":"tools/call","params":{"name":"t"}"#);
    assert_eq!(call.see(), is(Method::CallTool));
    // The headers of the other era are ignored wholly.
    let lying = Case { method: Some("tools/list"), name: Some("other"), ..call };
    assert_eq!(lying.see(), is(Method::CallTool));
    // Errors of the call itself travel with 200.
    request(r#""id":1,"method":"tools/call""#).refuses(17, 200, -32602);
    request(r#""id":1,"method":"tools/call","params":{"name":7}"#).refuses(17, 200, -32602);
    for method in ["prompts/list", "server/discover", "no/such", "notifications/x", ""] {
        request(&format!(r#""id":1,"method":"{method}""#)).refuses(17, 200, -32601);
    }
    request(r#""id":1,"method":"initialize""#).refuses(17, 400, -32600);
    request(r#""id":null,"method":"ping""#).refuses(17, 400, -32600);
    request(r#""method":"tools/call","params":{"name":"t"}"#).refuses(17, 400, -32600);
    for (method, notice) in [
        ("notifications/initialized", Notice::Initialized),
        ("notifications/cancelled", Notice::Cancelled),
        ("notifications/roots/list_changed", Notice::Other),
    ] {
        let seen = request(&format!(r#""method":"{method}""#)).see();
        assert_eq!(seen, Seen::Ok(Entry::LegacyNotification { revision, notice }));
    }
    let answer = request(r#""id":1,"result":{}"#).see();
    assert_eq!(answer, Seen::Ok(Entry::LegacyResponse { revision }));
}

#[test]
fn row_18_invalid_session() {
    let invalid = legacy().session(SessionView::Invalid);
    invalid.refuses(18, 404, -32600);
    invalid.clone().absent().refuses(18, 404, -32600);
    // Not told apart by method, nor is it a way to a new session.
    for method in ["initialize", "no/such", "ping"] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
        invalid.clone().body(&body).refuses(18, 404, -32600);
    }
}

#[test]
fn row_19_no_session() {
    let none = legacy().session(SessionView::None);
    none.refuses(19, 400, -32600);
    none.clone().absent().refuses(19, 400, -32600);
    none.body(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).refuses(19, 400, -32600);
}

#[test]
fn row_20_get_and_delete() {
    let see = |version: Option<&'static str>, session| {
        let version =
            version.map_or(VersionHeader::Absent, |text| VersionHeader::Value(text.as_bytes()));
        let headers = EraHeaders { version, ..EraHeaders::default() };
        without_body(&headers, session).map_err(|fault| (fault.row, fault.status))
    };
    assert_eq!(see(None, SessionView::None), Err((20, 405)));
    assert_eq!(see(Some(MODERN), OPEN), Err((20, 405)));
    assert_eq!(see(Some("2025-06-18"), SessionView::None), Err((20, 405)));
    assert_eq!(see(Some("2025-06-18"), OPEN), Ok(Revision::V2025_06_18));
    assert_eq!(see(None, OPEN), Ok(Revision::V2025_06_18));
    assert_eq!(see(Some("2025-11-25"), OPEN), Err((17, 400)));
    assert_eq!(see(Some("2031-01-01"), OPEN), Err((17, 400)));
    assert_eq!(see(None, SessionView::Invalid), Err((18, 404)));
    let headers = EraHeaders { version: VersionHeader::Repeated, ..EraHeaders::default() };
    assert_eq!(without_body(&headers, OPEN).map_err(|fault| fault.row), Err(1));
}

/// Header and body may differ in twelve ways; no method gets through with any of them.
#[test]
fn every_method_is_refused_for_every_mismatch() {
    let methods = [
        ("tools/call", r#""name":"n""#),
        ("tools/list", ""),
        ("server/discover", ""),
        ("prompts/get", r#""name":"n""#),
        ("resources/read", r#""uri":"n""#),
        ("tasks/get", r#""taskId":"n""#),
    ];
    for (method, params) in methods {
        let good = Case {
            method: Some(method),
            name: (!params.is_empty()).then_some("n"),
            body: body(method, params, META),
            ..modern()
        };
        let with = |change: &dyn Fn(&mut Case)| {
            let mut case = good.clone();
            change(&mut case);
            case
        };
        let mut cases = vec![
            with(&|case| case.version = VersionHeader::Absent),
            with(&|case| case.version = VersionHeader::Repeated),
            with(&|case| case.version = VersionHeader::Value(b"2025-11-25")),
            with(&|case| case.version = VersionHeader::Value(b"2026-07-28,x")),
            with(&|case| case.method = None),
            with(&|case| case.method = Some("Tools/Call")),
            with(&|case| case.method = Some("notifications/x")),
            with(&|case| case.params = vec![("X", "1")]),
        ];
        if !params.is_empty() {
            cases.push(with(&|case| case.name = None));
            cases.push(with(&|case| case.name = Some("N")));
            cases.push(with(&|case| case.name = Some("n n")));
            cases.push(with(&|case| case.name = Some("=?base64?!!!!?=")));
        }
        for case in cases {
            assert!(matches!(case.see(), Seen::No(_, 400, -32020, _)), "{method}");
        }
    }
}
