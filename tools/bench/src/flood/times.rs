//! How soon the card drops, and how soon it passes again.
//!
//! Seen from outside. One connection calls without a pause: the answers are counted, so it is known which
//! refusal passed the limit, and the first packet that is dropped is the first call without an answer.
//! Then idle connections of the same caller, dropped with it, send one request each, every other
//! millisecond around the drop's end: the first that is answered at once was the first to pass. When the
//! drop ended is in the audit log.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use dataplane_audit::{Body, Control, Record};
use dataplane_audit_writer::Reader;
use serde::Serialize;

use super::rig::Rig;
use crate::answer::{self, Answer};
use crate::client::{Client, Progress};
use crate::mix::{self, FIRST_ID, Mix, Script, Step};
use crate::portcullis;
use crate::report::Spread;

/// Whose agent offends.
const TENANT: &str = "yota";
/// One call an hour: every other one is refused, and everyone of them ignores it.
const LIMIT: &str = "1/hour";
/// Ten ignored refusals slow, ten more drop, always for a second; nothing is delayed, and whoever was
/// closed on its way up can connect again.
const LADDER: &str = "ignored_refusals = 10\ngrace_ms = 0\ndelay_ms_first = 0\n\
    delay_ms_max = 0\n\
    drop = { ignored_refusals = 10, drop_ms_first = 1000, drop_ms_max = 1000, drop_growth_percent = 100,\
    flows_before_source = 0 }";
/// The refusal that passes the limit.
const OFFENCE: usize = 20;
const DROP_MS: u64 = 1_000;
/// No answer for so long: it was dropped.
const SILENCE: Duration = Duration::from_millis(250);
/// Probes: the first so long before the end that is expected, then one each.
const PROBES: usize = 50;
const BEFORE_MS: u64 = 20;
const EACH: Duration = Duration::from_millis(2);
/// TCP sends again after 200 ms at the earliest: what is answered sooner was not sent again.
const AT_ONCE: Duration = Duration::from_millis(150);

/// In milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub times: usize,
    /// From sending the call whose refusal passes the limit to sending the first that is dropped.
    pub to_drop_ms: Spread,
    /// From the end on record to sending the first that passes.
    pub to_pass_ms: Spread,
}

struct Once {
    to_drop: Duration,
    /// Since the Unix epoch, as the audit log has it.
    passed_ns: u64,
}

/// Offends so many times.
///
/// # Errors
/// When something is answered that should not be, or not answered that should.
pub(super) fn measure(
    rig: &Rig<'_>,
    times: usize,
    progress: &mut impl FnMut(&str),
) -> anyhow::Result<Outcome> {
    rig.apply(LIMIT, LADDER)?;
    rig.afresh()?;
    let paths = portcullis::paths(&rig.material.short_token_of(TENANT, "one")?);
    let script = Script::new(Mix::Call, &paths);
    let call = script.steps(0).first().context("a step")?;
    let list = mix::modern_list(&paths);
    // Somebody who was told before ignores from the first call on.
    rig.net.at_clients(|| {
        let mut caller = Caller::connect(rig)?;
        ensure!(caller.ask(call, SILENCE)?.is_some() && caller.ask(call, SILENCE)?.is_some());
        Ok(())
    })?;
    let mut all = Vec::new();
    for number in 0..times {
        rig.forgive()?;
        let once = rig.net.at_clients(|| once(rig, call, &list))?;
        progress(&format!("time {number}: dropped after {:?}", once.to_drop));
        all.push(once);
    }
    rig.forgive()?;
    let ends = ends(rig)?;
    ensure!(ends.len() == times, "{} drops are on record, {times} were made", ends.len());
    let late_ms =
        all.iter().zip(&ends).map(|(once, end)| (once.passed_ns as f64 - *end as f64) / 1e6);
    let late_ms: Vec<f64> = late_ms.collect();
    Ok(Outcome {
        times,
        to_drop_ms: Spread::of(all.iter().map(|once| once.to_drop.as_secs_f64() * 1e3))
            .context("no time was asked for")?,
        to_pass_ms: Spread::of(late_ms).context("no time was asked for")?,
    })
}

fn once(rig: &Rig<'_>, call: &Step, list: &Step) -> anyhow::Result<Once> {
    let mut probes = Vec::new();
    for _ in 0..PROBES {
        let mut probe = Caller::connect(rig)?;
        ensure!(probe.ask(list, SILENCE)?.is_some(), "a probe is not answered");
        probes.push(probe);
    }
    let mut caller = Caller::connect(rig)?;
    let mut refusals = 0;
    let mut offended = None;
    let dropped = loop {
        let sent = Instant::now();
        match caller.ask(call, SILENCE)? {
            None => break sent,
            Some(answer) => {
                ensure!(answer.status == 429, "{}", answer.status);
                refusals += 1;
                if refusals == OFFENCE {
                    offended = Some(sent);
                }
                // Slowed: closed after the refusal.
                if answer.last {
                    caller = Caller::connect(rig)?;
                }
            }
        }
    };
    let offended = offended.context("dropped before the limit was passed")?;
    let passed_ns = probe(&mut probes, list, offended)?;
    Ok(Once { to_drop: dropped.duration_since(offended), passed_ns })
}

/// Sends each probe's request in its turn; when the first that was answered at once was sent.
fn probe(probes: &mut [Caller], list: &Step, offended: Instant) -> anyhow::Result<u64> {
    let begin = offended + Duration::from_millis(DROP_MS - BEFORE_MS);
    let mut sent = Vec::new();
    for (number, probe) in (0..).zip(probes.iter_mut()) {
        let due = begin + EACH * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        sent.push((Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH)?));
        probe.send(list)?;
    }
    // The last that was dropped is sent again later; the first that passed was answered within moments.
    for (number, (probe, (at, wall))) in probes.iter_mut().zip(&sent).enumerate() {
        if probe.answer_by(*at + AT_ONCE)?.is_some() {
            ensure!(number > 0, "nothing was dropped when the first probe was sent");
            return Ok(u64::try_from(wall.as_nanos())?);
        }
    }
    let began = sent.first().map(|(at, _)| at.duration_since(offended));
    anyhow::bail!("no probe passed; the first was sent {began:?} after the offence")
}

/// One connection of the offender's that waits for its answers.
struct Caller {
    client: Client,
    id: u64,
    request: Vec<u8>,
}

impl Caller {
    /// To be called in the clients' namespace.
    fn connect(rig: &Rig<'_>) -> anyhow::Result<Self> {
        let client = Client::connect(rig.with_card.address, Some(&rig.material.tls))?;
        Ok(Self { client, id: FIRST_ID, request: Vec::new() })
    }

    fn send(&mut self, step: &Step) -> anyhow::Result<()> {
        self.id += 1;
        step.write(self.id, &[], &mut self.request);
        ensure!(self.client.send(&self.request)?, "the socket takes no more");
        Ok(())
    }

    /// The answer, or `None` where none comes.
    fn ask(&mut self, step: &Step, patience: Duration) -> anyhow::Result<Option<Answer>> {
        self.send(step)?;
        self.answer_by(Instant::now() + patience)
    }

    fn answer_by(&mut self, deadline: Instant) -> anyhow::Result<Option<Answer>> {
        loop {
            let progress = self.client.receive()?;
            if let Some(answer) = whole(&self.client.received)? {
                self.client.received.drain(..answer.consumed);
                return Ok(Some(answer));
            }
            ensure!(progress == Progress::Open, "the gateway closed the connection");
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::yield_now();
        }
    }
}

fn whole(received: &[u8]) -> anyhow::Result<Option<Answer>> {
    if received.is_empty() { Ok(None) } else { answer::read(received) }
}

/// When each drop was to end, in order, by the audit log.
fn ends(rig: &Rig<'_>) -> anyhow::Result<Vec<u64>> {
    let mut reader = Reader::open(&rig.with_card.data.join("audit"));
    let mut ends: Vec<(u64, u64)> = Vec::new();
    while reader.read(u64::MAX, |entry| {
        if let Ok(record) = Record::decode(entry.bytes)
            && let Body::Control(Control::LadderStep { what: "made", who, drop, until, .. }) =
                record.body
            && who.contains(TENANT)
            && !ends.iter().any(|(known, _)| *known == drop)
        {
            ends.push((drop, until));
        }
    })? {}
    Ok(ends.into_iter().map(|(_, until)| until).collect())
}
