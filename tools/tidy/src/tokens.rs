//! Rust source as what the rules ask about: paths, string literals, modules and tests.
//!
//! Works on tokens, so comments never count and macro bodies do. `use a::{b, c::d}` is read as
//! `a::b` and `a::c::d`. What stands under `#[cfg(test)]` or `#[test]`, in a `tests/` or `benches/`
//! folder, or in a module file that is declared so, is marked as test code.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

use crate::{File, Finding};

/// A Rust file, read.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub path: &'a str,
    pub words: Vec<Word>,
    pub tests: Vec<TestFn>,
    /// Modules declared with `mod name;` under `#[cfg(test)]`.
    test_modules: Vec<String>,
}

/// A path (`std::fs::read`) or a string literal, and where it stands.
#[derive(Debug)]
pub(crate) struct Word {
    pub what: What,
    pub line: usize,
    pub in_test: bool,
}

#[derive(Debug)]
pub(crate) enum What {
    /// Segments of a path; a lone identifier is a path of one.
    Path(Vec<String>),
    /// The content of a string literal, escapes as written.
    Text(String),
}

/// A function with a `test` attribute.
#[derive(Debug)]
pub(crate) struct TestFn {
    /// Inline modules around it, then its name.
    pub path: Vec<String>,
}

/// Reads every Rust file; one that is no Rust is a finding.
pub(crate) fn read_all<'a>(files: &'a [File], findings: &mut Vec<Finding>) -> Vec<Source<'a>> {
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        match read(file) {
            Ok(source) => sources.push(source),
            Err((line, why)) => findings.push(Finding::new(&file.path, line, why)),
        }
    }
    let test_files: BTreeSet<String> = sources.iter().flat_map(test_module_stems).collect();
    for source in &mut sources {
        if is_test_file(source.path, &test_files) {
            source.words.iter_mut().for_each(|word| word.in_test = true);
        }
    }
    sources
}

fn read(file: &File) -> Result<Source<'_>, (usize, String)> {
    let stream: TokenStream = file.text.parse().map_err(|fault: proc_macro2::LexError| {
        (fault.span().start().line, format!("not Rust: {fault}"))
    })?;
    let mut source =
        Source { path: &file.path, words: Vec::new(), tests: Vec::new(), test_modules: Vec::new() };
    Walk { source: &mut source, modules: Vec::new() }.stream(stream, &[], false);
    Ok(source)
}

/// `src/a.rs` that declares `#[cfg(test)] mod b;` makes `src/a/b` a test file's stem.
fn test_module_stems(source: &Source<'_>) -> Vec<String> {
    let stem = source.path.trim_end_matches(".rs");
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let base = if matches!(name, "lib" | "main" | "mod") { folder } else { stem };
    source.test_modules.iter().map(|module| format!("{base}/{module}")).collect()
}

fn is_test_file(path: &str, stems: &BTreeSet<String>) -> bool {
    // `tests/sim/src/…` is a crate about tests; only folders inside a crate count here.
    let inner = path.split_once("/src/").map_or(path, |(_, inner)| inner);
    let in_folder = match path.contains("/src/") {
        true => inner.starts_with("tests/") || inner.contains("/tests/"),
        false => ["/tests/", "/benches/", "/examples/"].iter().any(|part| path.contains(part)),
    };
    in_folder
        || stems.iter().any(|stem| {
            path.strip_prefix(stem.as_str())
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
}

struct Walk<'s, 'a> {
    source: &'s mut Source<'a>,
    modules: Vec<String>,
}

impl Walk<'_, '_> {
    /// `prefix` is the path before a `{` of a use-tree, else empty.
    fn stream(&mut self, stream: TokenStream, prefix: &[String], mut in_test: bool) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        // Attributes seen since the last item began.
        let mut marks = Marks::default();
        while let Some(token) = tokens.get(at) {
            let item_in_test = in_test || marks.cfg_test || marks.test_fn;
            match token {
                TokenTree::Punct(hash) if hash.as_char() == '#' => {
                    let inner = is_punct(tokens.get(at + 1), '!');
                    at += 1 + usize::from(inner);
                    if let Some(TokenTree::Group(group)) = tokens.get(at) {
                        let found = Marks::of(group.stream());
                        in_test |= inner && found.cfg_test;
                        if !inner {
                            marks = marks.or(found);
                        }
                        if !found.doc {
                            self.stream(group.stream(), &[], item_in_test);
                        }
                    }
                }
                TokenTree::Punct(end) => {
                    if end.as_char() == ';' {
                        marks = Marks::default();
                    }
                }
                TokenTree::Literal(literal) => {
                    if let Some(text) = string_content(&literal.to_string()) {
                        self.word(What::Text(text), literal.span().start().line, item_in_test);
                    }
                }
                TokenTree::Ident(word) if *word == "mod" => {
                    at += self.module(tokens.get(at + 1..).unwrap_or(&[]), item_in_test);
                    marks = Marks::default();
                }
                TokenTree::Ident(word) if *word == "fn" => {
                    if let Some(TokenTree::Ident(name)) = tokens.get(at + 1)
                        && marks.test_fn
                    {
                        let mut path = self.modules.clone();
                        path.push(name.to_string());
                        self.source.tests.push(TestFn { path });
                    }
                }
                TokenTree::Ident(_) => at = self.path(&tokens, at, prefix, item_in_test),
                TokenTree::Group(group) => {
                    self.stream(group.stream(), &[], item_in_test);
                    if group.delimiter() == Delimiter::Brace {
                        marks = Marks::default();
                    }
                }
            }
            at += 1;
        }
    }

    /// After `mod`: the name, and its body or `;`. Returns how many tokens it took.
    fn module(&mut self, rest: &[TokenTree], in_test: bool) -> usize {
        let Some(TokenTree::Ident(name)) = rest.first() else { return 0 };
        match rest.get(1) {
            Some(TokenTree::Group(body)) if body.delimiter() == Delimiter::Brace => {
                self.modules.push(name.to_string());
                self.stream(body.stream(), &[], in_test);
                self.modules.pop();
                2
            }
            _ => {
                if in_test {
                    self.source.test_modules.push(name.to_string());
                }
                1
            }
        }
    }

    /// From an identifier to the last segment of its path; returns the last token's place.
    fn path(&mut self, tokens: &[TokenTree], start: usize, prefix: &[String], test: bool) -> usize {
        let mut segments = prefix.to_vec();
        let mut at = start;
        let mut line = 1;
        while let Some(TokenTree::Ident(segment)) = tokens.get(at) {
            line = segment.span().start().line;
            segments.push(segment.to_string());
            if !is_joint_colon(tokens.get(at + 1)) || !is_punct(tokens.get(at + 2), ':') {
                break;
            }
            match tokens.get(at + 3) {
                Some(TokenTree::Ident(_)) => at += 3,
                Some(TokenTree::Group(tree)) if tree.delimiter() == Delimiter::Brace => {
                    self.word(What::Path(segments.clone()), line, test);
                    self.stream(tree.stream(), &segments, test);
                    return at + 3;
                }
                _ => break,
            }
        }
        self.word(What::Path(segments), line, test);
        at
    }

    fn word(&mut self, what: What, line: usize, in_test: bool) {
        self.source.words.push(Word { what, line, in_test });
    }
}

/// What an attribute says about the item after it.
#[derive(Clone, Copy, Default)]
struct Marks {
    cfg_test: bool,
    test_fn: bool,
    doc: bool,
}

impl Marks {
    fn of(attribute: TokenStream) -> Self {
        let text = attribute.to_string().replace(' ', "");
        let head = text.split('(').next().unwrap_or("");
        Self {
            cfg_test: head == "cfg"
                && ["(test)", "(test,", ",test)", ",test,"].iter().any(|part| text.contains(part))
                && !text.contains("not(test"),
            test_fn: head == "test" || head.ends_with("::test"),
            doc: text.starts_with("doc"),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            cfg_test: self.cfg_test || other.cfg_test,
            test_fn: self.test_fn || other.test_fn,
            doc: false,
        }
    }
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

fn is_joint_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct))
        if punct.as_char() == ':' && punct.spacing() == Spacing::Joint)
}

/// Between the quotes of `"…"`, `r#"…"#`, `b"…"` or `c"…"`; nothing for other literals.
fn string_content(literal: &str) -> Option<String> {
    let start = literal.find('"')?;
    let end = literal.rfind('"')?;
    let plain = literal.get(..start)?.chars().all(|letter| "brc#".contains(letter));
    (plain && end > start).then(|| literal.get(start + 1..end).unwrap_or("").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<(String, bool)> {
        let file = File { path: "dataplane/x/src/lib.rs".into(), text: text.into() };
        let source = read(&file).unwrap();
        let path = |word: &Word| match &word.what {
            What::Path(path) => (path.join("::"), word.in_test),
            What::Text(text) => (format!("{text:?}"), word.in_test),
        };
        source.words.iter().map(path).collect()
    }

    #[test]
    fn a_use_tree_is_spelt_out() {
        let found = paths("use std::{fs, io::{self, Read}};");
        let names: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert!(names.contains(&"std::fs"), "{names:?}");
        assert!(names.contains(&"std::io::Read"), "{names:?}");
    }

    #[test]
    fn comments_never_count_and_macros_do() {
        let found = paths("/// std::fs\nfn f() { /* std::env */ check!(a, std::thread::spawn) }");
        let names: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert!(names.contains(&"std::thread::spawn"), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("fs") || name.contains("env")), "{names:?}");
    }

    #[test]
    fn test_code_is_marked() {
        let text = "fn a() { x::y(); }\n#[cfg(test)]\nmod tests { fn b() { x::z(); } }\nfn c() { x::w(); }";
        let of = |name: &str| paths(text).iter().find(|(path, _)| path == name).unwrap().1;
        assert_eq!((of("x::y"), of("x::z"), of("x::w")), (false, true, false));
    }

    #[test]
    fn a_test_is_found_with_its_modules() {
        let file = File {
            path: "a/src/lib.rs".into(),
            text: "mod t { #[test] fn one() {} #[tokio::test(flavor = \"x\")] async fn two() {} fn not() {} }".into(),
        };
        let found = read(&file).unwrap();
        let names: Vec<String> = found.tests.iter().map(|test| test.path.join("::")).collect();
        assert_eq!(names, ["t::one", "t::two"]);
    }

    #[test]
    fn a_module_file_declared_for_tests_is_test_code() {
        let files = [
            File { path: "a/src/x.rs".into(), text: "#[cfg(test)]\nmod model;".into() },
            File { path: "a/src/x/model.rs".into(), text: "use std::fs;".into() },
        ];
        let sources = read_all(&files, &mut Vec::new());
        assert!(sources[1].words.iter().all(|word| word.in_test));
    }
}
