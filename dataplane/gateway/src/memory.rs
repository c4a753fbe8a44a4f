//! Memory for secrets: locked, never swapped, never dumped.
//!
//! Leases live here and nowhere else for longer than one request. `unsafe` is for `mmap`, `mlock`
//! and `madvise`, which have no safe form; each is checked, and a kernel that refuses is an error
//! that names the limit to raise.
#![allow(unsafe_code)]

use std::io;

/// Bytes of locked memory a core keeps for leases. 1 MiB holds 1,024 secrets of a kilobyte.
pub(crate) const LOCKED_BYTES: usize = 1 << 20;

/// A fresh region of zeros for the life of the process.
///
/// # Errors
/// `RLIMIT_MEMLOCK` is too low, or there is no memory.
pub(crate) fn locked(bytes: usize) -> io::Result<&'static mut [u8]> {
    // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing that
    // exists.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // A page is locked when it is first touched, which is before anything is written to it; to touch
    // all of them now would take the start half a millisecond.
    // SAFETY: `start` is the mapping made above, `bytes` long.
    if unsafe { libc::mlock2(start, bytes, libc::MLOCK_ONFAULT) } != 0 {
        let fault = io::Error::last_os_error();
        return Err(io::Error::new(
            fault.kind(),
            format!("cannot lock {bytes} bytes for secrets ({fault}): raise RLIMIT_MEMLOCK"),
        ));
    }
    // SAFETY: as above; `MADV_DONTDUMP` changes what a core dump holds and nothing else.
    if unsafe { libc::madvise(start, bytes, libc::MADV_DONTDUMP) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is readable, writable, zeroed, `bytes` long, never unmapped, and this is
    // the only reference to it.
    Ok(unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), bytes) })
}

/// Forbids core dumps and `ptrace` of this process by others of the same user.
///
/// # Errors
/// The kernel refuses `PR_SET_DUMPABLE`.
pub(crate) fn forbid_dumps() -> io::Result<()> {
    // SAFETY: `PR_SET_DUMPABLE` takes one integer and touches no memory of ours.
    match unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets the allocator up. The loader calls it before `main`, because the standard library allocates on its
/// way there.
// SAFETY: `.init_array` is a list of functions of this type, which the loader calls once each.
#[unsafe(link_section = ".init_array")]
#[used]
static PREPARE: extern "C" fn() = prepare;

/// Asks for pages of the usual size: the allocator's arena is sparse, and huge pages under it are zeroed at
/// the start and counted in full (measured: 28 MiB of 54 at rest; of the first two pages alone 4 MiB, and up
/// to 7 ms of a start where the kernel had none at hand).
///
/// Arenas are small, unless the operator's environment says otherwise: the tables of one of the usual GiB
/// take 60 pages more, and half a millisecond of a start. Where one is full the next is reserved.
extern "C" fn prepare() {
    // SAFETY: `PR_SET_THP_DISABLE` takes integers and touches no memory of ours. Where it fails,
    // memory is larger and nothing else.
    let _ = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    // SAFETY: both are C strings, and before `main` there is no other thread that could read the
    // environment. Where it fails, the start is slower and nothing else.
    let _ = unsafe { libc::setenv(c"MIMALLOC_ARENA_RESERVE".as_ptr(), c"128MiB".as_ptr(), 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_huge_page_is_asked_for_from_the_first_byte_on() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(status.contains("THP_enabled:\t0"), "{status}");
        let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        assert!(rollup.contains("AnonHugePages:         0 kB"), "{rollup}");
    }

    #[test]
    fn arenas_are_small() {
        let place = &raw const *Box::new([0_u8; 64]) as usize;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let ranges = maps.lines().filter_map(|line| line.split(' ').next()?.split_once('-'));
        let ranges = ranges.map(|(low, high)| {
            usize::from_str_radix(low, 16).unwrap()..usize::from_str_radix(high, 16).unwrap()
        });
        let arena = ranges.into_iter().find(|range| range.contains(&place)).unwrap();
        assert_eq!(arena.len(), 128 << 20, "{maps}");
    }

    #[test]
    fn the_region_is_locked_and_not_dumped() {
        let region = locked(1 << 16).unwrap();
        region.fill(7);
        let start = region.as_ptr() as usize;
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        let (mut is_locked, mut is_undumped) = (false, false);
        for line in smaps.lines() {
            if let Some((range, _)) = line.split_once(' ')
                && let Some((low, high)) = range.split_once('-')
                && let Ok(low) = usize::from_str_radix(low, 16)
                && let Ok(high) = usize::from_str_radix(high, 16)
            {
                inside = (low..high).contains(&start);
            }
            if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                is_locked = flags.split_whitespace().any(|flag| flag == "lo");
                is_undumped = flags.split_whitespace().any(|flag| flag == "dd");
            }
        }
        assert!(is_locked && is_undumped);
    }
}
