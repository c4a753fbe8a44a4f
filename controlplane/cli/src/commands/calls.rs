//! Recent calls, and new ones as they come.

use serde_json::Value;

use crate::arguments::{CallsArguments, Output};
use crate::client::Client;
use crate::fault::Fault;
use crate::screen::Table;
use crate::{screen, show};

/// How long one question waits for news, in milliseconds.
const WAIT_MS: u32 = 30_000;

/// What the control plane gives at once.
const RECORDS_MAX: u32 = controlplane_api::bounds::PAGE_ITEMS_MAX;
/// Room for what comes while following, as wide as it usually is: later lines stand below earlier.
const FOLLOWED: [usize; 9] = [24, 8, 10, 16, 24, 9, 20, 6, 8];

pub(crate) fn show(client: &Client, output: Output, filter: &CallsArguments) -> Result<u8, Fault> {
    let mut query: Vec<(&str, String)> = [
        ("tenant", &filter.tenant),
        ("user", &filter.user),
        ("agent", &filter.agent),
        ("server", &filter.server),
        ("tool", &filter.tool),
        ("decision", &filter.decision),
        ("since", &filter.since),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.clone()?)))
    .collect();
    // A call that ended has two records, of which one is shown.
    let both = filter.limit.saturating_mul(2).min(RECORDS_MAX.max(filter.limit));
    let records = if filter.intents { filter.limit } else { both };
    query.push(("limit", records.to_string()));
    let mut page = client.get_with("/v1/calls", &query)?;
    if !filter.follow {
        let calls = shown(&page, filter);
        match output {
            Output::Json => screen::json(&calls.into_iter().cloned().collect())?,
            Output::Table if calls.is_empty() => say!("none"),
            Output::Table => table(&calls).show(),
        }
        return Ok(0);
    }
    let mut headings = true;
    loop {
        tell(&shown(&page, filter), output, std::mem::take(&mut headings));
        let after = page["after"].as_u64().unwrap_or(0);
        let mut next = query.clone();
        next.push(("after", after.to_string()));
        next.push(("wait_ms", WAIT_MS.to_string()));
        page = client.get_with("/v1/calls", &next)?;
    }
}

/// The newest of a page; a call that ended is shown by its outcome.
fn shown<'p>(page: &'p Value, filter: &CallsArguments) -> Vec<&'p Value> {
    let items = show::array(&page["items"]).iter();
    let mut calls: Vec<_> =
        items.filter(|call| filter.intents || call["phase"] != "intent").collect();
    if !filter.follow {
        calls.drain(..calls.len().saturating_sub(filter.limit as usize));
    }
    calls
}

/// A line a call, as they come: headings once, and JSON that a script reads line by line.
fn tell(calls: &[&Value], output: Output, headings: bool) {
    match output {
        Output::Json => calls.iter().for_each(|call| say!("{call}")),
        Output::Table if headings => table(calls).at_least(&FOLLOWED).show(),
        Output::Table => table(calls).at_least(&FOLLOWED).show_rows(),
    }
}

fn table(calls: &[&Value]) -> Table {
    let mut table =
        Table::new(&["at", "phase", "tenant", "who", "tool", "decision", "rule", "status", "ms"]);
    for call in calls {
        let who: Vec<_> = ["user", "agent"]
            .iter()
            .map(|name| show::cell(&call[*name]))
            .filter(|n| !n.is_empty())
            .collect();
        let latency = call["latency_ns"].as_u64().filter(|ns| *ns > 0);
        let latency = latency.map_or(String::new(), |ns| format!("{:.1}", ns as f64 / 1e6));
        table.row([
            show::cell(&call["at"]),
            show::cell(&call["phase"]),
            show::cell(&call["tenant"]),
            who.join(" by "),
            format!("{}/{}", show::cell(&call["server"]), show::cell(&call["tool"])),
            show::cell(&call["decision"]),
            show::cell(&call["rule"]),
            show::cell(&call["status"]),
            latency,
        ]);
    }
    table
}
