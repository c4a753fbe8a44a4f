//! Extension literals: `decimal("…")`, `datetime("…")`, `duration("…")`, `ip("…")`.
//!
//! Cedar itself evaluates the constructors, so policies have one parser of literals and ours can not
//! drift from it. Answers are remembered: asking costs some 20 µs.

use std::collections::HashMap;
use std::net::IpAddr;

use cedar_policy::{
    Context, Entities, EntityUid, EvalResult, Expression, Request, eval_expression,
};

use crate::ir::Constant;
use crate::schema::quoted;

/// Which constructor.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Constructor {
    Decimal,
    Datetime,
    Duration,
    Ip,
}

/// Literals kept; when there are more, all are forgotten.
const REMEMBERED_MAX: usize = 100_000;

/// Literals already read.
#[derive(Debug, Default)]
pub(crate) struct Literals {
    known: HashMap<(Constructor, String), Option<Constant>>,
}

impl Literals {
    /// The value, or `None` for text that Cedar refuses.
    pub(crate) fn read(&mut self, constructor: Constructor, text: &str) -> Option<Constant> {
        if self.known.len() >= REMEMBERED_MAX {
            self.known.clear();
        }
        let key = (constructor, text.to_owned());
        self.known.entry(key).or_insert_with(|| evaluate(constructor, text)).clone()
    }
}

fn evaluate(constructor: Constructor, text: &str) -> Option<Constant> {
    let literal = quoted(text);
    match constructor {
        Constructor::Decimal => {
            ask(&format!("decimal({literal})"))?;
            dataplane_policy::decimal(text).map(Constant::Decimal)
        }
        Constructor::Datetime => {
            let since = format!(
                "datetime({literal}).durationSince(datetime(\"1970-01-01\")).toMilliseconds()"
            );
            long(&since).map(Constant::Datetime)
        }
        Constructor::Duration => {
            long(&format!("duration({literal}).toMilliseconds()")).map(Constant::Duration)
        }
        Constructor::Ip => {
            ask(&format!("ip({literal})"))?;
            range(text)
        }
    }
}

fn ask(source: &str) -> Option<EvalResult> {
    let expression: Expression = source.parse().ok()?;
    let nobody: EntityUid = "Action::\"call\"".parse().ok()?;
    let action = nobody.clone();
    let request = Request::new(nobody.clone(), action, nobody, Context::empty(), None).ok()?;
    eval_expression(&request, &Entities::empty(), &expression).ok()
}

fn long(source: &str) -> Option<i64> {
    match ask(source)? {
        EvalResult::Long(number) => Some(number),
        _ => None,
    }
}

fn range(text: &str) -> Option<Constant> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
        None => (text, None),
    };
    Some(match address.parse().ok()? {
        IpAddr::V4(v4) => {
            Constant::Ip { bits: u32::from(v4).into(), v6: false, prefix: prefix.unwrap_or(32) }
        }
        IpAddr::V6(v6) => Constant::Ip { bits: v6.into(), v6: true, prefix: prefix.unwrap_or(128) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_literal_too_many_forgets_the_others_and_is_read() {
        let mut literals = Literals::default();
        let fill = |literals: &mut Literals, count: usize| {
            let dummies = (0..count).map(|n| ((Constructor::Ip, n.to_string()), None));
            literals.known = dummies.collect();
        };
        let five = Some(Constant::Duration(5_000));
        fill(&mut literals, REMEMBERED_MAX - 1);
        assert_eq!(literals.read(Constructor::Duration, "5s"), five);
        assert_eq!(literals.known.len(), REMEMBERED_MAX);
        fill(&mut literals, REMEMBERED_MAX);
        assert_eq!(literals.read(Constructor::Duration, "5s"), five);
        assert_eq!(literals.known.len(), 1);
    }
}
