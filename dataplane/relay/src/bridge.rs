//! A server's answer in the form of the client's revision.
//!
//! The envelope is always written anew. To a modern client a result gets its `resultType`; to a
//! legacy client what its revision lacks is left out or becomes text, so that nothing that the
//! server said is lost to the model without a word.

use dataplane_parse::{Document, Message, Revision, write_string};

use crate::answer::{Answer, AnswerFault, AnswerKind, Client, ResultType};
use crate::reply::{close_result, open_result, write_error_open, write_integer};

/// Appends a result or an error; for anything else nothing.
pub(crate) fn write(
    message: &Message<'_>,
    answer: &Answer,
    client: &Client<'_>,
    out: &mut Vec<u8>,
) -> Result<(), AnswerFault> {
    let document = message.document;
    match (answer.kind, message.result, message.error) {
        (AnswerKind::Result { result_type, .. }, Some(result), _) => {
            open_result(out, client.id);
            if client.revision.is_modern() {
                modern(out, document, result.index, result_type);
            } else {
                match result_type {
                    ResultType::Absent | ResultType::Complete => {}
                    ResultType::InputRequired | ResultType::Task => {
                        return Err(AnswerFault::InputRequired);
                    }
                }
                legacy(out, document, result.index, client.revision);
            }
            close_result(out);
        }
        (AnswerKind::Error { code }, _, Some(error)) => {
            write_error_open(out, client.id);
            error_object(out, document, error.index, code, client.revision);
            out.push(b'}');
        }
        _ => {}
    }
    Ok(())
}

fn modern(out: &mut Vec<u8>, document: Document<'_>, result: usize, result_type: ResultType) {
    let raw = document.raw(result);
    if result_type == ResultType::Absent {
        out.extend_from_slice(b"{\"resultType\":\"complete\"");
        if document.members(result).next().is_some() {
            out.push(b',');
        }
        out.extend_from_slice(raw.get(1..).unwrap_or_default());
    } else {
        out.extend_from_slice(raw);
    }
}

/// What a modern result says about itself and a legacy one does not.
pub(crate) const MODERN_KEYS: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];

fn legacy(out: &mut Vec<u8>, document: Document<'_>, result: usize, revision: Revision) {
    let structured = document.get(result, "structuredContent");
    let dropped =
        structured.filter(|value| revision < Revision::V2025_06_18 || !document.is_object(*value));
    let mut members = Separated::open(out, b'{');
    for (key, value) in document.members(result) {
        let name = document.text(key).unwrap_or_default();
        if MODERN_KEYS.contains(&name) || Some(value) == dropped {
            continue;
        }
        members.next().extend_from_slice(document.raw(key));
        members.out.push(b':');
        if name == "content" {
            content(members.out, document, value, revision, dropped);
        } else if name == "_meta" && document.is_object(value) {
            without(members.out, document, value, "io.modelcontextprotocol/serverInfo");
        } else {
            members.out.extend_from_slice(document.raw(value));
        }
    }
    if let (Some(structured), None) = (dropped, document.get(result, "content")) {
        let out = members.next();
        out.extend_from_slice(b"\"content\":[");
        raw_block(out, document, structured);
        out.push(b']');
    }
    members.close(b'}');
}

/// Blocks that the revision does not know become text; so does structured content, when it has to
/// be left out and there is no other content.
fn content(
    out: &mut Vec<u8>,
    document: Document<'_>,
    content: usize,
    revision: Revision,
    dropped: Option<usize>,
) {
    let mut blocks = Separated::open(out, b'[');
    for block in document.items(content) {
        let member = |key| document.get(block, key).and_then(|value| document.text(value));
        let since = match member("type") {
            Some("audio") => Revision::V2025_03_26,
            Some("resource_link") => Revision::V2025_06_18,
            _ => Revision::V2024_11_05,
        };
        let out = blocks.next();
        if revision >= since {
            out.extend_from_slice(document.raw(block));
            continue;
        }
        match member("uri") {
            Some(uri) => text_block(out, uri),
            None => text_block(out, "[audio, which this revision of the protocol cannot carry]"),
        }
    }
    if let (false, Some(structured)) = (blocks.started, dropped) {
        raw_block(blocks.next(), document, structured);
    }
    blocks.close(b']');
}

/// JSON, to be read as text.
fn raw_block(out: &mut Vec<u8>, document: Document<'_>, value: usize) {
    text_block(out, std::str::from_utf8(document.raw(value)).unwrap_or_default());
}

fn text_block(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
    write_string(out, text);
    out.push(b'}');
}

fn without(out: &mut Vec<u8>, document: Document<'_>, object: usize, unwanted: &str) {
    let mut members = Separated::open(out, b'{');
    for (key, value) in document.members(object) {
        if document.text(key) != Some(unwanted) {
            let out = members.next();
            out.extend_from_slice(document.raw(key));
            out.push(b':');
            out.extend_from_slice(document.raw(value));
        }
    }
    members.close(b'}');
}

fn error_object(
    out: &mut Vec<u8>,
    document: Document<'_>,
    error: usize,
    code: i64,
    revision: Revision,
) {
    let mut members = Separated::open(out, b'{');
    for (key, value) in document.members(error) {
        let out = members.next();
        out.extend_from_slice(document.raw(key));
        out.push(b':');
        if document.text(key) == Some("code") {
            write_integer(out, client_code(code, revision));
        } else {
            out.extend_from_slice(document.raw(value));
        }
    }
    members.close(b'}');
}

/// Codes that one era defines and the other must not see.
const fn client_code(code: i64, revision: Revision) -> i64 {
    match (code, revision.is_modern()) {
        // No such resource.
        (-32002, true) => -32602,
        // Input by URL is needed: cannot be given here.
        (-32042, true) => -32603,
        (-32099..=-32020, false) => -32603,
        _ => code,
    }
}

/// A list with commas between its parts.
struct Separated<'o> {
    out: &'o mut Vec<u8>,
    started: bool,
}

impl<'o> Separated<'o> {
    fn open(out: &'o mut Vec<u8>, bracket: u8) -> Self {
        out.push(bracket);
        Self { out, started: false }
    }

    fn next(&mut self) -> &mut Vec<u8> {
        if std::mem::replace(&mut self.started, true) {
            self.out.push(b',');
        }
        self.out
    }

    fn close(self, bracket: u8) {
        self.out.push(bracket);
    }
}
