//! Applying a folder: repeatable, whole or not at all, kept over a restart, taken back by a revision.

mod support;

use reqwest::Method;
use serde_json::{Value, json};
use support::upstream::{Upstream, refund};
use support::{Plane, folder, golden};

const POLICY: &str = "permit(principal in Role::\"support\", action == Action::\"call\", resource in Server::\"crm\");\n\
forbid(principal, action == Action::\"call\", resource == Tool::\"crm/refund\") when { context.arguments.amount > 500 };\n";

const TESTS: &str = "[[case]]\n\
caller = { tenant = \"acme\", user = \"ann\", roles = [\"support\"] }\n\
call   = { tool = \"crm/refund\", arguments = { order = \"A-1\", amount = 900 } }\n\
expect = \"deny\"\n";

fn main_file(upstream: &Upstream) -> String {
    format!(
        "[servers.crm]\nurl = \"{}\"\n\n[quotas.agents]\nper = \"agent\"\ncalls = \"600/min\"\nburst = 100\n",
        upstream.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_page_applies_and_applying_again_changes_nothing() {
    let (plane, upstream) = (Plane::start().await, Upstream::start().await);
    let main = main_file(&upstream);
    let files = [
        ("portcullis.toml", main.as_str()),
        ("support.cedar", POLICY),
        ("tests/support.toml", TESTS),
    ];
    let applied = plane.admin.apply(&files).await;
    assert_eq!(
        (&applied["revision"], &applied["changed"]),
        (&json!(1), &json!(true)),
        "{applied:#}"
    );
    assert_eq!(applied["tests"]["passed"], 1);
    assert_eq!(applied["discovered"][0]["pinned"], json!(["get_orders", "refund"]));
    let again = plane.admin.apply(&files).await;
    assert_eq!((&again["revision"], &again["changed"]), (&json!(1), &json!(false)), "{again:#}");
    assert_eq!(again["diff"]["changes"], json!([]));
    let list = plane.admin.get("/v1/revisions").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["author"], "bootstrap");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_and_changes_nothing() {
    let (plane, upstream) = (Plane::start().await, Upstream::start().await);
    let main = main_file(&upstream);
    let files = folder(&[
        ("portcullis.toml", &main),
        ("tests/support.toml", TESTS),
        ("support.cedar", POLICY),
    ]);
    let body = json!({ "files": files, "dry_run": true });
    let told = plane.admin.ok(Method::POST, "/v1/apply", Some(body)).await;
    assert_eq!(
        (&told["revision"], &told["changed"], &told["dry_run"]),
        (&json!(0), &json!(true), &json!(true))
    );
    assert!(!told["diff"]["changes"].as_array().unwrap().is_empty());
    assert_eq!(plane.admin.get("/v1/status").await["revision"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_diff_is_told_as_people_read_it() {
    let (plane, upstream) = (Plane::start().await, Upstream::start().await);
    let main = main_file(&upstream);
    plane
        .admin
        .apply(&[
            ("portcullis.toml", &main),
            ("support.cedar", POLICY),
            ("tests/support.toml", TESTS),
        ])
        .await;
    let main = main.replace("600/min", "900/min") + "\n[tenants.acme]\ndisabled = true\n";
    let policy = POLICY.replace("500", "800");
    let applied = plane
        .admin
        .apply(&[
            ("portcullis.toml", &main),
            ("support.cedar", &policy),
            ("tests/support.toml", TESTS),
        ])
        .await;
    let diff: controlplane_api::Diff = serde_json::from_value(applied["diff"].clone()).unwrap();
    golden("tests/golden/diff.txt", &diff.to_text());
    let kept = plane.admin.get("/v1/revisions/2/diff").await;
    assert_eq!(kept["changes"], applied["diff"]["changes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_where_and_what_to_write() {
    let (plane, upstream) = (Plane::start().await, Upstream::start().await);
    let main = main_file(&upstream);
    let good = main.as_str();
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("an unknown key", &[("portcullis.toml", "[servers.crm]\nurl = \"http://a/\"\nulr = 1\n")]),
        ("no TOML", &[("portcullis.toml", "[servers.crm\n")]),
        ("an address", &[("portcullis.toml", "[servers.crm]\nurl = \"ftp://crm\"\n")]),
        (
            "two problems",
            &[(
                "portcullis.toml",
                "[servers.CRM]\nurl = \"http://a/\"\n\n[quotas.a]\nper = \"agent\"\ncalls = \"often\"\n",
            )],
        ),
        (
            "no tenant",
            &[(
                "portcullis.toml",
                "[identity.okta]\nissuer = \"https://idp.example.com\"\naudience = \"https://g/mcp\"\n",
            )],
        ),
        (
            "a header of ours",
            &[(
                "portcullis.toml",
                "[servers.crm]\nurl = \"http://a/\"\ninject = { header = \"Host\", secret = \"k\" }\n",
            )],
        ),
        ("no main file", &[("support.cedar", POLICY)]),
        ("a file that is not ours", &[("portcullis.toml", ""), ("notes.txt", "x")]),
        (
            "a tool that is not there",
            &[
                ("portcullis.toml", good),
                (
                    "a.cedar",
                    "permit(principal, action == Action::\"call\", resource == Tool::\"crm/refnd\");",
                ),
            ],
        ),
        (
            "no Cedar",
            &[("portcullis.toml", good), ("a.cedar", "permit(principal\n  action, resource);")],
        ),
        (
            "a test that fails",
            &[
                ("portcullis.toml", good),
                ("support.cedar", POLICY),
                ("tests/a.toml", &TESTS.replace("900", "9")),
            ],
        ),
        (
            "a test that cannot be read",
            &[
                ("portcullis.toml", good),
                (
                    "tests/a.toml",
                    "\n[[case]]\ncaller = { tenant = \"a\" }\ncall = { tool = \"crm\" }\nexpect = \"deny\"\n",
                ),
            ],
        ),
        (
            "a quota of no server",
            &[(
                "portcullis.toml",
                "[quotas.a]\nper = \"agent\"\ncalls = \"1/s\"\nserver = \"erp\"\n",
            )],
        ),
    ];
    let mut text = String::new();
    for (name, files) in cases {
        let problem = plane.admin.apply_refused(files).await;
        text.push_str(&format!("## {name}\n{}\n", problem.to_text()));
    }
    golden("tests/golden/errors.txt", &text);
    assert_eq!(plane.admin.get("/v1/status").await["revision"], 0, "nothing of it took effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_loses_nothing_and_asks_nobody() {
    let (plane, upstream) = (Plane::start().await, Upstream::start().await);
    let main = main_file(&upstream);
    plane
        .admin
        .apply(&[
            ("portcullis.toml", &main),
            ("support.cedar", POLICY),
            ("tests/support.toml", TESTS),
        ])
        .await;
    plane.admin.ok(Method::PUT, "/v1/secrets/crm-key", Some(json!({ "value": "v" }))).await;
    let kill = json!({ "target": { "server": "crm" }, "reason": "x" });
    plane.admin.ok(Method::POST, "/v1/kills", Some(kill)).await;
    let before = plane.admin.get("/v1/revisions/1").await;
    drop(upstream);
    let plane = plane.restart().await;
    assert_eq!(plane.admin.get("/v1/revisions/1").await, before);
    assert_eq!(plane.admin.get("/v1/kills").await["items"][0]["reason"], "x");
    assert_eq!(plane.admin.get("/v1/secrets").await["items"][0]["name"], "crm-key");
    let ask = json!({
        "caller": { "tenant": "acme", "user": "ann", "roles": ["support"] },
        "tool": "crm/refund",
        "arguments": { "order": "A-1", "amount": 900 },
    });
    let explained = plane.admin.ok(Method::POST, "/v1/explain", Some(ask)).await;
    assert_eq!(explained["decision"], "deny");
    assert_eq!(explained["rule"]["file"], "support.cedar");
    assert_eq!(explained["rule"]["line"], 2);
    assert_eq!(explained["revision"], 1);
    assert_eq!(explained["killed_by"][0]["reason"], "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_a_new_revision_and_revives_no_key() {
    let (plane, upstream) = (Plane::start().await, Upstream::start().await);
    let main = main_file(&upstream);
    let key = json!({ "tenant": "acme", "agent": "bot", "roles": ["support"] });
    let issued = plane.admin.ok(Method::POST, "/v1/keys", Some(key)).await;
    assert!(issued["key"].as_str().unwrap().starts_with("pck_"));
    plane.admin.apply(&[("portcullis.toml", &main), ("support.cedar", POLICY)]).await;
    let id = issued["info"]["id"].as_str().unwrap();
    plane.admin.apply(&[("portcullis.toml", "")]).await;
    plane.admin.ok(Method::DELETE, &format!("/v1/keys/{id}"), None).await;
    // The rule names a role that only the key brought; a declared one does not hang on the key.
    let problem =
        plane.admin.refused(422, Method::POST, "/v1/revisions/2/rollback", Some(json!({}))).await;
    assert_eq!(problem["file"], "support.cedar", "{problem:#}");
    plane
        .admin
        .apply(&[
            ("portcullis.toml", &format!("{main}\n[roles.support]\n")),
            ("support.cedar", POLICY),
        ])
        .await;
    plane.admin.apply(&[("portcullis.toml", "")]).await;
    let back = plane.admin.ok(Method::POST, "/v1/revisions/5/rollback", Some(json!({}))).await;
    assert_eq!(back["revision"], 7);
    assert_eq!(plane.admin.get("/v1/keys").await["items"], json!([]));
    let text = plane.admin.get("/v1/policies/support.cedar").await["spec"]["text"].clone();
    assert_eq!(text, Value::String(POLICY.to_owned()));
    let list = plane.admin.get("/v1/revisions?limit=1").await;
    assert_eq!(
        (&list["items"][0]["how"], &list["items"][0]["message"]),
        (&json!("rollback"), &json!("back to revision 5"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn single_objects_are_put_shown_and_removed() {
    let plane = Plane::start().await;
    let quota = json!({ "per": "agent", "calls": "600/min" });
    let applied =
        plane.admin.ok(Method::PUT, "/v1/quotas/agents?message=why", Some(quota.clone())).await;
    assert_eq!(applied["revision"], 1);
    let again = plane.admin.ok(Method::PUT, "/v1/quotas/agents", Some(quota.clone())).await;
    assert_eq!(again["changed"], false);
    assert_eq!(plane.admin.get("/v1/quotas/agents").await["spec"], quota);
    assert_eq!(plane.admin.get("/v1/quotas").await["items"][0]["name"], "agents");
    let bad = json!({ "per": "agent", "calls": "0/min" });
    let problem = plane.admin.refused(422, Method::PUT, "/v1/quotas/agents", Some(bad)).await;
    assert_eq!(problem["field"], "quota.agents.calls");
    plane.admin.ok(Method::DELETE, "/v1/quotas/agents", None).await;
    plane.admin.refused(404, Method::DELETE, "/v1/quotas/agents", None).await;
    plane.admin.refused(404, Method::GET, "/v1/quotas/agents", None).await;
    let member = json!({ "users": ["acme/ann"] });
    plane.admin.ok(Method::PUT, "/v1/roles/support", Some(member)).await;
    let policy = json!({ "text": "permit(principal in Role::\"support\", action == Action::\"call\", resource);" });
    let applied = plane.admin.ok(Method::PUT, "/v1/policies/all.cedar", Some(policy)).await;
    let warning = &applied["warnings"][0];
    assert_eq!((&warning["file"], &warning["line"]), (&json!("all.cedar"), &json!(1)));
    assert_eq!(warning["status"], Value::Null, "a warning is no answer of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_tenant_is_denied_by_a_rule_that_says_so() {
    let (plane, upstream) = (Plane::start().await, Upstream::start().await);
    *upstream.tools.lock().unwrap() = vec![refund("Refunds.")];
    let main = main_file(&upstream) + "[roles.support]\n[tenants.acme]\ndisabled = true\n";
    plane.admin.apply(&[("portcullis.toml", &main), ("support.cedar", POLICY)]).await;
    let ask = |tenant: &str| {
        json!({
            "caller": { "tenant": tenant, "user": "ann", "roles": ["support"] },
            "tool": "crm/refund",
            "arguments": { "order": "A-1", "amount": 9 },
        })
    };
    let explained = plane.admin.ok(Method::POST, "/v1/explain", Some(ask("acme"))).await;
    assert_eq!(
        (&explained["decision"], &explained["rule"]["file"]),
        (&json!("deny"), &json!("tenants-disabled"))
    );
    let explained = plane.admin.ok(Method::POST, "/v1/explain", Some(ask("other"))).await;
    assert_eq!(explained["decision"], "allow");
}
