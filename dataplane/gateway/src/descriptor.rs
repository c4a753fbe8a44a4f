//! Descriptors of sockets that the runtime owns.
//!
//! The runtime's sockets tell their raw descriptor only. Borrowing it for as long as the socket
//! itself is borrowed is sound, and is this module's one `unsafe`.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

/// The descriptor of `owner`, which cannot close while it is borrowed.
pub(crate) fn borrow(owner: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: `owner` keeps its descriptor open for as long as it is borrowed, which is as long as
    // what is returned lives.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}
