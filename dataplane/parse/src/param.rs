//! `x-mcp-header`: arguments that a client repeats in `Mcp-Param-*` headers.
//!
//! A tool's schema says which. The declarations are read once, when a tool is pinned; for each call
//! the headers that came are held against the arguments. A header that no argument explains is
//! refused: something on the way may have acted on it.

use simd_json::{Node, StaticNode};

use crate::document::Document;
use crate::header::{header_value_equals, trim};
use crate::message::Message;
use crate::parser::Parser;

/// Most declarations of one tool: as many as the headers that ingress keeps.
pub const PARAM_HEADERS_MAX: usize = 16;

/// Deepest property that may be declared.
const PATH_MAX: usize = 16;

/// One declaration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ParamHeader {
    /// What follows `Mcp-Param-`. Compared without case.
    pub suffix: Box<str>,
    /// Property names from the arguments' root.
    pub path: Box<[Box<str>]>,
}

/// One header that came.
#[derive(Clone, Copy, Debug)]
pub struct ParamValue<'a> {
    /// What follows `Mcp-Param-`.
    pub suffix: &'a [u8],
    pub value: &'a [u8],
}

/// Why a tool's declarations are invalid; such a tool must not be offered to modern clients.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SchemaFault {
    #[error("the definition is refused: {0}")]
    Parse(#[from] crate::ParseFault),
    #[error("x-mcp-header must be a non-empty HTTP token")]
    NotAToken,
    #[error("x-mcp-header \"{0}\" is declared twice")]
    Twice(Box<str>),
    #[error("x-mcp-header stands on a string, integer or boolean property, and on nothing else")]
    NotPrimitive,
    #[error("x-mcp-header must be reached from the root through \"properties\" alone")]
    OffChain,
    #[error("a tool declares at most {PARAM_HEADERS_MAX} x-mcp-header")]
    TooMany,
}

impl ParamHeader {
    /// The declarations of a tool, from its definition as `tools/list` shows it. Empty for most.
    ///
    /// # Errors
    /// When a declaration breaks a rule of the specification.
    pub fn of_definition(parser: &mut Parser, json: &[u8]) -> Result<Vec<Self>, SchemaFault> {
        parser.with_document(json, Self::of_document)?
    }

    /// As [`Self::of_definition`], of a definition that is being read.
    ///
    /// # Errors
    /// When a declaration breaks a rule of the specification.
    pub fn of_document(document: Document<'_>) -> Result<Vec<Self>, SchemaFault> {
        let mut found = Vec::new();
        let mut seen = 0;
        if let Some(schema) = document.get(0, "inputSchema") {
            collect(document, schema, &mut Vec::new(), &mut found)?;
            seen = count(document, schema);
        }
        // What the chain of properties does not reach stands where no argument can be found.
        if seen == found.len() { Ok(found) } else { Err(SchemaFault::OffChain) }
    }
}

fn collect(
    document: Document<'_>,
    schema: usize,
    path: &mut Vec<Box<str>>,
    found: &mut Vec<ParamHeader>,
) -> Result<(), SchemaFault> {
    let Some(properties) = document.get(schema, "properties") else { return Ok(()) };
    for (key, property) in document.members(properties) {
        if path.len() == PATH_MAX {
            return Err(SchemaFault::OffChain);
        }
        path.push(document.text(key).unwrap_or_default().into());
        if let Some(header) = document.get(property, HEADER_KEY) {
            found.push(declaration(document, property, header, path, found)?);
        }
        collect(document, property, path, found)?;
        path.pop();
    }
    Ok(())
}

const HEADER_KEY: &str = "x-mcp-header";

fn declaration(
    document: Document<'_>,
    property: usize,
    header: usize,
    path: &[Box<str>],
    found: &[ParamHeader],
) -> Result<ParamHeader, SchemaFault> {
    let suffix = document.text(header).unwrap_or_default();
    if suffix.is_empty() || !suffix.bytes().all(is_token) {
        return Err(SchemaFault::NotAToken);
    }
    if found.iter().any(|other| other.suffix.eq_ignore_ascii_case(suffix)) {
        return Err(SchemaFault::Twice(suffix.into()));
    }
    if found.len() == PARAM_HEADERS_MAX {
        return Err(SchemaFault::TooMany);
    }
    let kind = document.get(property, "type").and_then(|kind| document.text(kind));
    if !matches!(kind, Some("string" | "integer" | "boolean")) {
        return Err(SchemaFault::NotPrimitive);
    }
    Ok(ParamHeader { suffix: suffix.into(), path: path.into() })
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// How many schemas in `schema` carry the key, wherever they stand; data is not schema.
fn count(document: Document<'_>, schema: usize) -> usize {
    let mut total = 0;
    for (key, value) in document.members(schema) {
        total += match document.text(key).unwrap_or_default() {
            HEADER_KEY => 1,
            "default" | "const" | "enum" | "examples" => 0,
            "properties" | "$defs" | "definitions" | "dependentSchemas" | "patternProperties" => {
                document.members(value).map(|(_, inner)| count(document, inner)).sum()
            }
            _ => {
                let items: usize = document.items(value).map(|item| count(document, item)).sum();
                items + count(document, value)
            }
        };
    }
    total
}

/// Why headers and arguments disagree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mismatch {
    Missing,
    Surplus,
    Different,
    BadBase64,
}

/// Holds the headers that came against the arguments.
pub(crate) fn check(
    declared: &[ParamHeader],
    came: &[ParamValue<'_>],
    message: &Message<'_>,
) -> Result<(), Mismatch> {
    for header in declared {
        let mut values = came.iter().filter(|value| is_for(value, header));
        let (value, twice) = (values.next(), values.next().is_some());
        if twice {
            return Err(Mismatch::Surplus);
        }
        let argument = argument(message, &header.path);
        match (value, argument) {
            (None, None) => {}
            (None, Some(_)) => return Err(Mismatch::Missing),
            (Some(_), None) => return Err(Mismatch::Surplus),
            (Some(value), Some(argument)) => {
                if !equals(value.value, message.document, argument)? {
                    return Err(Mismatch::Different);
                }
            }
        }
    }
    let explained = |value: &ParamValue<'_>| declared.iter().any(|header| is_for(value, header));
    if came.iter().all(explained) { Ok(()) } else { Err(Mismatch::Surplus) }
}

fn is_for(value: &ParamValue<'_>, header: &ParamHeader) -> bool {
    value.suffix.eq_ignore_ascii_case(header.suffix.as_bytes())
}

/// The index of the argument; none when it is absent or null, or of a type that has no header.
fn argument(message: &Message<'_>, path: &[Box<str>]) -> Option<usize> {
    let root = message.arguments?.index;
    let found = path.iter().try_fold(root, |object, key| message.document.get(object, key))?;
    match message.document.node(found)? {
        Node::String(_) => Some(found),
        Node::Static(StaticNode::Null) | Node::Object { .. } | Node::Array { .. } => None,
        Node::Static(_) => Some(found),
    }
}

fn equals(value: &[u8], document: Document<'_>, argument: usize) -> Result<bool, Mismatch> {
    let raw = document.raw(argument);
    let text = document.text(argument).map_or(raw, str::as_bytes);
    if header_value_equals(value, text).map_err(|_| Mismatch::BadBase64)? {
        return Ok(true);
    }
    let number = matches!(
        document.node(argument),
        Some(Node::Static(StaticNode::I64(_) | StaticNode::U64(_) | StaticNode::F64(_)))
    );
    Ok(number && integer(raw).is_some_and(|number| integer(trim(value)) == Some(number)))
}

/// An integer by value: `42`, `42.0` and `-0` are; anything with a fraction or exponent is not.
fn integer(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, zeros) = text.split_once('.').unwrap_or((text, "0"));
    let plain = whole.strip_prefix('-').unwrap_or(whole).bytes().all(|b| b.is_ascii_digit());
    let nothing = !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0');
    if plain && nothing { whole.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::{PARAM_HEADERS_MAX, ParamHeader, SchemaFault};
    use crate::{Limits, Parser};

    fn of(schema: &str) -> Result<Vec<ParamHeader>, SchemaFault> {
        let definition = format!(r#"{{"name":"t","inputSchema":{schema}}}"#);
        ParamHeader::of_definition(&mut Parser::new(Limits::REQUEST), definition.as_bytes())
    }

    #[test]
    fn declarations_are_found_at_any_depth_of_properties() {
        let found = of(r#"{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "plain":{"type":"string","default":{"x-mcp-header":"data"}},
            "options":{"properties":{"limit":{"type":"integer","x-mcp-header":"Limit"}}}}}"#);
        let path = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
        assert_eq!(
            found,
            Ok(vec![
                ParamHeader { suffix: "Region".into(), path: path(&["region"]) },
                ParamHeader { suffix: "Limit".into(), path: path(&["options", "limit"]) },
            ])
        );
        assert_eq!(of("{}"), Ok(vec![]));
    }

    #[test]
    fn invalid_declarations_are_named() {
        let property = |body: &str| of(&format!(r#"{{"properties":{{"a":{body}}}}}"#));
        for header in ["\"\"", "\"a b\"", "\"a:b\"", "1", "null", "\"a\\r\\nb\""] {
            let body = format!(r#"{{"type":"string","x-mcp-header":{header}}}"#);
            assert_eq!(property(&body), Err(SchemaFault::NotAToken), "{header}");
        }
        for kind in ["\"number\"", "\"array\"", "[\"string\"]"] {
            let body = format!(r#"{{"type":{kind},"x-mcp-header":"A"}}"#);
            assert_eq!(property(&body), Err(SchemaFault::NotPrimitive), "{kind}");
        }
        let twice = r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},
            "b":{"type":"string","x-mcp-header":"a"}}}"#;
        assert_eq!(of(twice), Err(SchemaFault::Twice("a".into())));
        for off in [
            r#"{"x-mcp-header":"A"}"#,
            r#"{"properties":{"a":{"items":{"type":"string","x-mcp-header":"A"}}}}"#,
            r#"{"anyOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}"#,
            r#"{"$defs":{"a":{"type":"string","x-mcp-header":"A"}}}"#,
        ] {
            assert_eq!(of(off), Err(SchemaFault::OffChain), "{off}");
        }
    }

    #[test]
    fn one_declaration_past_the_limit() {
        let schema = |count: usize| {
            let properties: Vec<String> = (0..count)
                .map(|n| format!(r#""p{n}":{{"type":"string","x-mcp-header":"H{n}"}}"#))
                .collect();
            format!(r#"{{"properties":{{{}}}}}"#, properties.join(","))
        };
        assert_eq!(of(&schema(PARAM_HEADERS_MAX)).unwrap().len(), PARAM_HEADERS_MAX);
        assert_eq!(of(&schema(PARAM_HEADERS_MAX + 1)), Err(SchemaFault::TooMany));
    }
}
