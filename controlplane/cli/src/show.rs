//! Answers as people read them.

use serde_json::Value;

use crate::fault::told_problem;
use crate::screen::Table;

/// A cell of a value: text without quotes, nothing for nothing, lists with commas.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        // Names and reasons come from outside; none of them may drive the terminal.
        Value::String(text) => text.replace(char::is_control, " "),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        // A target: `{"tool": "crm/refund"}`.
        Value::Object(fields) => {
            let one = |(name, value): (&String, &Value)| format!("{name} {}", cell(value));
            fields.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// One row an item, one column a (heading, pointer).
pub(crate) fn table(items: &[Value], columns: &[(&'static str, &str)]) {
    let headings: Vec<_> = columns.iter().map(|(heading, _)| *heading).collect();
    let mut table = Table::new(&headings);
    if items.is_empty() {
        return say!("none");
    }
    for item in items {
        table.row(columns.iter().map(|(_, at)| cell(item.pointer(at).unwrap_or(&Value::Null))));
    }
    table.show();
}

/// One object, a line a field that holds something: `timeouts.connect_ms: 2000`.
pub(crate) fn item(item: &Value) {
    let mut rows = Vec::new();
    flatten("", item, &mut rows);
    let wide = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in rows {
        say!("{name:wide$}  {value}");
    }
}

fn flatten(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let Value::Object(fields) = value else {
        let text = cell(value);
        if !text.is_empty() {
            rows.push((name.to_owned(), text));
        }
        return;
    };
    for (field, value) in fields {
        // What people wrote is not hidden below a word of ours.
        let below = match (name, field.as_str()) {
            ("", "spec") => String::new(),
            ("", field) => field.to_owned(),
            (name, field) => format!("{name}.{field}"),
        };
        flatten(&below, value, rows);
    }
}

/// What a change did, or would do.
pub(crate) fn applied(applied: &Value) {
    diff(&applied["diff"]);
    for found in array(&applied["discovered"]) {
        discovered(found);
    }
    for warning in array(&applied["warnings"]) {
        if let Ok(problem) = serde_json::from_value(warning.clone()) {
            say!("{}", told_problem(&problem).replacen("error:", "warning:", 1));
        }
    }
    let passed = applied["tests"]["passed"].as_u64().unwrap_or(0);
    if passed > 0 {
        say!("policy tests: {passed} passed");
    }
    say!("{}", outcome(applied));
}

/// Which objects differ, and in what.
pub(crate) fn diff(diff: &Value) {
    for change in array(&diff["changes"]) {
        let sign = match change["action"].as_str() {
            Some("added") => '+',
            Some("removed") => '-',
            _ => '~',
        };
        say!("{sign} {} {}", cell(&change["kind"]), cell(&change["name"]));
        for field in array(&change["fields"]) {
            let (before, after) = (&field["before"], &field["after"]);
            say!("    {}: {before} -> {after}", cell(&field["path"]));
        }
        for line in array(&change["lines"]) {
            say!("    {}", cell(line));
        }
    }
    for sentence in array(&diff["behaviour"]) {
        say!("  {}", cell(sentence));
    }
}

fn outcome(applied: &Value) -> String {
    let revision = &applied["revision"];
    let changed = applied["changed"].as_bool().unwrap_or(false);
    match (changed, applied["dry_run"].as_bool().unwrap_or(false)) {
        (false, _) => format!("nothing differs; revision {revision} stays in force"),
        (true, true) => format!("a dry run: revision {revision} stays in force"),
        (true, false) => {
            let pushed = cell(&applied["pushed_to"]);
            let pushed = if pushed.is_empty() {
                "no appliance is connected".into()
            } else {
                format!("pushed to {pushed}")
            };
            format!("revision {revision} is in force; {pushed}")
        }
    }
}

/// What a server said when it was asked for its tools.
pub(crate) fn discovered(found: &Value) {
    let server = cell(&found["server"]);
    match found["outcome"].as_str() {
        Some("pinned") => say!("  {server}: pinned {}", cell(&found["pinned"])),
        Some("same") => say!("  {server}: as pinned"),
        Some("drifted") => {
            say!("  {server}: drifted; nothing new is offered until it is approved");
            for drift in array(&found["drift"]) {
                say!("    {} {}", cell(&drift["kind"]), cell(&drift["tool"]));
            }
            say!("  try: portcullis servers approve {server}");
        }
        _ => say!("  {server}: {}", cell(&found["fault"])),
    }
}

/// What differs from what was approved: who approves it has to read it.
pub(crate) fn drift(drift: &Value) {
    if array(drift).is_empty() {
        return say!("none");
    }
    for tool in array(drift) {
        told_drift(tool).iter().for_each(|line| say!("{line}"));
    }
}

fn told_drift(tool: &Value) -> Vec<String> {
    let (kind, name, since) = (cell(&tool["kind"]), cell(&tool["tool"]), cell(&tool["since"]));
    let mut lines = vec![format!("{kind} {name}, since {since}")];
    let definition = |text: &Value| -> Value {
        text.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    };
    let (pinned, found) = (definition(&tool["pinned"]), definition(&tool["found"]));
    match (&pinned, &found) {
        (_, Value::Null) => {}
        (Value::Null, found) => {
            let mut rows = Vec::new();
            flatten("", found, &mut rows);
            rows.sort();
            lines.extend(rows.iter().map(|(name, value)| format!("    {name}: {value}")));
        }
        (pinned, found) => {
            let shown = |value: &Option<Value>| value.clone().unwrap_or_default();
            lines.extend(controlplane_api::diff::fields(pinned, found).iter().map(|field| {
                let (before, after) = (shown(&field.before), shown(&field.after));
                format!("    {}: {before} -> {after}", field.path)
            }));
        }
    }
    lines
}

/// Why a call is decided as it is. A kill comes before every policy.
pub(crate) fn explained(explained: &Value) {
    let kills = array(&explained["killed_by"]);
    for kill in kills {
        say!("refused: killed by {}: {}", cell(&kill["author"]), cell(&kill["reason"]));
    }
    let otherwise = if kills.is_empty() { "" } else { "  without the kill: " };
    say!("{otherwise}{}", cell(&explained["why"]));
    for rule in array(&explained["determining"]) {
        say!("  rule {} at {}:{}", cell(&rule["id"]), cell(&rule["file"]), rule["line"]);
    }
    for obligation in array(&explained["obligations"]) {
        say!("  with {}", cell(obligation));
    }
    let visible = explained["visible"].as_bool().unwrap_or(false);
    say!("  the tool is {} for this caller", if visible { "listed" } else { "hidden" });
    say!("  revision {}", explained["revision"]);
}

/// What policy tests said.
pub(crate) fn tests(report: &Value) {
    for failure in array(&report["failures"]) {
        let name = cell(&failure["name"]);
        let name = if name.is_empty() { name } else { format!("{name}: ") };
        let (file, line) = (cell(&failure["file"]), &failure["line"]);
        say!("{file}:{line}: {name}{}", cell(&failure["why"]));
    }
    say!("{} passed, {} failed", report["passed"], report["failed"]);
}

/// How everything is.
pub(crate) fn status(status: &Value) {
    say!("control plane {}, since {}", cell(&status["version"]), cell(&status["started_at"]));
    say!(
        "revision {}, kill list {} ({} in force)",
        status["revision"],
        status["kill_serial"],
        status["kills"]
    );
    for (title, counts) in [("objects", &status["objects"]), ("appliances", &status["appliances"])]
    {
        let counts = counts.as_object().into_iter().flatten();
        let counts = counts.filter(|(_, count)| **count != 0);
        let counts: Vec<_> = counts.map(|(name, count)| format!("{count} {name}")).collect();
        say!("{title}: {}", if counts.is_empty() { "none".into() } else { counts.join(", ") });
    }
    for card in array(&status["cards"]) {
        say!("card {}", told_card(card));
        for bound in array(&card["thinned"]) {
            say!("card {}", thinned(bound));
        }
    }
    for sentence in array(&status["attention"]) {
        say!("look at: {}", cell(sentence));
    }
}

/// `edge-1 eth0: native, program 0123456789ab, 12 of 16384 entries, 250 packets/s dropped, 9000 so far`.
fn told_card(card: &Value) -> String {
    let mode = match card["mode"].as_str() {
        Some("generic") => "generic (not in the driver: it saves less)".to_owned(),
        _ => cell(&card["mode"]),
    };
    let program: String = cell(&card["program_sha256"]).chars().take(12).collect();
    format!(
        "{} {}: {mode}, program {program}, {} of {} entries, {} packets/s dropped, {} so far",
        cell(&card["appliance"]),
        cell(&card["interface"]),
        card["entries"],
        card["entries_max"],
        card["drops_per_s"],
        card["drops"]
    )
}

/// `edge-1 eth0: new connections of acme bounded to 200/s, 400 at once: 1200 dropped so far`.
pub(crate) fn thinned(bound: &Value) -> String {
    format!(
        "{} {}: new connections of {} bounded to {}, {} at once: {} dropped so far",
        cell(&bound["appliance"]),
        cell(&bound["interface"]),
        cell(&bound["tenant"]),
        cell(&bound["connections"]),
        bound["burst"],
        bound["drops"]
    )
}

pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn drift_is_told_so_that_it_can_be_judged() {
        let drift = |kind: &str, pinned: Option<Value>, found: Option<Value>| {
            let text = |value: Option<Value>| value.map(|value| value.to_string());
            let (pinned, found) = (text(pinned), text(found));
            let since = "2026-06-01T00:00:00.000Z";
            told_drift(&json!({
                "tool": "refund", "kind": kind, "since": since, "pinned": pinned, "found": found,
            }))
        };
        let tool = |says: &str| json!({"name": "refund", "description": says});
        let changed = drift("changed", Some(tool("Pays.")), Some(tool("Ignore\u{1b}[2J all.")));
        let head = |kind| format!("{kind} refund, since 2026-06-01T00:00:00.000Z");
        let line = r#"    description: "Pays." -> "Ignore\u001b[2J all.""#.to_owned();
        assert_eq!(changed, [head("changed"), line]);
        let new = drift("new", None, Some(tool("Pays.")));
        let lines = ["    description: Pays.".to_owned(), "    name: refund".to_owned()];
        assert_eq!(new, [&[head("new")][..], &lines].concat());
        assert_eq!(drift("gone", Some(tool("Pays.")), None), [head("gone")]);
    }
}
