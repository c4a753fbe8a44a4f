//! What people see: the built `portcullis` against a real control plane, as transcripts.
//!
//! `cargo xtask bless --package controlplane-cli` rewrites them; read them in review. The clock is
//! fixed, and what is drawn at random is replaced by its name.

mod world;

use world::World;

const FOLDER: &[(&str, &str)] = &[
    (
        "portcullis.toml",
        r#"[gateway]
public_url = "https://gateway.example.com"

[tenants.acme]

[roles.support]

[servers.crm]
url = "CRM"
inject = { header = "Authorization", secret = "crm-key" }

[quotas.agents]
per = "agent"
calls = "600/min"
burst = 100
"#,
    ),
    (
        "support.cedar",
        r#"@id("support-reads")
permit(principal in Role::"support", action == Action::"call", resource in Server::"crm");
@id("no-large-refunds")
forbid(principal, action == Action::"call", resource == Tool::"crm/refund") when { context.arguments.amount > 500 };
"#,
    ),
    (
        "tests/support.toml",
        r#"[[case]]
caller = { tenant = "acme", user = "ann", roles = ["support"] }
call   = { tool = "crm/refund", arguments = { order = "A-1", amount = 900 } }
expect = "deny"
"#,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_first_policy_and_back() {
    let mut world = World::new("first", FOLDER).await;
    world.run("diff policy");
    world.run("apply policy -m 'the first policy'");
    world.run("apply policy");
    world.run("diff policy");
    world.run("servers");
    world.run("tools");
    world.run("quotas");
    world.run("policy test policy");
    world.edit("support.cedar", "> 500", "> 100");
    world.run("apply policy --dry-run");
    world.run("apply policy -m 'lower'");
    world.run("revisions");
    world.run("rollback 1 -m 'too low'");
    world.run("status");
    world.finish("first.txt");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_call_is_decided_as_it_is() {
    let mut world = World::new("explain", FOLDER).await;
    world.quietly("apply policy");
    world.run("explain crm/refund --tenant acme --user ann --role support --arguments '{\"order\":\"A-1\",\"amount\":900}'");
    world.run("explain crm/refund --tenant acme --user ann --role support --arguments '{\"order\":\"A-1\",\"amount\":90}'");
    world.run("explain crm/get_orders --tenant acme --user bob --arguments '{\"customer\":\"x\"}'");
    world.run("explain crm/refund --tenant acme --user ann --role support --arguments 900");
    world.run("explain crm/nothing --tenant acme --user ann");
    world.finish("explain.txt");
}

/// What people write beside servers and policies.
const PEOPLE: &str = r#"
[tenants.globex]
description = "paused in May"
disabled = true

[identity.idp]
issuer = "https://idp.example.com"
audience = "https://gateway.example.com/mcp"
claims = { tenant = "org", roles = "roles" }
jwks = '{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'

[roles.billing]
users = ["acme/ann"]
groups = ["finance"]

[groups.finance]
users = ["acme/bob", "acme/eve"]
description = "who pays"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_force_can_be_read() {
    let mut world = World::new("reading", FOLDER).await;
    world.edit("portcullis.toml", "[roles.support]", &format!("[roles.support]\n{PEOPLE}"));
    world.quietly("apply policy");
    for kind in ["tenants", "identity", "roles", "groups", "policies", "quotas"] {
        world.run(kind);
    }
    world.run("tenants show globex");
    world.run("identity show idp");
    world.run("roles show billing");
    world.run("groups show finance");
    world.run("policies show support.cedar");
    world.run("quotas show agents");
    world.run("servers show crm");
    world.run("gateway");
    world.run("revisions show 1");
    world.edit("portcullis.toml", "600/min", "300/min");
    world.quietly("apply policy");
    world.run("revisions diff 2");
    world.run("revisions diff 2 --against 2");
    world.run("admin-log --limit 1");
    for (kind, name) in [
        ("tenants", "globx"),
        ("identity", "ipd"),
        ("roles", "suport"),
        ("groups", "a/b?c"),
        ("policies", "no.cedar"),
        ("quotas", "agent"),
        ("appliances", "box"),
        ("revisions", "99"),
    ] {
        world.run(&format!("{kind} show {name}"));
    }
    world.finish("reading.txt");
}

#[tokio::test(flavor = "multi_thread")]
async fn api_tokens_from_creation_to_the_end() {
    let mut world = World::new("tokens", FOLDER).await;
    world.run("tokens create ci --role operator --expires-in-s 3600");
    world.run("tokens create audit --role auditor");
    world.run("tokens create ci --role owner");
    world.run("tokens create ci --role auditor --expires-in-s 0");
    world.run_in_any_order("tokens");
    let listed = world.said("tokens list --output json", "").json();
    let id_of = |name: &str| {
        let all = listed.as_array().unwrap().iter();
        let one = all.clone().find(|token| token["name"] == name).unwrap();
        one["id"].as_str().unwrap().to_owned()
    };
    world.run(&format!("tokens revoke {}", id_of("ci")));
    world.run(&format!("tokens revoke {}", id_of("ci")));
    world.run(&format!("tokens revoke {}", id_of("bootstrap")));
    world.run("admin-log");
    world.finish("tokens.txt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_what_its_role_may_until_it_is_revoked() {
    let world = World::new("roles", FOLDER).await;
    let created = world.said("tokens create eve --role auditor --output json", "").json();
    let (token, id) = (created["token"].as_str().unwrap(), created["info"]["id"].as_str().unwrap());
    let shown = world.said("tokens --output json", "");
    assert!(!shown.out.contains(token), "{shown:?}");
    let as_eve = |line: &str| world.said(&format!("--token {token} {line}"), "");
    assert_eq!(as_eve("status").code, 0);
    assert_eq!(as_eve("admin-log").code, 0);
    for (line, role) in [
        ("apply policy", "operator"),
        ("kill server crm --reason x", "operator"),
        ("tokens", "admin"),
        ("tokens create more --role admin", "admin"),
        ("appliances enrol box", "admin"),
    ] {
        let said = as_eve(line);
        assert_eq!(said.code, 1, "{line}: {said:?}");
        let next = format!("portcullis tokens create NAME --role {role}");
        assert!(said.err.contains(&next), "{line}: {said:?}");
    }
    assert_eq!(world.said(&format!("tokens revoke {id}"), "").code, 0);
    let after = as_eve("status");
    assert_eq!((after.code, after.err.contains("taken back")), (1, true), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_acts_at_once() {
    let mut world = World::new("at-once", FOLDER).await;
    world.quietly("apply policy");
    world.run("kill tool crm/refund --reason 'an agent loops'");
    world.run("kills");
    world.run("explain crm/refund --tenant acme --user ann --role support --arguments '{\"order\":\"A-1\",\"amount\":9}'");
    world.run("unkill tool crm/refund");
    world.run("unkill tool crm/refund");
    world.run_with("secrets set crm-key", "Bearer crm-secret\n");
    world.run("secrets");
    world.run_with("secrets set crm-key", "");
    world.run("keys");
    world.run("appliances");
    world.run("calls");
    world.finish("at-once.txt");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_dropped_and_what_is_done_about_it() {
    let mut world = World::new("drops", FOLDER).await;
    world.quietly("apply policy");
    world.run("drops");
    world.run("drops explain 192.0.2.7");
    world.run("drops packets");
    let appliance = world.dropping("edge-1").await;
    world.run("drops");
    world.run("drops list --tenant nobody");
    world.run("drops explain 192.0.2.7");
    world.run("drops packets");
    world.run("drops packets --tenant nobody");
    world.run("drops packets --address 192.0.2.7 --output json");
    world.run("drops pin 7 --for 30m --reason 'until they have fixed it'");
    world.run("drops pin 8 --appliance edge-1 --for 30m --reason 'a wrong number'");
    world.run("drops pin 7 --for 13h --reason 'too long'");
    world.run("drops release --drop 7 --reason 'they have fixed it'");
    world.run("drops release --tenant acme --reason 'they have fixed it'");
    world.run("drops release --reason 'nothing is said'");
    world.run("drops release --all --address 192.0.2.7 --reason 'two at once'");
    world.run("drops release --address nowhere --reason 'no address'");
    world.run("status");
    tokio::task::spawn_blocking(move || appliance.stop()).await.unwrap();
    world.finish("drops.txt");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_with_their_place_and_the_next_command() {
    let mut world = World::new("mistakes", FOLDER).await;
    world.edit("support.cedar", "Role::\"support\"", "Role::\"suport\"");
    world.run("apply policy");
    world.edit("support.cedar", "Role::\"suport\"", "Role::\"support\"");
    world.edit("portcullis.toml", "burst = 100", "bursts = 100");
    world.run("apply policy");
    world.edit("portcullis.toml", "bursts = 100", "burst = 100");
    world.edit("tests/support.toml", "\"deny\"", "\"allow\"");
    world.run("apply policy");
    world.run("policy test policy");
    world.run("apply nowhere");
    world.run("servers refresh crn");
    world.run("apply");
    world.run("--url http://127.0.0.1:1 status");
    world.run("--token pct_no_no status");
    world.run("audit verify nowhere");
    world.finish("mistakes.txt");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_get_json_and_exit_codes() {
    let world = World::new("scripts", FOLDER).await;
    let dry = world.said("diff policy --output json", "");
    assert_eq!(dry.code, 4);
    assert_eq!(dry.json()["changed"], true);
    assert_eq!(world.said("apply policy --output json", "").code, 0);
    assert_eq!(world.said("diff policy", "").code, 0);
    let tools = world.said("tools --output json", "").json();
    assert_eq!(tools.as_array().unwrap().len(), 7);
    assert_eq!(world.said("status", "").code, 0);
    assert_eq!(world.said("status --no-such-flag", "").code, 2);
    assert_eq!(world.said("--url http://127.0.0.1:1 status", "").code, 3);
    assert_eq!(world.said("--token pct_no_no status", "").code, 1);
    let calls = world.said("calls --output json", "").json();
    assert_eq!(calls.as_array().map(Vec::len), Some(0));
    let from_file = "--token pct_no_no status --token-file data/bootstrap-token";
    assert_eq!(world.said(from_file, "").code, 0, "the file's token is the one that is sent");
    let issued = world.said("keys issue --tenant acme --agent bot --role support", "");
    assert!(issued.out.starts_with("pck_"), "{issued:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_token_goes_to_the_control_plane_it_was_kept_for() {
    let mut world = World::new("login", FOLDER).await;
    let token = std::mem::take(&mut world.token);
    assert_eq!(world.said("status", "").code, 1, "no token yet");
    let wrong = world.said("login", "pct_no_no\n");
    assert_eq!(wrong.code, 1, "{wrong:?}");
    let kept = world.said("login", &format!("{token}\n"));
    assert_eq!(kept.code, 0, "{kept:?}");
    assert!(!kept.out.contains(&token) && !kept.err.contains(&token), "{kept:?}");
    world.forget_url();
    assert_eq!(world.said("status", "").code, 0, "address and token are kept");
    let other = World::new("login-other", FOLDER).await;
    let asked = world.said(&format!("--url {} status", other.url()), "");
    assert_eq!(asked.code, 1, "another control plane is not given the token: {asked:?}");
}

#[test]
fn completions_and_help_name_every_command() {
    let run = |words: &[&str]| {
        let output =
            std::process::Command::new(env!("CARGO_BIN_EXE_portcullis")).args(words).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let (help, script) = (run(&["--help"]), run(&["completions", "bash"]));
    for verb in
        ["apply", "diff", "explain", "kill", "unkill", "drops", "audit", "calls", "rollback"]
            .into_iter()
            .chain(["tokens", "identity", "tenants", "roles", "groups", "policies", "admin-log"])
    {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb} in --help");
        assert!(script.contains(verb), "{verb} in completions");
    }
    assert!(help.contains("Exit codes"), "{help}");
}
