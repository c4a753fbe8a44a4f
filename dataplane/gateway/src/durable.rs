//! Waiting for records to become durable, on one core.
//!
//! Connections wait for the sequence number of their last record. One task per core hears of each
//! commit and wakes, in order, those whose records it covers. After the first calls nothing here
//! allocates.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A core's view of its lane of the audit log.
#[derive(Default)]
pub(crate) struct Durable {
    records: Cell<u64>,
    is_lost: Cell<bool>,
    waiting: RefCell<VecDeque<(u64, Waker)>>,
}

impl Durable {
    /// Everything up to `records` is durable: wakes who waited for it.
    pub(crate) fn advance(&self, records: u64) {
        self.records.set(self.records.get().max(records));
        let mut waiting = self.waiting.borrow_mut();
        // Sequence numbers are handed out in order, but their owners may ask out of order.
        for _ in 0..waiting.len() {
            match waiting.pop_front() {
                Some((wanted, waker)) if wanted <= self.records.get() => waker.wake(),
                Some(other) => waiting.push_back(other),
                None => break,
            }
        }
    }

    /// The log takes no more: everybody who waits hears of it.
    pub(crate) fn lose(&self, is_lost: bool) {
        self.is_lost.set(is_lost);
        if is_lost {
            for (_, waker) in self.waiting.borrow_mut().drain(..) {
                waker.wake();
            }
        }
    }

    /// Completes when record `wanted` is durable, with true, or will never be, with false.
    pub(crate) async fn reached(&self, wanted: u64) -> bool {
        poll_fn(|context| {
            if self.records.get() >= wanted {
                return Poll::Ready(true);
            }
            if self.is_lost.get() {
                return Poll::Ready(false);
            }
            self.waiting.borrow_mut().push_back((wanted, context.waker().clone()));
            Poll::Pending
        })
        .await
    }
}
