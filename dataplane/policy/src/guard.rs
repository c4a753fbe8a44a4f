//! The guard: arguments have their pinned types, or the call is denied.
//!
//! It runs before any allow on a tool whose arguments some policy looks at, and fills the registers
//! that programs read. A wrong type is a denial and never "absent": else `amount: "1000000"` would
//! slip past `unless { context.arguments has amount && .. }` to a server that is glad to convert it.

use simd_json::{Node as Json, StaticNode};

use crate::layout::{Field, FieldType, Guard, NO_REGISTER, NONE};
use crate::parse;
use crate::program::REGISTERS;
use crate::table::{ArgumentIndex, Table};
use crate::value::{Ip, Value};

/// Longer arrays are denied when a policy looks at them: comparing two sets is quadratic.
pub const SET_LEN_MAX: usize = 256;

/// Fields that policies may look at in one object: a bit each.
pub const SEEN_FIELDS_MAX: usize = 64;

/// How deep records that policies look at may nest.
pub const GUARD_DEPTH_MAX: u32 = 8;

/// An argument that is missing, of another type, twice there, or not in the pinned schema.
pub(crate) struct BadArgument(pub(crate) ArgumentIndex);

const UNNAMED: BadArgument = BadArgument(ArgumentIndex(NONE));

impl Table {
    /// Checks the object at `at` of the tape; no object is an empty one.
    pub(crate) fn check<'a>(
        &'a self,
        guard: u32,
        tape: &'a [Json<'a>],
        at: Option<usize>,
        registers: &mut [Value<'a>; REGISTERS],
    ) -> Result<(), BadArgument> {
        let guard = self.layout.guards.get(guard as usize).ok_or(UNNAMED)?;
        let mut seen = 0u64;
        if let Some(at) = at {
            let Some(&Json::Object { len, .. }) = tape.get(at) else { return Err(UNNAMED) };
            let mut next = at + 1;
            for _ in 0..len {
                let Some(Json::String(key)) = tape.get(next) else { return Err(UNNAMED) };
                self.check_field(guard, key, tape, next + 1, &mut seen, registers)?;
                next = skip(tape, next + 1);
            }
        }
        let fields = self.fields(guard);
        let missing = fields
            .iter()
            .enumerate()
            .find(|(n, f)| f.required != 0 && *n < SEEN_FIELDS_MAX && seen >> n & 1 == 0);
        match missing {
            Some((n, _)) => Err(BadArgument(ArgumentIndex(guard.first + n as u32))),
            None => Ok(()),
        }
    }

    fn fields(&self, guard: &Guard) -> &[Field] {
        let first = guard.first as usize;
        self.layout.fields.get(first..first + guard.count as usize).unwrap_or_default()
    }

    fn check_field<'a>(
        &'a self,
        guard: &Guard,
        key: &str,
        tape: &'a [Json<'a>],
        at: usize,
        seen: &mut u64,
        registers: &mut [Value<'a>; REGISTERS],
    ) -> Result<(), BadArgument> {
        let found = self.fields(guard).iter().enumerate().find(|(_, f)| self.is_key(f, key));
        let Some((n, field)) = found else {
            return if guard.closed != 0 { Err(UNNAMED) } else { Ok(()) };
        };
        let bad = BadArgument(ArgumentIndex(guard.first + n as u32));
        if n < SEEN_FIELDS_MAX {
            if *seen >> n & 1 == 1 {
                return Err(bad);
            }
            *seen |= 1 << n;
        }
        let Some(json) = tape.get(at) else { return Err(bad) };
        if field.kind == FieldType::Any
            || (field.nullable != 0 && matches!(json, Json::Static(StaticNode::Null)))
        {
            return Ok(());
        }
        let value = typed(field.kind, json, tape, at).ok_or(bad)?;
        if field.kind == FieldType::Record {
            self.check(field.kids, tape, Some(at), registers)?;
        }
        if field.register != NO_REGISTER
            && let Some(register) = registers.get_mut(usize::from(field.register))
        {
            *register = value;
        }
        Ok(())
    }

    fn is_key(&self, field: &Field, key: &str) -> bool {
        let len = field.name_len as usize;
        if len != key.len() {
            return false;
        }
        let path = self.text(field.path);
        path.get(path.len().wrapping_sub(len)..) == Some(key)
    }
}

/// The node after the value at `at`.
fn skip(tape: &[Json<'_>], at: usize) -> usize {
    match tape.get(at) {
        Some(Json::Object { count, .. } | Json::Array { count, .. }) => {
            at.saturating_add(*count).saturating_add(1)
        }
        _ => at + 1,
    }
}

/// A JSON value as what its field must be, or `None`.
fn typed<'a>(
    kind: FieldType,
    json: &Json<'a>,
    tape: &'a [Json<'a>],
    at: usize,
) -> Option<Value<'a>> {
    Some(match (kind, json) {
        (FieldType::Bool, Json::Static(StaticNode::Bool(truth))) => Value::Bool(*truth),
        (FieldType::Long, json) => Value::Long(long(json)?),
        (FieldType::Text, Json::String(text)) => Value::Text(text),
        (FieldType::Decimal, Json::String(text)) => Value::Decimal(parse::decimal(text)?),
        (FieldType::Number, Json::Static(StaticNode::F64(double))) => {
            Value::Decimal(parse::number(*double)?)
        }
        (FieldType::Number, json) => Value::Decimal(parse::number_of_integer(long(json)?)?),
        (FieldType::Datetime, Json::String(text)) => Value::Datetime(parse::datetime(text)?),
        (FieldType::Date, Json::String(text)) => Value::Datetime(parse::date(text)?),
        (FieldType::Duration, Json::String(text)) => Value::Duration(parse::duration(text)?),
        (FieldType::Ipv4, Json::String(text)) => {
            Value::Ip(Ip::address(parse::ip_address(text, false)?))
        }
        (FieldType::Ipv6, Json::String(text)) => {
            Value::Ip(Ip::address(parse::ip_address(text, true)?))
        }
        (FieldType::SetText, Json::Array { .. }) => {
            set(json, tape, at, |json| matches!(json, Json::String(_)))?
        }
        (FieldType::SetLong, Json::Array { .. }) => {
            set(json, tape, at, |json| long(json).is_some())?
        }
        (FieldType::SetBool, Json::Array { .. }) => {
            set(json, tape, at, |json| matches!(json, Json::Static(StaticNode::Bool(_))))?
        }
        (FieldType::Record, Json::Object { .. }) => Value::Record,
        _ => return None,
    })
}

/// An array whose elements are all of one scalar type, so that each takes one node.
fn set<'a>(
    json: &Json<'a>,
    tape: &'a [Json<'a>],
    at: usize,
    is: impl Fn(&Json<'a>) -> bool,
) -> Option<Value<'a>> {
    let Json::Array { len, .. } = *json else { return None };
    if len > SET_LEN_MAX {
        return None;
    }
    let elements = tape.get(at + 1..at + 1 + len)?;
    elements.iter().all(is).then_some(Value::Array(u32::try_from(at).ok()?))
}

/// A JSON integer within 64 bits, signed. `5.0` is a double, and no integer.
pub(crate) fn long(json: &Json<'_>) -> Option<i64> {
    match json {
        Json::Static(StaticNode::I64(integer)) => Some(*integer),
        Json::Static(StaticNode::U64(integer)) => i64::try_from(*integer).ok(),
        _ => None,
    }
}
