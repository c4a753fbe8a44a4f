//! Conditions as people write them: Cedar again, after specialisation.
//!
//! Used to compare revisions and to show what changed. Two cells that print alike decide alike; the
//! other way round need not hold, so a rewritten condition may show as a change.

use dataplane_policy::FactKind;
use dataplane_policy::program::{
    CALLER_AGENT, CALLER_AGENT_TENANT, CALLER_TENANT, CONTEXT_NOW, Op,
};

use crate::ir::{Constant, Ir, Slot, Uid};
use crate::schema::quoted;

/// The type of an entity, as policies write it.
pub(crate) fn type_name(kind: FactKind) -> &'static str {
    match kind {
        FactKind::Role => "Role",
        FactKind::Group => "Group",
        FactKind::Tenant => "Tenant",
        FactKind::User => "User",
        FactKind::Agent => "Agent",
        FactKind::Service => "Service",
        FactKind::Kind => "Kind",
        FactKind::Server => "Server",
        FactKind::Tool => "Tool",
        FactKind::Action => "Action",
    }
}

fn entity(uid: &Uid) -> String {
    format!("{}::{}", type_name(uid.kind), quoted(&uid.name))
}

/// A condition as Cedar text.
pub(crate) fn condition(ir: &Ir) -> String {
    match ir {
        Ir::Constant(value) => constant(value),
        Ir::Slot(value) => slot(value),
        Ir::Member(uid) if uid.kind == FactKind::Kind => format!("principal is {}", uid.name),
        Ir::Member(uid) => format!("principal in {}", entity(uid)),
        Ir::Fail => "error".to_owned(),
        Ir::Not(inner) => negation(inner),
        Ir::And(a, b) => format!("{} && {}", within(a), within(b)),
        Ir::Or(a, b) => format!("{} || {}", within(a), within(b)),
        Ir::If(a, b, c) => {
            format!("if {} then {} else {}", condition(a), condition(b), condition(c))
        }
        Ir::Unary(op, a) => unary(*op, a),
        Ir::Binary(op, a, b) => binary(*op, a, b),
        Ir::Need(_, then) => condition(then),
    }
}

fn negation(inner: &Ir) -> String {
    match inner {
        Ir::Binary(Op::Equal, a, b) => format!("{} != {}", within(a), within(b)),
        Ir::Binary(Op::Less, a, b) => format!("{} >= {}", within(a), within(b)),
        Ir::Binary(Op::LessEqual, a, b) => format!("{} > {}", within(a), within(b)),
        Ir::Unary(Op::IsV4, a) => format!("{}.isIpv6()", within(a)),
        inner => format!("!({})", condition(inner)),
    }
}

/// With brackets where it is needed inside something else.
fn within(ir: &Ir) -> String {
    let infix = match ir {
        Ir::And(..) | Ir::Or(..) | Ir::If(..) | Ir::Member(_) => true,
        Ir::Binary(op, ..) => matches!(
            op,
            Op::Equal | Op::Less | Op::LessEqual | Op::Add | Op::Subtract | Op::Multiply | Op::Like
        ),
        Ir::Not(inner) => matches!(**inner, Ir::Binary(..)),
        Ir::Unary(Op::Has, _) => true,
        _ => false,
    };
    if infix { format!("({})", condition(ir)) } else { condition(ir) }
}

fn slot(slot: &Slot) -> String {
    match slot {
        Slot::Argument(path) if path.is_empty() => "context.arguments".to_owned(),
        Slot::Argument(path) => format!("context.arguments.{}", path.join(".")),
        Slot::Caller(CALLER_TENANT) => "principal.tenant".to_owned(),
        Slot::Caller(CALLER_AGENT) => "context.agent".to_owned(),
        Slot::Caller(CALLER_AGENT_TENANT) => "context.agent.tenant".to_owned(),
        Slot::Caller(_) => "principal".to_owned(),
        Slot::Context(CONTEXT_NOW) => "context.now".to_owned(),
        Slot::Context(_) => "context.era".to_owned(),
        Slot::WholeContext => "context".to_owned(),
    }
}

fn constant(value: &Constant) -> String {
    match value {
        Constant::Bool(truth) => truth.to_string(),
        Constant::Long(number) => number.to_string(),
        Constant::Text(text) => quoted(text),
        Constant::Entity(uid) => entity(uid),
        Constant::Decimal(scaled) => {
            let (sign, scaled) = (if *scaled < 0 { "-" } else { "" }, scaled.unsigned_abs());
            let fraction = format!("{:04}", scaled % 10_000);
            let short = fraction.trim_end_matches('0');
            let fraction = if short.is_empty() { "0" } else { short };
            format!("decimal(\"{sign}{}.{fraction}\")", scaled / 10_000)
        }
        Constant::Datetime(ms) => format!("datetime(\"1970-01-01\").offset(duration(\"{ms}ms\"))"),
        Constant::Duration(ms) => format!("duration(\"{ms}ms\")"),
        Constant::Ip { bits, v6, prefix } => {
            let address: std::net::IpAddr = if *v6 {
                std::net::Ipv6Addr::from(*bits).into()
            } else {
                std::net::Ipv4Addr::from(*bits as u32).into()
            };
            format!("ip(\"{address}/{prefix}\")")
        }
        Constant::Set(members) => {
            let members: Vec<_> = members.iter().map(constant).collect();
            format!("[{}]", members.join(", "))
        }
        Constant::Pattern(pieces) => quoted(&pieces.join("*")),
    }
}

fn unary(op: Op, operand: &Ir) -> String {
    let method = |name: &str| format!("{}.{name}()", within(operand));
    match op {
        Op::Has => match operand {
            Ir::Slot(Slot::Argument(path)) => format!("context.arguments has {}", path.join(".")),
            _ => "context has agent".to_owned(),
        },
        Op::Negate => format!("-({})", condition(operand)),
        Op::IsEmpty => method("isEmpty"),
        Op::IsV4 => method("isIpv4"),
        Op::IsLoopback => method("isLoopback"),
        Op::IsMulticast => method("isMulticast"),
        Op::ToDate => method("toDate"),
        Op::ToTime => method("toTime"),
        _ => condition(operand),
    }
}

fn binary(op: Op, a: &Ir, b: &Ir) -> String {
    let infix = |sign: &str| format!("{} {sign} {}", within(a), within(b));
    let method = |name: &str| format!("{}.{name}({})", within(a), condition(b));
    match op {
        Op::Equal => infix("=="),
        Op::Less => infix("<"),
        Op::LessEqual => infix("<="),
        Op::Add => infix("+"),
        Op::Subtract => infix("-"),
        Op::Multiply => infix("*"),
        Op::Like => infix("like"),
        Op::Contains => method("contains"),
        Op::ContainsAll => method("containsAll"),
        Op::ContainsAny => method("containsAny"),
        Op::InRange => method("isInRange"),
        Op::DecimalLess => method("lessThan"),
        Op::DecimalLessEqual => method("lessThanOrEqual"),
        Op::Offset => method("offset"),
        Op::Since => method("durationSince"),
        _ => format!("{} in units of {} ms", within(a), condition(b)),
    }
}
