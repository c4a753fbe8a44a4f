//! io_uring is forbidden, as it is in many a container: the gateway says so, says what to do, and stops.

use std::process::Command;

use tests_e2e::skip;
use tests_fixtures::stack::{Place, binary};

/// Replaces itself by the program of its arguments, to which `io_uring_setup` (425 everywhere) is
/// refused by a seccomp filter, the way container runtimes do it.
const FORBID: &str = "
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
program = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *rule) for rule in rules))
filter = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(rules), ctypes.addressof(program)))
zero = ctypes.c_ulong(0)
assert libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero) == 0
assert libc.prctl(22, ctypes.c_ulong(2), ctypes.byref(filter)) == 0
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn where_io_uring_is_forbidden_the_gateway_says_what_to_do() {
    const NAME: &str = "where_io_uring_is_forbidden_the_gateway_says_what_to_do";
    let place = Place::new("portcullis-forbidden").unwrap();
    let gateway = binary("portcullis-gateway").unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", FORBID]).arg(gateway).arg("--data-dir").arg(place.path("gateway"));
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let Ok(ended) = command.output() else { return skip(NAME, "python3 is missing") };
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "{told}");
    for words in ["io_uring is not available", "kernel.io_uring_disabled=0", "container profile"] {
        assert!(told.contains(words), "{told}");
    }
    assert!(!told.contains("panicked"), "{told}");
}
