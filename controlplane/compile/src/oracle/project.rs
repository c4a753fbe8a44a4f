//! Arguments as Cedar values, written a second time.
//!
//! It reads the JSON schema itself and knows neither our guard nor our parsers: texts are brought
//! into Cedar's own spelling and Cedar reads them. `None` means that something is not as pinned.

use std::collections::BTreeSet;

use cedar_policy::RestrictedExpression as Expression;
use serde_json::Value;

pub(super) fn project(
    value: &Value,
    schema: &Value,
    under: &[String],
    visible: &BTreeSet<Vec<String>>,
) -> Option<Expression> {
    let object = value.as_object()?;
    if visible.is_empty() {
        return Some(Expression::new_record([]).unwrap());
    }
    let properties = schema["properties"].as_object().unwrap();
    let closed = schema["additionalProperties"] == Value::Bool(false);
    if closed && object.keys().any(|key| !properties.contains_key(key)) {
        return None;
    }
    let mut fields = Vec::new();
    for (name, property) in properties {
        let path = [under, std::slice::from_ref(name)].concat();
        if !visible.contains(&path) {
            continue;
        }
        let required = schema["required"].as_array().is_some_and(|r| r.iter().any(|r| r == name));
        match object.get(name) {
            None if required => return None,
            None => {}
            Some(Value::Null) if property.get("anyOf").is_some() => {}
            Some(value) => fields.push((name.clone(), typed(value, property, &path, visible)?)),
        }
    }
    Some(Expression::new_record(fields).unwrap())
}

fn typed(
    value: &Value,
    schema: &Value,
    path: &[String],
    visible: &BTreeSet<Vec<String>>,
) -> Option<Expression> {
    if let Some(branches) = schema.get("anyOf") {
        return typed(value, &branches[0], path, visible);
    }
    match (schema["type"].as_str().unwrap(), schema["format"].as_str()) {
        ("string", None) => Some(Expression::new_string(value.as_str()?.to_owned())),
        ("string", Some(format)) => formatted(value.as_str()?, format),
        ("integer", _) => Some(Expression::new_long(value.as_i64()?)),
        ("boolean", _) => Some(Expression::new_bool(value.as_bool()?)),
        ("number", _) => decimal(&number(value)?),
        ("array", _) => {
            let items = value.as_array()?;
            let element = |item| typed(item, &schema["items"], path, visible);
            Some(Expression::new_set(items.iter().map(element).collect::<Option<Vec<_>>>()?))
        }
        _ => project(value, schema, path, visible),
    }
}

/// As a decimal's text: the shortest that gives the same number.
fn number(value: &Value) -> Option<String> {
    match value {
        Value::Number(n) if n.is_i64() => Some(format!("{n}.0")),
        Value::Number(n) if n.is_f64() => {
            let text = format!("{}", n.as_f64()?);
            let text = if text.contains('.') { text } else { format!("{text}.0") };
            let digits = text.bytes().filter(u8::is_ascii_digit).count();
            (digits <= 15).then_some(text)
        }
        _ => None,
    }
}

fn decimal(text: &str) -> Option<Expression> {
    by_cedar(|text| Expression::new_decimal(text), text)
}

/// What Cedar's constructor makes of a text, if it takes it.
fn by_cedar(construct: fn(&str) -> Expression, text: &str) -> Option<Expression> {
    let expression = construct(text);
    cedar_policy::Context::from_pairs([("x".to_owned(), expression.clone())]).ok()?;
    Some(expression)
}

fn formatted(text: &str, format: &str) -> Option<Expression> {
    match format {
        "decimal" => decimal(text),
        "date" => (text.len() == 10)
            .then(|| by_cedar(|text| Expression::new_datetime(text), text))
            .flatten(),
        "date-time" => by_cedar(|text| Expression::new_datetime(text), &datetime(text)?),
        "duration" => by_cedar(|text| Expression::new_duration(text), &duration(text)?),
        "ipv4" => (!text.contains([':', '/']))
            .then(|| by_cedar(|text| Expression::new_ip(text), text))
            .flatten(),
        _ => {
            let v6 = text.contains(':') && !text.contains(['.', '/']);
            let mapped = text.starts_with("::ffff:");
            (v6 && !mapped).then(|| by_cedar(|text| Expression::new_ip(text), text)).flatten()
        }
    }
}

/// RFC 3339 in Cedar's spelling: no colon in the offset, and no or three digits after the second.
fn datetime(text: &str) -> Option<String> {
    let (head, tail) = text.split_at_checked(19)?;
    if !head.contains('T') {
        return None;
    }
    let zone = tail.find(['Z', '+', '-'])?;
    let (fraction, zone) = tail.split_at(zone);
    let zone = zone.replacen(':', "", 1);
    let Some(digits) = fraction.strip_prefix('.') else { return Some(format!("{head}{zone}")) };
    let (millis, finer) = digits.split_at(digits.len().min(3));
    let exact = finer.bytes().all(|digit| digit == b'0');
    exact.then(|| format!("{head}.{millis:0<3}{zone}"))
}

/// ISO 8601 in Cedar's spelling.
fn duration(text: &str) -> Option<String> {
    let body = text.strip_prefix('P').filter(|body| !body.is_empty())?;
    if let Some(weeks) = body.strip_suffix('W') {
        return Some(format!("{}d", weeks.parse::<i64>().ok()?.checked_mul(7)?));
    }
    let (days, time) = body.split_once('T').unwrap_or((body, ""));
    if days.contains(['Y', 'M']) {
        return None;
    }
    Some(format!("{}{}", days.to_lowercase(), time.to_lowercase()))
}
