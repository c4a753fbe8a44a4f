//! Every test of the repository by its name: `crate-name::module::tests::one_past_the_limit`.
//!
//! For unit tests the modules are those of the file and of its inline modules; for `tests/limits.rs`
//! the file's stem stands for them: `crate-name::limits::one_past_the_limit`.

use std::collections::BTreeSet;

use crate::layers::Graph;
use crate::tokens::Source;

/// The names of all tests.
#[derive(Debug, Default)]
pub(crate) struct Index(BTreeSet<String>);

impl Index {
    pub(crate) fn new(graph: &Graph, sources: &[Source<'_>]) -> Self {
        let mut names = BTreeSet::new();
        for source in sources {
            let Some((found, folder)) = graph.holding(source.path) else { continue };
            let Some(inner) = source.path.strip_prefix(folder) else { continue };
            let Some(modules) = modules_of(inner.trim_start_matches('/')) else { continue };
            for test in &source.tests {
                let parts = [found.name.as_str()].into_iter().chain(modules.iter().copied());
                let parts = parts.chain(test.path.iter().map(String::as_str));
                names.insert(parts.collect::<Vec<_>>().join("::"));
            }
        }
        Self(names)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// A test of the same function name in the same crate, or anywhere.
    pub(crate) fn like(&self, name: &str) -> Option<&str> {
        let wanted = name.rsplit("::").next()?;
        let owner = name.split("::").next()?;
        let mut same = self.0.iter().filter(|known| known.rsplit("::").next() == Some(wanted));
        let first = same.clone().next().map(String::as_str);
        same.find(|known| known.split("::").next() == Some(owner)).map(String::as_str).or(first)
    }
}

/// `src/a/b.rs` → a, b; `src/lib.rs` → nothing; `tests/x.rs` → x.
fn modules_of(inner: &str) -> Option<Vec<&str>> {
    let stem = inner.strip_suffix(".rs")?;
    let mut modules: Vec<&str> = stem.split('/').collect();
    match *modules.first()? {
        "src" if modules.get(1) == Some(&"bin") => drop(modules.drain(..2)),
        "src" | "tests" | "benches" => drop(modules.remove(0)),
        _ => return None,
    }
    if matches!(modules.last(), Some(&("lib" | "main" | "mod"))) {
        modules.pop();
    }
    Some(modules)
}
