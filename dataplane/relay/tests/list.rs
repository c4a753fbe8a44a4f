//! Tool lists: names, visibility, pages, gaps; and the SDK reads every one of them.

use dataplane_relay::list::{
    Gap, ListFaultKind, ListRequest, PAGE_BYTES_MAX, Page, ServerTools, ToolDefinition, ToolList,
    View,
};
use dataplane_relay::{ReplyId, Revision};
use rmcp::model::{CacheScope, ListToolsResult};
use serde_json::{Value, json};

const GET: &str = r#" {"description":"a \"name\": b","inputSchema":{"type":"object","properties":{"name":{"type":"string"}}},
    "name" : "get_orders" ,"annotations":{"readOnlyHint":true}} "#;
const REFUND: &str = r#"{"name":"refund","inputSchema":{"type":"object","properties":
    {"region":{"type":"string","x-mcp-header":"Region"}}}}"#;
const ODD: &str = r#"{"name":"odd","inputSchema":{"type":"object","properties":
    {"n":{"type":"number","x-mcp-header":"N"}}}}"#;
const GOOD: &str = r#"{"name":"good","inputSchema":{"type":"object"}}"#;
const READ: &str = r#"{"name":"get__orders","inputSchema":{"type":"object"}}"#;

fn tool<'a>(name: &'a str, definition: &str) -> ToolDefinition<'a> {
    ToolDefinition { name, definition: definition.to_owned() }
}

fn list_of<'a>(server: &'a str, tools: &[(&'a str, &str)]) -> ServerTools<'a> {
    ServerTools { name: server, tools: tools.iter().map(|(name, text)| tool(name, text)).collect() }
}

fn list() -> ToolList {
    ToolList::new(vec![
        list_of("crm", &[("get_orders", GET), ("refund", REFUND)]),
        list_of("empty", &[]),
        list_of("files", &[("odd", ODD), ("get__orders", READ)]),
    ])
}

fn request(revision: Revision, view: View) -> ListRequest<'static> {
    ListRequest {
        id: ReplyId::Raw(b"\"q\""),
        revision,
        view,
        from: 0,
        ttl_ms: 5_000,
        gaps: &[],
        page_bytes_max: PAGE_BYTES_MAX,
    }
}

fn write(
    list: &ToolList,
    request: &ListRequest<'_>,
    visible: impl FnMut(usize, usize) -> bool,
) -> (Page, Value, ListToolsResult) {
    let mut out = Vec::new();
    let page = list.write(&mut out, request, visible, |next, out| {
        out.extend_from_slice(format!("sealed-{next}").as_bytes());
    });
    let value: Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!((&value["jsonrpc"], &value["id"]), (&json!("2.0"), &json!("q")));
    let result = value["result"].clone();
    let read: ListToolsResult = serde_json::from_value(result.clone()).expect("the SDK reads it");
    assert_eq!(read.tools.len(), page.tools as usize);
    (page, result, read)
}

fn names(read: &ListToolsResult) -> Vec<&str> {
    read.tools.iter().map(|tool| &*tool.name).collect()
}

#[test]
fn names_are_prefixed_in_the_federated_view_only() {
    let list = list();
    let legacy = Revision::V2025_11_25;
    let (page, result, read) = write(&list, &request(legacy, View::Federated), |_, _| true);
    assert_eq!(
        names(&read),
        ["crm__get_orders", "crm__refund", "files__odd", "files__get__orders"]
    );
    assert_eq!(page, Page { tools: 4, next: None });
    for key in ["resultType", "ttlMs", "cacheScope", "nextCursor", "_meta"] {
        assert!(result.get(key).is_none(), "{key}");
    }
    // Only the value of the name is another one.
    let mut pinned: Value = serde_json::from_str(GET).unwrap();
    pinned["name"] = json!("crm__get_orders");
    assert_eq!(result["tools"][0], pinned);

    let (_, result, read) = write(&list, &request(legacy, View::Server(0)), |_, _| true);
    assert_eq!(names(&read), ["get_orders", "refund"]);
    assert_eq!(result["tools"][0], serde_json::from_str::<Value>(GET).unwrap());
    for view in [View::Server(1), View::Server(3), View::Server(usize::MAX)] {
        assert_eq!(write(&list, &request(legacy, view), |_, _| true).0.tools, 0);
    }
    assert_eq!(list.server_name(2), Some("files"));
    assert_eq!(list.server_name(3), None);
}

#[test]
fn a_modern_list_may_be_kept_for_this_caller() {
    let list = list();
    let (_, _, read) = write(&list, &request(Revision::V2026_07_28, View::Federated), |_, _| true);
    assert!(read.result_type.as_ref().unwrap().is_complete());
    assert_eq!((read.ttl_ms, read.cache_scope), (Some(5_000), Some(CacheScope::Private)));
    // A modern client would have to leave this one out itself.
    assert_eq!(names(&read), ["crm__get_orders", "crm__refund", "files__get__orders"]);
    assert_eq!(list.params(0, 1).len(), 1);
    assert!(list.params(0, 0).is_empty() && list.params(2, 0).is_empty());
    assert!(list.params(0, 2).is_empty() && list.params(9, 9).is_empty());
}

#[test]
fn what_is_not_visible_is_not_written() {
    let list = list();
    let mut asked = Vec::new();
    let (page, _, read) =
        write(&list, &request(Revision::V2025_06_18, View::Federated), |server, tool| {
            asked.push((server, tool));
            (server, tool) == (2, 1)
        });
    assert_eq!(names(&read), ["files__get__orders"]);
    assert_eq!(page.next, None);
    assert_eq!(asked, [(0, 0), (0, 1), (2, 0), (2, 1)]);
    let (_, _, read) =
        write(&list, &request(Revision::V2025_06_18, View::Server(2)), |_, tool| tool == 0);
    assert_eq!(names(&read), ["odd"]);
}

#[test]
fn pages_follow_each_other_and_miss_nothing() {
    let list = list();
    let visible = |server: usize, tool: usize| (server, tool) != (2, 0);
    for view in [View::Federated, View::Server(0), View::Server(2)] {
        let whole = request(Revision::V2026_07_28, view);
        let (_, _, expected) = write(&list, &whole, visible);
        for page_bytes_max in [0, 1, 200, 260, 400, 500, 10_000] {
            let (mut from, mut seen) = (0, Vec::new());
            loop {
                let (page, result, read) =
                    write(&list, &ListRequest { from, page_bytes_max, ..whole }, visible);
                assert_eq!(page.tools > 0, !read.tools.is_empty());
                seen.extend(read.tools);
                let cursor = page.next.map(|next| format!("sealed-{next}"));
                assert_eq!(result.get("nextCursor"), cursor.map(Value::from).as_ref());
                match page.next {
                    Some(next) => from = next,
                    None => break,
                }
            }
            assert_eq!(seen, expected.tools, "{page_bytes_max}");
        }
        let (past, _, _) = write(&list, &ListRequest { from: u32::MAX, ..whole }, visible);
        assert_eq!(past, Page { tools: 0, next: None });
    }
}

#[test]
fn a_gap_is_named() {
    let gaps = [
        Gap { server: "crm", reason: "down since 10:00, \"refused\"\n" },
        Gap { server: "files", reason: "" },
    ];
    for revision in [Revision::V2025_03_26, Revision::V2026_07_28] {
        let request = ListRequest { gaps: &gaps, ..request(revision, View::Federated) };
        let (_, result, read) = write(&list(), &request, |_, _| false);
        assert!(read.tools.is_empty());
        assert_eq!(result["_meta"]["portcullis/unavailable"][0]["server"], "crm");
        assert_eq!(result["_meta"]["portcullis/unavailable"][0]["reason"], gaps[0].reason);
        assert_eq!(result["_meta"]["portcullis/unavailable"][1]["server"], "files");
    }
}

#[test]
fn a_definition_must_be_what_it_is_called() {
    for (name, definition) in [
        ("a", r#"{"name":"b"}"#),
        ("a", r#"{"title":"a"}"#),
        ("a", r#"{"name":1}"#),
        ("a", r#"["name","a"]"#),
        ("a", r#""a""#),
    ] {
        let list = ToolList::new(vec![list_of("s", &[("good", GOOD), (name, definition)])]);
        let fault = list.read_all().unwrap_err();
        assert_eq!((&*fault.server, &*fault.tool), ("s", name));
        assert_eq!(fault.why, ListFaultKind::Name, "{definition}");
    }
    for definition in [r#"{"name":"a","name":"a"}"#, r#"{"name":"a"}x"#, "", r#"{"name":"\ud800"}"#]
    {
        let list = ToolList::new(vec![list_of("s", &[("a", definition), ("good", GOOD)])]);
        let fault = list.read_all().unwrap_err();
        assert!(matches!(fault.why, ListFaultKind::Parse(_)), "{definition}");
        // Where nobody looked before, it is left out and the others are not.
        let list = ToolList::new(vec![list_of("s", &[("a", definition), ("good", GOOD)])]);
        let (_, _, read) =
            write(&list, &request(Revision::V2025_06_18, View::Server(0)), |_, _| true);
        assert_eq!(names(&read), ["good"], "{definition}");
        assert!(list.params(0, 0).is_empty());
    }
}

#[test]
fn a_list_is_written_without_allocation() {
    let list = list();
    list.read_all().expect("good definitions");
    let mut out = Vec::with_capacity(8_192);
    let request = request(Revision::V2026_07_28, View::Federated);
    let seen = allocation_counter::measure(|| {
        list.write(&mut out, &request, |_, _| true, |_, _| {});
    });
    assert_eq!(seen.count_total, 0);
}
