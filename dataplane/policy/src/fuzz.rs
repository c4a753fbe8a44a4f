//! Properties that the fuzz targets check.
//!
//! Each takes bytes and asserts what this crate promises of any bytes: no panic, no endless loop, no
//! allow without a policy behind it. They are ordinary functions, so the tests run them too.

use dataplane_telemetry::WallNanos;
use simd_json::Buffers;

use crate::{Call, CallerFacts, CallerKind, Context, Era, Table, Why};

/// Any bytes: refused, or a table on which every tool can be decided for several callers.
pub fn any_table(bytes: &[u8]) {
    let Ok(table) = Table::load(bytes) else { return };
    exercise(&table, br#"{"amount":900,"note":"a","fields":["id"],"customer":{"tier":1}}"#);
}

/// A sound table with every kind of argument, the one that the tests use.
const SHOP: &[u8] = include_bytes!("../tests/fixtures/shop.table");

/// Any JSON as arguments of a table that is sound.
pub fn any_arguments(bytes: &[u8]) {
    let Ok(table) = Table::load(SHOP) else { return };
    exercise(&table, bytes);
}

/// Any text as a decimal, a date, a duration or an address: a value or none, and dates are whole days.
pub fn any_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = (crate::decimal(text), crate::duration(text), crate::datetime(text));
    let _ = (crate::ip_address(text, false), crate::ip_address(text, true));
    if let Some(ms) = crate::parse::date(text) {
        assert_eq!(ms.rem_euclid(86_400_000), 0, "{text}");
    }
}

fn exercise(table: &Table, json: &[u8]) {
    let mut json = json.to_vec();
    let mut buffers = Buffers::new(json.len());
    let Ok(tape) = simd_json::to_tape_with_buffers(&mut json, &mut buffers) else { return };
    let context = Context { now: WallNanos::from_secs(1_777_593_600), era: Era::Modern };
    for (roles, kind) in [(&[][..], CallerKind::User), (&["support"][..], CallerKind::Agent)] {
        let facts = CallerFacts {
            tenant: "acme",
            kind,
            user: Some("ann"),
            agent: Some("bot"),
            roles,
            groups: roles,
        };
        let subject = table.subject(&facts);
        for (server, _) in table.servers() {
            for (tool, _) in table.tools(server) {
                let sees = table.may_see(&subject, tool);
                for arguments in [Some(0), None] {
                    let call = Call { tape: &tape.0, arguments, context };
                    let decision = table.decide(&subject, tool, &call);
                    let by_policy = matches!(decision.why, Why::Policy(_));
                    assert!(!decision.allow || by_policy, "an allow names its policy");
                    assert!(!decision.allow || sees, "what may be called is seen");
                    table.obligations_of(&decision).for_each(drop);
                }
            }
        }
    }
}
