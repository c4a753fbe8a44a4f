//! Each rule sees a violation that is planted, and nothing in a repository without one.

use tools_tidy::{Crate, Dependency, File, Graph, Kind, Repository, Role, check};

const PURE_HEAD: &str = "//! Doc.\n#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]\n";
const MANIFEST: &str = "[package]\nname = \"x\"\n[lints]\nworkspace = true\n[dependencies]\n";

/// A small repository that is tidy: one crate a layer, and the two documents.
fn tidy() -> Repository {
    let mut repository = Repository::default();
    for (folder, kind) in [
        ("dataplane/quota", Kind::Pure),
        ("dataplane/gateway", Kind::Shell),
        ("controlplane/api", Kind::Pure),
        ("tools/xtask", Kind::Tool),
    ] {
        repository.graph.crates.push(Crate {
            name: folder.replace('/', "-"),
            folder: Some(folder.to_owned()),
            kind: Some(kind),
            dependencies: Vec::new(),
        });
        put(&mut repository, &format!("{folder}/Cargo.toml"), MANIFEST);
        put(&mut repository, &format!("{folder}/src/lib.rs"), PURE_HEAD);
    }
    for name in ["tokio", "hyper", "cedar-policy", "libc"] {
        repository.graph.crates.push(Crate { name: name.to_owned(), ..Crate::default() });
    }
    put(&mut repository, "dataplane/quota/tests/model.rs", "//! Doc.\n#[test]\nfn exact() {}\n");
    put(
        &mut repository,
        "LIMITS.md",
        "| limit | default | reason | test |\n|---|---|---|---|\n| burst | 1 | why | `dataplane-quota::model::exact` |\n",
    );
    put(
        &mut repository,
        "SECURITY.md",
        "| promise | test |\n|---|---|\n| exact | dataplane-quota::model::exact |\n",
    );
    repository
}

fn put(repository: &mut Repository, path: &str, text: &str) {
    repository.files.retain(|file| file.path != path);
    repository.files.push(File { path: path.to_owned(), text: text.to_owned() });
}

fn append(repository: &mut Repository, path: &str, text: &str) {
    let file = repository.files.iter_mut().find(|file| file.path == path).unwrap();
    file.text.push_str(text);
}

fn depend(graph: &mut Graph, from: &str, to: &str, role: Role) {
    let place = |graph: &Graph, name: &str| {
        graph.crates.iter().position(|found| found.name == name).unwrap()
    };
    let to = place(graph, to);
    let from = place(graph, from);
    graph.crates[from].dependencies.push(Dependency { to, role });
}

/// The only finding, as it is printed.
fn only(repository: &Repository) -> String {
    let findings: Vec<String> = check(repository).iter().map(ToString::to_string).collect();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.into_iter().next().unwrap()
}

/// What is found after `source` is added to a pure crate.
fn in_pure(source: &str) -> String {
    let mut repository = tidy();
    append(&mut repository, "dataplane/quota/src/lib.rs", source);
    only(&repository)
}

#[test]
fn nothing_in_a_tidy_repository() {
    assert_eq!(check(&tidy()), []);
}

#[test]
fn a_clock_in_a_pure_crate() {
    assert_eq!(
        in_pure("fn f() { let t = Instant::now(); }\n"),
        "dataplane/quota/src/lib.rs:3: `Instant::now` in a pure crate: take `now: Nanos`"
    );
}

#[test]
fn every_forbidden_word_in_a_pure_crate() {
    for source in [
        "use std::time::{Duration, Instant};",
        "fn f() { std::time::SystemTime::now(); }",
        "use std::{fs::File as F, mem};",
        "fn f() { let v = std::env::var(\"X\"); }",
        "fn f() { std::thread::spawn(g); }",
        "use std::net::TcpStream;",
        "fn f() -> u8 { rand::random() }",
        "fn f() { println!(\"x\"); }",
        "fn f() { std::process::exit(1) }",
        "use ring::rand::SystemRandom;",
    ] {
        assert!(in_pure(source).contains(" in a pure crate: "), "{source}");
    }
}

#[test]
fn a_shell_and_a_test_may_ask_the_clock() {
    let mut repository = tidy();
    append(&mut repository, "dataplane/gateway/src/lib.rs", "fn f() { Instant::now(); }\n");
    append(
        &mut repository,
        "dataplane/quota/src/lib.rs",
        "#[cfg(test)]\nmod tests { fn f() { std::fs::read(\"x\"); } }\n",
    );
    assert_eq!(check(&repository), []);
}

#[test]
fn a_pure_crate_that_reaches_a_runtime() {
    let mut repository = tidy();
    append(&mut repository, "dataplane/quota/Cargo.toml", "hyper = \"1\"\n");
    depend(&mut repository.graph, "dataplane-quota", "hyper", Role::Dev);
    assert_eq!(check(&repository), []);
    depend(&mut repository.graph, "hyper", "tokio", Role::Normal);
    depend(&mut repository.graph, "controlplane-api", "dataplane-quota", Role::Normal);
    depend(&mut repository.graph, "dataplane-quota", "hyper", Role::Normal);
    let findings = check(&repository);
    assert_eq!(
        findings[1].to_string(),
        "dataplane/quota/Cargo.toml:6: a pure crate reaches `hyper` (dataplane-quota → hyper): leave it to a shell crate"
    );
    assert!(findings[0].message.contains("(controlplane-api → dataplane-quota → hyper)"));
}

#[test]
fn a_pure_crate_with_libc_or_a_shell() {
    let mut repository = tidy();
    depend(&mut repository.graph, "dataplane-quota", "libc", Role::Normal);
    assert!(only(&repository).contains("a pure crate depends on `libc`"));
    let mut repository = tidy();
    depend(&mut repository.graph, "controlplane-api", "dataplane-gateway", Role::Normal);
    assert!(only(&repository).contains("is of a kind that `controlplane-api` may not use"));
}

#[test]
fn a_dependency_upwards() {
    let mut repository = tidy();
    depend(&mut repository.graph, "dataplane-gateway", "controlplane-api", Role::Normal);
    assert!(only(&repository).contains("`controlplane-api` is above `dataplane-gateway`"));
}

#[test]
fn cedar_under_the_dataplane() {
    let mut repository = tidy();
    depend(&mut repository.graph, "dataplane-gateway", "cedar-policy", Role::Dev);
    assert!(only(&repository).contains("`cedar-policy` under dataplane/"));
    let mut repository = tidy();
    append(&mut repository, "dataplane/gateway/src/lib.rs", "use cedar_policy::Policy;\n");
    assert!(only(&repository).contains("`cedar_policy::Policy` under dataplane/"));
}

#[test]
fn a_crate_without_its_name_kind_or_lints() {
    let mut repository = tidy();
    repository.graph.crates[0].name = "quota".to_owned();
    let findings = check(&repository);
    assert!(findings.iter().any(|found| found.message.contains("name it `dataplane-quota`")));
    let mut repository = tidy();
    repository.graph.crates[1].kind = None;
    assert!(only(&repository).contains("dataplane/gateway/Cargo.toml:1: no kind"));
    let mut repository = tidy();
    put(&mut repository, "dataplane/gateway/Cargo.toml", "[package]\n");
    assert!(only(&repository).contains("no workspace lints"));
    let mut repository = tidy();
    put(&mut repository, "dataplane/quota/src/lib.rs", "//! Doc.\n");
    assert!(only(&repository).contains("a pure crate never panics"));
}

#[test]
fn a_metric_name_outside_telemetry() {
    let mut repository = tidy();
    append(
        &mut repository,
        "dataplane/gateway/src/lib.rs",
        "const C: &str = \"portcullis_calls_total\";\n",
    );
    assert!(only(&repository).contains("lib.rs:3: metric name `portcullis_calls_total`"));
}

#[test]
fn a_row_whose_test_is_not_there() {
    let mut repository = tidy();
    append(&mut repository, "LIMITS.md", "| b | 1 | why | `dataplane-quota::tests::exact` |\n");
    assert_eq!(
        only(&repository),
        "LIMITS.md:4: no test `dataplane-quota::tests::exact`: is it `dataplane-quota::model::exact`?"
    );
    let mut repository = tidy();
    append(&mut repository, "SECURITY.md", "| nobody reads it | |\n");
    assert!(only(&repository).starts_with("SECURITY.md:4: `nobody reads it` names no test"));
    let mut repository = tidy();
    repository.files.retain(|file| file.path != "LIMITS.md");
    assert!(only(&repository).starts_with("LIMITS.md:1: missing"));
}

#[test]
fn a_file_that_is_no_rust() {
    let mut repository = tidy();
    append(&mut repository, "tools/xtask/src/lib.rs", "fn f() { (\n");
    assert!(only(&repository).contains("not Rust"));
}
