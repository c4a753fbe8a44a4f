//! Which era a request belongs to, and whether it may be read at all.
//!
//! A table of twenty rows, tried in order; the first that matches answers. The body is judged first
//! and the headers are then held against it, never the other way round: in the modern era a header
//! that differs is refused, in the legacy era those headers are ignored wholly. Rows 1 to 19 are
//! [`era`], row 20 is [`without_body`].

use crate::document::Document;
use crate::header::{header_value_equals, trim};
use crate::message::{Field, Id, Kind, Message};
use crate::param::{self, Mismatch, ParamHeader, ParamValue};
use crate::revision::{Method, NameSource, Revision, SUPPORTED_MODERN};
use crate::revision::{is_request_method, name_source};
use crate::text::write_string;

/// `Mcp-Protocol-Version`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum VersionHeader<'a> {
    #[default]
    Absent,
    Value(&'a [u8]),
    /// Twice. A value with a comma counts as this as well.
    Repeated,
}

/// The headers that the table reads. White space around values is ignored.
#[derive(Clone, Copy, Debug, Default)]
pub struct EraHeaders<'a> {
    pub version: VersionHeader<'a>,
    /// `Mcp-Method`.
    pub method: Option<&'a [u8]>,
    /// `Mcp-Name`.
    pub name: Option<&'a [u8]>,
    /// Every `Mcp-Param-*`.
    pub params: &'a [ParamValue<'a>],
}

/// What the caller made of `Mcp-Session-Id`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SessionView {
    /// No such header.
    #[default]
    None,
    /// It opens, is this caller's and is not over.
    Open { revision: Revision },
    /// Forged, over, or another caller's: not told apart.
    Invalid,
}

/// What the caller knows about the tool that is called.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// The tool's declarations. Empty for a tool that the caller may not see, as for one that does
    /// not exist: else the answer would tell them apart.
    pub tool_params: &'a [ParamHeader],
    /// Client capabilities without which the call cannot be served, such as `elicitation`.
    pub needs: &'a [&'static str],
}

/// What a request is, and what is to be done with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Entry {
    /// A stateless request. `Mcp-Session-Id` and `Last-Event-ID` are ignored and never echoed.
    Modern { revision: Revision, method: Method },
    /// 202 without a body; nothing is forwarded. `notifications/cancelled` means nothing here: the
    /// end of the connection is the cancellation.
    ModernNotification,
    /// `initialize`: to be answered with this revision and a new session.
    Handshake { revision: Revision },
    /// A request in a session.
    Legacy { revision: Revision, method: Method },
    /// 202 without a body.
    LegacyNotification { revision: Revision, notice: Notice },
    /// 202 without a body: an answer to a request that the gateway sent.
    LegacyResponse { revision: Revision },
}

/// A legacy notification that the gateway acts upon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notice {
    /// `notifications/initialized`.
    Initialized,
    /// `notifications/cancelled`; [`Message::request_id`] names the request.
    Cancelled,
    /// Any other: nothing to do.
    Other,
}

/// Why a request was refused: the caller's fault. The answer echoes the request's id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EraFault<'m> {
    /// The row that matched.
    pub row: u8,
    /// HTTP status. For 405 the answer carries `Allow: POST`.
    pub status: u16,
    /// JSON-RPC code.
    pub code: i32,
    /// The rule, and what to do.
    pub rule: &'static str,
    pub data: EraData<'m>,
}

/// `data` of the error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EraData<'m> {
    None,
    /// `{"supported":[…],"requested":"…"}`.
    Versions {
        requested: &'m str,
    },
    /// `{"requiredCapabilities":{"…":{}}}`.
    Capability {
        name: &'static str,
    },
}

impl std::fmt::Display for EraFault<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.rule)
    }
}

impl std::error::Error for EraFault<'_> {}

impl<'m> EraFault<'m> {
    const fn new(row: u8, status: u16, code: i32, rule: &'static str) -> Self {
        Self { row, status, code, rule, data: EraData::None }
    }

    const fn with(self, data: EraData<'m>) -> Self {
        Self { data, ..self }
    }

    /// Appends `data` as JSON; says whether there is any.
    pub fn write_data(&self, out: &mut Vec<u8>) -> bool {
        match self.data {
            EraData::None => return false,
            EraData::Versions { requested } => {
                out.extend_from_slice(b"{\"supported\":[");
                for (index, revision) in SUPPORTED_MODERN.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_string(out, revision.as_str());
                }
                out.extend_from_slice(b"],\"requested\":");
                write_string(out, requested);
                out.push(b'}');
            }
            EraData::Capability { name } => {
                out.extend_from_slice(b"{\"requiredCapabilities\":{");
                write_string(out, name);
                out.extend_from_slice(b":{}}}");
            }
        }
        true
    }
}

const HEADER_MISMATCH: i32 = -32020;
const MISSING_CAPABILITY: i32 = -32021;
const UNSUPPORTED_VERSION: i32 = -32022;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;

/// Rows 1 to 19, for a POST.
///
/// # Errors
/// The first row that refuses.
pub fn era<'m>(
    headers: &EraHeaders<'m>,
    message: &Message<'m>,
    session: SessionView,
    rules: &Rules<'_>,
) -> Result<Entry, EraFault<'m>> {
    let header = version(headers)?;
    batch(message, session)?;
    let revision = header.and_then(Revision::parse);
    match (message.meta.protocol_version, revision) {
        (Field::Value(inside), _) if header != Some(inside.as_bytes()) => Err(EraFault::new(
            3,
            400,
            HEADER_MISMATCH,
            "MCP-Protocol-Version must be sent and equal \
             _meta[\"io.modelcontextprotocol/protocolVersion\"]",
        )),
        (Field::Value(_), Some(revision)) if revision.is_modern() => {
            modern(headers, message, rules, revision)
        }
        (Field::Value(inside), _) => {
            Err(unsupported(5, "this revision is not spoken without a session")
                .with(EraData::Versions { requested: inside }))
        }
        (Field::Absent | Field::WrongType, Some(revision)) if revision.is_modern() => {
            Err(no_version_inside())
        }
        // A legacy client does not send it; one that sends a number or null is not understood.
        (Field::WrongType, _) => Err(no_version_inside()),
        (Field::Absent, None) if header.is_some() => {
            let requested = header.and_then(|text| std::str::from_utf8(text).ok());
            Err(unsupported(15, "this MCP-Protocol-Version is not known")
                .with(EraData::Versions { requested: requested.unwrap_or_default() }))
        }
        (Field::Absent, _) => legacy(message, session, revision),
    }
}

/// Row 20, for GET and DELETE: answers the session's revision.
///
/// # Errors
/// 405 without a legacy session; rows 1, 17 and 18 as for a POST.
pub fn without_body<'m>(
    headers: &EraHeaders<'m>,
    session: SessionView,
) -> Result<Revision, EraFault<'m>> {
    let header = version(headers)?;
    let revision = header.and_then(Revision::parse);
    if revision.is_some_and(Revision::is_modern) || session == SessionView::None {
        return Err(EraFault::new(20, 405, INVALID_REQUEST, "only POST is served here"));
    }
    if header.is_some() && revision.is_none() {
        return Err(other_revision());
    }
    in_session(session, revision)
}

/// Row 1.
fn version<'m>(headers: &EraHeaders<'m>) -> Result<Option<&'m [u8]>, EraFault<'m>> {
    let value = match headers.version {
        VersionHeader::Absent => return Ok(None),
        VersionHeader::Value(value) if !value.contains(&b',') => return Ok(Some(trim(value))),
        VersionHeader::Value(_) | VersionHeader::Repeated => {
            "MCP-Protocol-Version must be sent once, with one value"
        }
    };
    Err(EraFault::new(1, 400, HEADER_MISMATCH, value))
}

/// Row 2.
fn batch<'m>(message: &Message<'m>, session: SessionView) -> Result<(), EraFault<'m>> {
    if message.kind != Kind::Batch {
        return Ok(());
    }
    let rule = match session {
        SessionView::Open { revision: Revision::V2025_03_26 } => {
            "batches are not carried by this gateway: send each message by itself"
        }
        _ => "the body must be one JSON-RPC message, not an array",
    };
    Err(EraFault::new(2, 400, INVALID_REQUEST, rule))
}

/// Row 4.
const fn no_version_inside<'m>() -> EraFault<'m> {
    EraFault::new(
        4,
        400,
        INVALID_PARAMS,
        "_meta[\"io.modelcontextprotocol/protocolVersion\"] must be a string",
    )
}

/// Rows 5 and 15.
const fn unsupported<'m>(row: u8, rule: &'static str) -> EraFault<'m> {
    EraFault::new(row, 400, UNSUPPORTED_VERSION, rule)
}

/// Rows 6 to 14.
fn modern<'m>(
    headers: &EraHeaders<'m>,
    message: &Message<'m>,
    rules: &Rules<'_>,
    revision: Revision,
) -> Result<Entry, EraFault<'m>> {
    let Field::Value(capabilities) = message.meta.client_capabilities else {
        let rule = "_meta[\"io.modelcontextprotocol/clientCapabilities\"] must be an object";
        return Err(EraFault::new(6, 400, INVALID_PARAMS, rule));
    };
    let notice = message.kind == Kind::Notification && message.method.starts_with(NOTICE);
    // The specification does not say which headers a notification has: none are asked for.
    if !(notice && headers.method.is_none()) {
        let equal = headers.method.is_some_and(|value| trim(value) == message.method.as_bytes());
        if !equal {
            let rule = "Mcp-Method must be sent and equal \"method\", by case as well";
            return Err(EraFault::new(7, 400, HEADER_MISMATCH, rule));
        }
    }
    name(headers, message)?;
    param::check(rules.tool_params, headers.params, message).map_err(params_mismatch)?;
    if notice {
        return Ok(Entry::ModernNotification);
    }
    let Some(method) = Method::modern(message.method) else {
        let rule = match is_request_method(message.method) {
            true => "this method is not carried by this gateway in this revision",
            false => "this method is not known",
        };
        return Err(EraFault::new(10, 404, METHOD_NOT_FOUND, rule));
    };
    needs(message.document, capabilities, rules)?;
    match message.kind {
        Kind::Request if message.id == Id::Invalid => Err(bad_id(12)),
        Kind::Request => Ok(Entry::Modern { revision, method }),
        Kind::Notification => Err(request_without_id(13)),
        Kind::Response | Kind::Batch => Err(EraFault::new(
            13,
            400,
            INVALID_REQUEST,
            "a client sends no responses in this revision",
        )),
    }
}

const NOTICE: &str = "notifications/";

/// Row 8.
fn name<'m>(headers: &EraHeaders<'m>, message: &Message<'m>) -> Result<(), EraFault<'m>> {
    let (inside, rule) = match name_source(message.method) {
        NameSource::None => return Ok(()),
        NameSource::Name => (message.name, "Mcp-Name must be sent and equal params.name"),
        NameSource::Uri => (message.uri, "Mcp-Name must be sent and equal params.uri"),
        NameSource::TaskId => (message.task_id, "Mcp-Name must be sent and equal params.taskId"),
    };
    let fault = |rule| Err(EraFault::new(8, 400, HEADER_MISMATCH, rule));
    let (Some(header), Some(inside)) = (headers.name, inside.value()) else { return fault(rule) };
    match header_value_equals(header, inside.value.as_bytes()) {
        Ok(true) => Ok(()),
        Ok(false) => fault(rule),
        Err(_) => fault("Mcp-Name is not canonical base64 between =?base64? and ?="),
    }
}

/// Row 9.
fn params_mismatch<'m>(mismatch: Mismatch) -> EraFault<'m> {
    let rule = match mismatch {
        Mismatch::Missing => "an argument that x-mcp-header names lacks its Mcp-Param header",
        Mismatch::Surplus => "an Mcp-Param header has no argument, or came twice",
        Mismatch::Different => "an Mcp-Param header differs from its argument",
        Mismatch::BadBase64 => {
            "an Mcp-Param header is not canonical base64 between =?base64? and ?="
        }
    };
    EraFault::new(9, 400, HEADER_MISMATCH, rule)
}

/// Row 11.
fn needs<'m>(
    document: Document<'m>,
    capabilities: usize,
    rules: &Rules<'_>,
) -> Result<(), EraFault<'m>> {
    match rules.needs.iter().find(|name| document.get(capabilities, name).is_none()) {
        Some(name) => {
            let rule = "this call needs a capability that the client does not declare";
            let data = EraData::Capability { name };
            Err(EraFault::new(11, 400, MISSING_CAPABILITY, rule).with(data))
        }
        None => Ok(()),
    }
}

/// Row 12, and row 17 for legacy requests.
const fn bad_id<'m>(row: u8) -> EraFault<'m> {
    let rule = "\"id\" must be a string, or an integer of at most 2^53";
    EraFault::new(row, 400, INVALID_REQUEST, rule)
}

/// A server that runs it anyway would do so unseen.
const fn request_without_id<'m>(row: u8) -> EraFault<'m> {
    let rule = "a request needs an \"id\"; a notification's method starts with notifications/";
    EraFault::new(row, 400, INVALID_REQUEST, rule)
}

/// Rows 16 to 19.
fn legacy<'m>(
    message: &Message<'m>,
    session: SessionView,
    header: Option<Revision>,
) -> Result<Entry, EraFault<'m>> {
    let initialize = message.method == Method::Initialize.as_str();
    if initialize && session == SessionView::None {
        return match message.id {
            Id::Value(_) => Ok(Entry::Handshake { revision: agreed(message) }),
            Id::Absent => Err(request_without_id(16)),
            Id::Invalid => Err(bad_id(16)),
        };
    }
    let revision = in_session(session, header)?;
    match message.kind {
        Kind::Request if message.id == Id::Invalid => Err(bad_id(17)),
        Kind::Request => request(message, revision),
        Kind::Notification => match message.method {
            "notifications/initialized" => Ok(Notice::Initialized),
            "notifications/cancelled" => Ok(Notice::Cancelled),
            method if method.starts_with(NOTICE) => Ok(Notice::Other),
            _ => Err(request_without_id(17)),
        }
        .map(|notice| Entry::LegacyNotification { revision, notice }),
        Kind::Response => Ok(Entry::LegacyResponse { revision }),
        Kind::Batch => Err(EraFault::new(2, 400, INVALID_REQUEST, "no batches here")),
    }
}

/// Errors of the call itself travel with 200: a legacy client takes a 404 for its session's end.
fn request<'m>(message: &Message<'m>, revision: Revision) -> Result<Entry, EraFault<'m>> {
    match Method::legacy(message.method) {
        Some(Method::Initialize) => {
            let rule = "this session is initialized: send initialize without Mcp-Session-Id";
            Err(EraFault::new(17, 400, INVALID_REQUEST, rule))
        }
        Some(Method::CallTool) if message.name.value().is_none() => {
            Err(EraFault::new(17, 200, INVALID_PARAMS, "params.name must be a string"))
        }
        Some(method) => Ok(Entry::Legacy { revision, method }),
        None if is_request_method(message.method) => {
            let rule = "this method is not carried by this gateway in this revision";
            Err(EraFault::new(17, 200, METHOD_NOT_FOUND, rule))
        }
        None => Err(EraFault::new(17, 200, METHOD_NOT_FOUND, "this method is not known")),
    }
}

/// Row 16: what was asked for if it is a legacy revision, else our newest.
fn agreed(message: &Message<'_>) -> Revision {
    let asked = message.initialize.protocol_version.value().map(str::as_bytes);
    match asked.and_then(Revision::parse) {
        Some(revision) if !revision.is_modern() => revision,
        _ => Revision::NEWEST_LEGACY,
    }
}

/// Row 17.
const fn other_revision<'m>() -> EraFault<'m> {
    let rule = "MCP-Protocol-Version must equal the revision of the session";
    EraFault::new(17, 400, INVALID_REQUEST, rule)
}

/// Rows 17 to 19.
fn in_session<'m>(
    session: SessionView,
    header: Option<Revision>,
) -> Result<Revision, EraFault<'m>> {
    match session {
        SessionView::Open { revision } if header.is_none_or(|header| header == revision) => {
            Ok(revision)
        }
        SessionView::Open { .. } => Err(other_revision()),
        SessionView::Invalid => {
            let rule = "this session is not known here: send initialize again";
            Err(EraFault::new(18, 404, INVALID_REQUEST, rule))
        }
        SessionView::None => {
            let rule = "Mcp-Session-Id is missing: send initialize first";
            Err(EraFault::new(19, 400, INVALID_REQUEST, rule))
        }
    }
}
