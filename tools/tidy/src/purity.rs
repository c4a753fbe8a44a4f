//! What a `pure` crate may not name: a clock, randomness, files, sockets, threads, the environment.
//!
//! The message is the fix. Tests are free: they may read a file or ask the time.

use crate::layers::Kind;
use crate::tokens::{Source, What};
use crate::{Finding, Repository};

/// A sequence of path segments, and what to write instead.
const FORBIDDEN: &[(&[&str], &str)] = &[
    (&["Instant", "now"], "take `now: Nanos`"),
    (&["std", "time", "Instant"], "take `now: Nanos`"),
    (&["SystemTime"], "take `wall: WallNanos`"),
    (&["UNIX_EPOCH"], "take `wall: WallNanos`"),
    (&["Utc", "now"], "take `wall: WallNanos`"),
    (&["Local", "now"], "take `wall: WallNanos`"),
    (&["OffsetDateTime", "now_utc"], "take `wall: WallNanos`"),
    (&["std", "fs"], "take the bytes"),
    (&["File", "open"], "take the bytes"),
    (&["std", "env"], "take the value"),
    (&["std", "process"], "return an effect, or a fault"),
    (&["std", "thread"], "let the shell own the thread"),
    (&["std", "net", "TcpStream"], "return an effect for the shell"),
    (&["std", "net", "TcpListener"], "return an effect for the shell"),
    (&["std", "net", "UdpSocket"], "return an effect for the shell"),
    (&["std", "net", "ToSocketAddrs"], "take the address"),
    (&["std", "os", "unix", "net"], "return an effect for the shell"),
    (&["std", "io", "stdin"], "take the bytes"),
    (&["std", "io", "stdout"], "return the text"),
    (&["std", "io", "stderr"], "return a fault"),
    (&["println"], "return the text"),
    (&["eprintln"], "return a fault"),
    (&["print"], "return the text"),
    (&["eprint"], "return a fault"),
    (&["rand"], "take the random bytes"),
    (&["getrandom"], "take the random bytes"),
    (&["SystemRandom"], "take the random bytes"),
    (&["OsRng"], "take the random bytes"),
];

pub(crate) fn check(repository: &Repository, sources: &[Source<'_>], findings: &mut Vec<Finding>) {
    for source in sources {
        let Some((found, folder)) = repository.graph.holding(source.path) else { continue };
        if folder.starts_with("dataplane/") {
            check_cedar(source, findings);
        }
        let in_src = source.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with("/src/"));
        if in_src && matches!(found.kind, Some(Kind::Pure | Kind::Abi)) {
            check_source(source, found.kind, findings);
        }
    }
}

fn check_source(source: &Source<'_>, kind: Option<Kind>, findings: &mut Vec<Finding>) {
    for word in source.words.iter().filter(|word| !word.in_test) {
        let What::Path(path) = &word.what else { continue };
        // An ABI says of its structs that any bytes are a value, which nobody can check for it.
        let may_be_unsafe = kind == Some(Kind::Abi);
        if !may_be_unsafe
            && path.len() == 1
            && path.first().is_some_and(|name| name == "unsafe_code")
        {
            let message = "`unsafe_code` in a pure crate: leave it to a shell crate";
            findings.push(Finding::new(source.path, word.line, message));
        }
        if let Some((name, fix)) = FORBIDDEN.iter().find(|(name, _)| names(path, name)) {
            let message = format!("`{}` in a pure crate: {fix}", name.join("::"));
            findings.push(Finding::new(source.path, word.line, message));
        }
    }
}

/// One word alone must begin the path (`rand::x`, `println`); several may stand anywhere in it.
fn names(path: &[String], wanted: &[&str]) -> bool {
    match wanted {
        ["SystemTime" | "UNIX_EPOCH" | "SystemRandom" | "OsRng"] => {
            path.iter().any(|segment| wanted.contains(&segment.as_str()))
        }
        ["rand" | "getrandom"] => {
            path.len() > 1 && path.first().is_some_and(|first| first == wanted[0])
        }
        [macro_name] => path.len() == 1 && path.first().is_some_and(|first| first == macro_name),
        _ => path.windows(wanted.len()).any(|part| part == wanted),
    }
}

/// The dataplane reads tables; only the compiler knows the language.
fn check_cedar(source: &Source<'_>, findings: &mut Vec<Finding>) {
    for word in &source.words {
        let What::Path(path) = &word.what else { continue };
        if path.first().is_some_and(|first| first.starts_with("cedar_")) {
            let message = format!("`{}` under dataplane/: read the table instead", path.join("::"));
            findings.push(Finding::new(source.path, word.line, message));
        }
    }
}
