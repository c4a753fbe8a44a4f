//! One bundle, made ready: every name resolved, every limit computed, shared by all cores.
//!
//! Built off the cores and swapped by one pointer. What does not fit together (a tool that the table
//! lacks, an address that is none) refuses the whole bundle with a sentence.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use dataplane_bundle::{Bundle, Catalog, Era, Expect, Per, Revision, SelfTest, Tool};
use dataplane_parse::Parser;
use dataplane_policy::{Call, CallerFacts, CallerKind, Context, ServerIndex, Table, ToolIndex};
use dataplane_quota::Limit;
use dataplane_relay::list::{ServerTools, ToolDefinition, ToolList};
use dataplane_upstream::{Origin, Timeouts};

/// Why a bundle cannot be used, for the control plane.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error("the policy table is malformed: {0}")]
    Table(String),
    #[error("server {server} is in the catalog and not in the policy table, or the reverse")]
    Server { server: String },
    #[error("tool {server}/{tool} is in the catalog and not in the policy table, or the reverse")]
    Tool { server: String, tool: String },
    #[error("server {server}: {fault}")]
    Url { server: String, fault: String },
    #[error("server {server}: header {header} or its prefix cannot be sent")]
    Inject { server: String, header: String },
    #[error("quota {quota}: {fault}")]
    Quota { quota: String, fault: String },
    #[error("identity provider {provider}: {fault}")]
    Identity { provider: String, fault: String },
    #[error("tool definitions: {0}")]
    Definitions(String),
    #[error("self-test {number} ({server}/{tool}) came out as {found}")]
    SelfTest { number: usize, server: String, tool: String, found: &'static str },
}

/// A bundle, ready to decide.
#[derive(Debug)]
pub struct Configuration {
    pub revision: Revision,
    /// Servers and tools in the table's order. Definitions of tools are empty here: they are in the list.
    pub catalog: Catalog,
    pub table: Table,
    pub(crate) servers: Vec<Upstream>,
    pub(crate) quotas: Vec<QuotaRule>,
    pub(crate) list: ToolList,
    tools: Vec<ToolFacts>,
    /// Each server's first tool.
    firsts: Vec<u32>,
}

/// A server of the table, in the table's order.
#[derive(Debug)]
pub struct Upstream {
    pub name: Box<str>,
    pub origin: Origin,
    pub era: Era,
    pub protocol: dataplane_parse::Revision,
    pub timeouts: Timeouts,
    pub ca_pem: Option<Box<str>>,
    pub(crate) inject: Option<InjectRule>,
}

#[derive(Debug)]
pub(crate) struct InjectRule {
    pub header: Box<str>,
    pub prefix: Box<str>,
    pub secret: Box<str>,
}

#[derive(Debug)]
pub(crate) struct QuotaRule {
    pub name: Arc<str>,
    pub per: Per,
    pub limit: Limit,
    pub ladder: dataplane_drops::Rule,
    server: Option<ServerIndex>,
    tool: Option<ToolIndex>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ToolFacts {
    destructive: bool,
}

impl QuotaRule {
    pub(crate) fn counts(&self, server: ServerIndex, tool: ToolIndex) -> bool {
        self.server.is_none_or(|only| only == server) && self.tool.is_none_or(|only| only == tool)
    }
}

impl Configuration {
    /// What operators say is one tenant's at the network card.
    #[must_use]
    pub fn places(&self) -> &[dataplane_drops::Place] {
        &self.catalog.places
    }

    /// Whether ignoring refusals of this quota may lead to dropping.
    #[must_use]
    pub fn drops_by_quota(&self, name: &str) -> bool {
        let found = self.quotas.iter().find(|rule| &*rule.name == name);
        found.is_some_and(|rule| rule.ladder.drop_ms(0).is_some())
    }

    /// Makes a bundle ready, reads its tools' definitions and tries its self-tests.
    ///
    /// # Errors
    /// Whatever does not fit; the bundle must not be used.
    pub fn new(bundle: Bundle) -> Result<Self, Unfit> {
        let made = Self::known(bundle)?;
        made.read_definitions()?;
        Ok(made)
    }

    /// As [`Self::new`], of a bundle that was made ready on this box before: each definition is read when
    /// it is first asked for. One that another release took and this one does not is in no list.
    ///
    /// # Errors
    /// Whatever does not fit; the bundle must not be used.
    pub fn known(bundle: Bundle) -> Result<Self, Unfit> {
        let Bundle { revision, table, mut catalog, self_tests, .. } = bundle;
        let table = Table::load(&table).map_err(|fault| Unfit::Table(fault.to_string()))?;
        crate::admit::verifier(&catalog)?;
        let servers = upstreams(&catalog, &table)?;
        let (list, tools) = listed(&mut catalog, &table)?;
        let quotas = quotas(&catalog, &table)?;
        let first = |(server, _)| table.tools(server).next().map_or(0, |(tool, _)| tool.0);
        let firsts = table.servers().map(first).collect();
        let made = Self { revision, catalog, table, servers, quotas, list, tools, firsts };
        self_tests.iter().enumerate().try_for_each(|(number, test)| made.try_one(number, test))?;
        Ok(made)
    }

    /// Reads the definitions that nobody has asked for yet.
    ///
    /// # Errors
    /// Which of them is refused; it is in no list.
    pub fn read_definitions(&self) -> Result<(), Unfit> {
        self.list.read_all().map_err(|fault| Unfit::Definitions(fault.to_string()))
    }

    #[must_use]
    pub fn find_server(&self, name: &str) -> Option<ServerIndex> {
        self.table.find_server(name)
    }

    #[must_use]
    pub fn find_tool(&self, server: &str, tool: &[u8]) -> Option<ToolIndex> {
        self.table.find_tool(self.table.find_server(server)?, tool)
    }

    #[must_use]
    pub fn tool_count(&self) -> usize {
        self.tools.len()
    }

    /// A tool by its server's place and its own among that server's.
    pub(crate) fn tool_at(&self, server: usize, place: usize) -> Option<ToolIndex> {
        let first = self.firsts.get(server)?;
        let tool = ToolIndex(first.checked_add(u32::try_from(place).ok()?)?);
        let (owner, _) = self.table.tool(tool)?;
        (usize::from(owner.0) == server).then_some(tool)
    }

    /// The reverse of `tool_at`.
    pub(crate) fn place(&self, server: ServerIndex, tool: ToolIndex) -> (usize, usize) {
        let server = usize::from(server.0);
        let first = self.firsts.get(server).copied().unwrap_or(tool.0);
        (server, tool.0.saturating_sub(first) as usize)
    }

    /// All servers, in the table's order.
    #[must_use]
    pub fn servers(&self) -> &[Upstream] {
        &self.servers
    }

    pub(crate) fn upstream(&self, server: ServerIndex) -> Option<&Upstream> {
        self.servers.get(usize::from(server.0))
    }

    pub(crate) fn is_destructive(&self, tool: ToolIndex) -> bool {
        self.tools.get(tool.0 as usize).is_none_or(|facts| facts.destructive)
    }

    fn try_one(&self, number: usize, test: &SelfTest) -> Result<(), Unfit> {
        let wrong = |found| Unfit::SelfTest {
            number,
            server: test.server.clone(),
            tool: test.tool.clone(),
            found,
        };
        let tool = self.find_tool(&test.server, test.tool.as_bytes()).ok_or(wrong("unknown"))?;
        let roles: Vec<&str> = test.caller.roles.iter().map(String::as_str).collect();
        let groups: Vec<&str> = test.caller.groups.iter().map(String::as_str).collect();
        let subject = self.table.subject(&CallerFacts {
            tenant: &test.caller.tenant,
            kind: caller_kind(test.caller.kind),
            user: test.caller.user.as_deref(),
            agent: test.caller.agent.as_deref(),
            roles: &roles,
            groups: &groups,
        });
        let text = test.arguments.as_deref().unwrap_or("{}");
        let context = Context { now: test.at, era: dataplane_policy::Era::Modern };
        let mut parser = Parser::new(dataplane_parse::Limits::REQUEST);
        let decision = parser
            .with_document(text.as_bytes(), |document| {
                let call = Call { tape: document.tape, arguments: Some(0), context };
                self.table.decide(&subject, tool, &call)
            })
            .map_err(|_| wrong("arguments that are not JSON"))?;
        match (decision.allow, test.expect) {
            (true, Expect::Allow) | (false, Expect::Deny) => Ok(()),
            (true, Expect::Deny) => Err(wrong("allowed")),
            (false, Expect::Allow) => Err(wrong("denied")),
        }
    }
}

pub(crate) const fn caller_kind(kind: dataplane_bundle::CallerKind) -> CallerKind {
    match kind {
        dataplane_bundle::CallerKind::User => CallerKind::User,
        dataplane_bundle::CallerKind::Agent => CallerKind::Agent,
        dataplane_bundle::CallerKind::Service => CallerKind::Service,
    }
}

fn upstreams(catalog: &Catalog, table: &Table) -> Result<Vec<Upstream>, Unfit> {
    let unfit = |server: &str| Unfit::Server { server: server.to_owned() };
    if catalog.servers.len() != table.servers().len() {
        let known = |name: &str| catalog.servers.iter().any(|server| server.name == name);
        let odd = table.servers().map(|(_, name)| name).find(|name| !known(name));
        return Err(unfit(odd.unwrap_or("(several)")));
    }
    table
        .servers()
        .map(|(_, name)| {
            let found = catalog.servers.iter().find(|server| server.name == name);
            upstream(found.ok_or_else(|| unfit(name))?)
        })
        .collect()
}

fn upstream(server: &dataplane_bundle::Server) -> Result<Upstream, Unfit> {
    let url = |fault: String| Unfit::Url { server: server.name.clone(), fault };
    let origin = Origin::parse(&server.url).map_err(|fault| url(fault.to_string()))?;
    let protocol = dataplane_parse::Revision::parse(server.protocol.as_bytes())
        .ok_or_else(|| url(format!("{} is no revision of MCP", server.protocol)))?;
    let inject = server.inject.as_ref().map(|inject| {
        let fits = dataplane_ingress::FieldName::new(inject.header.as_bytes()).is_ok()
            && dataplane_ingress::FieldValue::new(inject.prefix.as_bytes()).is_ok();
        let rule = InjectRule {
            header: inject.header.as_str().into(),
            prefix: inject.prefix.as_str().into(),
            secret: inject.secret.as_str().into(),
        };
        let refused =
            || Unfit::Inject { server: server.name.clone(), header: inject.header.clone() };
        fits.then_some(rule).ok_or_else(refused)
    });
    let dataplane_bundle::Timeouts { connect_ms, response_head_ms, idle_ms, call_ms } =
        server.timeouts;
    Ok(Upstream {
        name: server.name.as_str().into(),
        origin,
        era: server.era,
        protocol,
        timeouts: Timeouts { connect_ms, response_head_ms, idle_ms, call_ms },
        ca_pem: server.ca_pem.as_deref().map(Into::into),
        inject: inject.transpose()?,
    })
}

/// The catalog's tools of each server, in the table's order: the same tools, by their names. Their
/// definitions move into the list.
fn listed(catalog: &mut Catalog, table: &Table) -> Result<(ToolList, Vec<ToolFacts>), Unfit> {
    let mut facts = Vec::new();
    let mut servers = Vec::with_capacity(catalog.servers.len());
    let by_name = |server: &dataplane_bundle::Server| table.find_server(&server.name);
    catalog.servers.sort_unstable_by_key(by_name);
    for ((index, name), server) in table.servers().zip(&mut catalog.servers) {
        let tools = &mut server.tools;
        tools.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut decided = table.tools(index).map(|(_, tool)| tool);
        let mut offered = tools.iter().map(|tool| tool.name.as_str());
        loop {
            let odd = match (decided.next(), offered.next()) {
                (None, None) => break,
                (Some(decided), Some(offered)) if decided == offered => continue,
                // Both ascend, so the lesser of two is missing on the other side.
                (Some(decided), Some(offered)) => decided.min(offered),
                (Some(only), None) | (None, Some(only)) => only,
            };
            return Err(Unfit::Tool { server: name.to_owned(), tool: odd.to_owned() });
        }
        facts.extend(tools.iter().map(|tool| ToolFacts { destructive: tool.destructive }));
        let tools = tools.iter_mut().map(|Tool { name, definition, .. }| ToolDefinition {
            name,
            definition: std::mem::take(definition),
        });
        servers.push(ServerTools { name, tools: tools.collect() });
    }
    Ok((ToolList::new(servers), facts))
}

fn quotas(catalog: &Catalog, table: &Table) -> Result<Vec<QuotaRule>, Unfit> {
    let rule = |quota: &dataplane_bundle::Quota| {
        let unfit = |fault: &str| Unfit::Quota { quota: quota.name.clone(), fault: fault.into() };
        let units = NonZeroU32::new(quota.calls.units).ok_or_else(|| unfit("no units"))?;
        let period_ns = NonZeroU64::new(quota.calls.period_ms.saturating_mul(1_000_000))
            .ok_or_else(|| unfit("no period"))?;
        let burst = NonZeroU32::new(quota.burst).ok_or_else(|| unfit("no burst"))?;
        let limit =
            Limit::new(units, period_ns, burst).map_err(|fault| unfit(&fault.to_string()))?;
        let server = quota.server.as_deref().map(|name| {
            table.find_server(name).ok_or_else(|| unfit(&format!("no server is named {name}")))
        });
        let server = server.transpose()?;
        let tool = match (server, quota.tool.as_deref()) {
            (_, None) => None,
            (Some(server), Some(name)) => Some(
                table
                    .find_tool(server, name.as_bytes())
                    .ok_or_else(|| unfit(&format!("no tool is named {name}")))?,
            ),
            (None, Some(_)) => return Err(unfit("a tool needs its server")),
        };
        let ladder = quota.ladder().map_err(|fault| unfit(&fault.to_string()))?;
        let name = quota.name.as_str().into();
        Ok(QuotaRule { name, per: quota.per, limit, ladder, server, tool })
    };
    catalog.quotas.iter().map(rule).collect()
}
