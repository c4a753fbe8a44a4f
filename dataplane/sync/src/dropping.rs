//! Drops over the channel: what is dropped goes up when it has changed, orders come down.
//!
//! Orders reach the sink on a thread that may wait, one task each; what they did is answered under
//! their number. A report that is lost with its connection is sent anew on the next one.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dataplane_bundle::drops::{AddressReport, DropOrder, DroppedPacket, DropsReport, PACKETS_MAX};
use dataplane_bundle::message::ToControl;
use tokio::task::spawn_blocking;

use crate::session::Session;
use crate::sink::DROPS_MS;

/// A report of more rows than this is long: encoding it takes milliseconds from the calls.
const ROWS_LONG: usize = 64;
/// Looks between two long reports of the same rows, in which only what was counted differs.
const LOOKS_PER_COUNT: u32 = 10;

/// Says what is dropped, whenever it has changed, until the connection ends.
pub(crate) async fn keep(session: Arc<Session>) {
    let mut told: Option<DropsReport> = None;
    let mut looks = 0;
    loop {
        looks += 1;
        let report = session.shared.sink.drops();
        let news = report.filter(|report| {
            let is_due = |before: &DropsReport| {
                looks >= LOOKS_PER_COUNT
                    || report.rows.len() <= ROWS_LONG
                    || !report.has_rows_of(before)
            };
            told.as_ref().is_none_or(|before| is_due(before) && !report.is_like(before))
        });
        if let Some(report) = news {
            looks = 0;
            // What cannot be told is not tried each second.
            told = Some(report.clone());
            if let Err(trouble) = session.report(&ToControl::Drops(report)).await {
                session.shared.on_trouble(&format!("what is dropped is not told: {trouble}"));
            }
        }
        tokio::time::sleep(Duration::from_millis(DROPS_MS)).await;
    }
}

impl Session {
    pub(crate) async fn on_drop_order(&self, order: DropOrder) -> Result<(), String> {
        let (id, sink) = (order.id, self.shared.sink.clone());
        let done = spawn_blocking(move || sink.on_drop_order(&order)).await;
        let result = done.unwrap_or_else(|panic| Err(format!("the order failed: {panic}")));
        self.report(&ToControl::DropOrderResult { id, result }).await
    }

    pub(crate) async fn on_explain(&self, id: u64, address: IpAddr) -> Result<(), String> {
        let sink = self.shared.sink.clone();
        let known = spawn_blocking(move || sink.explain_address(address)).await;
        let explained = known.map_err(|panic| format!("{address} is not explained: {panic}"))?;
        let explained = explained.map(AddressReport::new);
        self.report(&ToControl::AddressExplained { id, explained }).await
    }

    pub(crate) async fn on_packets(&self, id: u64) -> Result<(), String> {
        let sink = self.shared.sink.clone();
        let cards = spawn_blocking(move || sink.packets()).await;
        let mut cards = cards.map_err(|panic| format!("packets are not listed: {panic}"))?;
        // Whatever the sink says: what leaves the box is headers.
        for card in &mut cards {
            let packets = std::mem::take(&mut card.packets).into_iter();
            card.packets = packets.take(PACKETS_MAX).map(DroppedPacket::cut).collect();
        }
        self.report(&ToControl::Packets { id, cards }).await
    }
}
