//! Server-sent events, read piece by piece and written.
//!
//! The reader follows the HTML standard: lines end with CR, LF or CRLF, a byte order mark at the
//! start is skipped, several `data` lines are joined with LF. It holds one event at most, so memory
//! is bounded by [`Limits::event_bytes_max`]; comments and unknown fields are not kept at all.

use memchr::memchr2;

/// Limits of one stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Most bytes of one event: its data, id and name together.
    pub event_bytes_max: usize,
}

impl Default for Limits {
    /// As long as the longest JSON answer that is read.
    fn default() -> Self {
        Self { event_bytes_max: dataplane_parse::Limits::ANSWER.bytes_max }
    }
}

/// Why a stream was given up: the server's fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SseFault {
    #[error("an event is longer than {event_bytes_max} bytes")]
    TooLong { event_bytes_max: usize },
}

/// One event, valid until the reader is used again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Event<'r> {
    /// Joined with LF. May be empty: a stream's first event may carry an id only.
    pub data: &'r [u8],
    /// The last id that the stream named, also in an event before. Empty for none.
    pub id: &'r [u8],
    /// Empty for `message`.
    pub name: &'r [u8],
    /// How long to wait before a reconnection, if the stream has said so.
    pub retry_ms: Option<u64>,
}

/// Where in a line the reader is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// In the field's name, of which so many bytes are in `field`.
    Field(usize),
    /// In a value; whether a space at its very start is still to be dropped.
    Value(Target, bool),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Target {
    Data,
    Id,
    Name,
    Retry,
    /// A comment or a field that we do not know.
    Nothing,
}

/// Reads one stream.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    place: Place,
    /// The longest name that means something is `event` or `retry`; one more byte rules it out.
    field: [u8; FIELD_BYTES],
    data: Vec<u8>,
    id: Vec<u8>,
    /// The id in the making: it counts when its event or the next one is dispatched.
    next_id: Vec<u8>,
    name: Vec<u8>,
    retry: Vec<u8>,
    retry_ms: Option<u64>,
    has_data: bool,
    /// The last byte was a CR, so that an LF that follows belongs to it.
    after_cr: bool,
    /// The event before was handed out and its buffers are not yet empty.
    handed_out: bool,
    /// How many bytes of a byte order mark were seen at the start; none once anything else was.
    mark: Option<usize>,
}

const FIELD_BYTES: usize = 6;
const MARK: [u8; 3] = *b"\xEF\xBB\xBF";
/// More digits than this are no waiting time.
const RETRY_DIGITS_MAX: usize = 18;

impl Reader {
    /// At the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            place: Place::Field(0),
            field: [0; FIELD_BYTES],
            data: Vec::new(),
            id: Vec::new(),
            next_id: Vec::new(),
            name: Vec::new(),
            retry: Vec::new(),
            retry_ms: None,
            has_data: false,
            after_cr: false,
            handed_out: false,
            mark: Some(0),
        }
    }

    /// For the next stream, with the same buffers.
    pub fn reset(&mut self) {
        self.id.clear();
        self.next_id.clear();
        self.data.clear();
        self.name.clear();
        self.retry.clear();
        self.place = Place::Field(0);
        self.retry_ms = None;
        (self.has_data, self.after_cr, self.handed_out) = (false, false, false);
        self.mark = Some(0);
    }

    /// Reads from `bytes` up to the end of the next event, and takes what it read away from them.
    /// `None` when they are used up.
    ///
    /// # Errors
    /// When an event is too long; the stream cannot be read on.
    pub fn next<'r>(&'r mut self, bytes: &mut &[u8]) -> Result<Option<Event<'r>>, SseFault> {
        if std::mem::take(&mut self.handed_out) {
            self.data.clear();
            self.name.clear();
            self.has_data = false;
        }
        while let Some(first) = bytes.first().copied() {
            if self.skip_mark(first)? || self.skip_lf(first) {
                *bytes = bytes.get(1..).unwrap_or_default();
            } else if let Some(end) = memchr2(b'\r', b'\n', bytes) {
                let (line, rest) = bytes.split_at(end);
                *bytes = rest.get(1..).unwrap_or_default();
                self.after_cr = rest.first() == Some(&b'\r');
                self.take(line)?;
                if self.end_line()? {
                    self.handed_out = true;
                    return Ok(Some(Event {
                        data: &self.data,
                        id: &self.id,
                        name: &self.name,
                        retry_ms: self.retry_ms,
                    }));
                }
            } else {
                self.take(std::mem::take(bytes))?;
            }
        }
        Ok(None)
    }

    /// Whether the stream, if it ends here, ends inside an event. What was begun is lost then.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        !self.handed_out && (self.has_data || self.place != Place::Field(0))
    }

    /// Whether this byte belongs to a byte order mark at the start.
    fn skip_mark(&mut self, byte: u8) -> Result<bool, SseFault> {
        let Some(seen) = self.mark else { return Ok(false) };
        if MARK.get(seen) == Some(&byte) {
            self.mark = if seen + 1 < MARK.len() { Some(seen + 1) } else { None };
            return Ok(true);
        }
        self.mark = None;
        self.take(MARK.get(..seen).unwrap_or_default())?;
        Ok(false)
    }

    /// Whether this byte is the second half of a CRLF.
    fn skip_lf(&mut self, byte: u8) -> bool {
        std::mem::take(&mut self.after_cr) && byte == b'\n'
    }

    /// A part of one line.
    fn take(&mut self, mut part: &[u8]) -> Result<(), SseFault> {
        while let Some((first, rest)) = part.split_first() {
            match &mut self.place {
                Place::Field(length) if *first == b':' => {
                    let target = target(self.field.get(..*length).unwrap_or_default());
                    self.place = Place::Value(self.begin(target), true);
                    part = rest;
                }
                Place::Field(length) => {
                    match self.field.get_mut(*length) {
                        Some(byte) => (*byte, *length) = (*first, *length + 1),
                        None => self.place = Place::Value(Target::Nothing, false),
                    }
                    part = rest;
                }
                Place::Value(_, space) => {
                    let value = if std::mem::take(space) && *first == b' ' { rest } else { part };
                    return self.value(value);
                }
            }
        }
        Ok(())
    }

    /// A field begins: data is joined, everything else is replaced.
    fn begin(&mut self, target: Target) -> Target {
        match target {
            Target::Data => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
            }
            Target::Id => self.next_id.clear(),
            Target::Name => self.name.clear(),
            Target::Retry => self.retry.clear(),
            Target::Nothing => {}
        }
        target
    }

    /// Each line counts one more byte than it holds: many empty ones are not free.
    fn value(&mut self, value: &[u8]) -> Result<(), SseFault> {
        let Place::Value(target, _) = self.place else { return Ok(()) };
        let used = self.used();
        let buffer = match target {
            Target::Data => &mut self.data,
            Target::Id => &mut self.next_id,
            Target::Name => &mut self.name,
            Target::Retry => {
                let room = (RETRY_DIGITS_MAX + 1).saturating_sub(self.retry.len());
                self.retry.extend(value.iter().take(room));
                return Ok(());
            }
            Target::Nothing => return Ok(()),
        };
        if used + value.len() >= self.limits.event_bytes_max {
            return Err(SseFault::TooLong { event_bytes_max: self.limits.event_bytes_max });
        }
        buffer.extend_from_slice(value);
        Ok(())
    }

    /// What the event in the making has taken of its limit.
    fn used(&self) -> usize {
        self.data.len() + self.next_id.len() + self.name.len()
    }

    /// Says whether an event is complete.
    fn end_line(&mut self) -> Result<bool, SseFault> {
        match std::mem::replace(&mut self.place, Place::Field(0)) {
            Place::Field(0) => return Ok(self.dispatch()),
            Place::Field(length) => {
                let target = target(self.field.get(..length).unwrap_or_default());
                self.begin(target);
                self.end_value(target);
            }
            Place::Value(target, _) => self.end_value(target),
        }
        if self.used() >= self.limits.event_bytes_max {
            return Err(SseFault::TooLong { event_bytes_max: self.limits.event_bytes_max });
        }
        Ok(false)
    }

    fn end_value(&mut self, target: Target) {
        match target {
            // An id with a NUL is ignored, says the standard.
            Target::Id if !self.next_id.contains(&0) => {
                std::mem::swap(&mut self.id, &mut self.next_id);
                self.next_id.clear();
            }
            Target::Id => self.next_id.clear(),
            Target::Retry => {
                if self.retry.len() <= RETRY_DIGITS_MAX {
                    let digits = std::str::from_utf8(&self.retry).ok();
                    let digits = digits.filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                    self.retry_ms = digits.and_then(|text| text.parse().ok()).or(self.retry_ms);
                }
            }
            Target::Data | Target::Name | Target::Nothing => {}
        }
    }

    /// An empty line. Without data there is no event, and a name is forgotten.
    fn dispatch(&mut self) -> bool {
        if !self.has_data {
            self.name.clear();
        }
        self.has_data
    }
}

fn target(field: &[u8]) -> Target {
    match field {
        b"data" => Target::Data,
        b"id" => Target::Id,
        b"event" => Target::Name,
        b"retry" => Target::Retry,
        _ => Target::Nothing,
    }
}

/// Appends one event. Line ends in `data` become line ends of the event; `id` must hold none, and
/// is left out when it is empty.
pub fn write_event(out: &mut Vec<u8>, id: &[u8], data: &[u8]) {
    if !id.is_empty() {
        out.extend_from_slice(b"id: ");
        out.extend(id.iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
        out.push(b'\n');
    }
    let mut rest = data;
    while let Some(end) = memchr2(b'\r', b'\n', rest) {
        write_data(out, rest.get(..end).unwrap_or_default());
        let wide = rest.get(end..).is_some_and(|tail| tail.starts_with(b"\r\n"));
        rest = rest.get(end + 1 + usize::from(wide)..).unwrap_or_default();
    }
    write_data(out, rest);
    out.push(b'\n');
}

fn write_data(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(line);
    out.push(b'\n');
}

/// A comment: keeps the connection alive and means nothing.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";
