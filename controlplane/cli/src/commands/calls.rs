//! Recent calls, and new ones as they come.

use serde_json::Value;

use crate::arguments::{CallsArguments, Output};
use crate::client::Client;
use crate::fault::Fault;
use crate::screen::Table;
use crate::{screen, show};

/// How long one question waits for news, in milliseconds.
const WAIT_MS: u32 = 30_000;

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
    query.push(("limit", filter.limit.to_string()));
    let mut page = client.get_with("/v1/calls", &query)?;
    told(&page, output)?;
    if !filter.follow {
        return Ok(0);
    }
    loop {
        let after = page["after"].as_u64().unwrap_or(0);
        let mut next = query.clone();
        next.push(("after", after.to_string()));
        next.push(("wait_ms", WAIT_MS.to_string()));
        page = client.get_with("/v1/calls", &next)?;
        if !show::array(&page["items"]).is_empty() {
            told(&page, output)?;
        }
    }
}

fn told(page: &Value, output: Output) -> Result<(), Fault> {
    if output == Output::Json {
        return screen::json(page);
    }
    let mut table =
        Table::new(&["at", "phase", "tenant", "who", "tool", "decision", "rule", "status", "ms"]);
    for call in show::array(&page["items"]) {
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
    table.show();
    Ok(())
}
