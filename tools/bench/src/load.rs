//! Load on one target: open loop (a fixed schedule) or closed loop (as fast as it answers).
//!
//! In the open loop a job has an intended time, whether or not a connection is free then, and its
//! latency counts from there: a target that stalls is charged for every call that should have been
//! sent meanwhile (no coordinated omission). How late the generator itself was is kept apart.

mod tally;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::ClientConfig;

use crate::answer;
use crate::client::{Client, Progress};
use crate::clock::now_ns;
use crate::mix::{FIRST_ID, Script};
use crate::poll::{Interest, Poll, Ready};

pub(crate) use tally::Tally;

/// How long answers may take after the last job of a shot was sent.
const DRAIN_NS: u64 = 5_000_000_000;

/// How jobs are started.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// This many a second, evenly.
    Open { per_second: u64 },
    /// The next as soon as the last is done.
    Closed,
}

/// Connections to one target, kept over shots.
pub(crate) struct Load {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    poll: Poll,
    lanes: Vec<Lane>,
    /// Lanes without a job.
    idle: VecDeque<usize>,
    next_id: u64,
    request: Vec<u8>,
}

struct Lane {
    client: Client,
    job: Option<Job>,
    session: Vec<u8>,
    waits_to_write: bool,
}

#[derive(Clone, Copy)]
struct Job {
    step: usize,
    id: u64,
    since_ns: u64,
}

/// When a shot starts jobs.
struct Schedule {
    begun_ns: u64,
    end_ns: u64,
    /// Between two jobs; `None` in the closed loop.
    interval_ns: Option<u64>,
    sent: u64,
}

impl Schedule {
    /// When the next job should be sent; `None` when there is none any more.
    fn next_ns(&self, now_ns: u64) -> Option<u64> {
        let at_ns = match self.interval_ns {
            Some(interval_ns) => self.begun_ns + self.sent * interval_ns,
            None => now_ns,
        };
        (at_ns < self.end_ns).then_some(at_ns)
    }

    fn is_open(&self) -> bool {
        self.interval_ns.is_some()
    }
}

impl Load {
    /// Connects `connections` times.
    ///
    /// # Errors
    /// When the target does not take them all.
    pub(crate) fn new(
        address: SocketAddr,
        tls: Option<Arc<ClientConfig>>,
        connections: usize,
    ) -> anyhow::Result<Self> {
        let mut load = Self {
            address,
            tls,
            poll: Poll::new()?,
            lanes: Vec::with_capacity(connections),
            idle: (0..connections).collect(),
            next_id: FIRST_ID,
            request: Vec::with_capacity(4_096),
        };
        for place in 0..connections {
            let client = load.connect(place)?;
            let lane = Lane { client, job: None, session: Vec::new(), waits_to_write: false };
            load.lanes.push(lane);
        }
        Ok(load)
    }

    fn connect(&self, place: usize) -> anyhow::Result<Client> {
        let client = Client::connect(self.address, self.tls.as_ref())?;
        self.poll.add(client.socket(), place as u64, Interest::Read)?;
        Ok(client)
    }

    /// One job on every connection, so that nothing is new in the shot that counts.
    ///
    /// # Errors
    /// When a job fails: then there is nothing to measure.
    pub(crate) fn warm_up(&mut self, script: &Script) -> anyhow::Result<()> {
        for place in 0..self.lanes.len() {
            self.idle.clear();
            self.idle.push_back(place);
            let now_ns = now_ns();
            let schedule =
                Schedule { begun_ns: now_ns, end_ns: now_ns + 1, interval_ns: Some(1), sent: 0 };
            let tally = self.shoot(script, schedule)?;
            let why = tally.first_failure.unwrap_or_else(|| "no answer in time".to_owned());
            ensure!(tally.done == 1, "the first job on connection {place} failed: {why}");
        }
        self.idle = (0..self.lanes.len()).collect();
        Ok(())
    }

    /// Sends jobs for this long, and waits for their answers.
    ///
    /// # Errors
    /// When this side fails; what the target does wrong is counted instead.
    pub(crate) fn run(
        &mut self,
        script: &Script,
        pace: Pace,
        duration_ms: u64,
    ) -> anyhow::Result<Tally> {
        let begun_ns = now_ns();
        let interval_ns = match pace {
            Pace::Open { per_second } => Some(1_000_000_000 / per_second.max(1)),
            Pace::Closed => None,
        };
        let end_ns = begun_ns + duration_ms * 1_000_000;
        self.shoot(script, Schedule { begun_ns, end_ns, interval_ns, sent: 0 })
    }

    fn shoot(&mut self, script: &Script, mut schedule: Schedule) -> anyhow::Result<Tally> {
        let mut tally = Tally::new(schedule.begun_ns, schedule.end_ns)?;
        let mut ready = Vec::new();
        let mut had_idle = true;
        loop {
            let now_ns = now_ns();
            let due_ns = self.start_due(script, &mut schedule, now_ns, had_idle, &mut tally)?;
            had_idle = !self.idle.is_empty();
            let busy = self.lanes.iter().any(|lane| lane.job.is_some());
            if due_ns.is_none() && !busy {
                break;
            }
            if now_ns > schedule.end_ns + DRAIN_NS {
                self.give_up(&schedule, &mut tally)?;
                break;
            }
            match due_ns.filter(|_| had_idle) {
                Some(due_ns) => self.poll.wake_in(due_ns.saturating_sub(now_ns))?,
                None => self.poll.wake_in(DRAIN_NS)?,
            }
            self.poll.wait(true, &mut ready)?;
            for event in &ready {
                self.turn(*event, script, &mut tally)?;
            }
        }
        tally.elapsed_ns = now_ns().saturating_sub(schedule.begun_ns).max(1);
        Ok(tally)
    }

    /// Starts what is due on free connections; when the next is due.
    fn start_due(
        &mut self,
        script: &Script,
        schedule: &mut Schedule,
        now_ns: u64,
        had_idle: bool,
        tally: &mut Tally,
    ) -> anyhow::Result<Option<u64>> {
        while let Some(due_ns) = schedule.next_ns(now_ns) {
            if due_ns > now_ns {
                return Ok(Some(due_ns));
            }
            let Some(place) = self.idle.pop_front() else { return Ok(Some(due_ns)) };
            schedule.sent += 1;
            if schedule.is_open() && had_idle {
                tally.lag.saturating_record(now_ns - due_ns);
            }
            let id = self.next_id;
            self.next_id += 1;
            self.start(place, script, Job { step: 0, id, since_ns: due_ns }, tally)?;
        }
        Ok(None)
    }

    fn start(
        &mut self,
        place: usize,
        script: &Script,
        job: Job,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let lane = self.lanes.get_mut(place).context("a lane")?;
        let step = script.steps(place).get(job.step).context("a step")?;
        step.write(job.id, &lane.session, &mut self.request);
        lane.job = Some(job);
        match lane.client.send(&self.request) {
            Ok(true) => Ok(()),
            Ok(false) => {
                lane.waits_to_write = true;
                self.poll.change(lane.client.socket(), place as u64, Interest::ReadAndWrite)
            }
            Err(fault) => self.lose(place, &anyhow::Error::new(fault).context("sending"), tally),
        }
    }

    fn turn(&mut self, event: Ready, script: &Script, tally: &mut Tally) -> anyhow::Result<()> {
        let place = usize::try_from(event.token)?;
        let lane = self.lanes.get_mut(place).context("a lane")?;
        if event.writable && lane.waits_to_write {
            match lane.client.flush() {
                Ok(true) => {
                    lane.waits_to_write = false;
                    self.poll.change(lane.client.socket(), event.token, Interest::Read)?;
                }
                Ok(false) => {}
                Err(fault) => return self.lose(place, &fault.into(), tally),
            }
        }
        let lane = self.lanes.get_mut(place).context("a lane")?;
        match lane.client.receive() {
            Ok(progress) => match self.answered(place, script, tally)? {
                Some(why) => self.lose(place, &why, tally),
                None if progress == Progress::Closed => {
                    self.lose(place, &anyhow::anyhow!("the target closed the connection"), tally)
                }
                None => Ok(()),
            },
            Err(fault) => self.lose(place, &anyhow::Error::new(fault).context("receiving"), tally),
        }
    }

    /// Takes answers that are whole; why the connection cannot go on, if so.
    fn answered(
        &mut self,
        place: usize,
        script: &Script,
        tally: &mut Tally,
    ) -> anyhow::Result<Option<anyhow::Error>> {
        let lane = self.lanes.get_mut(place).context("a lane")?;
        if lane.client.received.is_empty() {
            return Ok(None);
        }
        let Some(mut job) = lane.job else {
            return Ok(Some(anyhow::anyhow!("an answer that nobody asked for")));
        };
        let answer = match answer::read(&lane.client.received) {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(None),
            Err(fault) => return Ok(Some(fault)),
        };
        let checked = script.steps(place).get(job.step).context("a step")?.check(
            job.id,
            &answer,
            &lane.client.received,
        );
        if let Some(session) = answer.session.and_then(|range| lane.client.received.get(range)) {
            lane.session.clear();
            lane.session.extend_from_slice(session);
        }
        lane.client.received.drain(..answer.consumed);
        job.step += 1;
        let over = checked.is_err() || job.step == script.steps(place).len();
        if let Err(fault) = checked {
            tally.fail(&fault);
        } else if over {
            tally.finish(job.since_ns, now_ns());
        }
        if over {
            lane.job = None;
            self.idle.push_back(place);
        }
        if answer.last {
            self.replace(place, tally)?;
        }
        if !over {
            self.start(place, script, job, tally)?;
        }
        Ok(None)
    }

    /// The connection is over: its job failed, and another takes its place.
    fn lose(&mut self, place: usize, why: &anyhow::Error, tally: &mut Tally) -> anyhow::Result<()> {
        let lane = self.lanes.get_mut(place).context("a lane")?;
        if lane.job.take().is_some() {
            tally.fail(why);
            self.idle.push_back(place);
        }
        self.replace(place, tally)
    }

    fn replace(&mut self, place: usize, tally: &mut Tally) -> anyhow::Result<()> {
        tally.reconnects += 1;
        // The old socket is closed first, which takes it out of epoll.
        let client = self.connect(place)?;
        let lane = self.lanes.get_mut(place).context("a lane")?;
        lane.client = client;
        lane.waits_to_write = false;
        Ok(())
    }

    /// Counts what did not come back, and starts afresh.
    fn give_up(&mut self, schedule: &Schedule, tally: &mut Tally) -> anyhow::Result<()> {
        if let Some(interval_ns) = schedule.interval_ns {
            let all = (schedule.end_ns - schedule.begun_ns).div_ceil(interval_ns);
            tally.unsent = all.saturating_sub(schedule.sent);
        }
        for place in 0..self.lanes.len() {
            if self.lanes.get(place).is_some_and(|lane| lane.job.is_some()) {
                self.lose(place, &anyhow::anyhow!("no answer in time"), tally)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
