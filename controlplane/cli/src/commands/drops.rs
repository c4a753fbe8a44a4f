//! What network cards drop: list, explain, release, hold; packets of it are listed beside this.

use serde_json::{Value, json};

use super::{Asked, DONE, NOT_AS_IT_SHOULD_BE, packets, without_nulls};
use crate::arguments::{DropsAction, DropsFilter, ReleaseArguments};
use crate::fault::Fault;
use crate::screen::Table;
use crate::show;

impl Asked {
    pub(super) fn drops(&self, action: Option<&DropsAction>) -> Result<u8, Fault> {
        match action {
            None => self.list_drops(&DropsFilter::default()),
            Some(DropsAction::List(filter)) => self.list_drops(filter),
            Some(DropsAction::Explain { address }) => {
                let query = [("address", address.clone())];
                let mut known = self.client.get_with("/v1/drops/explain", &query)?;
                known["packets"] = self.packets_of(address);
                self.tell(&known, |known| {
                    explained(known);
                    packets::explained(&known["packets"]);
                })
            }
            Some(DropsAction::Packets(filter)) => self.list_packets(filter),
            Some(DropsAction::Release(arguments)) => {
                let ordered = self.client.post("/v1/drops/release", &release(arguments))?;
                self.ordered(&ordered, "released", "callers")
            }
            Some(DropsAction::Pin { drop, for_ms, appliance, reason }) => {
                let body = json!({"for_ms": for_ms, "appliance": appliance, "reason": reason});
                let path = format!("/v1/drops/{drop}/pin");
                self.ordered(&self.client.post(&path, &without_nulls(body))?, "held", "entries")
            }
        }
    }

    fn list_drops(&self, filter: &DropsFilter) -> Result<u8, Fault> {
        let mut query = filter.query();
        let is_filtered = !query.is_empty();
        query.push(("limit", "1000".to_owned()));
        let (mut items, mut after) = (Vec::new(), query.clone());
        let mut thinned = Vec::new();
        let (entries, away) = loop {
            let mut page = self.client.get_with("/v1/drops", &after)?;
            if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
                items.extend(more);
            }
            thinned.extend_from_slice(show::array(&page["thinned"]));
            let Some(next) = page["next"].as_str() else {
                break (page["entries"].as_u64().unwrap_or(0), page["away"].take());
            };
            after.clone_from(&query);
            after.push(("after", next.to_owned()));
        };
        self.tell(&Value::Array(items), |items| {
            let items = show::array(items);
            match items {
                [] => say!("none"),
                items => table(items).show(),
            }
            for bound in &thinned {
                say!("{}", show::thinned(bound));
            }
            let shown = items.len() as u64;
            if !is_filtered && entries > shown {
                eprintln!(
                    "{shown} of {entries} entries; `portcullis drops explain ADDRESS` tells all"
                );
            }
            for name in show::array(&away) {
                eprintln!("{} is not connected: as it said last", show::cell(name));
            }
        })
    }

    /// `what` was counted: callers, or entries.
    fn ordered(&self, ordered: &Value, done: &str, what: &str) -> Result<u8, Fault> {
        let boxes = show::array(&ordered["appliances"]);
        self.tell(ordered, |_| {
            for one in boxes {
                let name = show::cell(&one["appliance"]);
                match one["trouble"].as_str() {
                    Some(_) => say!("{name}: nothing is {done}: {}", show::cell(&one["trouble"])),
                    None => say!("{name}: {} {what} {done}", one["done"]),
                }
            }
        })?;
        let is_whole = boxes.iter().all(|one| one["trouble"].is_null());
        Ok(if is_whole { DONE } else { NOT_AS_IT_SHOULD_BE })
    }
}

impl DropsFilter {
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let filters =
            [("tenant", &self.tenant), ("address", &self.address), ("appliance", &self.appliance)];
        filters.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

fn release(arguments: &ReleaseArguments) -> Value {
    let chosen = &arguments.what;
    let what = match (chosen.drop, &chosen.tenant, &chosen.address) {
        (Some(drop), ..) => json!({"drop": drop}),
        (_, Some(tenant), _) => json!({"tenant": tenant}),
        (_, _, Some(address)) => json!({"address": address}),
        (None, None, None) => json!("all"),
    };
    let ReleaseArguments { appliance, reason, .. } = arguments;
    without_nulls(json!({"what": what, "appliance": appliance, "reason": reason}))
}

fn table(items: &[Value]) -> Table {
    let mut table = Table::new(&["drop", "on", "dropped", "of", "by", "ends in", "held by"]);
    for item in items {
        table.row([
            show::cell(&item["drop"]),
            show::cell(&item["appliance"]),
            target(&item["target"]),
            whose(item),
            show::cell(&item["cause"]),
            time(item["ends_in_ms"].as_u64().unwrap_or(0)),
            show::cell(&item["pinned_by"]),
        ]);
    }
    table
}

/// Of a connection, whose end of it: ours is told with `--output json`.
fn target(target: &Value) -> String {
    match &target["flow"]["peer"] {
        Value::Null => show::cell(target),
        peer => format!("flow {}", show::cell(peer)),
    }
}

fn whose(item: &Value) -> String {
    let (user, agent) = (show::cell(&item["user"]), show::cell(&item["agent"]));
    let tenant = show::cell(&item["tenant"]);
    match (user.is_empty(), agent.is_empty()) {
        (true, true) => tenant,
        (false, true) => format!("{user} of {tenant}"),
        (true, false) => format!("{agent} of {tenant}"),
        (false, false) => format!("{user} by {agent} of {tenant}"),
    }
}

/// In the largest unit that still tells something.
pub(super) fn time(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    match seconds {
        0..=299 => format!("{seconds} s"),
        300..=17_999 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3_600)),
    }
}

fn explained(explained: &Value) {
    let boxes = show::array(&explained["appliances"]);
    if boxes.is_empty() {
        say!("no appliance has connected yet, so nobody can be asked");
    }
    for one in boxes {
        let name = show::cell(&one["appliance"]);
        if let Some(trouble) = one["trouble"].as_str() {
            eprintln!("{name} could not be asked: {}", show::cell(&json!(trouble)));
        }
        say!("{name}: {}", show::cell(&one["sentence"]));
        let drops = show::array(&one["drops"]);
        for drop in drops {
            say!("  {}", show::cell(&drop["sentence"]));
        }
        let more = one["entries"].as_u64().unwrap_or(0).saturating_sub(drops.len() as u64);
        if more > 0 {
            say!("  and {more} more entries of the same drops");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_fits_100_columns() {
        let item = |target: Value, user: Option<&str>| {
            json!({
                "drop": 1_234, "appliance": "edge-frankfurt-1", "target": target, "tenant": "acme",
                "user": user, "agent": "nightly-batch", "cause": {"quota": "agents"},
                "ends_in_ms": 43_200_000, "pinned_by": "olga",
            })
        };
        let flow = json!({"flow": {
            "peer": "[2001:db8:1234:5678:9abc:def0:1234:5678]:40000", "local": "192.0.2.1:443",
        }});
        let items = [item(flow, Some("ann")), item(json!({"source": "192.0.2.7"}), None)];
        let text = table(&items).text(Some(100));
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let plain = table(&items[1..]).text(None);
        assert_eq!(
            plain,
            "DROP  ON                DROPPED           OF                     BY            ENDS IN  HELD BY\n\
             1234  edge-frankfurt-1  source 192.0.2.7  nightly-batch of acme  quota agents  12 h     olga"
        );
        assert!(plain.lines().all(|line| line.chars().count() <= 100), "{plain}");
    }

    #[test]
    fn times_are_told_in_their_unit() {
        for (ms, text) in [(0, "0 s"), (1, "1 s"), (299_000, "299 s"), (299_001, "5 min")] {
            assert_eq!(time(ms), text);
        }
        assert_eq!((&*time(18_000_000), &*time(43_200_000)), ("5 h", "12 h"));
    }
}
