//! The metrics page, in Prometheus' text format, and every metric name of the dataplane.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{Display, Write};

/// A metric: its name, its kind and the sentence that `# HELP` shows.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
}

/// A page under construction. Write all samples of one metric together.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    current: &'static str,
}

impl Page {
    /// One sample. Label values are escaped; label names are ours.
    pub fn sample(&mut self, metric: Metric, labels: &[(&str, &str)], value: impl Display) {
        if self.current != metric.name {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let Metric { name, help, .. } = metric;
            let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            self.current = metric.name;
        }
        self.text.push_str(metric.name);
        for (place, (name, value)) in labels.iter().enumerate() {
            self.text.push(if place == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{name}=\"");
            self.escaped(value);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    fn escaped(&mut self, value: &str) {
        for character in value.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }
}

macro_rules! metrics {
    ($($constant:ident $kind:ident $name:literal $help:literal;)*) => {
        $(pub const $constant: Metric = Metric { name: $name, kind: Kind::$kind, help: $help };)*
        /// All of them, for the documentation's test.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    CONNECTIONS Gauge "portcullis_connections" "Open client connections.";
    CORE_CONNECTIONS Gauge "portcullis_core_connections" "Open client connections of each core.";
    STEERED Gauge "portcullis_connections_steered" "1 when each new connection goes to a core in its turn, 0 when the kernel's hash chooses.";
    CONNECTIONS_ACCEPTED Counter "portcullis_connections_accepted_total" "Client connections accepted.";
    HANDSHAKES_FAILED Counter "portcullis_tls_handshakes_failed_total" "TLS handshakes that did not complete.";
    REQUESTS Counter "portcullis_requests_total" "HTTP requests whose head was read.";
    CALLS Counter "portcullis_calls_total" "JSON-RPC calls judged, by decision.";
    QUOTA_REFUSED Counter "portcullis_quota_refused_total" "Calls refused by a quota.";
    KILLED Counter "portcullis_killed_total" "Calls refused or ended by a kill.";
    TOKENS_VERIFIED Counter "portcullis_tokens_verified_total" "Signatures checked.";
    TOKENS_REFUSED Counter "portcullis_tokens_refused_total" "Credentials refused.";
    TOKEN_CACHE_HITS Counter "portcullis_token_cache_hits_total" "Callers found in the cache of verified tokens.";
    UPSTREAM_FAILURES Counter "portcullis_upstream_failures_total" "Calls that a server did not answer properly.";
    UPSTREAM_HEALTHY Gauge "portcullis_upstream_healthy" "1 while a server is called, 0 while it rests after failures.";
    RECORDS Counter "portcullis_audit_records_total" "Audit records that are durable.";
    RECORD_GROUPS Counter "portcullis_audit_groups_total" "Durable writes of the audit log.";
    AUDIT_WRITABLE Gauge "portcullis_audit_writable" "1 while calls can be recorded.";
    BUNDLE_REVISION Gauge "portcullis_bundle_revision" "The revision that decides.";
    BUNDLES_REFUSED Counter "portcullis_bundles_refused_total" "Bundles refused.";
    BUNDLE_BACKED_OUT Gauge "portcullis_bundle_backed_out_revision" "The revision that the box went back from after it died by it, until a newer one decides; 0: none.";
    KILLS Gauge "portcullis_kills" "Kills in force.";
    REFUSALS_IGNORED Counter "portcullis_refusals_ignored_total" "Refused calls that came before the time that their caller was told.";
    SLOWED Counter "portcullis_ladder_slowed_total" "Times that somebody was slowed: connections closed, handshakes delayed.";
    DROPS Counter "portcullis_ladder_drops_total" "Times that dropping somebody's packets began.";
    DROP_ENTRIES Gauge "portcullis_drop_entries" "Connections, addresses and places that are dropped now.";
    DROP_ENTRIES_REFUSED Counter "portcullis_drop_entries_refused_total" "Entries that were not made for want of room.";
    SOURCES_SPARED Counter "portcullis_drop_sources_spared_total" "Addresses that were not dropped because others may be behind them.";
    LADDER_LOST Counter "portcullis_ladder_reports_lost_total" "Reports of cores that the ladder did not hear.";
    CARD_DROPPED Counter "portcullis_card_dropped_packets_total" "Packets dropped at the network card.";
    CARD_SAMPLES_LOST Counter "portcullis_card_samples_lost_total" "Samples of dropped packets that found no room.";
    CARD_TENANT_DROPPED Counter "portcullis_card_tenant_dropped_packets_total" "Of them, whose and why.";
    LEASES Gauge "portcullis_leases" "Secrets on lease.";
    CONTROL_CONNECTED Gauge "portcullis_control_connected" "1 while the control plane is connected.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_as_prometheus_text() {
        let mut page = Page::default();
        page.sample(CALLS, &[("decision", "allow")], 7);
        page.sample(CALLS, &[("decision", "a\"b\\c\nd")], 1);
        assert_eq!(
            page.into_text(),
            "# HELP portcullis_calls_total JSON-RPC calls judged, by decision.\n\
             # TYPE portcullis_calls_total counter\n\
             portcullis_calls_total{decision=\"allow\"} 7\n\
             portcullis_calls_total{decision=\"a\\\"b\\\\c\\nd\"} 1\n"
        );
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
