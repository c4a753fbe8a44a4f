//! Which crate may depend on which.
//!
//! `ebpf < dataplane < controlplane < tests, benches, tools`; a `pure` crate depends on `pure` and
//! `abi` crates only, and reaches no runtime, socket or file through anything that it links. The
//! graph is cargo's own for the platform we build for, read transitively over normal dependencies.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use anyhow::Context;
use cargo_metadata::{DependencyKind, MetadataCommand, PackageId};

use crate::{Finding, Repository};

/// The platform that is shipped; other platforms' dependencies are not linked.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Crates that a `pure` crate may not reach, however far down: runtimes, sockets, files, processes.
const IO_CRATES: &[&str] = &[
    "async-io",
    "async-std",
    "aya",
    "axum",
    "crossterm",
    "glommio",
    "hyper",
    "io-uring",
    "libsqlite3-sys",
    "memmap2",
    "mio",
    "monoio",
    "native-tls",
    "nix",
    "notify",
    "openssl-sys",
    "polling",
    "quinn",
    "quinn-udp",
    "reqwest",
    "rmcp",
    "rustix",
    "signal-hook",
    "smol",
    "socket2",
    "sqlx",
    "sqlx-core",
    "tempfile",
    "tokio",
    "tokio-uring",
    "ureq",
];

/// Crates that a `pure` crate may not depend on itself; below a library (`ring`) they may appear.
const DIRECT_IO_CRATES: &[&str] = &["fastrand", "getrandom", "libc", "rand", "rand_core"];

/// The order of the layers; a crate depends on its own or a lower one.
const LAYERS: &[(&str, u8)] = &[
    ("ebpf", 0),
    ("dataplane", 1),
    ("controlplane", 2),
    ("runner", 2),
    ("firmware-image", 3),
    ("tests", 3),
    ("benches", 3),
    ("tools", 3),
];

/// The deny line that each `pure` crate starts with.
const PURE_LINTS: &str =
    "#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]";

/// Cargo's view: our crates and everything that they link.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub crates: Vec<Crate>,
}

/// One package.
#[derive(Clone, Debug, Default)]
pub struct Crate {
    pub name: String,
    /// From the root, for our own; `None` for what comes from elsewhere.
    pub folder: Option<String>,
    /// `[package.metadata.layer] kind`.
    pub kind: Option<Kind>,
    pub dependencies: Vec<Dependency>,
}

/// An edge of the graph, by place in [`Graph::crates`].
#[derive(Clone, Copy, Debug)]
pub struct Dependency {
    pub to: usize,
    pub role: Role,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    Normal,
    Build,
    Dev,
}

/// What a crate may do; DESIGN "The tree".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `no_std`, `repr(C)`, shared with the kernel.
    Abi,
    /// No runtime, socket, file, clock, thread or environment.
    Pure,
    /// Carries effects out.
    Shell,
    /// Built for people who work on this repository.
    Tool,
}

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "abi" => Some(Self::Abi),
            "pure" => Some(Self::Pure),
            "shell" => Some(Self::Shell),
            "tool" => Some(Self::Tool),
            _ => None,
        }
    }
}

impl Graph {
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let metadata = MetadataCommand::new()
            .current_dir(root)
            .other_options(vec!["--filter-platform".to_owned(), PLATFORM.to_owned()])
            .exec()
            .context("cargo metadata")?;
        let places: BTreeMap<&PackageId, usize> =
            metadata.packages.iter().enumerate().map(|(at, package)| (&package.id, at)).collect();
        let mut crates = Vec::new();
        for package in &metadata.packages {
            let folder = package.source.is_none().then(|| {
                let folder = package
                    .manifest_path
                    .parent()
                    .and_then(|folder| folder.strip_prefix(root.to_str().unwrap_or_default()).ok());
                folder.map_or_else(String::new, ToString::to_string)
            });
            let kind = package.metadata.pointer("/layer/kind").and_then(|kind| kind.as_str());
            crates.push(Crate {
                name: package.name.to_string(),
                folder,
                kind: kind.and_then(Kind::parse),
                dependencies: Vec::new(),
            });
        }
        let resolve = metadata.resolve.context("cargo metadata without a resolution")?;
        for node in &resolve.nodes {
            let Some(from) = places.get(&node.id) else { continue };
            for edge in &node.deps {
                let Some(&to) = places.get(&edge.pkg) else { continue };
                for kind in &edge.dep_kinds {
                    let role = match kind.kind {
                        DependencyKind::Build => Role::Build,
                        DependencyKind::Development => Role::Dev,
                        _ => Role::Normal,
                    };
                    if let Some(found) = crates.get_mut(*from) {
                        found.dependencies.push(Dependency { to, role });
                    }
                }
            }
        }
        Ok(Self { crates })
    }

    /// Our own crates, with their folders.
    pub(crate) fn ours(&self) -> impl Iterator<Item = (usize, &Crate, &str)> {
        self.crates
            .iter()
            .enumerate()
            .filter_map(|(at, found)| found.folder.as_deref().map(|folder| (at, found, folder)))
    }

    /// The crate whose folder holds `path`.
    pub(crate) fn holding(&self, path: &str) -> Option<(&Crate, &str)> {
        let within =
            |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        self.ours()
            .filter(|(_, _, folder)| within(folder))
            .max_by_key(|(_, _, folder)| folder.len())
            .map(|(_, found, folder)| (found, folder))
    }

    /// The shortest way over normal dependencies from `start` to a crate that `wanted` names.
    fn reach(&self, start: usize, wanted: impl Fn(&str) -> bool) -> Option<Vec<&str>> {
        let mut before: BTreeMap<usize, usize> = BTreeMap::new();
        let mut waiting = VecDeque::from([start]);
        while let Some(at) = waiting.pop_front() {
            let found = self.crates.get(at)?;
            if at != start && wanted(&found.name) {
                let mut way = vec![found.name.as_str()];
                let mut step = at;
                while let Some(&earlier) = before.get(&step) {
                    way.push(self.crates.get(earlier)?.name.as_str());
                    step = earlier;
                }
                way.reverse();
                return Some(way);
            }
            for edge in found.dependencies.iter().filter(|edge| edge.role == Role::Normal) {
                if edge.to != start && !before.contains_key(&edge.to) {
                    before.insert(edge.to, at);
                    waiting.push_back(edge.to);
                }
            }
        }
        None
    }
}

pub(crate) fn check(repository: &Repository, findings: &mut Vec<Finding>) {
    for (at, found, folder) in repository.graph.ours() {
        let manifest = Manifest::of(repository, folder);
        check_identity(found, folder, &manifest, findings);
        for edge in &found.dependencies {
            if let Some(to) = repository.graph.crates.get(edge.to) {
                check_edge(found, folder, to, edge.role, &manifest, findings);
            }
        }
        if found.kind == Some(Kind::Pure) {
            check_reach(&repository.graph, at, &manifest, findings);
            check_pure_lints(repository, folder, findings);
        }
    }
}

fn check_identity(found: &Crate, folder: &str, manifest: &Manifest<'_>, to: &mut Vec<Finding>) {
    let expected = folder.replace('/', "-");
    if found.name != expected {
        to.push(
            manifest
                .at("name", format!("crate `{}`: name it `{expected}`, as its folder", found.name)),
        );
    }
    if found.kind.is_none() {
        let message = "no kind: add `[package.metadata.layer]` with `kind = \"pure\"` (abi, pure, shell or tool)";
        to.push(manifest.at("[package.metadata.layer]", message));
    }
    if layer(folder).is_none() {
        let known: Vec<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
        to.push(
            manifest.at("name", format!("no layer of the tree: put it under {}", known.join(", "))),
        );
    }
    if !manifest.text.contains("[lints]\nworkspace = true") {
        to.push(
            manifest.at("[lints]", "no workspace lints: add `[lints]` with `workspace = true`"),
        );
    }
}

fn check_edge(
    from: &Crate,
    folder: &str,
    to: &Crate,
    role: Role,
    manifest: &Manifest<'_>,
    findings: &mut Vec<Finding>,
) {
    let name = &to.name;
    if folder.starts_with("dataplane/") && name.starts_with("cedar") {
        let message = format!(
            "`{name}` under dataplane/: the compiler reads Cedar, the dataplane reads tables"
        );
        findings.push(manifest.at(name, message));
    }
    if role == Role::Dev {
        return;
    }
    let pure = matches!(from.kind, Some(Kind::Pure | Kind::Abi));
    if pure && DIRECT_IO_CRATES.contains(&name.as_str()) {
        let message =
            format!("a pure crate depends on `{name}`: take what it gives as an argument");
        findings.push(manifest.at(name, message));
    }
    let Some(to_folder) = to.folder.as_deref() else { return };
    if layer(to_folder) > layer(folder) {
        let message = format!(
            "`{name}` is above `{}` (ebpf < dataplane < controlplane < tests, benches, tools): turn the dependency round",
            from.name
        );
        findings.push(manifest.at(name, message));
    }
    let allowed = match from.kind {
        Some(Kind::Abi) => to.kind == Some(Kind::Abi),
        Some(Kind::Pure) => matches!(to.kind, Some(Kind::Abi | Kind::Pure)),
        Some(Kind::Shell) => to.kind != Some(Kind::Tool),
        Some(Kind::Tool) | None => true,
    };
    if !allowed {
        let message = format!(
            "`{name}` is of a kind that `{}` may not use: move what is needed into a pure crate",
            from.name
        );
        findings.push(manifest.at(name, message));
    }
}

fn check_reach(graph: &Graph, at: usize, manifest: &Manifest<'_>, findings: &mut Vec<Finding>) {
    if let Some(way) = graph.reach(at, |name| IO_CRATES.contains(&name)) {
        let first = way.get(1).copied().unwrap_or_default();
        let last = way.last().copied().unwrap_or_default();
        let message = format!(
            "a pure crate reaches `{last}` ({}): leave it to a shell crate",
            way.join(" → ")
        );
        findings.push(manifest.at(first, message));
    }
}

fn check_pure_lints(repository: &Repository, folder: &str, findings: &mut Vec<Finding>) {
    let path = format!("{folder}/src/lib.rs");
    let Some(file) = repository.file(&path) else { return };
    let squeeze = |text: &str| text.split_whitespace().collect::<String>().replace(",)", ")");
    if !squeeze(&file.text).contains(&squeeze(PURE_LINTS)) {
        findings.push(Finding::new(
            &path,
            1,
            format!("a pure crate never panics: add `{PURE_LINTS}`"),
        ));
    }
}

/// How high a folder stands; `None` outside the tree.
fn layer(folder: &str) -> Option<u8> {
    let top = folder.split('/').next()?;
    LAYERS.iter().find(|(name, _)| *name == top).map(|(_, height)| *height)
}

/// A crate's manifest, to say on which line a dependency stands.
struct Manifest<'r> {
    path: String,
    text: &'r str,
}

impl<'r> Manifest<'r> {
    fn of(repository: &'r Repository, folder: &str) -> Self {
        let path = format!("{folder}/Cargo.toml");
        let text = repository.file(&path).map_or("", |file| file.text.as_str());
        Self { path, text }
    }

    fn at(&self, name: &str, message: impl Into<String>) -> Finding {
        let line = self.text.lines().position(|line| line.starts_with(name));
        Finding::new(&self.path, line.unwrap_or(0) + 1, message)
    }
}
