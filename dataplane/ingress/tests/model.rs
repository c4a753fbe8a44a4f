//! The parser against a plain twin that knows the RFCs' grammar and nothing of httparse, over mutated
//! heads; and every stream cut at every byte.

use std::collections::HashMap;

use dataplane_ingress::{Framing, Limits, Parsed, fuzz, parse_head};

const SEEDS: [&str; 5] = [
    "POST /mcp HTTP/1.1\r\nHost: g\r\nContent-Length: 12\r\nAuthorization: Bearer a.b.c\r\n\r\n",
    "POST /mcp HTTP/1.1\r\nhost: g\r\nTransfer-Encoding: chunked\r\nMcp-Name: x\r\n\r\n",
    "GET /servers/crm/mcp HTTP/1.1\r\nHost: g\r\nAccept: text/event-stream\r\nOrigin: o\r\n\r\n",
    "DELETE /mcp HTTP/1.0\r\nHost:g\r\nConnection: keep-alive, close\r\nMcp-Session-Id: s\r\n\r\n",
    "PUT /mcp HTTP/1.1\r\nX-Empty:\r\nHost: g\r\nContent-Length: 0\r\nMcp-Param-A: 1\r\n\r\n",
];

/// What is inserted, besides single bytes.
const TOKENS: [&str; 25] = [
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "\0",
    ":",
    ",",
    ";",
    "%",
    "//",
    "/../",
    "?/.",
    "\r\n ",
    "\r\n\r\n",
    "é",
    "+",
    "chunked",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Host: h\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: h2c\r\n",
    "Mcp-Name: y\r\n",
    "HTTP/1.0",
];

#[test]
fn agrees_with_the_twin() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut accepted, mut refused) = (0, 0);
    for case in 0..150_000 {
        let mut bytes = random.pick(&SEEDS).as_bytes().to_vec();
        for _ in 0..random.below(4) {
            mutate(&mut bytes, &mut random);
        }
        let ours = parse_head(&bytes, &Limits::default());
        let shown = bytes.escape_ascii();
        match (twin(&bytes), ours) {
            (Some(twin), Ok(Parsed::Complete(head))) => {
                assert_eq!(twin, (head.len, head.framing, head.keep_alive), "case {case}: {shown}");
                accepted += 1;
            }
            (None, Err(_)) => refused += 1,
            (None, Ok(Parsed::Partial)) => assert!(!ends(&bytes), "case {case}: {shown}"),
            (twin, ours) => panic!("case {case}: {twin:?} but {ours:?}: {shown}"),
        }
    }
    assert!(accepted > 20_000 && refused > 20_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn streams_read_the_same_in_any_cut() {
    let mut random = Random(42);
    let bodies = ["hello worlds", "3\r\nabc\r\n0\r\n\r\n", "", "", ""];
    for _ in 0..400 {
        let mut stream = Vec::new();
        for _ in 0..3 {
            let index = random.below(SEEDS.len());
            stream.extend_from_slice(SEEDS[index].as_bytes());
            stream.extend_from_slice(bodies[index].as_bytes());
        }
        for _ in 0..random.below(3) {
            mutate(&mut stream, &mut random);
        }
        fuzz::one_reading(&stream);
    }
}

#[test]
fn chunked_bodies_read_the_same_in_any_cut() {
    let mut random = Random(7);
    for _ in 0..20_000 {
        let mut body = b"4\r\nWiki\r\n5;a=b\r\npedia\r\n0\r\n\r\nGET".to_vec();
        for _ in 0..random.below(4) {
            mutate(&mut body, &mut random);
        }
        fuzz::chunks(&body);
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    match random.below(5) {
        0 | 1 => drop(bytes.splice(at..at, random.pick(&TOKENS).bytes())),
        2 => bytes.insert(at, random.below(256) as u8),
        3 if at < bytes.len() => drop(bytes.remove(at)),
        _ => {
            // Whole lines change places or double.
            let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
            let line = lines.get(random.below(lines.len().max(1))).map_or(&b""[..], |line| *line);
            let place = random.below(lines.len().max(1));
            *bytes = [&lines[..place], &[line], &lines[place..]].concat().concat();
        }
    }
}

/// Length, framing and keep-alive of a head that is to be accepted.
fn twin(bytes: &[u8]) -> Option<(usize, Framing, bool)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    // Latin-1, so that every byte is one character.
    let text: String = bytes[..end].iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split("\r\n");
    let [method, target, version] = lines.next()?.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let token = |text: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
    };
    if !token(method) || !good_target(target) || !["HTTP/1.1", "HTTP/1.0"].contains(&version) {
        return None;
    }
    let mut headers: HashMap<String, Vec<String>> = HashMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let control = |c: char| c < ' ' && c != '\t' || c == '\u{7f}';
        if !token(name) || value.chars().any(control) {
            return None;
        }
        let value = value.trim_matches([' ', '\t']).to_owned();
        headers.entry(name.to_ascii_lowercase()).or_default().push(value);
    }
    let get = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let singles = "host origin authorization content-type content-length content-encoding \
        mcp-session-id mcp-method mcp-name last-event-id transfer-encoding";
    let single = |name: &str| {
        name.starts_with("mcp-param-") || singles.split_whitespace().any(|single| single == name)
    };
    let repeated = headers.iter().any(|(name, values)| single(name) && values.len() > 1);
    let banned = ["expect", "upgrade", "trailer"].iter().any(|name| headers.contains_key(*name));
    if repeated || banned || get("host").is_empty() {
        return None;
    }
    let framing = twin_framing(&get("content-length"), &get("transfer-encoding"), version)?;
    if ["GET", "DELETE", "OPTIONS"].contains(&method) && framing != Framing::Empty {
        return None;
    }
    let known = ["GET", "DELETE", "OPTIONS", "POST"].contains(&method);
    let close = get("connection").join(",").to_ascii_lowercase();
    let close = close.split(',').any(|option| option.trim() == "close");
    Some((end + 4, framing, known && version == "HTTP/1.1" && !close))
}

fn twin_framing(lengths: &[String], codings: &[String], version: &str) -> Option<Framing> {
    match (lengths, codings) {
        ([], []) => Some(Framing::Empty),
        ([length], []) => {
            let digits = !length.is_empty() && length.chars().all(|c| c.is_ascii_digit());
            let length: u64 = length.parse().ok().filter(|_| digits)?;
            let framing = if length == 0 { Framing::Empty } else { Framing::Length(length) };
            (length <= Limits::default().body_bytes).then_some(framing)
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") && version == "HTTP/1.1" => {
            Some(Framing::Chunked)
        }
        _ => None,
    }
}

fn good_target(target: &str) -> bool {
    target.starts_with('/')
        && !target.contains("//")
        && target.chars().all(|c| ('!'..='~').contains(&c) && !"%;#\\\"<>^`{|}".contains(c))
        && !target
            .split('/')
            .any(|segment| [".", ".."].contains(&segment.split('?').next().unwrap()))
}

/// Whether the bytes hold the end of some head.
fn ends(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|four| four == b"\r\n\r\n")
}

/// xorshift64*: the same cases every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn pick<'t>(&mut self, list: &[&'t str]) -> &'t str {
        list[self.below(list.len())]
    }
}
