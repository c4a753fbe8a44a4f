//! What a client makes of the bytes that it receives: whole answers, and the events of streams.

use serde_json::Value;

/// One thing that a client was told.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// A whole answer with its status, its session id, and its body as JSON or nothing.
    Answer { status: u16, session: Option<String>, body: Option<Value> },
    /// An event of a stream.
    Event(Value),
    /// A stream's regular end.
    StreamEnd,
}

/// Reads answers as they come.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    is_stream: bool,
    events: String,
}

impl Reader {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether an answer has begun and is not whole.
    #[must_use]
    pub(crate) fn is_within(&self) -> bool {
        self.is_stream || !self.bytes.is_empty()
    }

    /// # Panics
    /// When the bytes are no HTTP answers in a row: the machine's fault.
    pub(crate) fn next(&mut self) -> Option<Told> {
        if self.is_stream { self.next_event() } else { self.next_answer() }
    }

    fn next_answer(&mut self) -> Option<Told> {
        let end = 4 + find(&self.bytes, b"\r\n\r\n")?;
        let head = String::from_utf8(self.bytes[..end].to_vec()).unwrap();
        assert!(head.starts_with("HTTP/1.1 "), "no answer: {head:?}");
        let status = head[9..12].parse().unwrap();
        let field = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        if field("Content-Type:").as_deref() == Some("text/event-stream") {
            assert_eq!(field("Transfer-Encoding:").as_deref(), Some("chunked"));
            self.bytes.drain(..end);
            self.is_stream = true;
            return self.next_event();
        }
        let length: usize = field("Content-Length:").map_or(0, |text| text.parse().unwrap());
        let body = self.bytes.get(end..end + length)?;
        let body = (length > 0).then(|| serde_json::from_slice(body).unwrap());
        let session = field("Mcp-Session-Id:");
        self.bytes.drain(..end + length);
        Some(Told::Answer { status, session, body })
    }

    fn next_event(&mut self) -> Option<Told> {
        loop {
            if let Some(end) = self.events.find("\n\n") {
                let event: String = self.events.drain(..end + 2).collect();
                let data: Vec<_> =
                    event.lines().filter_map(|line| line.strip_prefix("data:")).collect();
                return Some(Told::Event(serde_json::from_str(data.join("\n").trim()).unwrap()));
            }
            let line = find(&self.bytes, b"\r\n")?;
            let size = std::str::from_utf8(&self.bytes[..line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let data = self.bytes.get(line + 2..line + 2 + size + 2)?;
            assert!(data.ends_with(b"\r\n"), "a chunk's end");
            self.events.push_str(std::str::from_utf8(&data[..size]).unwrap());
            self.bytes.drain(..line + 2 + size + 2);
            if size == 0 {
                assert!(self.events.is_empty(), "half an event: {}", self.events);
                self.is_stream = false;
                return Some(Told::StreamEnd);
            }
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
