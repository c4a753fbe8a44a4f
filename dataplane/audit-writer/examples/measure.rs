//! What a durable record costs: latency and CPU with so many callers waiting at once.
//!
//! `cargo run --release -p dataplane-audit-writer --example measure -- DIR`. Callers are simulated by
//! one core that hands over the next records as soon as the last became durable (a closed loop), two
//! records a call as the gateway writes them. CPU is the whole process's.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use dataplane_audit::{
    Batch, Body, BootId, Call, CallId, CallerNames, Decision, NoteSigner, Phase, Record, Stamp,
};
use dataplane_audit_writer::{Config, Lane, start};
use rustix::event::{PollFd, PollFlags, poll};

const RUN: Duration = Duration::from_secs(2);

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("DIR"));
    println!("callers gather_us     p50_us     p99_us  records/s  records/group  cpu_us/record");
    for waiting in [1_usize, 8, 32, 200] {
        for gather_us in [0, 100, 200, 500] {
            let _ = std::fs::remove_dir_all(&dir);
            let signer = NoteSigner::from_seed("bench.example", &[1; 32]).expect("a name");
            let config = Config { gather_us, ..Config::new(&dir, signer, BootId([1; 16]), 1) };
            let (writer, mut lanes) = start(config).expect("the log opens");
            // Until the first whole segment is ready.
            std::thread::sleep(Duration::from_secs(2));
            let (groups, size, cpu) = (writer.groups(), writer.size(), cpu_us());
            let mut latencies = run(&mut lanes[0], waiting);
            let cpu = cpu_us() - cpu;
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
    let _ = std::fs::remove_dir_all(&dir);
}

/// Each caller's next call begins when its last became durable.
fn run(lane: &mut Lane, waiting: usize) -> Vec<Duration> {
    let (begin, mut latencies, mut batch) = (Instant::now(), Vec::new(), Batch::default());
    let mut open = std::collections::VecDeque::new();
    let mut call = 0;
    while begin.elapsed() < RUN {
        let now = Instant::now();
        while open.len() < waiting {
            push(&mut batch, call, Phase::Intent);
            push(&mut batch, call, Phase::Outcome);
            call += 1;
            open.push_back((lane.submitted() + u64::from(batch.records()), now));
        }
        assert!(lane.submit(&mut batch));
        let fd = lane.wake_fd();
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], None).expect("poll");
        let _ = rustix::io::read(lane.wake_fd(), &mut [0; 8]);
        let (durable, now) = (lane.durable(), Instant::now());
        while open.front().is_some_and(|(record, _)| *record <= durable) {
            latencies.extend(open.pop_front().map(|(_, since)| now - since));
        }
    }
    while lane.durable() < lane.submitted() {
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
