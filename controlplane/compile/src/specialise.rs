//! A policy's condition for one tool.
//!
//! `resource` and everything below it becomes a constant; membership of the principal a named fact;
//! attributes of the principal and of the context stay symbolic, so ten thousand tenants cost
//! nothing. An expression that has no place in a program is refused by name, with what to write;
//! operators that a later Cedar adds fall into the refusing arm, so none can be compiled wrongly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cedar_policy::pst::{
    ActionConstraint, BinaryOp, Clause, EntityOrSlot, EntityType, EntityUID, Expr, Literal,
    PatternElem, PrincipalConstraint, ResourceConstraint, UnaryOp, Var,
};
use dataplane_policy::FactKind;
use dataplane_policy::layout::FieldType;
use dataplane_policy::program::{
    CALLER_AGENT, CALLER_AGENT_TENANT, CALLER_PRINCIPAL, CALLER_TENANT, CONTEXT_ERA, CONTEXT_NOW,
    Op,
};

use crate::ir::{Constant, Ir, NO, Slot, Uid, YES};
use crate::literal::{Constructor, Literals};
use crate::load::Policy;
use crate::schema::{Object, Shape};

/// A tool, as conditions see it.
#[derive(Clone, Debug)]
pub(crate) struct ToolView {
    /// `Tool::"server/tool"`.
    pub(crate) uid: Uid,
    /// `Server::"server"`.
    pub(crate) server: Uid,
    pub(crate) arguments: Object,
    /// The same as a Cedar type; equal for many tools, and compared often.
    pub(crate) cedar_type: Arc<str>,
    pub(crate) destructive: bool,
    pub(crate) read_only: bool,
}

/// Why an expression cannot be compiled, and what to write instead.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Refused {
    pub(crate) what: String,
    pub(crate) help: &'static str,
}

type Specialised = Result<Ir, Refused>;

fn refuse<T>(what: impl Into<String>, help: &'static str) -> Result<T, Refused> {
    Err(Refused { what: what.into(), help })
}

/// The type of an entity of ours.
pub(crate) fn kind(ty: &EntityType) -> Option<FactKind> {
    Some(match ty.to_string().as_str() {
        "Role" => FactKind::Role,
        "Group" => FactKind::Group,
        "Tenant" => FactKind::Tenant,
        "User" => FactKind::User,
        "Agent" => FactKind::Agent,
        "Service" => FactKind::Service,
        "Server" => FactKind::Server,
        "Tool" => FactKind::Tool,
        "Action" => FactKind::Action,
        _ => return None,
    })
}

/// An entity as a policy names it.
pub(crate) fn uid(entity: &EntityUID) -> Option<Uid> {
    kind(&entity.ty).map(|kind| Uid::new(kind, &entity.eid))
}

fn known_uid(entity: &EntityUID) -> Result<Uid, Refused> {
    match uid(entity) {
        Some(uid) => Ok(uid),
        None => refuse(format!("an entity of type `{}`", entity.ty), TYPES_HELP),
    }
}

/// The entity types that policies may name.
pub(crate) const TYPES_HELP: &str =
    "write `Role`, `Group`, `Tenant`, `User`, `Agent`, `Service`, `Server` or `Tool`";

/// Entities of the head of a policy: principal, action, resource.
pub(crate) fn scope_entities(policy: &Policy) -> Vec<&EntityUID> {
    let mut out = Vec::new();
    if let PrincipalConstraint::Eq(e)
    | PrincipalConstraint::In(e)
    | PrincipalConstraint::IsIn(_, e) = &policy.body.principal
    {
        out.extend(entity(e));
    }
    if let ResourceConstraint::Eq(e) | ResourceConstraint::In(e) | ResourceConstraint::IsIn(_, e) =
        &policy.body.resource
    {
        out.extend(entity(e));
    }
    match &policy.body.action {
        ActionConstraint::Any => {}
        ActionConstraint::Eq(action) => out.push(action),
        ActionConstraint::In(actions) => out.extend(actions),
    }
    out
}

fn entity(value: &EntityOrSlot) -> Option<&EntityUID> {
    match value {
        EntityOrSlot::Entity(entity) => Some(entity),
        EntityOrSlot::Slot(_) => None,
    }
}

fn slotless(value: &EntityOrSlot) -> Result<Uid, Refused> {
    match entity(value) {
        Some(entity) => known_uid(entity),
        None => refuse("a template's slot", "write one policy for each value"),
    }
}

/// The only action there is.
pub(crate) fn action() -> Uid {
    Uid::new(FactKind::Action, "call")
}

/// Which tools the head of a policy lets it apply to.
pub(crate) enum Reach {
    Everything,
    Nothing,
    /// A tool, or the tools of a server, by name.
    Within(Uid),
    /// One tool, by name.
    Only(Uid),
}

impl Reach {
    /// Reads the head of a policy.
    ///
    /// # Errors
    /// When it names an entity of a type that there is not.
    pub(crate) fn of(policy: &Policy) -> Result<Self, Refused> {
        let acts = match &policy.body.action {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(named) => known_uid(named)? == action(),
            ActionConstraint::In(named) => named.iter().any(|named| uid(named) == Some(action())),
        };
        let is_tool = |ty: &EntityType| kind(ty) == Some(FactKind::Tool);
        Ok(match &policy.body.resource {
            _ if !acts => Self::Nothing,
            ResourceConstraint::Any => Self::Everything,
            ResourceConstraint::Eq(e) => Self::Only(slotless(e)?),
            ResourceConstraint::In(e) => Self::Within(slotless(e)?),
            ResourceConstraint::Is(ty) if is_tool(ty) => Self::Everything,
            ResourceConstraint::IsIn(ty, e) if is_tool(ty) => Self::Within(slotless(e)?),
            ResourceConstraint::Is(_) | ResourceConstraint::IsIn(..) => Self::Nothing,
        })
    }

    /// Whether this tool is among them.
    pub(crate) fn hits(&self, tool: &ToolView) -> bool {
        match self {
            Self::Everything => true,
            Self::Nothing => false,
            Self::Only(uid) => *uid == tool.uid,
            Self::Within(uid) => *uid == tool.uid || *uid == tool.server,
        }
    }
}

/// Specialises conditions for one tool.
pub(crate) struct Specialiser<'a> {
    pub(crate) tool: &'a ToolView,
    pub(crate) literals: &'a mut Literals,
    /// Arguments that were asked for and are there.
    pub(crate) found: &'a mut BTreeSet<Vec<String>>,
    /// Arguments that were asked for and are not, or not for policies: why.
    pub(crate) missing: &'a mut BTreeMap<Vec<String>, &'static str>,
}

impl Specialiser<'_> {
    /// The whole condition of a policy that reaches this tool: principal, then clauses.
    pub(crate) fn condition(&mut self, policy: &Policy) -> Specialised {
        let mut condition = match &policy.body.principal {
            PrincipalConstraint::Any => YES,
            PrincipalConstraint::Eq(e) => principal_equals(slotless(e)?),
            PrincipalConstraint::In(e) => principal_in(slotless(e)?),
            PrincipalConstraint::Is(ty) => principal_is(ty),
            PrincipalConstraint::IsIn(ty, e) => principal_is(ty).and(principal_in(slotless(e)?)),
        };
        for clause in policy.body.clauses() {
            condition = condition.and(match clause {
                Clause::When(body) => self.expression(body)?,
                Clause::Unless(body) => self.expression(body)?.not(),
            });
        }
        Ok(condition)
    }

    fn expression(&mut self, expression: &Expr) -> Specialised {
        match expression {
            Expr::Literal(literal) => self.literal(literal),
            Expr::Var(Var::Principal) => Ok(Ir::Slot(Slot::Caller(CALLER_PRINCIPAL))),
            Expr::Var(Var::Resource) => Ok(Ir::Constant(Constant::Entity(self.tool.uid.clone()))),
            Expr::Var(Var::Action) => Ok(Ir::Constant(Constant::Entity(action()))),
            Expr::Var(Var::Context) => Ok(Ir::Slot(Slot::WholeContext)),
            Expr::GetAttr { expr, attr } => {
                let of = self.expression(expr)?;
                self.get(of, attr)
            }
            Expr::HasAttr { expr, attrs } => {
                let (mut at, mut out) = (self.expression(expr)?, YES);
                for attr in attrs {
                    out = out.and(self.has(&at, attr)?);
                    at = self.get(at, attr)?;
                }
                Ok(out)
            }
            Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            Expr::BinaryOp { op, left, right } => self.binary(*op, left, right),
            Expr::Like { expr, pattern } => {
                let text = self.expression(expr)?;
                Ok(Ir::binary(Op::Like, text, Ir::Constant(Constant::Pattern(pieces(pattern)))))
            }
            Expr::Is { expr, entity_type, in_expr } => {
                self.is(expr, entity_type, in_expr.as_deref())
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => match self.expression(cond)? {
                Ir::Constant(Constant::Bool(true)) => self.expression(then_expr),
                Ir::Constant(Constant::Bool(false)) => self.expression(else_expr),
                test => Ok(test.if_else(self.expression(then_expr)?, self.expression(else_expr)?)),
            },
            Expr::Set(members) => self.set(members.iter().map(|member| &**member)),
            Expr::Record(_) => refuse("a record literal", "compare its attributes one by one"),
            _ => refuse("an expression of an unknown kind", "write it with operators of Cedar 4"),
        }
    }

    fn literal(&mut self, literal: &Literal) -> Specialised {
        Ok(Ir::Constant(match literal {
            Literal::Bool(truth) => Constant::Bool(*truth),
            Literal::Long(number) => Constant::Long(*number),
            Literal::String(text) => Constant::Text(text.to_string()),
            Literal::EntityUID(entity) => Constant::Entity(known_uid(entity)?),
            _ => return refuse("a literal of an unknown kind", "write it as Cedar 4 does"),
        }))
    }

    fn set<'e>(&mut self, members: impl Iterator<Item = &'e Expr>) -> Specialised {
        let mut constants = Vec::new();
        for member in members {
            match self.expression(member)? {
                Ir::Constant(constant) => constants.push(constant),
                _ => {
                    return refuse(
                        "a set literal with a member that is not constant",
                        "write `a == x || a == y` in place of `[x, y].contains(a)`",
                    );
                }
            }
        }
        constants.sort();
        constants.dedup();
        Ok(Ir::Constant(Constant::Set(constants)))
    }

    fn get(&mut self, of: Ir, attribute: &str) -> Specialised {
        Ok(match of {
            Ir::Slot(Slot::WholeContext) => match attribute {
                "arguments" => Ir::Slot(Slot::Argument(Vec::new())),
                "now" => Ir::Slot(Slot::Context(CONTEXT_NOW)),
                "era" => Ir::Slot(Slot::Context(CONTEXT_ERA)),
                "agent" => Ir::Slot(Slot::Caller(CALLER_AGENT)),
                _ => Ir::Fail,
            },
            Ir::Slot(Slot::Caller(slot)) => match (slot, attribute) {
                (CALLER_PRINCIPAL, "tenant") => Ir::Slot(Slot::Caller(CALLER_TENANT)),
                (CALLER_AGENT, "tenant") => Ir::Slot(Slot::Caller(CALLER_AGENT_TENANT)),
                _ => Ir::Fail,
            },
            Ir::Slot(Slot::Argument(mut path)) => {
                path.push(attribute.to_owned());
                if self.look_up(&path).is_some() {
                    Ir::Slot(Slot::Argument(path))
                } else {
                    Ir::Fail
                }
            }
            Ir::Constant(Constant::Entity(uid)) if uid == self.tool.uid => match attribute {
                "destructive" => Ir::bool(self.tool.destructive),
                "read_only" => Ir::bool(self.tool.read_only),
                _ => Ir::Fail,
            },
            Ir::Fail => Ir::Fail,
            _ => {
                return refuse(
                    format!(
                        "attribute `{attribute}` of a value other than principal, resource or context"
                    ),
                    "write the condition with `principal`, `resource` or `context` itself",
                );
            }
        })
    }

    /// Whether an argument is there to look at, and required all the way.
    fn look_up(&mut self, path: &[String]) -> Option<bool> {
        let looked = match self.tool.arguments.find(path) {
            None => Err("not in the pinned schema"),
            Some((property, sure)) => match property.shape {
                Shape::Hidden(why) => Err(why),
                _ => Ok(sure),
            },
        };
        match looked {
            Ok(sure) => {
                self.found.insert(path.to_vec());
                Some(sure)
            }
            Err(why) => {
                self.missing.insert(path.to_vec(), why);
                None
            }
        }
    }

    fn has(&mut self, of: &Ir, attribute: &str) -> Specialised {
        Ok(match of {
            Ir::Slot(Slot::WholeContext) => match attribute {
                "arguments" | "now" | "era" => YES,
                "agent" => Ir::unary(Op::Has, Ir::Slot(Slot::Caller(CALLER_AGENT))),
                _ => NO,
            },
            Ir::Slot(Slot::Caller(CALLER_PRINCIPAL)) => Ir::bool(attribute == "tenant"),
            Ir::Slot(Slot::Caller(CALLER_AGENT)) => {
                Ir::need(of.clone(), Ir::bool(attribute == "tenant"))
            }
            Ir::Slot(Slot::Caller(_)) => NO,
            Ir::Slot(Slot::Argument(record)) => {
                let mut path = record.clone();
                path.push(attribute.to_owned());
                self.has_argument(record, path)
            }
            Ir::Constant(Constant::Entity(uid)) if *uid == self.tool.uid => {
                Ir::bool(matches!(attribute, "destructive" | "read_only"))
            }
            Ir::Fail => Ir::Fail,
            _ => {
                return refuse(
                    format!(
                        "`has {attribute}` of a value other than principal, resource or context"
                    ),
                    "write the condition with `principal`, `resource` or `context` itself",
                );
            }
        })
    }

    /// `x.a has b` errs when `x.a` is absent, as Cedar's does. The guard makes required ones sure.
    fn has_argument(&mut self, record: &[String], path: Vec<String>) -> Ir {
        let looked = self.look_up(&path);
        let required = self.tool.arguments.find(&path).is_some_and(|(p, _)| p.required);
        let test = match looked {
            None => NO,
            Some(_) if required => YES,
            Some(_) => Ir::unary(Op::Has, Ir::Slot(Slot::Argument(path))),
        };
        let sure =
            record.is_empty() || self.tool.arguments.find(record).is_some_and(|(_, sure)| sure);
        if sure { test } else { Ir::need(Ir::Slot(Slot::Argument(record.to_vec())), test) }
    }

    fn unary(&mut self, op: UnaryOp, operand: &Expr) -> Specialised {
        let value = self.expression(operand)?;
        let divide = |value, unit_ms| {
            Ok(Ir::binary(Op::Divide, value, Ir::Constant(Constant::Long(unit_ms))))
        };
        match op {
            UnaryOp::Not => Ok(value.not()),
            UnaryOp::Neg => Ok(Ir::unary(Op::Negate, value)),
            UnaryOp::IsEmpty => Ok(Ir::unary(Op::IsEmpty, value)),
            UnaryOp::Decimal => self.construct(Constructor::Decimal, &value),
            UnaryOp::Datetime => self.construct(Constructor::Datetime, &value),
            UnaryOp::Duration => self.construct(Constructor::Duration, &value),
            UnaryOp::Ip => self.construct(Constructor::Ip, &value),
            UnaryOp::IsIPv4 => Ok(Ir::unary(Op::IsV4, value)),
            UnaryOp::IsIPV6 => Ok(Ir::unary(Op::IsV4, value).not()),
            UnaryOp::IsLoopback => Ok(Ir::unary(Op::IsLoopback, value)),
            UnaryOp::IsMulticast => Ok(Ir::unary(Op::IsMulticast, value)),
            UnaryOp::ToDate => Ok(Ir::unary(Op::ToDate, value)),
            UnaryOp::ToTime => Ok(Ir::unary(Op::ToTime, value)),
            UnaryOp::ToMilliseconds => divide(value, 1),
            UnaryOp::ToSeconds => divide(value, 1_000),
            UnaryOp::ToMinutes => divide(value, 60_000),
            UnaryOp::ToHours => divide(value, 3_600_000),
            UnaryOp::ToDays => divide(value, 86_400_000),
            _ => refuse(format!("the operator `{op}`"), "write it with operators of Cedar 4"),
        }
    }

    fn construct(&mut self, constructor: Constructor, value: &Ir) -> Specialised {
        let read = match value {
            Ir::Constant(Constant::Text(text)) => self.literals.read(constructor, text),
            _ => None,
        };
        match read {
            Some(constant) => Ok(Ir::Constant(constant)),
            None => refuse(
                "a constructor of something other than a valid string literal",
                "give the argument its `format` in the tool's schema, and write no constructor",
            ),
        }
    }

    fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr) -> Specialised {
        let a = self.expression(left)?;
        match (op, &a) {
            (BinaryOp::And, Ir::Constant(Constant::Bool(false)) | Ir::Fail)
            | (BinaryOp::Or, Ir::Constant(Constant::Bool(true)) | Ir::Fail) => return Ok(a),
            _ => {}
        }
        let b = self.expression(right)?;
        if matches!(op, BinaryOp::Eq | BinaryOp::NotEq) && (self.is_whole(&a) || self.is_whole(&b))
        {
            return refuse("a record compared as a whole", "compare its attributes one by one");
        }
        Ok(match op {
            BinaryOp::And => a.and(b),
            BinaryOp::Or => a.or(b),
            BinaryOp::In => return self.within(a, b),
            BinaryOp::Eq => Ir::binary(Op::Equal, a, b),
            BinaryOp::NotEq => Ir::binary(Op::Equal, a, b).not(),
            BinaryOp::Less => Ir::binary(Op::Less, a, b),
            BinaryOp::LessEq => Ir::binary(Op::LessEqual, a, b),
            BinaryOp::Greater => Ir::binary(Op::LessEqual, a, b).not(),
            BinaryOp::GreaterEq => Ir::binary(Op::Less, a, b).not(),
            BinaryOp::Add => Ir::binary(Op::Add, a, b),
            BinaryOp::Sub => Ir::binary(Op::Subtract, a, b),
            BinaryOp::Mul => Ir::binary(Op::Multiply, a, b),
            BinaryOp::Contains => Ir::binary(Op::Contains, a, b),
            BinaryOp::ContainsAll => Ir::binary(Op::ContainsAll, a, b),
            BinaryOp::ContainsAny => Ir::binary(Op::ContainsAny, a, b),
            BinaryOp::DecimalLessThan => Ir::binary(Op::DecimalLess, a, b),
            BinaryOp::DecimalLessEq => Ir::binary(Op::DecimalLessEqual, a, b),
            BinaryOp::DecimalGreater => Ir::binary(Op::DecimalLess, b, a),
            BinaryOp::DecimalGreaterEq => Ir::binary(Op::DecimalLessEqual, b, a),
            BinaryOp::IsInRange => Ir::binary(Op::InRange, a, b),
            BinaryOp::Offset => Ir::binary(Op::Offset, a, b),
            BinaryOp::DurationSince => Ir::binary(Op::Since, a, b),
            BinaryOp::GetTag | BinaryOp::HasTag => {
                return refuse("tags", "nothing here has tags; write the condition without");
            }
            _ => {
                let what = format!("the operator `{op}`");
                return refuse(what, "write it with operators of Cedar 4");
            }
        })
    }

    fn is_whole(&self, value: &Ir) -> bool {
        match value {
            Ir::Slot(Slot::WholeContext) => true,
            Ir::Slot(Slot::Argument(path)) => {
                let found = self.tool.arguments.find(path);
                path.is_empty() || found.is_some_and(|(p, _)| matches!(p.shape, Shape::Record(_)))
            }
            _ => false,
        }
    }

    fn is(&mut self, of: &Expr, ty: &EntityType, within: Option<&Expr>) -> Specialised {
        let value = self.expression(of)?;
        let asked = kind(ty);
        let test = match &value {
            Ir::Constant(Constant::Entity(uid)) => Ir::bool(Some(uid.kind) == asked),
            Ir::Slot(Slot::Caller(CALLER_PRINCIPAL)) => principal_is(ty),
            Ir::Slot(Slot::Caller(slot)) => {
                let is = match *slot {
                    CALLER_AGENT => FactKind::Agent,
                    _ => FactKind::Tenant,
                };
                Ir::need(value.clone(), Ir::bool(asked == Some(is)))
            }
            Ir::Fail => Ir::Fail,
            _ => {
                return refuse(
                    "`is` of a value other than principal, resource or context.agent",
                    "write `principal is User`, `principal is Agent` or `principal is Service`",
                );
            }
        };
        match within {
            Some(within) if test != NO => {
                let within = self.expression(within)?;
                Ok(test.and(self.within(value, within)?))
            }
            _ => Ok(test),
        }
    }

    fn within(&self, left: Ir, right: Ir) -> Specialised {
        if left == Ir::Fail || right == Ir::Fail {
            return Ok(Ir::Fail);
        }
        let targets = match right {
            Ir::Constant(Constant::Entity(uid)) => vec![uid],
            Ir::Constant(Constant::Set(members)) => members
                .into_iter()
                .filter_map(
                    |member| if let Constant::Entity(uid) = member { Some(uid) } else { None },
                )
                .collect(),
            _ => {
                return refuse(
                    "`in` with a right side that is not constant",
                    "write the role, group, tenant, server or tool by name",
                );
            }
        };
        let any = |test: &dyn Fn(Uid) -> Ir| targets.iter().cloned().map(test).fold(NO, Ir::or);
        let equals = |slot: u32, kind: FactKind, uid: Uid| {
            if uid.kind == kind { caller_equals(slot, uid) } else { NO }
        };
        match left {
            Ir::Constant(Constant::Entity(uid)) if uid == self.tool.uid => {
                Ok(Ir::bool(targets.contains(&uid) || targets.contains(&self.tool.server)))
            }
            Ir::Constant(Constant::Entity(uid)) if uid == action() => {
                Ok(Ir::bool(targets.contains(&uid)))
            }
            Ir::Slot(Slot::Caller(CALLER_PRINCIPAL)) => Ok(any(&principal_in)),
            Ir::Slot(Slot::Caller(slot @ (CALLER_TENANT | CALLER_AGENT_TENANT))) => {
                Ok(any(&|uid| equals(slot, FactKind::Tenant, uid)))
            }
            Ir::Slot(Slot::Caller(CALLER_AGENT))
                if !targets
                    .iter()
                    .any(|uid| matches!(uid.kind, FactKind::Role | FactKind::Group)) =>
            {
                Ok(any(&|uid| match uid.kind {
                    FactKind::Tenant => caller_equals(CALLER_AGENT_TENANT, uid),
                    _ => equals(CALLER_AGENT, FactKind::Agent, uid),
                }))
            }
            _ => refuse(
                "`in` with a left side other than principal, action or resource",
                "name the agents, `context.agent == Agent::\"tenant/name\"`, or test `principal in …`",
            ),
        }
    }
}

fn caller_equals(slot: u32, uid: Uid) -> Ir {
    Ir::binary(Op::Equal, Ir::Slot(Slot::Caller(slot)), Ir::Constant(Constant::Entity(uid)))
}

fn principal_equals(uid: Uid) -> Ir {
    caller_equals(CALLER_PRINCIPAL, uid)
}

/// Roles and groups are facts; the tenant and the principal itself are values.
fn principal_in(uid: Uid) -> Ir {
    match uid.kind {
        FactKind::Role | FactKind::Group => Ir::Member(uid),
        FactKind::Tenant => caller_equals(CALLER_TENANT, uid),
        FactKind::User | FactKind::Agent | FactKind::Service => principal_equals(uid),
        _ => NO,
    }
}

fn principal_is(ty: &EntityType) -> Ir {
    match kind(ty) {
        Some(FactKind::User) => Ir::Member(Uid::new(FactKind::Kind, "User")),
        Some(FactKind::Agent) => Ir::Member(Uid::new(FactKind::Kind, "Agent")),
        Some(FactKind::Service) => Ir::Member(Uid::new(FactKind::Kind, "Service")),
        _ => NO,
    }
}

/// The texts between wildcards.
fn pieces(pattern: &[PatternElem]) -> Vec<String> {
    let (mut pieces, mut piece) = (Vec::new(), String::new());
    for element in pattern {
        match element {
            PatternElem::Char(c) => piece.push(*c),
            PatternElem::Wildcard => pieces.push(std::mem::take(&mut piece)),
        }
    }
    pieces.push(piece);
    pieces
}

/// The type of an argument of a tool, for a complaint about it.
pub(crate) fn argument_type(tool: &ToolView, path: &[String]) -> Option<FieldType> {
    match tool.arguments.find(path)?.0.shape {
        Shape::Plain(kind) => Some(kind),
        Shape::Record(_) => Some(FieldType::Record),
        Shape::Hidden(_) => None,
    }
}
