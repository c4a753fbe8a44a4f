//! The connections of one core, for whoever must look at all of them: the sweeper, a kill.
//!
//! A connection's machine is borrowed only between two waits, so whoever finds it here may use it.
//! Its task may be waiting for a socket; shutting that socket down wakes it. That needs the raw
//! descriptors, and the one `unsafe` of this module: they are set while the streams live, on the
//! same thread, and cleared before a stream goes elsewhere.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, RawFd};
use std::rc::Rc;

use dataplane_pipeline::Connection;

/// One client connection.
pub(crate) struct Entry {
    pub machine: RefCell<Connection>,
    client: Cell<Option<RawFd>>,
    upstream: Cell<Option<RawFd>>,
    /// Whether the client was seen to be gone.
    pub is_gone: Cell<bool>,
    /// Whether its client cancelled the call.
    pub is_cancelled: Cell<bool>,
}

impl Entry {
    pub(crate) fn new(machine: Connection, client: RawFd) -> Self {
        Self {
            machine: RefCell::new(machine),
            client: Cell::new(Some(client)),
            upstream: Cell::new(None),
            is_gone: Cell::new(false),
            is_cancelled: Cell::new(false),
        }
    }

    /// The connection to the server that has the call now, while its stream is ours.
    pub(crate) fn set_upstream(&self, fd: Option<RawFd>) {
        self.upstream.set(fd);
    }

    pub(crate) fn wake_client(&self, how: Shutdown) {
        shut_down(self.client.get(), how);
    }

    /// Ends the connection to the server, too: it can serve no other call.
    pub(crate) fn wake_upstream(&self) {
        shut_down(self.upstream.take(), Shutdown::Both);
    }

    /// Whether the connection to the server was ended from here.
    pub(crate) fn has_shut_upstream(&self) -> bool {
        self.upstream.get().is_none()
    }

    /// Whether the client has closed its side, seen without reading.
    pub(crate) fn client_has_closed(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let Some(fd) = self.client.get() else { return true };
        // SAFETY: the descriptor is the client stream's, which lives as long as `client` is set.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let mut polled = [PollFd::new(&fd, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let closed = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        matches!(poll(&mut polled, Some(&now)), Ok(1)) && polled[0].revents().intersects(closed)
    }
}

fn shut_down(fd: Option<RawFd>, how: Shutdown) {
    let Some(fd) = fd else { return };
    // SAFETY: the descriptor is of a stream that lives as long as its cell is set.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let _ = socket2::SockRef::from(&fd).shutdown(how);
}

/// All connections of a core.
#[derive(Default)]
pub(crate) struct Registry {
    entries: RefCell<Vec<Option<Rc<Entry>>>>,
    free: RefCell<Vec<usize>>,
    open: Cell<usize>,
}

impl Registry {
    pub(crate) fn insert(&self, entry: Rc<Entry>) -> usize {
        self.open.set(self.open.get() + 1);
        let mut entries = self.entries.borrow_mut();
        let place = self.free.borrow_mut().pop().unwrap_or(entries.len());
        match entries.get_mut(place) {
            Some(slot) => *slot = Some(entry),
            None => entries.push(Some(entry)),
        }
        place
    }

    pub(crate) fn remove(&self, place: usize) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(place).and_then(Option::take) {
            entry.client.set(None);
            entry.upstream.set(None);
            self.free.borrow_mut().push(place);
            self.open.set(self.open.get() - 1);
        }
    }

    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }

    /// Looks at each. `each` must not open or close connections.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&Entry)) {
        self.entries.borrow().iter().flatten().for_each(|entry| each(entry));
    }
}
