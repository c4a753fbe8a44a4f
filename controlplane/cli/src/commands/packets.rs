//! Packets that network cards have dropped, as far as they were sampled.

use serde_json::Value;

use super::Asked;
use super::drops::time;
use crate::arguments::DropsFilter;
use crate::fault::Fault;
use crate::screen::Table;
use crate::show;

/// Packets that are shown with the explanation of an address.
const EXPLAINED_MAX: usize = 5;

impl Asked {
    pub(super) fn list_packets(&self, filter: &DropsFilter) -> Result<u8, Fault> {
        let mut query = filter.query();
        query.push(("limit", "1000".to_owned()));
        let page = self.client.get_with("/v1/drops/packets", &query)?;
        self.tell(&page, |page| {
            match show::array(&page["items"]) {
                [] => say!("{}", none(page)),
                items => {
                    table(items).show();
                    say!("{}", sampled(page));
                }
            }
            for one in show::array(&page["not_asked"]) {
                let (name, trouble) = (show::cell(&one["appliance"]), show::cell(&one["trouble"]));
                eprintln!("{name} could not be asked: {trouble}");
            }
        })
    }

    /// Packets from or to an address. A control plane that does not know the question has none.
    pub(super) fn packets_of(&self, address: &str) -> Value {
        let query = [("address", address.to_owned()), ("limit", EXPLAINED_MAX.to_string())];
        let page = self.client.get_with("/v1/drops/packets", &query);
        page.map(|mut page| page["items"].take()).unwrap_or_default()
    }
}

/// Below the explanation of an address; nothing where none was sampled.
pub(super) fn explained(packets: &Value) {
    if let items @ [_, ..] = show::array(packets) {
        say!("the newest packets that were dropped and sampled:");
        table(items).show();
    }
}

fn table(items: &[Value]) -> Table {
    let headings = ["ago", "on", "of", "why", "by", "packet", "from", "to", "bytes"];
    let mut table = Table::new(&headings);
    for item in items {
        table.row([
            time(item["age_ms"].as_u64().unwrap_or(0)),
            format!("{} {}", show::cell(&item["appliance"]), show::cell(&item["interface"])),
            show::cell(&item["tenant"]),
            show::cell(&item["reason"]),
            known_by(item),
            packet(item),
            show::cell(&item["source"]),
            show::cell(&item["destination"]),
            show::cell(&item["length"]),
        ]);
    }
    table
}

fn known_by(item: &Value) -> String {
    match item["table"].as_str() {
        Some("vlan") => format!("vlan {}", show::cell(&item["vlan"])),
        _ => show::cell(&item["table"]),
    }
}

/// `TCP SYN`, `QUIC Initial`, `UDP`; a question mark where its headers do not tell.
fn packet(item: &Value) -> String {
    let (protocol, says) = (show::cell(&item["protocol"]), show::cell(&item["says"]));
    match (protocol.is_empty(), says.is_empty()) {
        (true, _) => "?".to_owned(),
        (false, true) => protocol,
        (false, false) if says.starts_with("QUIC") => says,
        (false, false) => format!("{protocol} {says}"),
    }
}

/// What the list leaves out.
fn sampled(page: &Value) -> String {
    let cards = show::array(&page["cards"]);
    let numbers = |name: &str| cards.iter().filter_map(|card| card[name].as_u64()).collect();
    let (one_in, lost): (Vec<u64>, Vec<u64>) = (numbers("one_in"), numbers("lost"));
    let (least, most) = (one_in.iter().min().unwrap_or(&0), one_in.iter().max().unwrap_or(&0));
    let rate = if least == most { most.to_string() } else { format!("{least} to {most}") };
    format!(
        "one in {rate} dropped packets is sampled, and the first of each tenant and reason; a card's \
         newest 64 are kept; {} samples were lost",
        lost.iter().fold(0, |sum: u64, lost| sum.saturating_add(*lost))
    )
}

fn none(page: &Value) -> String {
    if show::array(&page["cards"]).is_empty() {
        return "none: no appliance that could be asked has a network card that drops for it \
                (`portcullis-gateway --card-interface`)\n  next: portcullis status"
            .to_owned();
    }
    format!(
        "none: no such packet was dropped and sampled since the gateway's start; {}\n  next: \
         portcullis drops, for what is dropped now",
        sampled(page)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(changes: Value) -> Value {
        let mut item = json!({
            "appliance": "edge-1", "interface": "eth0", "age_ms": 12_000, "tenant": "acme",
            "reason": "connections", "table": "bucket", "protocol": "TCP", "says": "SYN",
            "source": "192.0.2.7:40000", "destination": "198.51.100.1:443", "length": 74,
        });
        for (name, value) in changes.as_object().unwrap() {
            item[name] = value.clone();
        }
        item
    }

    #[test]
    fn a_list_fits_100_columns() {
        let text = table(&[item(json!({}))]).text(None);
        assert_eq!(
            text,
            "AGO   ON           OF    WHY          BY      PACKET   FROM             TO                BYTES\n\
             12 s  edge-1 eth0  acme  connections  bucket  TCP SYN  192.0.2.7:40000  198.51.100.1:443  74"
        );
        let long = json!({
            "appliance": "edge-frankfurt-1", "says": "QUIC Initial", "protocol": "UDP",
            "source": "[2001:db8:1234:5678:9abc:def0:1234:5678]:40000",
            "destination": "[2001:db8:1234:5678:9abc:def0:1234:1]:443",
        });
        let text = table(&[item(long)]).text(Some(100));
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn what_a_packet_is_takes_few_words() {
        let said = |changes: Value| packet(&item(changes));
        assert_eq!(said(json!({"protocol": "UDP", "says": "QUIC Initial"})), "QUIC Initial");
        assert_eq!(said(json!({"protocol": "UDP", "says": "short header"})), "UDP short header");
        assert_eq!(
            (said(json!({"says": null})), said(json!({"protocol": null}))),
            ("TCP".into(), "?".into())
        );
        assert_eq!(known_by(&item(json!({"table": "vlan", "vlan": "100.7"}))), "vlan 100.7");
    }

    #[test]
    fn what_is_left_out_is_said_of_all_cards() {
        let card = |one_in: u64, lost: u64| json!({"one_in": one_in, "lost": lost});
        let page = json!({"items": [], "cards": [card(1_024, 3), card(1_024, u64::MAX)]});
        assert!(sampled(&page).starts_with("one in 1024 dropped"), "{}", sampled(&page));
        assert!(sampled(&page).ends_with(&format!("{} samples were lost", u64::MAX)));
        let page = json!({"items": [], "cards": [card(1_024, 3), card(1, 4)]});
        assert!(sampled(&page).starts_with("one in 1 to 1024 dropped"), "{}", sampled(&page));
        assert!(none(&json!({"cards": []})).contains("--card-interface"));
    }
}
