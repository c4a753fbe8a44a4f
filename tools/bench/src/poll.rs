//! epoll and one timer, as the two loops of this tool need them.
//!
//! The timer is a file descriptor, because a time-out of `epoll_wait` is late by up to 50 µs (the
//! kernel's timer slack), which would show as latency of whatever is measured.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

/// Events taken in one turn.
const EVENTS_MAX: usize = 256;
/// The token of the timer.
const TIMER: u64 = u64::MAX;

/// Waits for sockets and for a point in time.
pub(crate) struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
}

/// What a socket is ready for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ready {
    pub token: u64,
    pub writable: bool,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Interest {
    Read,
    ReadAndWrite,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Self::Read => EventFlags::IN,
            Self::ReadAndWrite => EventFlags::IN | EventFlags::OUT,
        }
    }
}

impl Poll {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("epoll")?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )
        .context("timerfd")?;
        // Edge-triggered, so that nobody has to read it.
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, timer })
    }

    pub(crate) fn add(
        &self,
        socket: impl AsFd,
        token: u64,
        interest: Interest,
    ) -> anyhow::Result<()> {
        epoll::add(&self.epoll, socket, EventData::new_u64(token), interest.flags())?;
        Ok(())
    }

    pub(crate) fn change(
        &self,
        socket: impl AsFd,
        token: u64,
        interest: Interest,
    ) -> anyhow::Result<()> {
        epoll::modify(&self.epoll, socket, EventData::new_u64(token), interest.flags())?;
        Ok(())
    }

    /// Wakes [`Poll::wait`] this long from now; at least a nanosecond, as zero would disarm it.
    pub(crate) fn wake_in(&self, wait_ns: u64) -> anyhow::Result<()> {
        let wait_ns = wait_ns.max(1);
        let spec = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: i64::try_from(wait_ns / 1_000_000_000)?,
                tv_nsec: i64::try_from(wait_ns % 1_000_000_000)?,
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec).context("timerfd")?;
        Ok(())
    }

    /// What is ready; empty when only the timer was, or when `block` is false and nothing is.
    pub(crate) fn wait(&mut self, block: bool, ready: &mut Vec<Ready>) -> anyhow::Result<()> {
        ready.clear();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let limit = if block { None } else { Some(&now) };
        // On the stack, because an event may not move between threads, and this may.
        let mut events = [const { MaybeUninit::<Event>::uninit() }; EVENTS_MAX];
        let events = match epoll::wait(&self.epoll, &mut events, limit) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(fault) => return Err(fault).context("epoll_wait"),
        };
        for event in events {
            let (flags, data) = (event.flags, event.data);
            if data.u64() != TIMER {
                let writable = flags.contains(EventFlags::OUT);
                ready.push(Ready { token: data.u64(), writable });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_socket_and_the_timer_wake_it() {
        let mut poll = Poll::new().unwrap();
        let (mut one, other) = UnixStream::pair().unwrap();
        poll.add(&other, 7, Interest::Read).unwrap();
        let mut ready = Vec::new();
        poll.wait(false, &mut ready).unwrap();
        assert_eq!(ready, []);
        one.write_all(b"x").unwrap();
        poll.wait(true, &mut ready).unwrap();
        assert_eq!(ready, [Ready { token: 7, writable: false }]);
        poll.change(&other, 7, Interest::ReadAndWrite).unwrap();
        poll.wait(true, &mut ready).unwrap();
        assert_eq!(ready, [Ready { token: 7, writable: true }]);
    }

    #[test]
    fn the_timer_wakes_it_again_and_again() {
        let mut poll = Poll::new().unwrap();
        let mut ready = Vec::new();
        for _ in 0..3 {
            let begun = Instant::now();
            poll.wake_in(2_000_000).unwrap();
            poll.wait(true, &mut ready).unwrap();
            assert_eq!(ready, []);
            assert!(begun.elapsed().as_nanos() >= 2_000_000);
        }
    }
}
