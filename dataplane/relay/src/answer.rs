//! What a server answered, judged before anybody relies on it.
//!
//! An answer must be one strict JSON-RPC message that carries the id of the request that was sent.
//! Its envelope is written anew for the client: with the client's id, and in the form of the
//! client's revision (`bridge`). What is inside of a result is the server's and is
//! relayed, not believed.

use dataplane_parse::{
    Document, Extent, Id, Kind, Message, Node, ParseFault, Parser, Revision, StaticNode,
};

use crate::bridge;
use crate::reply::ReplyId;

/// A judged message of a server. Extents are of the bytes that were judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer {
    pub kind: AnswerKind,
    /// The result, the error, or the params; empty when there are none.
    pub payload: Extent,
}

/// What it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AnswerKind {
    /// The result of our request. `is_error`: the tool ran and says that it failed.
    Result { is_error: bool, result_type: ResultType },
    /// The error of our request. A server that could not read the id may leave it out.
    Error { code: i64 },
    /// Not the answer, and needs none.
    Notification(Notice),
    /// The server asks something. `id` is to be echoed in the answer to it.
    Request { id: Extent, ping: bool },
}

/// `resultType`. Any other value is a fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResultType {
    /// Not sent, which means complete: legacy servers never do.
    Absent,
    Complete,
    InputRequired,
    Task,
}

/// A server's notification.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notice {
    /// `notifications/progress`, and where its token stands.
    Progress { token: Extent },
    /// `notifications/message`: a line of the server's log.
    Log,
    /// `notifications/tools/list_changed`.
    ToolsChanged,
    /// Any other.
    Other,
}

/// Why an answer is not one: the server's fault. The call may have run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerFault {
    #[error("the server's answer was refused: {0}")]
    Parse(#[from] ParseFault),
    #[error("the server answered with a batch")]
    Batch,
    #[error("the server answered another request's id")]
    WrongId,
    #[error("the server's result is not an object")]
    BadResult,
    #[error("the server's error has no integer code and text message")]
    BadError,
    #[error("the server's resultType is not known")]
    UnknownResultType,
    #[error("a key of the server's result equals \"{known}\" but for its case")]
    NearKey { known: &'static str },
    #[error("the server asks for input, which this client's revision cannot give")]
    InputRequired,
    #[error("the server asked something without a usable id")]
    BadRequest,
    #[error("the server's answer is too long to be held, and is no result")]
    LongAndNoResult,
}

/// The client that waits for the answer.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    pub id: ReplyId<'a>,
    pub revision: Revision,
}

/// Judges one message of a server against the id that was sent, as it was written.
///
/// # Errors
/// When it is not one message that this request can have caused.
pub fn judge(parser: &mut Parser, bytes: &[u8], expected_id: &[u8]) -> Result<Answer, AnswerFault> {
    parser.with(bytes, |message| judge_message(message, expected_id))?
}

/// Judges, and if it is a result or an error appends it to `out` as the client is to see it.
///
/// # Errors
/// As [`judge`]; `out` is then as it was.
pub fn judge_into(
    parser: &mut Parser,
    bytes: &[u8],
    expected_id: &[u8],
    client: &Client<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, AnswerFault> {
    let before = out.len();
    let answer = parser.with(bytes, |message| {
        let answer = judge_message(message, expected_id)?;
        bridge::write(message, &answer, client, out).map(|()| answer)
    })?;
    if answer.is_err() {
        out.truncate(before);
    }
    answer
}

fn judge_message(message: &Message<'_>, expected_id: &[u8]) -> Result<Answer, AnswerFault> {
    let document = message.document;
    match (message.kind, message.result, message.error) {
        (Kind::Response, Some(result), _) => {
            if message.id_text() != Some(expected_id) {
                return Err(AnswerFault::WrongId);
            }
            let kind = judge_result(document, result.index)?;
            Ok(Answer { kind, payload: result.raw })
        }
        (Kind::Response, None, Some(error)) => {
            // One request was sent on this exchange, so an error without an id is its error.
            let unread = message.id == Id::Absent || id_is_null(document);
            if !unread && message.id_text() != Some(expected_id) {
                return Err(AnswerFault::WrongId);
            }
            let code = judge_error(document, error.index)?;
            Ok(Answer { kind: AnswerKind::Error { code }, payload: error.raw })
        }
        (Kind::Notification, ..) => {
            let kind = AnswerKind::Notification(notice(message));
            Ok(Answer { kind, payload: params(message) })
        }
        (Kind::Request, ..) => match message.id {
            Id::Value(id) => {
                let kind = AnswerKind::Request { id, ping: message.method == "ping" };
                Ok(Answer { kind, payload: params(message) })
            }
            Id::Absent | Id::Invalid => Err(AnswerFault::BadRequest),
        },
        (Kind::Batch, ..) | (Kind::Response, None, None) => Err(AnswerFault::Batch),
    }
}

fn params(message: &Message<'_>) -> Extent {
    message.params.map(|params| message.document.extent(params)).unwrap_or_default()
}

fn id_is_null(document: Document<'_>) -> bool {
    document.get(0, "id").is_some_and(|id| document.raw(id) == b"null")
}

fn notice(message: &Message<'_>) -> Notice {
    let document = message.document;
    match message.method {
        "notifications/progress" => {
            let token = message.params.and_then(|params| document.get(params, "progressToken"));
            match token.and_then(|token| document.node(token).map(|node| (token, node))) {
                Some((token, Node::String(_) | Node::Static(StaticNode::I64(_))))
                | Some((token, Node::Static(StaticNode::U64(_)))) => {
                    Notice::Progress { token: document.extent(token) }
                }
                _ => Notice::Other,
            }
        }
        "notifications/message" => Notice::Log,
        "notifications/tools/list_changed" => Notice::ToolsChanged,
        _ => Notice::Other,
    }
}

const RESULT_KEYS: [&str; 5] =
    ["resultType", "isError", "content", "structuredContent", "requestState"];

fn judge_result(document: Document<'_>, result: usize) -> Result<AnswerKind, AnswerFault> {
    if !document.is_object(result) {
        return Err(AnswerFault::BadResult);
    }
    let (mut is_error, mut result_type) = (false, ResultType::Absent);
    for (key, value) in document.members(result) {
        match document.text(key).unwrap_or_default() {
            "isError" => {
                is_error = match document.node(value) {
                    Some(Node::Static(StaticNode::Bool(is_error))) => is_error,
                    _ => return Err(AnswerFault::BadResult),
                }
            }
            "resultType" => {
                result_type = match document.text(value) {
                    Some("complete") => ResultType::Complete,
                    Some("input_required") => ResultType::InputRequired,
                    Some("task") => ResultType::Task,
                    _ => return Err(AnswerFault::UnknownResultType),
                }
            }
            other => refuse_near_key(other)?,
        }
    }
    Ok(AnswerKind::Result { is_error, result_type })
}

/// A key of a result that some readers would take for one that we judge.
pub(crate) fn refuse_near_key(key: &str) -> Result<(), AnswerFault> {
    match RESULT_KEYS.iter().find(|known| **known != key && folds_to(key, known)) {
        Some(known) => Err(AnswerFault::NearKey { known }),
        None => Ok(()),
    }
}

/// Whether readers that ignore case take `key` for `known`. Beside ASCII, just these two fold to
/// letters of it.
fn folds_to(key: &str, known: &str) -> bool {
    let fold = |character: char| match character {
        '\u{17F}' => 's',
        '\u{212A}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(known.chars().map(fold))
}

fn judge_error(document: Document<'_>, error: usize) -> Result<i64, AnswerFault> {
    let message = document.get(error, "message").and_then(|text| document.text(text));
    let code = document.get(error, "code").and_then(|code| document.node(code));
    match (code, message) {
        (Some(Node::Static(StaticNode::I64(code))), Some(_)) => Ok(code),
        (Some(Node::Static(StaticNode::U64(code))), Some(_)) => {
            i64::try_from(code).map_err(|_| AnswerFault::BadError)
        }
        _ => Err(AnswerFault::BadError),
    }
}
