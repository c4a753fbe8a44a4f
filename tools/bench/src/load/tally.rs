//! What came of a shot.

use hdrhistogram::Histogram;

/// The longest latency that is told apart from longer ones.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// What a shot came to.
#[derive(Debug)]
pub(crate) struct Tally {
    begun_ns: u64,
    pub done: u64,
    pub failed: u64,
    /// Jobs that were due and could not be sent before the end.
    pub unsent: u64,
    pub first_failure: Option<String>,
    /// Connections that the target closed in between.
    pub reconnects: u64,
    pub elapsed_ns: u64,
    /// Of the jobs that were due in each second.
    pub latency_by_second: Vec<Histogram<u64>>,
    /// How late jobs were sent though a connection was free: the generator's own fault.
    pub lag: Histogram<u64>,
}

impl Tally {
    /// Of a shot that starts jobs from `begun_ns` until `end_ns`.
    pub(crate) fn new(begun_ns: u64, end_ns: u64) -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_max(LATENCY_NS_MAX, 3);
        let seconds = end_ns.saturating_sub(begun_ns).div_ceil(SECOND_NS);
        Ok(Self {
            begun_ns,
            done: 0,
            failed: 0,
            unsent: 0,
            first_failure: None,
            reconnects: 0,
            elapsed_ns: 0,
            latency_by_second: (0..seconds).map(|_| histogram()).collect::<Result<_, _>>()?,
            lag: histogram()?,
        })
    }

    /// A job that was due at `since_ns` is done.
    pub(crate) fn finish(&mut self, since_ns: u64, now_ns: u64) {
        let took_ns = now_ns.saturating_sub(since_ns);
        let second = since_ns.saturating_sub(self.begun_ns) / SECOND_NS;
        self.done += 1;
        let of_second = usize::try_from(second).ok();
        if let Some(of_second) = of_second.and_then(|at| self.latency_by_second.get_mut(at)) {
            of_second.saturating_record(took_ns);
        }
    }

    /// Of all jobs.
    ///
    /// # Errors
    /// Never: all seconds have the same bounds.
    pub(crate) fn latency(&self) -> anyhow::Result<Histogram<u64>> {
        let mut all = Histogram::new_with_max(LATENCY_NS_MAX, 3)?;
        self.latency_by_second.iter().try_for_each(|second| all.add(second))?;
        Ok(all)
    }

    pub(super) fn fail(&mut self, why: &anyhow::Error) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| format!("{why:#}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_counts_in_the_second_when_it_was_due() {
        let mut tally = Tally::new(10 * SECOND_NS, 12 * SECOND_NS + 1).unwrap();
        tally.finish(10 * SECOND_NS, 12 * SECOND_NS);
        tally.finish(11 * SECOND_NS - 1, 11 * SECOND_NS);
        tally.finish(12 * SECOND_NS, 12 * SECOND_NS + 7);
        let counts: Vec<u64> = tally.latency_by_second.iter().map(Histogram::len).collect();
        assert_eq!((counts, tally.latency().unwrap().len(), tally.done), (vec![2, 0, 1], 3, 3));
    }
}
