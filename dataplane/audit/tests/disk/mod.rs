//! A log on a disk of vectors, driven as the writer's shell drives it, with faults on demand.

#![allow(dead_code, unreachable_pub)] // Each test takes what it needs.

use std::collections::BTreeMap;

use dataplane_audit::log::{Log, Start, Step, Written};
use dataplane_audit::verify::Files;
use dataplane_audit::{
    BLOCK_BYTES, Batch, Body, BootId, Call, CallId, Checkpoint, GROUP_BYTES_MAX, Phase, Record,
    Rest, Stamp, recover, segment_name,
};
use dataplane_telemetry::{Nanos, WallNanos};

pub const ORIGIN: &str = "gate.example/log";

/// A disk's files, and how its next writes go.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub files: BTreeMap<u64, Vec<u8>>,
    /// How the n-th write from now goes; the others go well.
    pub faults: BTreeMap<u64, WriteFault>,
    pub writes: u64,
}

/// What a disk does instead of writing.
#[derive(Clone, Copy, Debug)]
pub enum WriteFault {
    /// An error, and nothing reaches the disk.
    Error(i32),
    /// An error, although everything reached the disk.
    ErrorWritten(i32),
    /// Some bytes reached it, and it says so.
    Short(usize),
    /// Some sectors reached it, and it says that all went wrong.
    Torn(u64),
    /// The process ends after some sectors reached it.
    Crash(u64),
}

impl Disk {
    pub fn write(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> Option<Result<usize, i32>> {
        let fault = self.faults.get(&self.writes).copied();
        self.writes += 1;
        let file = self.files.get_mut(&segment).unwrap();
        let place = &mut file[offset as usize..offset as usize + bytes.len()];
        let mut sectors = |mask: u64| {
            for (sector, (old, new)) in place.chunks_mut(512).zip(bytes.chunks(512)).enumerate() {
                if mask >> (sector % 64) & 1 == 1 {
                    old.copy_from_slice(new);
                }
            }
        };
        Some(match fault {
            None => {
                sectors(u64::MAX);
                Ok(bytes.len())
            }
            Some(WriteFault::Error(errno)) => Err(errno),
            Some(WriteFault::ErrorWritten(errno)) => {
                sectors(u64::MAX);
                Err(errno)
            }
            Some(WriteFault::Short(len)) => {
                let len = len.min(bytes.len() - 1);
                place[..len].copy_from_slice(&bytes[..len]);
                Ok(len)
            }
            Some(WriteFault::Torn(mask)) => {
                sectors(mask);
                Err(5)
            }
            Some(WriteFault::Crash(mask)) => {
                sectors(mask);
                return None;
            }
        })
    }
}

impl Files for Disk {
    fn names(&mut self) -> Result<Vec<String>, String> {
        Ok(self.files.keys().rev().map(|number| segment_name(*number)).collect())
    }

    fn read(&mut self, name: &str, most: u64) -> Result<Vec<u8>, String> {
        let number = dataplane_audit::segment_number(name).ok_or("no segment")?;
        let file = self.files.get(&number).ok_or("no file")?;
        Ok(file[..file.len().min(usize::try_from(most).unwrap_or(usize::MAX))].to_vec())
    }
}

/// A writer over such a disk.
pub struct World {
    pub log: Log,
    pub disk: Disk,
    pub buffer: Vec<u8>,
    pub segment_bytes: usize,
    /// Calls that were acknowledged, in order.
    pub acknowledged: Vec<u64>,
    in_group: Vec<u64>,
}

/// The process ended inside a write.
#[derive(Debug)]
pub struct Crashed;

impl World {
    pub fn new(segment_bytes: usize) -> Self {
        Self::on(Disk::default(), Start::Empty, segment_bytes)
    }

    fn on(disk: Disk, start: Start, segment_bytes: usize) -> Self {
        Self {
            log: Log::new(ORIGIN, BootId([1; 16]), start),
            disk,
            buffer: vec![0xEE; GROUP_BYTES_MAX],
            segment_bytes,
            acknowledged: Vec::new(),
            in_group: Vec::new(),
        }
    }

    /// A process that starts on what a crash left.
    pub fn restarted(mut disk: Disk, segment_bytes: usize) -> Self {
        disk.faults.clear();
        let mut start = Start::Empty;
        for (_, bytes) in disk.files.iter().rev() {
            let Ok(recovered) = recover(bytes, None) else { continue };
            start = match recovered.rest {
                Rest::Zero => Start::at(&recovered.scan, bytes.len() as u64),
                Rest::Torn(_) => Start::after(&recovered.scan, false),
                Rest::Damaged(offset) => panic!("a crash is no damage: {offset}"),
            };
            break;
        }
        // A header that did not arrive is no segment; its file is taken again.
        disk.files.retain(|_, bytes| recover(bytes, None).is_ok());
        Self::on(disk, start, segment_bytes)
    }

    /// Writes one group of calls, through whatever the disk does. Ends when it is acknowledged or
    /// refused.
    pub fn group(&mut self, calls: impl IntoIterator<Item = u64>) -> Result<bool, Crashed> {
        let mut batch = Batch::default();
        for call in calls {
            batch.push(&record(call, &name(call))).unwrap();
            self.in_group.push(call);
        }
        assert!(self.log.add(batch.bytes(), &mut self.buffer));
        self.settle()
    }

    pub fn settle(&mut self) -> Result<bool, Crashed> {
        loop {
            let result = match self.log.step() {
                Step::Refused(_) => return Ok(false),
                Step::Idle if self.log.pending() == 0 => return Ok(true),
                Step::Idle => {
                    self.log.seal(&mut self.buffer);
                    continue;
                }
                Step::Open => {
                    let number = self.disk.files.keys().last().map_or(1, |last| last + 1);
                    self.disk.files.insert(number, vec![0; self.segment_bytes]);
                    let block = self.log.open(number, self.segment_bytes as u64, WallNanos(9));
                    self.disk.write(number, 0, &block)
                }
                Step::Write { segment, offset, bytes } => {
                    self.disk.write(segment, offset, &self.buffer[..bytes])
                }
            };
            if let Written::Committed { records, .. } = self.log.on_written(result.ok_or(Crashed)?)
            {
                assert_eq!(records as usize, self.in_group.len());
                self.acknowledged.append(&mut self.in_group);
            }
        }
    }

    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint::of(ORIGIN, self.log.tree())
    }
}

/// A name whose length varies, so that groups have one block or several.
pub fn name(call: u64) -> String {
    format!("tool-{call}-{}", "x".repeat((call * 37 % 200) as usize))
}

pub fn record(call: u64, tool: &str) -> Record<'_> {
    let stamp = Stamp { boot: BootId([1; 16]), lane: 0, wall: WallNanos(call), mono: Nanos(call) };
    let phase = if call.is_multiple_of(2) { Phase::Intent } else { Phase::Outcome };
    let call = Call { phase, call: CallId(call), tool, server: "crm", ..Call::default() };
    Record::new(stamp, Body::Call(call))
}

/// The calls of a segment's whole groups, in order.
pub fn calls(bytes: &[u8]) -> Vec<u64> {
    let mut calls = Vec::new();
    let Ok(mut scan) = dataplane_audit::Scan::open(bytes) else { return calls };
    while let Ok(group) = scan.group() {
        let records = group.iter().map(|bytes| Record::decode(bytes).unwrap());
        calls.extend(records.map(|record| record.call().unwrap().call.0));
    }
    calls
}

pub const BLOCK: usize = BLOCK_BYTES;
