//! A real MCP server (rmcp) whose tools a test can change.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use rmcp::ServerHandler;
use rmcp::model::{
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::{Value, json};

/// Serves until it is dropped.
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    pub(crate) tools: Arc<Mutex<Vec<Value>>>,
    /// `Authorization` of each request.
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Handler {
    tools: Arc<Mutex<Vec<Value>>>,
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<rmcp::RoleServer>,
    ) -> Result<ListToolsResult, rmcp::ErrorData> {
        let tools = self.tools.lock().unwrap().clone();
        let tools: Vec<Tool> =
            tools.into_iter().map(|tool| serde_json::from_value(tool).unwrap()).collect();
        Ok(ListToolsResult::with_all_items(tools))
    }
}

pub(crate) fn refund(description: &str) -> Value {
    json!({
        "name": "refund",
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": { "order": { "type": "string" }, "amount": { "type": "integer" } },
            "required": ["order", "amount"],
        },
        "annotations": { "destructiveHint": true },
    })
}

pub(crate) fn get_orders() -> Value {
    json!({ "name": "get_orders", "inputSchema": { "type": "object", "properties": {} } })
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_at(addr: SocketAddr) -> Self {
        let tools = Arc::new(Mutex::new(vec![get_orders(), refund("Refunds an order.")]));
        let handler = Handler { tools: Arc::clone(&tools) };
        let service = StreamableHttpService::new(
            move || Ok(handler.clone()),
            Arc::new(LocalSessionManager::default()),
            StreamableHttpServerConfig::default(),
        );
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let router = axum::Router::new()
            .nest_service("/mcp", service)
            .layer(middleware::from_fn_with_state(Arc::clone(&seen), note));
        let listener = tokio::net::TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { addr, tools, seen, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.addr)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn note(
    State(seen): State<Arc<Mutex<Vec<String>>>>,
    request: Request,
    next: Next,
) -> Response {
    let value = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    seen.lock().unwrap().push(value.unwrap_or_default().to_owned());
    next.run(request).await
}
