//! From a strict document to a message.
//!
//! Reads the members that JSON-RPC and MCP define, of the types that they define, and refuses what
//! could be taken for one of them. Members that are not defined are left alone: they are forwarded,
//! and no stage judges by them.

use simd_json::{Node, StaticNode};

use crate::document::{Document, Extent};
use crate::fault::ParseFault;
use crate::keys::Known;
use crate::limits::ID_BYTES_MAX;
use crate::message::{Field, Id, Initialize, Kind, Message, Meta, Text, Value};

/// The members of a JSON-RPC message that mean something.
pub const MESSAGE_KEYS: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];

const PARAMS_KEYS: &[&str] = &[
    "name",
    "arguments",
    "_meta",
    "cursor",
    "uri",
    "taskId",
    "requestId",
    "task",
    "inputResponses",
    "requestState",
    "protocolVersion",
    "capabilities",
    "clientInfo",
];

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";

const META_KEYS: &[&str] = &[
    META_VERSION,
    META_CAPABILITIES,
    META_CLIENT,
    "io.modelcontextprotocol/logLevel",
    "progressToken",
    "traceparent",
];

/// Integers up to here are exact in every reader, doubles included.
const ID_INTEGER_MAX: u64 = 1 << 53;

/// Reads the root value as one message or a batch.
pub(crate) fn read(document: Document<'_>) -> Result<Message<'_>, ParseFault> {
    let mut message = empty(document);
    match document.node(0) {
        Some(Node::Object { .. }) => {}
        Some(Node::Array { .. }) => return Ok(message),
        _ => return Err(ParseFault::NotAnObject),
    }
    let (mut jsonrpc, mut method) = (None, None);
    for member in Known::new(document, 0, MESSAGE_KEYS) {
        match member? {
            (Some("jsonrpc"), index) => jsonrpc = Some(index),
            (Some("id"), index) => message.id = id(document, index)?,
            (Some("method"), index) => method = Some(plain(document, index, "method")?),
            (Some("params"), index) => message.params = Some(object(document, index, "params")?),
            (Some("result"), index) => message.result = Some(value(document, index)),
            (Some("error"), index) => message.error = Some(value(document, index)),
            _ => {}
        }
    }
    if jsonrpc.is_none_or(|index| document.raw(index) != b"\"2.0\"") {
        return Err(ParseFault::NotJsonRpc);
    }
    message.kind = match (method, message.result, message.error) {
        (Some(_), None, None) if message.id == Id::Absent => Kind::Notification,
        (Some(_), None, None) => Kind::Request,
        (None, Some(_), None) | (None, None, Some(_)) => Kind::Response,
        (None, None, None) => return Err(ParseFault::NotAMessage),
        _ => return Err(ParseFault::Ambiguous),
    };
    if let Some(method) = method {
        message.method = method.value;
        message.method_raw = method.raw;
    }
    if let Some(params) = message.params {
        read_params(document, params, &mut message)?;
    }
    Ok(message)
}

fn empty(document: Document<'_>) -> Message<'_> {
    Message {
        document,
        kind: Kind::Batch,
        id: Id::Absent,
        method: "",
        method_raw: Extent::default(),
        params: None,
        name: Field::Absent,
        uri: Field::Absent,
        task_id: Field::Absent,
        arguments: None,
        cursor: Field::Absent,
        request_id: Id::Absent,
        task: None,
        input_responses: None,
        request_state: None,
        meta: Meta::default(),
        initialize: Initialize::default(),
        result: None,
        error: None,
    }
}

fn read_params<'p>(
    document: Document<'p>,
    params: usize,
    message: &mut Message<'p>,
) -> Result<(), ParseFault> {
    for member in Known::new(document, params, PARAMS_KEYS) {
        let (Some(key), index) = member? else { continue };
        match key {
            "name" => message.name = judged(document, index, "name")?,
            "uri" => message.uri = judged(document, index, "uri")?,
            "taskId" => message.task_id = judged(document, index, "taskId")?,
            "arguments" => {
                object(document, index, "arguments")?;
                message.arguments = Some(value(document, index));
            }
            "_meta" => message.meta = read_meta(document, index)?,
            "cursor" => message.cursor = text(document, index),
            "requestId" => message.request_id = id(document, index)?,
            "task" => message.task = Some(value(document, index)),
            "inputResponses" => message.input_responses = Some(value(document, index)),
            "requestState" => message.request_state = Some(value(document, index)),
            "protocolVersion" => {
                message.initialize.protocol_version = string(document, index);
            }
            "capabilities" => {
                message.initialize.capabilities = match document.is_object(index) {
                    true => Field::Value(value(document, index)),
                    false => Field::WrongType,
                };
            }
            "clientInfo" => {
                let (name, version) = client(document, index);
                message.initialize.client_name = name;
                message.initialize.client_version = version;
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_meta(document: Document<'_>, index: usize) -> Result<Meta<'_>, ParseFault> {
    let mut meta = Meta::default();
    if !document.is_object(index) {
        meta.protocol_version = Field::WrongType;
        return Ok(meta);
    }
    meta.index = Some(index);
    for member in Known::new(document, index, META_KEYS) {
        let (Some(key), value) = member? else { continue };
        match key {
            META_VERSION => meta.protocol_version = string(document, value),
            META_CAPABILITIES => {
                meta.client_capabilities = match document.is_object(value) {
                    true => Field::Value(value),
                    false => Field::WrongType,
                };
            }
            META_CLIENT => (meta.client_name, meta.client_version) = client(document, value),
            "progressToken" => {
                meta.progress_token = match id(document, value)? {
                    Id::Value(raw) => Field::Value(raw),
                    Id::Absent | Id::Invalid => Field::WrongType,
                };
            }
            "traceparent" => meta.traceparent = document.text(value),
            _ => {}
        }
    }
    Ok(meta)
}

fn client(document: Document<'_>, index: usize) -> (Option<&str>, Option<&str>) {
    let text = |key| document.get(index, key).and_then(|value| document.text(value));
    (text("name"), text("version"))
}

/// An id: a string of bounded length, or an integer that every reader keeps exactly.
fn id(document: Document<'_>, index: usize) -> Result<Id, ParseFault> {
    let raw = document.extent(index);
    let valid = match document.node(index) {
        Some(Node::String(_)) if raw.len() > ID_BYTES_MAX => return Err(ParseFault::IdTooLong),
        Some(Node::String(_)) => true,
        // `-0` is an integer to some readers and a fraction to others.
        Some(Node::Static(StaticNode::I64(number))) => {
            number.unsigned_abs() <= ID_INTEGER_MAX && raw.of(document.body) != b"-0"
        }
        Some(Node::Static(StaticNode::U64(number))) => number <= ID_INTEGER_MAX,
        _ => false,
    };
    Ok(if valid { Id::Value(raw) } else { Id::Invalid })
}

fn value(document: Document<'_>, index: usize) -> Value {
    Value { index, raw: document.extent(index) }
}

fn string(document: Document<'_>, index: usize) -> Field<&str> {
    document.text(index).map_or(Field::WrongType, Field::Value)
}

fn text(document: Document<'_>, index: usize) -> Field<Text<'_>> {
    match document.text(index) {
        Some(value) => Field::Value(Text { value, raw: document.extent(index).unquoted() }),
        None => Field::WrongType,
    }
}

/// A string that is judged as the bytes that are sent, so it must not be escaped.
fn judged<'p>(
    document: Document<'p>,
    index: usize,
    field: &'static str,
) -> Result<Field<Text<'p>>, ParseFault> {
    let text = text(document, index);
    match text.value() {
        Some(text) if text.raw.len() != text.value.len() => Err(ParseFault::EscapedText { field }),
        _ => Ok(text),
    }
}

fn plain<'p>(
    document: Document<'p>,
    index: usize,
    field: &'static str,
) -> Result<Text<'p>, ParseFault> {
    let wanted = ParseFault::WrongType { field, wanted: "a string" };
    judged(document, index, field)?.value().ok_or(wanted)
}

fn object(document: Document<'_>, index: usize, field: &'static str) -> Result<usize, ParseFault> {
    let wanted = ParseFault::WrongType { field, wanted: "an object" };
    if document.is_object(index) { Ok(index) } else { Err(wanted) }
}
