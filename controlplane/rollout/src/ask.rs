//! What is asked of an appliance for a person who waits: an order about its drops, an address, packets.
//!
//! Asked once, on the connection that there is. An appliance that is away, or does not answer in
//! time, is said to be so: nothing waits for it, and nothing is sent later.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dataplane_bundle::ApplianceId;
use dataplane_bundle::drops::{AddressReport, CardPackets, DropOrder, Order};
use dataplane_bundle::message::ToAppliance;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::rollout::{Rollout, Shared};
use crate::stream::{self, Urgency};

/// What an appliance has for its answer.
pub const ANSWER_MS_MAX: u64 = 5_000;
/// Questions that wait for their answers at a time: each appliance a few times over.
pub const ASKED_MAX: usize = 4_096;

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AskFault {
    #[error("it is not connected")]
    Away,
    #[error(
        "it did not answer within {ANSWER_MS_MAX} ms; it may be of a release that knows no drops"
    )]
    Silent,
    #[error("{ASKED_MAX} questions wait for answers already; try again in a moment")]
    TooMany,
    /// Of the appliance, or of the channel's bounds.
    #[error("{0}")]
    Refused(String),
}

/// Answers that are waited for, by number.
#[derive(Default)]
pub(crate) struct Asked {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, (ApplianceId, oneshot::Sender<Answer>)>>,
}

#[derive(Debug)]
pub(crate) enum Answer {
    Done(Result<u32, String>),
    Address(Option<AddressReport>),
    Packets(Vec<CardPackets>),
}

impl Asked {
    fn waiting(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<u64, (ApplianceId, oneshot::Sender<Answer>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(
        &self,
        appliance: &ApplianceId,
    ) -> Result<(Number<'_>, oneshot::Receiver<Answer>), AskFault> {
        let mut waiting = self.waiting();
        if waiting.len() >= ASKED_MAX {
            return Err(AskFault::TooMany);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        waiting.insert(id, (appliance.clone(), answer));
        Ok((Number { asked: self, id }, answered))
    }

    /// An answer came. One that nobody waits for, or another box was asked for, is dropped.
    pub(crate) fn on_answer(&self, appliance: &ApplianceId, id: u64, answer: Answer) {
        let mut waiting = self.waiting();
        if waiting.get(&id).is_none_or(|(asked, _)| asked != appliance) {
            return tracing::debug!(%appliance, id, "an answer that nobody waits for");
        }
        if let Some((_, waiter)) = waiting.remove(&id) {
            // Who asked may be gone.
            let _ = waiter.send(answer);
        }
    }
}

/// A question's number; it is waited for no longer once this is dropped.
struct Number<'a> {
    asked: &'a Asked,
    id: u64,
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        self.asked.waiting().remove(&self.id);
    }
}

impl Rollout {
    /// Has an appliance carry out an order about its drops: how many subjects were released, or
    /// entries are held.
    ///
    /// # Errors
    /// It is away, silent, or refuses.
    pub async fn order_drops(
        &self,
        appliance: &ApplianceId,
        by: &str,
        reason: &str,
        order: Order,
    ) -> Result<u32, AskFault> {
        let (by, reason) = (by.to_owned(), reason.to_owned());
        let message = |id| ToAppliance::DropOrder(DropOrder { id, by, reason, order });
        match self.shared.ask(appliance, message).await? {
            Answer::Done(result) => result.map_err(AskFault::Refused),
            Answer::Address(_) | Answer::Packets(_) => Err(mixed_up()),
        }
    }

    /// What an appliance knows of an address; nothing where it never drops anybody.
    ///
    /// # Errors
    /// It is away or silent.
    pub async fn explain_address(
        &self,
        appliance: &ApplianceId,
        address: IpAddr,
    ) -> Result<Option<AddressReport>, AskFault> {
        let message = |id| ToAppliance::ExplainAddress { id, address };
        match self.shared.ask(appliance, message).await? {
            Answer::Address(report) => Ok(report),
            Answer::Done(_) | Answer::Packets(_) => Err(mixed_up()),
        }
    }

    /// The newest packets that an appliance's cards have dropped, as far as they were sampled.
    ///
    /// # Errors
    /// It is away or silent.
    pub async fn dropped_packets(
        &self,
        appliance: &ApplianceId,
    ) -> Result<Vec<CardPackets>, AskFault> {
        match self.shared.ask(appliance, |id| ToAppliance::ListPackets { id }).await? {
            Answer::Packets(cards) => Ok(cards),
            Answer::Done(_) | Answer::Address(_) => Err(mixed_up()),
        }
    }
}

impl Shared {
    async fn ask(
        &self,
        appliance: &ApplianceId,
        message: impl FnOnce(u64) -> ToAppliance,
    ) -> Result<Answer, AskFault> {
        let connection = self.connection(appliance).ok_or(AskFault::Away)?;
        let (number, answered) = self.asked.expect(appliance)?;
        let bytes = message(number.id).encode();
        let bytes = bytes.map_err(|refused| AskFault::Refused(refused.to_string()))?;
        let asking = async {
            stream::send(&connection, Urgency::Control, &bytes)
                .await
                .map_err(|_| AskFault::Away)?;
            tokio::select! {
                answer = answered => answer.map_err(|_| AskFault::Silent),
                _ = connection.closed() => Err(AskFault::Away),
            }
        };
        let answer = timeout(Duration::from_millis(ANSWER_MS_MAX), asking).await;
        answer.unwrap_or(Err(AskFault::Silent))
    }
}

fn mixed_up() -> AskFault {
    AskFault::Refused("it answered another question".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ApplianceId {
        ApplianceId::new(name).unwrap()
    }

    #[test]
    fn one_question_too_many_is_refused_and_answers_make_room() {
        let asked = Asked::default();
        let mut waiting: Vec<_> =
            (0..ASKED_MAX).map(|_| asked.expect(&name("box-1")).unwrap()).collect();
        assert_eq!(asked.expect(&name("box-1")).err(), Some(AskFault::TooMany));
        waiting.pop();
        assert!(asked.expect(&name("box-1")).is_ok(), "who asked is gone");
        drop(waiting);
        assert!(asked.waiting().is_empty());
    }

    #[test]
    fn another_boxs_answer_does_not_count() {
        let asked = Asked::default();
        let (number, mut answered) = asked.expect(&name("box-1")).unwrap();
        asked.on_answer(&name("box-2"), number.id, Answer::Done(Ok(9)));
        asked.on_answer(&name("box-1"), number.id + 1, Answer::Done(Ok(9)));
        assert!(answered.try_recv().is_err());
        asked.on_answer(&name("box-1"), number.id, Answer::Done(Ok(1)));
        assert!(matches!(answered.try_recv(), Ok(Answer::Done(Ok(1)))));
    }
}
