//! What the gateway answers itself: `initialize`, `server/discover`, `ping`, `tools/list`, the end of
//! a session, and the metadata of RFC 9728.
//!
//! Lists come from the pinned catalog, filtered by the same table that judges calls: what a caller
//! may not call it does not see. An endpoint of which a caller sees nothing is unknown to it. A killed
//! tool stays listed: kills come and go, and its call says why it is refused. A killed caller is told
//! that instead of any answer.

use std::io::Write as _;

use dataplane_ingress::{Body, FieldValue, Head, Method as HttpMethod, ResponseHead};
use dataplane_parse::{Message, Method, Revision, SUPPORTED_LEGACY, without_body};
use dataplane_relay::list::{ListRequest, PAGE_BYTES_MAX, View};
use dataplane_relay::{
    Product, ReplyId, write_discover, write_initialize, write_pong, write_string,
};

use crate::admit::Admitted;
use crate::configuration::Configuration;
use crate::fault::{Fault, Incident, Refusal};
use crate::judge::{Asked, session_view};
use crate::route::Endpoint;
use crate::session::{Capabilities, SESSION_ENTROPY, Session};
use crate::stages::Stages;
use crate::wire;

/// How long a modern client may keep a list: a new policy shows within this.
const LIST_TTL_MS: u32 = 10_000;

/// A request that needs no server.
pub(crate) struct Query<'q, 'm> {
    pub configuration: &'q Configuration,
    pub endpoint: Endpoint<'q>,
    pub revision: Revision,
    pub message: &'q Message<'m>,
}

impl Stages {
    /// Writes the whole answer to `outbox`.
    pub(crate) fn answer_method<'m>(
        &mut self,
        asked: &Asked<'_>,
        query: &Query<'_, 'm>,
        method: Method,
        outbox: &mut Vec<u8>,
    ) -> Result<(), Fault<'m>> {
        let view = view(query.configuration, asked.caller, query.endpoint)?;
        let id = ReplyId::of(query.message, query.revision.is_modern());
        let mut page = std::mem::take(&mut self.page);
        page.clear();
        let written = self.write_method(asked, query, method, (view, id), &mut page);
        if let Ok(session) = &written {
            match session {
                Some(session) => handshake(asked.head, session, query.revision, &page, outbox),
                None => wire::json(asked.head, 200, &page, outbox),
            }
        }
        page.shrink_to(PAGE_BYTES_MAX);
        self.page = page;
        written.map(|_| ())
    }

    /// Writes the body of the answer; of a handshake, with its new session.
    fn write_method<'m>(
        &mut self,
        asked: &Asked<'_>,
        query: &Query<'_, 'm>,
        method: Method,
        (view, id): (View, ReplyId<'_>),
        page: &mut Vec<u8>,
    ) -> Result<Option<Vec<u8>>, Fault<'m>> {
        match method {
            Method::Initialize => {
                let session = self.open_session(asked, query)?;
                write_initialize(page, id, query.revision, &PRODUCT);
                return Ok(Some(session));
            }
            Method::Discover => write_discover(page, id, &PRODUCT, LIST_TTL_MS),
            Method::Ping => write_pong(page, id),
            Method::ListTools => self.list(asked, query, view, id, page)?,
            // Judged elsewhere; here it would be a call without a policy.
            Method::CallTool => return Err(Refusal::UnknownTool.into()),
        }
        Ok(None)
    }

    fn list<'m>(
        &self,
        asked: &Asked<'_>,
        query: &Query<'_, 'm>,
        view: View,
        id: ReplyId<'_>,
        page: &mut Vec<u8>,
    ) -> Result<(), Refusal<'m>> {
        let configuration = query.configuration;
        let from = match query.message.cursor.value() {
            None => 0,
            Some(cursor) => position(configuration, cursor.value).ok_or(Refusal::StaleCursor)?,
        };
        let request = ListRequest {
            id,
            revision: query.revision,
            view,
            from,
            ttl_ms: LIST_TTL_MS,
            gaps: &[],
            page_bytes_max: PAGE_BYTES_MAX,
        };
        let subject = &asked.caller.subject;
        let visible = |server: usize, place: usize| {
            let tool = configuration.tool_at(server, place);
            tool.is_some_and(|tool| configuration.table.may_see(subject, tool))
        };
        let cursor = |next: u32, out: &mut Vec<u8>| {
            // A `Vec` takes every byte.
            let _infallible = write!(out, "r{}p{next}", configuration.revision.0);
        };
        configuration.list.write(page, &request, visible, cursor);
        Ok(())
    }

    /// The sealed id of a new session.
    fn open_session(
        &mut self,
        asked: &Asked<'_>,
        query: &Query<'_, '_>,
    ) -> Result<Vec<u8>, Incident> {
        let random: [u8; SESSION_ENTROPY] = self.random.fill();
        let place = SUPPORTED_LEGACY.iter().position(|known| *known == query.revision);
        let initialize = &query.message.initialize;
        let document = query.message.document;
        let declared = |name| {
            let capabilities = initialize.capabilities.value();
            capabilities.is_some_and(|found| document.get(found.index, name).is_some())
        };
        let capabilities = Capabilities::default()
            .with(Capabilities::ELICITATION, declared("elicitation"))
            .with(Capabilities::SAMPLING, declared("sampling"))
            .with(Capabilities::ROOTS, declared("roots"));
        let id = self.random.bytes16();
        let revision = place.and_then(|place| u8::try_from(place).ok()).unwrap_or_default();
        let client = initialize.client_name.unwrap_or_default();
        let session = Session::new(id, revision, capabilities, client, asked.now.wall);
        let binding = asked.caller.binding(asked.head.path.of(asked.inbox));
        let mut text = Vec::new();
        let sealed = self.sealer.seal(&session, binding, &random, &mut text);
        sealed.ok_or(Incident::NoConfiguration)?;
        Ok(text)
    }

    /// GET and DELETE: a legacy session may be ended; streams are not served.
    pub(crate) fn without_body(&mut self, asked: &Asked<'_>, outbox: &mut Vec<u8>) {
        if let Err(refusal) = self.refuse_barred(asked) {
            self.tell(&refusal.unasked().into(), asked.head, None, false, outbox);
            return;
        }
        let session = self.session(asked);
        let refusal = match without_body(&asked.headers(), session_view(session.as_ref())) {
            Err(fault) => Refusal::Era(fault),
            Ok(_) => match (asked.head.method, session.flatten()) {
                (HttpMethod::Delete, Some(session)) => {
                    self.end_session(session.id);
                    wire::empty(asked.head, 200, outbox);
                    return;
                }
                _ => Refusal::Method { allow: "POST, DELETE" },
            },
        };
        self.tell(&refusal.into(), asked.head, None, false, outbox);
    }
}

const PRODUCT: Product<'static> = Product {
    name: "portcullis",
    title: "Portcullis MCP gateway",
    version: env!("CARGO_PKG_VERSION"),
    instructions: "",
    list_changed: false,
};

/// What the endpoint shows this caller; nothing is the same as not being there.
fn view<'m>(
    configuration: &Configuration,
    caller: &Admitted,
    endpoint: Endpoint<'_>,
) -> Result<View, Refusal<'m>> {
    match endpoint {
        Endpoint::Federated => Ok(View::Federated),
        Endpoint::Server(name) => {
            let server = configuration.find_server(name).ok_or(Refusal::UnknownServer)?;
            let mut tools = configuration.table.tools(server);
            let any = tools.any(|(tool, _)| configuration.table.may_see(&caller.subject, tool));
            any.then_some(View::Server(usize::from(server.0))).ok_or(Refusal::UnknownServer)
        }
    }
}

/// A cursor is a place in one revision's list. It gives nothing away and grants nothing: every page
/// is filtered for whoever asks. `r7p120`: revision 7, place 120.
fn position(configuration: &Configuration, text: &str) -> Option<u32> {
    let (revision, place) = text.strip_prefix('r')?.split_once('p')?;
    let current: u64 = revision.parse().ok()?;
    (current == configuration.revision.0).then(|| place.parse().ok()).flatten()
}

fn handshake(head: &Head, session: &[u8], revision: Revision, body: &[u8], out: &mut Vec<u8>) {
    let mut answer = ResponseHead::new(200);
    answer.body = Body::Length(body.len() as u64);
    answer.content_type = Some(wire::JSON);
    answer.keep_alive = head.keep_alive;
    answer.session_id = FieldValue::new(session).ok();
    answer.protocol_version = FieldValue::new(revision.as_str().as_bytes()).ok();
    answer.write(out);
    out.extend_from_slice(body);
}

/// RFC 9728 §3.2 for one endpoint. Served for any well-formed server name: whether a server exists
/// is told to nobody without a token.
pub(crate) fn metadata(
    configuration: &Configuration,
    endpoint: Endpoint<'_>,
    head: &Head,
    out: &mut Vec<u8>,
) {
    let base = &configuration.catalog.gateway.public_url;
    let resource = match endpoint {
        Endpoint::Federated => format!("{base}/mcp"),
        Endpoint::Server(name) => format!("{base}/servers/{name}/mcp"),
    };
    let mut body = Vec::from(&b"{\"resource\":"[..]);
    write_string(&mut body, &resource);
    body.extend_from_slice(b",\"authorization_servers\":[");
    for (place, provider) in configuration.catalog.identity.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        write_string(&mut body, &provider.issuer);
    }
    body.extend_from_slice(
        b"],\"bearer_methods_supported\":[\"header\"],\"resource_name\":\"Portcullis\"}",
    );
    wire::json(head, 200, &body, out);
}
