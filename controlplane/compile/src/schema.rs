//! Pinned JSON schemas as types that policies can be checked against.
//!
//! A tool's `inputSchema` becomes an [`Object`]: which arguments exist, what each must be, and whether
//! others may be there. From that come the Cedar schema that a policy is checked with and the guard
//! that an appliance checks calls with, so the two cannot disagree. What JSON Schema can say and Cedar
//! cannot (unions, maps, arrays of objects) is [`Shape::Hidden`]: forwarded, but not for policies.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dataplane_policy::layout::FieldType;
use serde_json::{Map, Value};

/// How deep arguments are visible to policies. The guard has one level more for each record.
pub(crate) const DEPTH_MAX: usize = 6;

/// `$ref`s followed for one property, so that a schema that refers to itself ends.
const REFERENCES_MAX: usize = 8;

/// A JSON object's properties.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Object {
    pub(crate) fields: BTreeMap<String, Property>,
    /// The schema forbids properties that it does not name.
    pub(crate) closed: bool,
}

/// One property.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Property {
    pub(crate) shape: Shape,
    /// Always there, and not null: Cedar may read it without asking.
    pub(crate) required: bool,
    /// `null` is allowed, and reads as absent.
    pub(crate) nullable: bool,
}

/// What a property is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    Plain(FieldType),
    Record(Object),
    /// Not for policies, because it is what the text says.
    Hidden(&'static str),
}

impl Object {
    /// Reads a tool's `inputSchema`. Anything that is not understood hides arguments; it never
    /// gives one a type that the schema does not.
    pub(crate) fn of_tool(schema: &Value) -> Self {
        match (Reader { root: schema }).shape(schema, 0) {
            (Shape::Record(object), _) => object,
            _ => Self::default(),
        }
    }

    /// The property at a path, and whether everything on the way is always there.
    pub(crate) fn find(&self, path: &[String]) -> Option<(&Property, bool)> {
        let (first, rest) = path.split_first()?;
        let property = self.fields.get(first)?;
        match (&property.shape, rest) {
            (_, []) => Some((property, property.required)),
            (Shape::Record(object), rest) => {
                let (found, sure) = object.find(rest)?;
                Some((found, sure && property.required))
            }
            _ => None,
        }
    }

    /// As a Cedar record type.
    pub(crate) fn cedar(&self) -> String {
        let mut out = String::from("{");
        for (name, property) in &self.fields {
            let ty = match &property.shape {
                Shape::Plain(kind) => cedar_type(*kind).to_owned(),
                Shape::Record(object) => object.cedar(),
                Shape::Hidden(_) => continue,
            };
            let optional = if property.required { "" } else { "?" };
            let _ = write!(out, "{}{optional}: {ty}, ", quoted(name));
        }
        out.push('}');
        out
    }
}

/// The Cedar type in which policies see a field.
pub(crate) fn cedar_type(kind: FieldType) -> &'static str {
    match kind {
        FieldType::Any | FieldType::Record => "{}",
        FieldType::Bool => "Bool",
        FieldType::Long => "Long",
        FieldType::Text => "String",
        FieldType::Decimal | FieldType::Number => "decimal",
        FieldType::Datetime | FieldType::Date => "datetime",
        FieldType::Duration => "duration",
        FieldType::Ipv4 | FieldType::Ipv6 => "ipaddr",
        FieldType::SetText => "Set<String>",
        FieldType::SetLong => "Set<Long>",
        FieldType::SetBool => "Set<Bool>",
    }
}

/// The schema of one tool: the same for all tools but for the type of `context.arguments`.
pub(crate) fn cedar_schema(arguments: &str) -> String {
    format!(
        "entity Role; entity Tenant; entity Group in [Role];\n\
         entity User in [Role, Group, Tenant] {{ tenant: Tenant }};\n\
         entity Agent in [Role, Group, Tenant] {{ tenant: Tenant }};\n\
         entity Service in [Role, Group, Tenant] {{ tenant: Tenant }};\n\
         entity Server; entity Tool in [Server] {{ destructive: Bool, read_only: Bool }};\n\
         action call appliesTo {{ principal: [User, Agent, Service], resource: Tool, context: {{\n\
         arguments: {arguments}, now: datetime, era: String, agent?: Agent }} }};\n"
    )
}

/// A string literal of Cedar's.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(c),
            _ if c.is_alphanumeric() => out.push(c),
            _ => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

struct Reader<'s> {
    root: &'s Value,
}

impl<'s> Reader<'s> {
    /// The shape of a schema, and whether `null` is allowed too.
    fn shape(&self, schema: &'s Value, depth: usize) -> (Shape, bool) {
        let Some(schema) = self.resolve(schema) else {
            return (Shape::Hidden("a reference that leads nowhere"), false);
        };
        // Keywords of one schema all hold at once, so `type` is true whatever stands beside it.
        match schema.get("type") {
            Some(Value::String(name)) => return (self.named(name, schema, depth), false),
            Some(Value::Array(names)) => return self.one_of_types(names, schema, depth),
            _ if schema.contains_key("properties") => {
                return (self.named("object", schema, depth), false);
            }
            _ => {}
        }
        for union in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = schema.get(union) {
                return self.union(branches, depth);
            }
        }
        for unknown in ["allOf", "not", "if", "$dynamicRef"] {
            if schema.contains_key(unknown) {
                return (Shape::Hidden("a combination of schemas"), false);
            }
        }
        (untyped(schema), false)
    }

    /// `T | null` is a nullable `T`; any other union has no type of Cedar's.
    fn union(&self, branches: &'s [Value], depth: usize) -> (Shape, bool) {
        let is_null = |b: &&Value| b.get("type").and_then(Value::as_str) == Some("null");
        let nullable = branches.iter().any(|b| is_null(&b));
        let mut others = branches.iter().filter(|b| !is_null(b));
        match (others.next(), others.next()) {
            (Some(only), None) => {
                let (shape, inner) = self.shape(only, depth);
                (shape, nullable || inner)
            }
            _ => (Shape::Hidden("one of several types"), nullable),
        }
    }

    fn one_of_types(
        &self,
        names: &[Value],
        schema: &'s Map<String, Value>,
        depth: usize,
    ) -> (Shape, bool) {
        let nullable = names.iter().any(|name| name == "null");
        let mut others = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
        match (others.next(), others.next()) {
            (Some(only), None) => (self.named(only, schema, depth), nullable),
            _ => (Shape::Hidden("one of several types"), nullable),
        }
    }

    fn resolve(&self, schema: &'s Value) -> Option<&'s Map<String, Value>> {
        let mut schema = schema.as_object()?;
        for _ in 0..REFERENCES_MAX {
            let Some(reference) = schema.get("$ref") else { return Some(schema) };
            let pointer = reference.as_str()?.strip_prefix('#')?;
            schema = self.root.pointer(pointer)?.as_object()?;
        }
        None
    }

    fn named(&self, name: &str, schema: &'s Map<String, Value>, depth: usize) -> Shape {
        match name {
            "boolean" => Shape::Plain(FieldType::Bool),
            "integer" => Shape::Plain(FieldType::Long),
            "number" => Shape::Plain(FieldType::Number),
            "string" => Shape::Plain(text_type(schema.get("format"))),
            "array" => self.array(schema),
            "object" if depth >= DEPTH_MAX => Shape::Hidden("nested deeper than 6"),
            "object" => self.object(schema, depth),
            _ => Shape::Hidden("of a type that JSON Schema does not have"),
        }
    }

    fn array(&self, schema: &'s Map<String, Value>) -> Shape {
        let element = schema.get("items").map(|items| self.shape(items, DEPTH_MAX));
        match element {
            Some((Shape::Plain(FieldType::Text), false)) => Shape::Plain(FieldType::SetText),
            Some((Shape::Plain(FieldType::Long), false)) => Shape::Plain(FieldType::SetLong),
            Some((Shape::Plain(FieldType::Bool), false)) => Shape::Plain(FieldType::SetBool),
            _ => Shape::Hidden("an array of something other than strings, integers or Booleans"),
        }
    }

    fn object(&self, schema: &'s Map<String, Value>, depth: usize) -> Shape {
        let required = schema.get("required").and_then(Value::as_array);
        let is_required = |name: &str| {
            required.is_some_and(|names| names.iter().any(|n| n.as_str() == Some(name)))
        };
        let mut fields = BTreeMap::new();
        for (name, property) in
            schema.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            let (mut shape, nullable) = self.shape(property, depth + 1);
            if name.starts_with("__cedar") {
                shape = Shape::Hidden("named with Cedar's reserved prefix");
            }
            let required = is_required(name) && !nullable;
            fields.insert(name.clone(), Property { shape, required, nullable });
        }
        let closed = schema.get("additionalProperties") == Some(&Value::Bool(false))
            && !schema.contains_key("patternProperties");
        Shape::Record(Object { fields, closed })
    }
}

/// Formats with a Cedar type of their own. All other formats are just strings.
fn text_type(format: Option<&Value>) -> FieldType {
    match format.and_then(Value::as_str) {
        Some("date-time") => FieldType::Datetime,
        Some("date") => FieldType::Date,
        Some("duration") => FieldType::Duration,
        Some("ipv4") => FieldType::Ipv4,
        Some("ipv6") => FieldType::Ipv6,
        Some("decimal") => FieldType::Decimal,
        _ => FieldType::Text,
    }
}

/// Without `type`, an enumeration or a constant of one scalar type still says what it is.
fn untyped(schema: &Map<String, Value>) -> Shape {
    let listed = schema.get("enum").and_then(Value::as_array).map(Vec::as_slice);
    let values = match (listed, schema.get("const")) {
        (Some(values), _) => values,
        (None, Some(value)) => std::slice::from_ref(value),
        (None, None) => &[],
    };
    let all = |is: fn(&Value) -> bool| !values.is_empty() && values.iter().all(is);
    if all(Value::is_string) {
        Shape::Plain(FieldType::Text)
    } else if all(Value::is_boolean) {
        Shape::Plain(FieldType::Bool)
    } else if all(Value::is_i64) {
        Shape::Plain(FieldType::Long)
    } else {
        Shape::Hidden("without a type")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_of_property_has_its_type() {
        let object = Object::of_tool(&json!({
            "type": "object",
            "$defs": { "Money": { "type": "object", "properties": {
                "value": { "type": "number" }, "currency": { "enum": ["EUR", "USD"] } },
                "required": ["value"] } },
            "properties": {
                "amount": { "$ref": "#/$defs/Money" },
                "at": { "type": "string", "format": "date-time" },
                "ids": { "type": "array", "items": { "type": "integer" } },
                "limit": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
                "rows": { "type": "array", "items": { "type": "object" } },
                "who": { "type": ["string", "integer"] },
                "foo-bar": { "type": ["boolean", "null"] },
                "loop": { "$ref": "#/properties/loop" }
            },
            "required": ["amount", "limit"],
            "additionalProperties": false
        }));
        assert!(object.closed);
        assert_eq!(
            object.cedar(),
            "{\"amount\": {\"currency\"?: String, \"value\": decimal, }, \"at\"?: datetime, \
             \"foo-bar\"?: Bool, \"ids\"?: Set<Long>, \"limit\"?: Long, }"
        );
        assert!(matches!(object.fields["loop"].shape, Shape::Hidden(_)));
        assert!(matches!(object.fields["who"].shape, Shape::Hidden(_)));
    }

    #[test]
    fn a_schema_that_is_no_object_has_no_arguments() {
        for schema in [json!(null), json!(true), json!([]), json!({ "type": "string" })] {
            assert_eq!(Object::of_tool(&schema), Object::default());
        }
    }
}
