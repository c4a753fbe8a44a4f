//! Clients that dribble: their connections end in time, and nobody else notices.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;
use tests_e2e::{Agent, Door, Era, code_of, in_parallel, play, told};
use tests_fixtures::stack::{SystemSpec, wait_until};

/// `dataplane_pipeline::limits::HEAD_NS_MAX`, and a little for the sweep and a slow machine.
const HEAD: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(3);
/// Connections that hold on, of each kind.
const EACH: usize = 60;
/// Threads that hold them.
const HOLDERS: usize = 5;

/// A way to be slow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Manner {
    /// Connects and says nothing, not even TLS.
    Mute,
    /// TLS, then nothing.
    Shaken,
    /// A request's head, a byte at a time.
    Head,
    /// A whole head, then a byte of the body at a time.
    Body,
}

const MANNERS: [Manner; 4] = [Manner::Mute, Manner::Shaken, Manner::Head, Manner::Body];

/// Dribbles on some connections at once until all have ended; how long the last one lived.
fn dribble(door: &Door, token: &str, manner: Manner, count: usize) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    if manner == Manner::Mute {
        let sockets: Vec<TcpStream> =
            (0..count).map(|_| TcpStream::connect(door.address)).collect::<Result<_, _>>()?;
        for mut socket in sockets {
            socket.set_read_timeout(Some(HEAD + SLACK))?;
            let read = socket.read(&mut [0; 64]);
            ensure!(!read.as_ref().is_ok_and(|count| *count > 0), "a mute client was answered");
            ensure!(begun.elapsed() < HEAD + SLACK, "a mute client is kept: {read:?}");
        }
        return Ok(begun.elapsed());
    }
    let mut wires = (0..count).map(|_| door.open()).collect::<Result<Vec<_>, _>>()?;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
         Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         Content-Length: 60000\r\n\r\n",
        door.host
    );
    let mut left = head.bytes().chain(std::iter::repeat(b' '));
    if manner == Manner::Body {
        for wire in &mut wires {
            wire.send_bytes(head.as_bytes())?;
        }
        left.nth(head.len() - 1);
    }
    let limit = if manner == Manner::Body { HEAD * 2 } else { HEAD } + SLACK;
    while !wires.is_empty() {
        ensure!(begun.elapsed() < limit, "{manner:?}: {} connections are kept", wires.len());
        let byte = left.next().unwrap_or(b' ');
        wires.retain_mut(|wire| {
            let is_sent = manner == Manner::Shaken || wire.send_bytes(&[byte]).is_ok();
            // Waiting for the end is what paces the bytes. An answer is an end as well.
            is_sent && wire.is_quiet_for(Duration::from_millis(20))
        });
    }
    Ok(begun.elapsed())
}

#[test]
fn dribbling_clients_are_closed_in_time() {
    play(&SystemSpec::usual(), |system| {
        let door = Door::of(system)?;
        let token = system.token_of("ann", &["support"])?;
        let system = &*system;
        let done = std::sync::atomic::AtomicUsize::new(0);
        let holders = MANNERS.len() * HOLDERS;
        let lives = in_parallel(holders + 1, |number| {
            let Some(manner) = MANNERS.get(number / HOLDERS) else {
                let mut slowest = Duration::ZERO;
                while done.load(std::sync::atomic::Ordering::Relaxed) < holders {
                    let begun = Instant::now();
                    let mut ann = Agent::connect(&door, Era::Modern, "/mcp", &token)?;
                    let answer = ann.call("crm__get_orders", json!({"customer": "c"}))?;
                    ensure!(code_of(&answer).is_none(), "{answer}");
                    slowest = slowest.max(begun.elapsed());
                }
                return Ok(slowest);
            };
            let lived = dribble(&door, &token, *manner, EACH / HOLDERS);
            done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            lived
        })?;
        let (good, lives) = lives.split_last().expect("the good client");
        for (manner, lives) in MANNERS.iter().zip(lives.chunks(HOLDERS)) {
            let most = lives.iter().max().expect("holders");
            told(&format!("{EACH} {manner:?} connections: gone after {most:.1?}"));
        }
        told(&format!("a good client meanwhile, with its handshake: slowest {good:.0?}"));
        ensure!(*good < Duration::from_secs(2), "a good client waited {good:?}");
        wait_until(HEAD, "no connection at all", || {
            (system.metric("portcullis_connections").ok()? == 0).then_some(())
        })
    });
}

#[test]
fn plain_http_is_not_served() {
    play(&SystemSpec::usual(), |system| {
        let door = Door::of(system)?;
        let mut socket = TcpStream::connect(door.address)?;
        socket.set_read_timeout(Some(HEAD + SLACK))?;
        socket.write_all(b"GET /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut heard = Vec::new();
        let _ = socket.read_to_end(&mut heard);
        ensure!(!heard.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&heard));
        Ok(())
    });
}
