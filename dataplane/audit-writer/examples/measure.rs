//! What a durable record costs: latency and CPU with so many callers waiting at once.
//!
//! `cargo run --release -p dataplane-audit-writer --example measure -- DIR`. One core serves so many
//! callers in a closed loop: a call costs it some work, then two records, as the gateway writes them, and
//! the caller's next call comes when they are durable. CPU is the whole process's, less the work.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dataplane_audit::{
    Batch, Body, BootId, Call, CallId, CallerNames, Decision, NoteSigner, Phase, Record, Stamp,
};
use dataplane_audit_writer::{Config, Lane, start};
use rustix::event::{PollFd, PollFlags, poll};

const RUN: Duration = Duration::from_secs(2);

/// What a call costs the core besides its records.
const WORK: Duration = Duration::from_micros(15);

/// Calls that a core serves in one turn of its loop.
const TURN_CALLS: usize = 4;

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("DIR"));
    println!("callers gather_us     p50_us     p99_us  records/s  records/group  cpu_us/record");
    for waiting in [1_usize, 8, 32, 200] {
        for gather_us in [0, 100, 200, 500] {
            // Removed only at the end: discarding blocks holds the disk up for seconds.
            let dir = dir.join(format!("{waiting}-{gather_us}"));
            let signer = NoteSigner::from_seed("bench.example", &[1; 32]).expect("a name");
            let config = Config { gather_us, ..Config::new(&dir, signer, BootId([1; 16]), 1) };
            let (writer, mut lanes) = start(config).expect("the log opens");
            // Until the first whole segment is ready.
            std::thread::sleep(Duration::from_secs(2));
            let (groups, size, cpu) = (writer.groups(), writer.size(), cpu_us());
            let mut latencies = run(&mut lanes[0], waiting);
            let work = WORK.as_secs_f64() * 1e6 * latencies.len() as f64;
            let cpu = cpu_us() - cpu - work;
            let (groups, records) = (writer.groups() - groups, writer.size() - size);
            latencies.sort_unstable();
            let at = |part: usize| latencies[latencies.len() * part / 1_000].as_secs_f64() * 1e6;
            println!(
                "{waiting:7} {gather_us:9} {:10.0} {:10.0} {:10.0} {:14.1} {:14.2}",
                at(500),
                at(990),
                records as f64 / RUN.as_secs_f64(),
                records as f64 / groups as f64,
                cpu / records as f64,
            );
            writer.stop().expect("the log closes");
        }
    }
    starts(&dir.join("starts"));
    let _ = std::fs::remove_dir_all(&dir);
}

/// How long a start takes: the first ever, then one after a stop in order.
fn starts(dir: &Path) {
    for what in ["first start", "start after a stop", "and another", "and another"] {
        let signer = NoteSigner::from_seed("bench.example", &[1; 32]).expect("a name");
        let begin = Instant::now();
        let log = start(Config::new(dir, signer, BootId([1; 16]), 1)).expect("the log opens");
        println!("{what}: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_secs(2));
        log.0.stop().expect("the log closes");
    }
}

/// Each caller's next call begins when its last became durable. Gives latencies from the records'
/// making to their being durable.
fn run(lane: &mut Lane, waiting: usize) -> Vec<Duration> {
    let (begin, mut latencies, mut batch) = (Instant::now(), Vec::new(), Batch::default());
    let mut open = std::collections::VecDeque::new();
    let mut call = 0;
    while begin.elapsed() < RUN {
        let ready = waiting - open.len();
        for _ in 0..ready.min(TURN_CALLS) {
            let work = Instant::now();
            while work.elapsed() < WORK {
                std::hint::spin_loop();
            }
            push(&mut batch, call, Phase::Intent);
            push(&mut batch, call, Phase::Outcome);
            call += 1;
            let last = lane.submitted() + u64::from(batch.records());
            open.push_back((last, Instant::now()));
        }
        // Not taken when eight batches wait: the next turn tries again.
        lane.submit(&mut batch);
        let timeout = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout = if open.len() < waiting { Some(&timeout) } else { None };
        let fd = lane.wake_fd();
        if poll(&mut [PollFd::new(&fd, PollFlags::IN)], timeout).expect("poll") > 0 {
            let _ = rustix::io::read(lane.wake_fd(), &mut [0; 8]);
        }
        let (durable, now) = (lane.durable(), Instant::now());
        while open.front().is_some_and(|(record, _)| *record <= durable) {
            latencies.extend(open.pop_front().map(|(_, since)| now - since));
        }
    }
    while lane.durable() < lane.submitted() || !batch.is_empty() {
        lane.submit(&mut batch);
        std::thread::yield_now();
    }
    latencies
}

fn push(batch: &mut Batch, call: u64, phase: Phase) {
    let caller = CallerNames {
        tenant: "acme",
        user: "ann@acme.example",
        agent: "support-bot",
        client: "cli",
    };
    let decision = Decision { rule: "support-may-call-crm", revision: 7, ..Decision::default() };
    let call = Call {
        phase,
        call: CallId(call),
        caller,
        method: "tools/call",
        server: "crm",
        tool: "get_orders",
        request_id: "12345",
        decision,
        ..Call::default()
    };
    batch.push(&Record::new(Stamp::default(), Body::Call(call))).expect("room");
}

/// User and system time of this process.
fn cpu_us() -> f64 {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    clock.tv_sec as f64 * 1e6 + clock.tv_nsec as f64 / 1e3
}
