//! The pool and the circuit against plain twins over long random histories, and mutated answers in any
//! cut.

use dataplane_telemetry::Nanos;
use dataplane_upstream::{Health, Pool, fuzz};

/// The pool is a list of (connection, expiry); everything is found by looking at all of it.
#[test]
fn the_pool_agrees_with_a_list() {
    for seed in 1..200 {
        let mut random = Random(seed);
        let (idle_max, idle_ns) = (random.below(5), random.below(50));
        let mut pool = Pool::new(idle_max as usize, idle_ns);
        let mut list: Vec<(u64, u64)> = Vec::new();
        let mut now = 0;
        for connection in 0..300 {
            now += random.below(20);
            match random.below(5) {
                0 | 1 => {
                    let server = [None, Some(random.below(80))][random.below(2) as usize];
                    let closed = pool.put(connection, Nanos(now), server);
                    list.push((connection, now + server.unwrap_or(idle_ns).min(idle_ns)));
                    let full = list.len() > idle_max as usize;
                    assert_eq!(closed, full.then(|| list.remove(0).0), "seed {seed}");
                }
                2 => {
                    let fresh = list.last().is_some_and(|(_, expires)| *expires > now);
                    let wanted = if fresh { list.pop().map(|idle| idle.0) } else { None };
                    assert_eq!(pool.take(Nanos(now)), wanted, "seed {seed}");
                }
                3 => {
                    let wanted: Vec<_> = list.extract_if(.., |idle| idle.1 <= now).collect();
                    let found: Vec<_> = std::iter::from_fn(|| pool.expire(Nanos(now))).collect();
                    assert_eq!(found, wanted.iter().map(|idle| idle.0).collect::<Vec<_>>());
                }
                _ => {
                    let which = random.below(300);
                    let at = list.iter().position(|idle| idle.0 == which);
                    let wanted = at.map(|at| list.remove(at).0);
                    assert_eq!(pool.remove(|idle| *idle == which), wanted, "seed {seed}");
                }
            }
            assert_eq!(pool.len(), list.len(), "seed {seed}");
            let next = list.iter().map(|idle| Nanos(idle.1)).min();
            assert_eq!(pool.next_expiry(), next, "seed {seed}");
        }
    }
}

/// The circuit as the whole history tells it: failures in a row, and when a trial may start.
#[test]
fn the_circuit_agrees_with_its_history() {
    const SECOND: u64 = 1_000_000_000;
    for seed in 1..200 {
        let mut random = Random(seed);
        let mut health = Health::default();
        let (mut row, mut rests, mut closed_until, mut trial) = (0, 0_u32, 0, false);
        let mut now = 0;
        for _ in 0..500 {
            now += random.below(2 * SECOND);
            match random.below(4) {
                0 => {
                    health.on_success();
                    (row, rests, closed_until, trial) = (0, 0, 0, false);
                }
                1 => {
                    health.on_failure(Nanos(now));
                    row += 1;
                    let opens = row == 3 || trial;
                    if opens {
                        rests = if trial { rests + 1 } else { 0 };
                        let rest =
                            (0..rests).fold(SECOND / 2, |rest, _| (rest * 2).min(30 * SECOND));
                        (closed_until, trial) = (now + rest, false);
                    }
                }
                _ => {
                    let wanted = if now < closed_until { Err(Nanos(closed_until)) } else { Ok(()) };
                    assert_eq!(health.may_try(Nanos(now)), wanted, "seed {seed} at {now}");
                    if row >= 3 && wanted.is_ok() {
                        (trial, closed_until) = (true, now + 60 * SECOND);
                    }
                }
            }
        }
    }
}

#[test]
fn answers_read_the_same_in_any_cut() {
    let seeds = [
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhelloHTTP",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\nHTTP",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nMcp-Session-Id: s\r\n\r\n",
        "HTTP/1.0 404 Not Found\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n",
    ];
    let tokens =
        ["\r\n", "\n", "\r", " ", ":", "0", "5\r\n", "Content-Length: 5\r\n", "\0", ",", ";"];
    let mut random = Random(99);
    for _ in 0..10_000 {
        let mut bytes = seeds[random.below(seeds.len() as u64) as usize].as_bytes().to_vec();
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len() as u64 + 1) as usize;
            match random.below(3) {
                0 => bytes.insert(at, random.below(256) as u8),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => {
                    let token = tokens[random.below(tokens.len() as u64) as usize];
                    drop(bytes.splice(at..at, token.bytes()));
                }
            }
        }
        fuzz::response(&bytes);
        fuzz::origin(&bytes);
    }
}

#[test]
fn urls_read_back_as_themselves() {
    let parts = [
        "http://", "https://", "h", "a.b", ":", "80", "443", "/", "?", "%41", "[::1]", "A", "_",
        ".",
    ];
    let mut random = Random(5);
    for _ in 0..20_000 {
        let count = 1 + random.below(7);
        let url: String =
            (0..count).map(|_| parts[random.below(parts.len() as u64) as usize]).collect();
        fuzz::origin(format!("http://{url}").as_bytes());
        fuzz::origin(url.as_bytes());
    }
}

/// xorshift64*: the same cases every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}
