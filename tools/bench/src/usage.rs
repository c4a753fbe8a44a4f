//! What a process and its descendants have used, as the kernel counts it.
//!
//! `/proc/PID/stat` sums user and system time over all threads of a process, those of the kernel's
//! io_uring workers and of the audit log included. Its unit is a tick (10 ms), so a shot has to be
//! seconds long. Work of the network stack on loopback is charged to whoever causes it.

use std::fs;

use anyhow::Context;

/// Processor time since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Cpu {
    pub user_us: u64,
    pub system_us: u64,
}

impl Cpu {
    pub(crate) fn total_us(self) -> u64 {
        self.user_us + self.system_us
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            user_us: self.user_us.saturating_sub(before.user_us),
            system_us: self.system_us.saturating_sub(before.system_us),
        }
    }
}

/// Of `pid` and all below it.
///
/// # Errors
/// When `pid` does not run any more.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Cpu> {
    let mut sum = Cpu::default();
    for pid in tree(pid)? {
        // A descendant may end between the listing and the look.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let used = parse_stat(&stat).with_context(|| format!("/proc/{pid}/stat"))?;
        sum.user_us += used.user_us;
        sum.system_us += used.system_us;
    }
    Ok(sum)
}

/// Resident memory of `pid` and all below it, in KiB.
///
/// # Errors
/// When `pid` does not run any more.
pub(crate) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for pid in tree(pid)? {
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        sum += number.map_or(Ok(0), str::parse::<u64>)?;
    }
    Ok(sum)
}

fn tree(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut all = vec![pid];
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .with_context(|| format!("process {pid} ended"))?;
    for task in tasks.flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            all.extend(tree(child.parse()?).unwrap_or_default());
        }
    }
    Ok(all)
}

/// The name in parentheses may hold anything, so the fields count from the last one.
fn parse_stat(stat: &str) -> anyhow::Result<Cpu> {
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next_us = || -> anyhow::Result<u64> {
        let ticks: u64 = fields.next().context("too short")?.parse()?;
        Ok(ticks * 1_000_000 / rustix::param::clock_ticks_per_second())
    };
    Ok(Cpu { user_us: next_us()?, system_us: next_us()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 90 0 0 0 250 130 0 0 20 0 1 0 5 0 0";
        let expected = Cpu { user_us: 2_500_000, system_us: 1_300_000 };
        assert_eq!(parse_stat(stat).unwrap(), expected);
    }

    #[test]
    fn our_own_work_is_counted() {
        let own = std::process::id();
        let before = cpu(own).unwrap();
        let mut sum = 0_u64;
        while cpu(own).unwrap().since(before).total_us() < 30_000 {
            sum = (0..100_000).fold(sum, |sum, number| sum.rotate_left(5) ^ number);
        }
        std::hint::black_box(sum);
        assert!(resident_kib(own).unwrap() > 1_000);
    }

    #[test]
    fn a_child_counts() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        assert!(tree(std::process::id()).unwrap().contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(cpu(child.id()).is_err());
    }
}
