//! The tool list, put together from definitions that were pinned.
//!
//! A definition is kept as it was approved; only the value of its name is replaced where a list shows
//! the tools of several servers. What the caller may not call is not written. A list longer than a
//! page goes on under a cursor, which the caller of this module seals.

use dataplane_parse::{
    Limits, ParamHeader, ParseFault, Parser, Revision, SchemaFault, write_string,
};

use crate::reply::{ReplyId, close_result, open_result, write_integer};

/// Where a page ends, unless its first tool alone is longer. About what clients read at once.
pub const PAGE_BYTES_MAX: usize = 1 << 20;

/// Between server and tool. Server names hold no underscore, so the first one splits.
pub const SEPARATOR: &str = "__";

/// The tools of a server, as they are to be listed.
#[derive(Clone, Copy, Debug)]
pub struct ServerTools<'a> {
    pub name: &'a str,
    pub tools: &'a [ToolDefinition<'a>],
}

/// One tool.
#[derive(Clone, Copy, Debug)]
pub struct ToolDefinition<'a> {
    pub name: &'a str,
    /// The JSON object of `tools/list`, with the same name inside.
    pub definition: &'a [u8],
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
    #[error("there are more tools, or longer definitions, than a list can hold")]
    TooMany,
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
    /// Definitions without their names' values, one after the other.
    text: Vec<u8>,
    tools: Vec<Tool>,
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Tool {
    server: usize,
    /// Its place among its server's tools.
    place: usize,
    /// Of the text: start, where the name goes, end.
    start: usize,
    name_at: usize,
    end: usize,
    plain: Box<str>,
    federated: Box<str>,
    params: Result<Box<[ParamHeader]>, SchemaFault>,
}

#[derive(Debug)]
struct Server {
    name: Box<str>,
    first: usize,
    count: usize,
}

impl ToolList {
    /// Reads and keeps every definition, in the order given.
    ///
    /// # Errors
    /// When a definition is not strict JSON or has another name.
    pub fn new(servers: &[ServerTools<'_>]) -> Result<Self, ListFault> {
        let definitions = servers.iter().flat_map(|server| server.tools);
        let bytes = definitions.map(|tool| tool.definition.len()).sum();
        let mut list = Self { text: Vec::with_capacity(bytes), ..Self::default() };
        let mut parser = Parser::new(Limits::ANSWER);
        for (server, described) in servers.iter().enumerate() {
            let first = list.tools.len();
            for (place, tool) in described.tools.iter().enumerate() {
                list.add(&mut parser, (server, described.name), place, tool).map_err(|why| {
                    ListFault { server: described.name.into(), tool: tool.name.into(), why }
                })?;
            }
            let count = described.tools.len();
            list.servers.push(Server { name: described.name.into(), first, count });
        }
        Ok(list)
    }

    fn add(
        &mut self,
        parser: &mut Parser,
        (server, server_name): (usize, &str),
        place: usize,
        tool: &ToolDefinition<'_>,
    ) -> Result<(), ListFaultKind> {
        let read = parser.with_document(tool.definition, |document| {
            let value = document.get(0, "name")?;
            let named = document.text(value)? == tool.name;
            named.then(|| (document.extent(value), ParamHeader::of_document(document)))
        })?;
        let (name, params) = read.ok_or(ListFaultKind::Name)?;
        // Nothing but white space can stand around an object that was read.
        let definition = tool.definition;
        let (head, tail) =
            (definition.get(..name.range().start), definition.get(name.range().end..));
        let (Some(head), Some(tail)) = (head, tail) else { return Err(ListFaultKind::Name) };
        if u32::try_from(self.tools.len()).is_err() {
            return Err(ListFaultKind::TooMany);
        }
        let start = self.text.len();
        self.text.extend_from_slice(head.trim_ascii_start());
        let name_at = self.text.len();
        self.text.extend_from_slice(tail.trim_ascii_end());
        self.tools.push(Tool {
            server,
            place,
            start,
            name_at,
            end: self.text.len(),
            plain: tool.name.into(),
            federated: [server_name, SEPARATOR, tool.name].concat().into(),
            params: params.map(Into::into),
        });
        Ok(())
    }

    /// The arguments that a modern client repeats in headers. Empty for a tool that is not here.
    #[must_use]
    pub fn params(&self, server: usize, tool: usize) -> &[ParamHeader] {
        match self.tool(server, tool).map(|tool| &tool.params) {
            Some(Ok(params)) => params,
            Some(Err(_)) | None => &[],
        }
    }

    /// Why a tool is left out of the lists of modern clients, if it is: they would have to leave it
    /// out themselves.
    #[must_use]
    pub fn left_out(&self, server: usize, tool: usize) -> Option<&SchemaFault> {
        self.tool(server, tool).and_then(|tool| tool.params.as_ref().err())
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
        for (index, tool) in shown {
            let offered = tool.params.is_ok() || !request.revision.is_modern();
            if !offered || !visible(tool.server, tool.place) {
                continue;
            }
            let name = match request.view {
                View::Federated => &tool.federated,
                View::Server(_) => &tool.plain,
            };
            let written = out.len() - before;
            let length = tool.end - tool.start + name.len() + 3;
            if page.tools > 0 && written + length > request.page_bytes_max {
                page.next = u32::try_from(index).ok();
                break;
            }
            if page.tools > 0 {
                out.push(b',');
            }
            out.extend_from_slice(self.text.get(tool.start..tool.name_at).unwrap_or_default());
            write_string(out, name);
            out.extend_from_slice(self.text.get(tool.name_at..tool.end).unwrap_or_default());
            page.tools += 1;
        }
        page
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
