//! io_uring: how a core's ring is asked for, and what to do where the kernel refuses it.
//!
//! The process asks once before it does anything else, because the log's thread needs io_uring, too, and
//! could only say that it ended.

use std::io;

use io_uring::{Builder, IoUring};

/// The rings of all cores: one thread submits, and completions run when that thread asks for them.
pub(crate) fn builder() -> Builder {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    builder
}

/// Asks for a small ring and gives it back.
///
/// # Errors
/// There is none to be had; the text says what to do.
pub(crate) fn probe() -> io::Result<()> {
    builder().build(2).map(drop).map_err(refused)
}

/// The remedy, beside the kernel's own word.
pub(crate) fn refused(error: io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!(
            "io_uring is not available ({error}): needs Linux 6.1 or newer, \
             kernel.io_uring_disabled=0, and a container profile that allows io_uring_setup"
        ),
    )
}
