//! JSON-RPC answers that the gateway writes itself.
//!
//! Ids are echoed byte for byte. Everything else is escaped here, so a rule's text or a server's
//! name can hold anything.

use std::io::Write as _;

use dataplane_parse::{EraFault, Id, Message, ParseFault, Revision, write_string};

/// The `id` of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReplyId<'a> {
    /// Not written: an error of the modern era whose request had no readable id.
    Absent,
    /// The same in the legacy era.
    Null,
    /// As it was sent: a number, or a string with its quotes.
    Raw(&'a [u8]),
}

impl<'a> ReplyId<'a> {
    /// The id of the request; what stands for a missing one depends on the era.
    #[must_use]
    pub fn of(message: &Message<'a>, modern: bool) -> Self {
        match message.id {
            Id::Value(raw) => Self::Raw(raw.of(message.body())),
            Id::Absent | Id::Invalid => Self::unreadable(modern),
        }
    }

    /// For a request that could not be read.
    #[must_use]
    pub const fn unreadable(modern: bool) -> Self {
        if modern { Self::Absent } else { Self::Null }
    }
}

fn open(out: &mut Vec<u8>, id: ReplyId<'_>) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",");
    let raw = match id {
        ReplyId::Absent => return,
        ReplyId::Null => b"null",
        ReplyId::Raw(raw) => raw,
    };
    out.extend_from_slice(b"\"id\":");
    out.extend_from_slice(raw);
    out.push(b',');
}

/// Appends an error. `data` is JSON, or nothing.
pub fn write_error(
    out: &mut Vec<u8>,
    id: ReplyId<'_>,
    code: i32,
    message: &str,
    data: Option<&[u8]>,
) {
    error_head(out, id, code, message);
    if let Some(data) = data {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data);
    }
    out.extend_from_slice(b"}}");
}

/// Appends the error that says why a request was not read as one of an era.
pub fn write_era_fault(out: &mut Vec<u8>, id: ReplyId<'_>, fault: &EraFault<'_>) {
    error_head(out, id, fault.code, fault.rule);
    let before = out.len();
    out.extend_from_slice(b",\"data\":");
    if !fault.write_data(out) {
        out.truncate(before);
    }
    out.extend_from_slice(b"}}");
}

/// Appends the error that says why a text was not read at all.
pub fn write_parse_fault(out: &mut Vec<u8>, modern: bool, fault: &ParseFault) {
    let id = ReplyId::unreadable(modern);
    write_error(out, id, fault.code(), &fault.to_string(), None);
}

/// Appends what stands before an error object; a brace ends it.
pub(crate) fn write_error_open(out: &mut Vec<u8>, id: ReplyId<'_>) {
    open(out, id);
    out.extend_from_slice(b"\"error\":");
}

fn error_head(out: &mut Vec<u8>, id: ReplyId<'_>, code: i32, message: &str) {
    write_error_open(out, id);
    out.extend_from_slice(b"{\"code\":");
    write_integer(out, i64::from(code));
    out.extend_from_slice(b",\"message\":");
    write_string(out, message);
}

/// Appends an integer.
pub(crate) fn write_integer(out: &mut Vec<u8>, number: i64) {
    // A `Vec` takes every byte.
    let _infallible = write!(out, "{number}");
}

/// Appends a result that is JSON already.
pub fn write_result(out: &mut Vec<u8>, id: ReplyId<'_>, result: &[u8]) {
    open_result(out, id);
    out.extend_from_slice(result);
    close_result(out);
}

/// Appends what stands before a result; [`close_result`] ends it.
pub fn open_result(out: &mut Vec<u8>, id: ReplyId<'_>) {
    open(out, id);
    out.extend_from_slice(b"\"result\":");
}

/// Ends what [`open_result`] began.
pub fn close_result(out: &mut Vec<u8>) {
    out.push(b'}');
}

/// Appends a result of `tools/call` that says to the model why there is none.
pub fn write_tool_error(out: &mut Vec<u8>, id: ReplyId<'_>, revision: Revision, text: &str) {
    open_result(out, id);
    out.push(b'{');
    if revision.is_modern() {
        out.extend_from_slice(b"\"resultType\":\"complete\",");
    }
    out.extend_from_slice(b"\"content\":[{\"type\":\"text\",\"text\":");
    write_string(out, text);
    out.extend_from_slice(b"}],\"isError\":true}");
    close_result(out);
}
