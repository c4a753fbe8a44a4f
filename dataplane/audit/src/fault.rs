//! Why the log cannot be written: the text that refused calls carry.

use thiserror::Error;

/// The operating system's number for "no space left on device".
const ENOSPC: i32 = 28;

/// Calls are refused until it is gone; lists, health and the console stay up.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum LogFault {
    #[error("the audit log's disk is full: free or add space, calls resume by themselves")]
    Full,
    #[error(
        "the audit log's disk fails with error {0}: replace or repair it, calls resume by themselves"
    )]
    Io(i32),
    #[error(
        "the audit log's disk wrote less than it was told: repair it, calls resume by themselves"
    )]
    ShortWrite,
    #[error("the audit log is closed: the gateway is stopping")]
    Closed,
    #[error(
        "the audit log is damaged: keep a copy, run `portcullis audit verify`, and restart with the loss \
         accepted"
    )]
    Damaged,
}

impl LogFault {
    /// From the operating system's error number.
    #[must_use]
    pub const fn from_errno(errno: i32) -> Self {
        if errno == ENOSPC { Self::Full } else { Self::Io(errno) }
    }

    /// The operating system's error number; zero where there was none.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::Full => ENOSPC,
            Self::Io(errno) => errno,
            Self::ShortWrite | Self::Closed | Self::Damaged => 0,
        }
    }

    /// As a number that is not zero, so that it fits an atomic.
    #[must_use]
    pub const fn code(self) -> u64 {
        match self {
            Self::Full => 1,
            Self::ShortWrite => 2,
            Self::Closed => 3,
            Self::Damaged => 4,
            Self::Io(errno) => 1 << 32 | errno.unsigned_abs() as u64,
        }
    }

    /// Reads `code`; zero and what is not a code is no fault.
    #[must_use]
    pub const fn from_code(code: u64) -> Option<Self> {
        match (code >> 32, code) {
            (0, 1) => Some(Self::Full),
            (0, 2) => Some(Self::ShortWrite),
            (0, 3) => Some(Self::Closed),
            (0, 4) => Some(Self::Damaged),
            (1, _) => Some(Self::Io((code & 0x7FFF_FFFF) as i32)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back() {
        use LogFault::{Closed, Damaged, Full, Io, ShortWrite};
        for fault in [Full, ShortWrite, Closed, Damaged, Io(5)] {
            assert_eq!(LogFault::from_code(fault.code()), Some(fault));
        }
        assert_eq!(LogFault::from_code(0), None);
        assert_eq!(LogFault::from_errno(28), LogFault::Full);
        assert_eq!(LogFault::from_errno(5), LogFault::Io(5));
    }
}
