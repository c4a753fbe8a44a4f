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
    for verb in ["apply", "diff", "explain", "kill", "unkill", "audit", "calls", "rollback"] {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb} in --help");
        assert!(script.contains(verb), "{verb} in completions");
    }
    assert!(help.contains("Exit codes"), "{help}");
}
