//! The tool list, put together from definitions that were pinned.
//!
//! A definition is kept as it was approved; only the value of its name is replaced where a list shows
//! the tools of several servers. What the caller may not call is not written. A list longer than a
//! page goes on under a cursor, which the caller of this module seals.
//!
//! A definition is read when it is first asked for: a start reads none.

use std::ops::Range;
use std::sync::OnceLock;

use dataplane_parse::{
    Limits, ParamHeader, ParseFault, Parser, Revision, SchemaFault, write_string,
};

use crate::reply::{ReplyId, close_result, open_result, write_integer};

/// Where a page ends, unless its first tool alone is longer. About what clients read at once.
pub const PAGE_BYTES_MAX: usize = 1 << 20;

/// Between server and tool. Server names hold no underscore, so the first one splits.
pub const SEPARATOR: &str = "__";

/// The tools of a server, as they are to be listed.
#[derive(Clone, Debug)]
pub struct ServerTools<'a> {
    pub name: &'a str,
    pub tools: Vec<ToolDefinition<'a>>,
}

/// One tool.
#[derive(Clone, Debug)]
pub struct ToolDefinition<'a> {
    pub name: &'a str,
    /// The JSON object of `tools/list`, with the same name inside.
    pub definition: String,
}

/// Why a list cannot be made: the bundle's fault.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("tool {server}/{tool}: {why}")]
pub struct ListFault {
    pub server: String,
    pub tool: String,
    pub why: ListFaultKind,
}

/// The rule that a definition breaks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ListFaultKind {
    #[error("its definition is refused: {0}")]
    Parse(#[from] ParseFault),
    #[error("its definition is not an object with this name")]
    Name,
}

/// Whose tools a list shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum View {
    /// Of every server, as `server__tool`.
    Federated,
    /// Of the server at this place, names untouched.
    Server(usize),
}

/// A server whose tools are missing from a list for now.
#[derive(Clone, Copy, Debug)]
pub struct Gap<'a> {
    pub server: &'a str,
    pub reason: &'a str,
}

/// One request for a list.
#[derive(Clone, Copy, Debug)]
pub struct ListRequest<'a> {
    pub id: ReplyId<'a>,
    pub revision: Revision,
    pub view: View,
    /// Where the page begins: 0, or what an earlier page named as `next`.
    pub from: u32,
    /// How long a modern client may keep the list, which is for this caller only.
    pub ttl_ms: u32,
    pub gaps: &'a [Gap<'a>],
    /// [`PAGE_BYTES_MAX`], or less.
    pub page_bytes_max: usize,
}

/// What was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Page {
    /// Tools on this page.
    pub tools: u32,
    /// Where the next page begins, if there is one.
    pub next: Option<u32>,
}

/// All tools of a bundle, ready to be written.
#[derive(Debug, Default)]
pub struct ToolList {
    tools: Vec<Tool>,
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Tool {
    server: usize,
    /// Its place among its server's tools.
    place: usize,
    /// `server__tool`, and where the tool's own name begins.
    federated: Box<str>,
    plain_at: usize,
    definition: String,
    read: OnceLock<Result<Read, ListFaultKind>>,
}

/// What is known of a definition once it was read.
#[derive(Debug)]
struct Read {
    /// The value of its name, quotes included.
    name: Range<usize>,
    params: Result<Box<[ParamHeader]>, SchemaFault>,
}

#[derive(Debug)]
struct Server {
    name: Box<str>,
    first: usize,
    count: usize,
}

impl ToolList {
    /// Keeps every definition, in the order given.
    #[must_use]
    pub fn new(servers: Vec<ServerTools<'_>>) -> Self {
        let mut list = Self::default();
        for (server, described) in servers.into_iter().enumerate() {
            let (first, count) = (list.tools.len(), described.tools.len());
            let prefix = [described.name, SEPARATOR].concat();
            let tools = described.tools.into_iter().enumerate().map(|(place, tool)| Tool {
                server,
                place,
                federated: [&prefix, tool.name].concat().into(),
                plain_at: prefix.len(),
                definition: trimmed(tool.definition),
                read: OnceLock::new(),
            });
            list.tools.extend(tools);
            list.servers.push(Server { name: described.name.into(), first, count });
        }
        list
    }

    /// Reads every definition that nobody has asked for yet. One that is refused is in no list.
    ///
    /// # Errors
    /// When a definition is not strict JSON or has another name.
    pub fn read_all(&self) -> Result<(), ListFault> {
        let mut parser = None;
        self.tools.iter().try_for_each(|tool| match tool.read(&mut parser) {
            Ok(_) => Ok(()),
            Err(why) => {
                let server = self.server_name(tool.server).unwrap_or_default().to_owned();
                Err(ListFault { server, tool: tool.plain().to_owned(), why: why.clone() })
            }
        })
    }

    /// The arguments that a modern client repeats in headers. Empty for a tool that is not here, and
    /// for one that is left out of the lists of modern clients.
    #[must_use]
    pub fn params(&self, server: usize, tool: usize) -> &[ParamHeader] {
        let read = self.tool(server, tool).and_then(|tool| tool.read(&mut None).ok());
        read.and_then(|read| read.params.as_deref().ok()).unwrap_or_default()
    }

    /// The name of the server at this place.
    #[must_use]
    pub fn server_name(&self, server: usize) -> Option<&str> {
        self.servers.get(server).map(|server| &*server.name)
    }

    fn tool(&self, server: usize, tool: usize) -> Option<&Tool> {
        let server = self.servers.get(server)?;
        if tool < server.count { self.tools.get(server.first + tool) } else { None }
    }

    /// Appends the whole answer to `tools/list`.
    ///
    /// `visible` says by (server, tool) what this caller may see. `cursor` appends the sealed form
    /// of where the next page begins: letters of base64url only.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        request: &ListRequest<'_>,
        mut visible: impl FnMut(usize, usize) -> bool,
        cursor: impl FnOnce(u32, &mut Vec<u8>),
    ) -> Page {
        open_result(out, request.id);
        out.push(b'{');
        if request.revision.is_modern() {
            out.extend_from_slice(b"\"resultType\":\"complete\",");
        }
        out.extend_from_slice(b"\"tools\":[");
        let page = self.write_tools(out, request, &mut visible);
        out.push(b']');
        if let Some(next) = page.next {
            out.extend_from_slice(b",\"nextCursor\":\"");
            cursor(next, out);
            out.push(b'"');
        }
        if request.revision.is_modern() {
            out.extend_from_slice(b",\"ttlMs\":");
            write_integer(out, i64::from(request.ttl_ms));
            out.extend_from_slice(b",\"cacheScope\":\"private\"");
        }
        write_gaps(out, request.gaps);
        out.push(b'}');
        close_result(out);
        page
    }

    fn write_tools(
        &self,
        out: &mut Vec<u8>,
        request: &ListRequest<'_>,
        visible: &mut impl FnMut(usize, usize) -> bool,
    ) -> Page {
        let (first, count) = match request.view {
            View::Federated => (0, self.tools.len()),
            View::Server(server) => {
                self.servers.get(server).map_or((0, 0), |server| (server.first, server.count))
            }
        };
        let before = out.len();
        let mut page = Page { tools: 0, next: None };
        let from = usize::try_from(request.from).unwrap_or(usize::MAX);
        let shown = self.tools.iter().skip(first).take(count).enumerate().skip(from);
        let mut parser = None;
        for (index, tool) in shown {
            let Ok(read) = tool.read(&mut parser) else { continue };
            // Modern clients would have to leave out a tool whose declarations are wrong.
            let offered = read.params.is_ok() || !request.revision.is_modern();
            if !offered || !visible(tool.server, tool.place) {
                continue;
            }
            let name = match request.view {
                View::Federated => &tool.federated,
                View::Server(_) => tool.plain(),
            };
            let definition = tool.definition.as_bytes();
            let head = definition.get(..read.name.start).unwrap_or_default();
            let tail = definition.get(read.name.end..).unwrap_or_default();
            let written = out.len() - before;
            let length = head.len() + name.len() + tail.len() + 3;
            if page.tools > 0 && written + length > request.page_bytes_max {
                page.next = u32::try_from(index).ok();
                break;
            }
            if page.tools > 0 {
                out.push(b',');
            }
            out.extend_from_slice(head);
            write_string(out, name);
            out.extend_from_slice(tail);
            page.tools += 1;
        }
        page
    }
}

/// The object alone. None that was approved has white space around it.
fn trimmed(definition: String) -> String {
    let object = definition.trim_ascii();
    if object.len() == definition.len() { definition } else { object.to_owned() }
}

impl Tool {
    fn plain(&self) -> &str {
        self.federated.get(self.plain_at..).unwrap_or_default()
    }

    /// The parser is made where something is to be read, and serves the next.
    fn read(&self, parser: &mut Option<Parser>) -> Result<&Read, &ListFaultKind> {
        let read = || {
            let parser = parser.get_or_insert_with(|| Parser::new(Limits::ANSWER));
            let read = parser.with_document(self.definition.as_bytes(), |document| {
                let name = document.get(0, "name")?;
                let named = document.text(name)? == self.plain();
                named.then(|| Read {
                    name: document.extent(name).range(),
                    params: ParamHeader::of_document(document).map(Into::into),
                })
            });
            read?.ok_or(ListFaultKind::Name)
        };
        self.read.get_or_init(read).as_ref()
    }
}

/// A server that is down costs its own tools only, and the list says so.
fn write_gaps(out: &mut Vec<u8>, gaps: &[Gap<'_>]) {
    if gaps.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"_meta\":{\"portcullis/unavailable\":[");
    for (index, gap) in gaps.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"server\":");
        write_string(out, gap.server);
        out.extend_from_slice(b",\"reason\":");
        write_string(out, gap.reason);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}
