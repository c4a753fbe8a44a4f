//! The folder that operators keep in Git: `portcullis.toml`, `*.cedar`, `tests/*.toml`.
//!
//! Parsing finds every problem it can and tells each with file, line and column. What the folder
//! does not hold is not in the set: an apply removes it.

mod cases;
mod place;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Problem;
use crate::bounds::{FOLDER_BYTES_MAX, FOLDER_FILES_MAX};
use crate::names::shown;
use crate::objects::check_path;
use crate::objects::{Gateway, Group, Identity, Policy, PolicyTest, Quota, Role, Server, Tenant};
use crate::set::{Kind, ObjectSet};

pub use cases::{Case, CaseCall, Decision, parse_cases};
pub use place::Places;

/// The file that holds everything but policies and their tests.
pub const MAIN_FILE: &str = "portcullis.toml";

/// `portcullis.toml` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Main {
    #[serde(default)]
    gateway: Gateway,
    #[serde(default)]
    tenants: BTreeMap<String, Tenant>,
    #[serde(default)]
    identity: BTreeMap<String, Identity>,
    #[serde(default)]
    servers: BTreeMap<String, Server>,
    #[serde(default)]
    roles: BTreeMap<String, Role>,
    #[serde(default)]
    groups: BTreeMap<String, Group>,
    #[serde(default)]
    quotas: BTreeMap<String, Quota>,
}

/// Reads a folder, given as path → text.
///
/// # Errors
/// Every problem found, the first leading: an unknown file, TOML that cannot be read, an unknown
/// key, a value that is not usable.
pub fn parse(files: &BTreeMap<String, String>) -> Result<ObjectSet, Problem> {
    check_size(files)?;
    let mut problems = Vec::new();
    let mut set = ObjectSet::default();
    let mut main_text = "";
    for (path, text) in files {
        if let Err(problem) = read_file(&mut set, path, text) {
            problems.push(problem);
        }
        if path == MAIN_FILE {
            main_text = text;
        }
    }
    if let Some(problem) = Problem::gather(problems) {
        return Err(problem);
    }
    let places = Places::of(main_text);
    let located =
        set.check().into_iter().map(|(kind, name, problem)| locate(&places, kind, &name, problem));
    Problem::gather(located.collect()).map_or(Ok(set), Err)
}

/// Whether a folder would read this path; others are for people only.
#[must_use]
pub fn is_ours(path: &str) -> bool {
    path == MAIN_FILE || check_policy_path(path).is_ok() || check_test_path(path).is_ok()
}

fn check_size(files: &BTreeMap<String, String>) -> Result<(), Problem> {
    let bytes: usize = files.iter().map(|(path, text)| path.len() + text.len()).sum();
    if bytes > FOLDER_BYTES_MAX || files.len() > FOLDER_FILES_MAX {
        return Err(Problem::invalid(format!(
            "the folder has {} files and {bytes} bytes",
            files.len()
        ))
        .help(format!("at most {FOLDER_FILES_MAX} files and {FOLDER_BYTES_MAX} bytes are taken")));
    }
    if !files.contains_key(MAIN_FILE) {
        return Err(Problem::invalid(format!("there is no `{MAIN_FILE}`")).help(format!(
            "apply the folder that holds `{MAIN_FILE}`; an empty one is allowed, and removes all servers"
        )));
    }
    Ok(())
}

fn read_file(set: &mut ObjectSet, path: &str, text: &str) -> Result<(), Problem> {
    let name = path.to_owned();
    if path == MAIN_FILE {
        read_main(set, text)
    } else if check_policy_path(path).is_ok() {
        set.policies.insert(name, Policy { text: text.to_owned() });
        Ok(())
    } else if check_test_path(path).is_ok() {
        parse_cases(path, text)?;
        set.tests.insert(name, PolicyTest { text: text.to_owned() });
        Ok(())
    } else {
        check_path(path)?;
        Err(Problem::invalid(format!("`{}` is no file of a folder", shown(path))).help(format!(
            "a folder holds `{MAIN_FILE}`, policies as `*.cedar` and tests as `tests/*.toml`"
        )))
    }
}

fn read_main(set: &mut ObjectSet, text: &str) -> Result<(), Problem> {
    let main: Main = place::read_toml(MAIN_FILE, text)?;
    set.gateway = main.gateway;
    set.tenants = main.tenants;
    set.identity = main.identity;
    set.servers = main.servers;
    set.roles = main.roles;
    set.groups = main.groups;
    set.quotas = main.quotas;
    Ok(())
}

/// Adds file, line and column to what a check found.
fn locate(places: &Places, kind: Kind, name: &str, mut problem: Problem) -> Problem {
    let Some(section) = section(kind) else {
        problem.file = Some(name.to_owned());
        return problem;
    };
    let field = problem.field.clone().unwrap_or_default();
    let mut path = vec![section];
    if kind != Kind::Gateway {
        path.push(name);
    }
    path.extend(field.split('.').filter(|part| !part.is_empty()));
    let (line, column) = places.find(&path);
    problem.field = Some(path.join("."));
    problem.at(MAIN_FILE, line, column)
}

fn section(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Gateway => "gateway",
        Kind::Tenant => "tenants",
        Kind::Identity => "identity",
        Kind::Server => "servers",
        Kind::Role => "roles",
        Kind::Group => "groups",
        Kind::Quota => "quotas",
        Kind::Policy | Kind::PolicyTest | Kind::Pins | Kind::Jwks | Kind::ApiKey => return None,
    })
}

/// A policy's path: `*.cedar`, outside `tests/`.
///
/// # Errors
/// Says what a policy's path looks like.
pub fn check_policy_path(path: &str) -> Result<(), Problem> {
    check_path(path)?;
    if path.ends_with(".cedar") && !path.starts_with("tests/") {
        return Ok(());
    }
    Err(Problem::invalid(format!("`{}` is no path of a policy", shown(path)))
        .help("write for example `support.cedar`"))
}

/// A test's path: `tests/*.toml`.
///
/// # Errors
/// Says what a test's path looks like.
pub fn check_test_path(path: &str) -> Result<(), Problem> {
    check_path(path)?;
    if path.ends_with(".toml") && path.starts_with("tests/") {
        return Ok(());
    }
    Err(Problem::invalid(format!("`{}` is no path of a policy test", shown(path)))
        .help("write for example `tests/support.toml`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::{PATH_BYTES_MAX, PROVIDERS_MAX, QUOTAS_MAX, SERVERS_MAX};

    fn parse_one(main: &str, more: &[(String, String)]) -> Result<ObjectSet, Problem> {
        let main = (MAIN_FILE.to_owned(), main.to_owned());
        parse(&more.iter().cloned().chain([main]).collect())
    }

    #[test]
    fn one_byte_past_the_folder_is_refused() {
        let fill = |bytes: usize| {
            let name = "a.cedar".to_owned();
            let rest = bytes - name.len() - MAIN_FILE.len();
            parse_one("", &[(name, "/".repeat(rest))])
        };
        // A policy of that length is refused too, but by another rule.
        assert!(!fill(FOLDER_BYTES_MAX).unwrap_err().detail.contains("the folder has"));
        assert!(fill(FOLDER_BYTES_MAX + 1).unwrap_err().detail.contains("the folder has"));
    }

    #[test]
    fn one_file_too_many_is_refused() {
        let file = |number| (format!("p{number}.cedar"), String::new());
        let files = |count| (0..count).map(file).collect::<Vec<_>>();
        assert!(parse_one("", &files(FOLDER_FILES_MAX - 1)).is_ok());
        assert!(parse_one("", &files(FOLDER_FILES_MAX)).is_err());
    }

    #[test]
    fn one_object_too_many_is_refused() {
        let quotas = |count| {
            (0..count).map(|n| format!("[quotas.q{n}]\nper = \"agent\"\ncalls = \"1/s\"\n"))
        };
        let servers = |count| (0..count).map(|n| format!("[servers.s{n}]\nurl = \"http://a/\"\n"));
        let providers = |count| {
            (0..count).map(|n| {
                format!(
                    "[identity.p{n}]\nissuer = \"https://{n}\"\naudience = \"a\"\ntenant = \"t\"\n"
                )
            })
        };
        assert!(parse_one(&quotas(QUOTAS_MAX).collect::<String>(), &[]).is_ok());
        assert!(parse_one(&quotas(QUOTAS_MAX + 1).collect::<String>(), &[]).is_err());
        assert!(parse_one(&servers(SERVERS_MAX).collect::<String>(), &[]).is_ok());
        assert!(parse_one(&servers(SERVERS_MAX + 1).collect::<String>(), &[]).is_err());
        assert!(parse_one(&providers(PROVIDERS_MAX).collect::<String>(), &[]).is_ok());
        assert!(parse_one(&providers(PROVIDERS_MAX + 1).collect::<String>(), &[]).is_err());
    }

    #[test]
    fn paths_stay_inside_the_folder() {
        for bad in [
            "../a.cedar",
            "/a.cedar",
            "a//b.cedar",
            ".a.cedar",
            "a/.b.cedar",
            "a b.cedar",
            "tests/a.cedar",
            "b.toml",
        ] {
            assert!(!is_ours(bad), "{bad}");
        }
        assert!(is_ours("team/support.cedar") && is_ours("tests/deep/a.toml"));
        let long = |bytes: usize| format!("{}.cedar", "a".repeat(bytes - 6));
        assert!(is_ours(&long(PATH_BYTES_MAX)) && !is_ours(&long(PATH_BYTES_MAX + 1)));
    }
}
