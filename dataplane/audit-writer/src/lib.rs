//! The audit log's thread: group commits through io_uring.
