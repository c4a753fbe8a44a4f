//! Writing to standard output, for readers that may leave (`portcullis calls | head`).

use std::fmt::Arguments;
use std::io::Write;

/// A line to standard output. A reader that is gone ends the program quietly, as it would end `cat`.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}

pub(crate) fn line(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    if let Err(fault) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        let code = match fault.kind() {
            // 128 + SIGPIPE: what a shell reports of others.
            std::io::ErrorKind::BrokenPipe => 141,
            _ => 1,
        };
        std::process::exit(code);
    }
}
