//! An answer that is too long to be held: judged as it passes.
//!
//! Held answers are judged whole (`answer`). Of a long one the members of the message and of its
//! result are judged as they come, and what lies deeper is relayed as the server wrote it, once its
//! grammar holds. The envelope is written anew, and its end is not written before [`LongAnswer::finish`]
//! has seen the whole: an answer that turns out wrong stays without its last braces, which no reader
//! takes for an answer.
//!
//! Only results pass so, and only to clients whose revision takes them as they are
//! ([`LongAnswer::suits`]). Keys of the result must be written without escapes here.

use dataplane_parse::{Limits, MESSAGE_KEYS, ParseFault, Revision};

use crate::answer::{AnswerFault, AnswerKind, Client, ResultType, refuse_near_key};
use crate::bridge::MODERN_KEYS;
use crate::reply::open_result;
use crate::scan::{Event, Scanner};

/// The longest value that is judged by itself: an id.
const JUDGED_BYTES_MAX: usize = 256;

/// One answer.
#[derive(Debug)]
pub struct LongAnswer {
    scanner: Scanner,
    /// What the value in the making is for.
    target: Target,
    /// Whether that value has begun, and not ended.
    is_within: bool,
    /// A value that is judged when it is whole.
    judged: Vec<u8>,
    seen: Seen,
    is_error: bool,
    result_type: ResultType,
    /// Whether the result has a member already: the next one needs a comma.
    has_member: bool,
}

/// What of the message has come. Each comes once.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Seen {
    jsonrpc: bool,
    id: bool,
    result: bool,
    /// The result's members are being read.
    in_result: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Target {
    /// Nobody sees it.
    Nothing,
    Client,
    JsonRpc,
    Id,
    IsError,
    ResultType,
}

impl LongAnswer {
    /// `hash_key` is random: names in a server's data are somebody's choice.
    #[must_use]
    pub fn new(limits: Limits, hash_key: [u8; 16]) -> Self {
        Self {
            scanner: Scanner::new(limits, hash_key),
            target: Target::Nothing,
            is_within: false,
            judged: Vec::new(),
            seen: Seen::default(),
            is_error: false,
            result_type: ResultType::Absent,
            has_member: false,
        }
    }

    /// Whether a client of this revision takes results as servers of its era write them: before
    /// 2025-06-18 blocks of content may have to become text, which needs the whole.
    #[must_use]
    pub fn suits(revision: Revision) -> bool {
        revision >= Revision::V2025_06_18
    }

    /// Reads a piece, and appends to `out` what may pass of it.
    ///
    /// # Errors
    /// It is no answer to this request. What has passed must not be ended like one.
    pub fn push(
        &mut self,
        bytes: &[u8],
        expected_id: &[u8],
        client: &Client<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), AnswerFault> {
        self.scanner.take(bytes)?;
        let (mut at, mut from) = (0, 0);
        while let Some(event) = self.scanner.next(bytes, &mut at)? {
            match event {
                // Members of anything but the result: a part of a value that nobody sees.
                Event::Key(2) | Event::Begin(2, _) | Event::End(2) if !self.seen.in_result => {}
                Event::Key(level) => {
                    self.on_key(level, client)?;
                    self.is_within = false;
                }
                Event::Begin(level, first) => {
                    self.on_begin(level, first, client, out)?;
                    (self.is_within, from) = (true, at);
                }
                Event::End(level) => {
                    self.keep(bytes.get(from..at).unwrap_or_default(), out)?;
                    self.on_end(level, expected_id, client, out)?;
                    self.is_within = false;
                }
            }
        }
        if self.is_within {
            self.keep(bytes.get(from..).unwrap_or_default(), out)?;
        }
        self.scanner.end_piece(bytes.len());
        Ok(())
    }

    /// The server has said all: ends the answer.
    ///
    /// # Errors
    /// As [`LongAnswer::push`]; `out` is then as it was.
    pub fn finish(
        &self,
        client: &Client<'_>,
        out: &mut Vec<u8>,
    ) -> Result<AnswerKind, AnswerFault> {
        if !self.scanner.is_over() {
            return Err(ParseFault::Syntax { at: self.scanner.read() }.into());
        }
        match self.seen {
            Seen { jsonrpc: false, .. } => return Err(ParseFault::NotJsonRpc.into()),
            Seen { result: false, .. } => return Err(AnswerFault::LongAndNoResult),
            Seen { id: false, .. } => return Err(AnswerFault::WrongId),
            Seen { .. } => {}
        }
        if client.revision.is_modern() && self.result_type == ResultType::Absent {
            let comma: &[u8] = if self.has_member { b"," } else { b"" };
            out.extend_from_slice(comma);
            out.extend_from_slice(b"\"resultType\":\"complete\"");
        }
        out.extend_from_slice(b"}}");
        Ok(AnswerKind::Result { is_error: self.is_error, result_type: self.result_type })
    }

    fn on_key(&mut self, level: usize, client: &Client<'_>) -> Result<(), AnswerFault> {
        let key = std::str::from_utf8(self.scanner.key()).map_err(|_| ParseFault::NotUtf8)?;
        let at = self.scanner.read();
        let once = |seen: &mut bool| match std::mem::replace(seen, true) {
            true => Err(ParseFault::DuplicateKey { at }),
            false => Ok(()),
        };
        if level == 1 {
            self.target = match key {
                "jsonrpc" => once(&mut self.seen.jsonrpc).map(|()| Target::JsonRpc)?,
                "id" => once(&mut self.seen.id).map(|()| Target::Id)?,
                "result" => once(&mut self.seen.result).map(|()| Target::Nothing)?,
                "error" | "method" | "params" => return Err(AnswerFault::LongAndNoResult),
                _ if !key.is_ascii() => return Err(ParseFault::NonAsciiKey { at }.into()),
                _ => match MESSAGE_KEYS.iter().find(|known| known.eq_ignore_ascii_case(key)) {
                    Some(known) => return Err(ParseFault::NearKey { known, at }.into()),
                    None => Target::Nothing,
                },
            };
            self.seen.in_result = key == "result";
            return Ok(());
        }
        refuse_near_key(key)?;
        self.target = match key {
            "isError" => Target::IsError,
            "resultType" => Target::ResultType,
            _ if MODERN_KEYS.contains(&key) && !client.revision.is_modern() => Target::Nothing,
            _ => Target::Client,
        };
        Ok(())
    }

    fn on_begin(
        &mut self,
        level: usize,
        first: u8,
        client: &Client<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), AnswerFault> {
        match level {
            0 if first == b'[' => return Err(AnswerFault::Batch),
            0 if first != b'{' => return Err(ParseFault::NotAnObject.into()),
            1 if self.seen.in_result => {
                if first != b'{' {
                    return Err(AnswerFault::BadResult);
                }
                open_result(out, client.id);
                out.push(b'{');
            }
            2 if self.seen.in_result && self.target == Target::Client => {
                let is_structured = self.scanner.key() == b"structuredContent";
                // A legacy client knows objects only; to become text it would have to be held.
                if is_structured && first != b'{' && !client.revision.is_modern() {
                    return Err(AnswerFault::BadResult);
                }
                self.open_member(out);
            }
            _ => {}
        }
        Ok(())
    }

    fn open_member(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_member, true) {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(self.scanner.key());
        out.extend_from_slice(b"\":");
    }

    /// A part of a value.
    fn keep(&mut self, part: &[u8], out: &mut Vec<u8>) -> Result<(), AnswerFault> {
        match self.target {
            Target::Nothing => {}
            Target::Client => out.extend_from_slice(part),
            Target::JsonRpc | Target::Id | Target::IsError | Target::ResultType => {
                if self.judged.len() + part.len() > JUDGED_BYTES_MAX {
                    return Err(self.misjudged());
                }
                self.judged.extend_from_slice(part);
            }
        }
        Ok(())
    }

    fn misjudged(&self) -> AnswerFault {
        match self.target {
            Target::JsonRpc => ParseFault::NotJsonRpc.into(),
            Target::Id => AnswerFault::WrongId,
            Target::ResultType => AnswerFault::UnknownResultType,
            Target::IsError | Target::Nothing | Target::Client => AnswerFault::BadResult,
        }
    }

    fn on_end(
        &mut self,
        level: usize,
        expected_id: &[u8],
        client: &Client<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), AnswerFault> {
        let value = self.judged.as_slice();
        let is_right = match self.target {
            Target::Nothing | Target::Client => true,
            Target::JsonRpc => value == b"\"2.0\"",
            Target::Id => value == expected_id,
            Target::IsError => value == b"true" || value == b"false",
            Target::ResultType => match value {
                b"\"input_required\"" | b"\"task\"" => return Err(AnswerFault::InputRequired),
                other => other == b"\"complete\"",
            },
        };
        if !is_right {
            return Err(self.misjudged());
        }
        match self.target {
            Target::IsError => {
                self.is_error = value == b"true";
                self.pass_judged(out);
            }
            Target::ResultType => {
                self.result_type = ResultType::Complete;
                if client.revision.is_modern() {
                    self.pass_judged(out);
                }
            }
            Target::Nothing | Target::Client | Target::JsonRpc | Target::Id => {}
        }
        self.judged.clear();
        self.target = Target::Nothing;
        self.seen.in_result &= level == 2;
        Ok(())
    }

    fn pass_judged(&mut self, out: &mut Vec<u8>) {
        self.open_member(out);
        out.extend_from_slice(&self.judged);
    }
}
