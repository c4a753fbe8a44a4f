//! JSON with one reading: unique keys at every depth, bounded depth, no lone surrogates, nothing
//! after the document.
//!
//! For headers, claims and key sets, which are read once and then thrown away; the syntax is
//! serde_json's.

use std::collections::BTreeMap;
use std::fmt::{Formatter, Result as Written};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::JSON_DEPTH_MAX;

/// A value. Numbers that are not whole, or negative, matter to nobody here but for time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Whole(u64),
    Number(f64),
    Text(String),
    List(Vec<Self>),
    Object(Object),
}

/// Keys in order.
pub(crate) type Object = BTreeMap<String, Json>;

/// One object and nothing else, or what is wrong.
pub(crate) fn object(bytes: &[u8]) -> Result<Object, Box<str>> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = AtDepth(0).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err("it is not an object".into()),
        Err(fault) => Err(fault.to_string().into()),
    }
}

impl Json {
    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// How many objects and lists are open around the value.
#[derive(Clone, Copy)]
struct AtDepth(usize);

impl AtDepth {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.0 < JSON_DEPTH_MAX {
            Ok(Self(self.0 + 1))
        } else {
            Err(E::custom(format_args!("deeper than {JSON_DEPTH_MAX} (JSON_DEPTH_MAX)")))
        }
    }
}

impl<'de> DeserializeSeed<'de> for AtDepth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Json, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AtDepth {
    type Value = Json;

    fn expecting(&self, out: &mut Formatter<'_>) -> Written {
        out.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Whole(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "negative: no time, whatever its digits")]
    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(u64::try_from(value).map_or(Json::Number(value as f64), Json::Whole))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        let depth = self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = from.next_element_seed(depth)? {
            list.push(value);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        let depth = self.deeper()?;
        let mut object = Object::new();
        while let Some(key) = from.next_key::<String>()? {
            let value = from.next_value_seed(depth)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("a key appears twice"));
            }
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_two_readings_is_refused() {
        for text in [
            "",
            "[]",
            "null",
            "{} {}",
            "{}x",
            "\u{feff}{}",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"\\u0061\":1}",
            "{\"o\":{\"a\":1,\"a\":2}}",
            "{\"o\":[{\"a\":1,\"a\":2}]}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\udc00\"}",
            "{\"a\":01}",
            "{\"a\":+1}",
            "{\"a\":1e400}",
            "{\"a\":NaN}",
            "{\"a\":1,}",
            "{'a':1}",
            "{a:1}",
            "{\"a\":\"\n\"}",
            "{\"a\":1/**/}",
        ] {
            assert!(object(text.as_bytes()).is_err(), "{text}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_err());
        assert!(object(b"\xff\xfe{\x00}\x00").is_err());
    }

    #[test]
    fn one_past_the_depth() {
        let nested =
            |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(object(nested(JSON_DEPTH_MAX - 1).as_bytes()).is_ok());
        assert!(object(nested(JSON_DEPTH_MAX).as_bytes()).is_err());
        assert!(object(nested(100_000).as_bytes()).is_err());
    }
}
