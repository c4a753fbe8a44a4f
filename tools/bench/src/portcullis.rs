//! Portcullis with everything on, as real processes: TLS, tokens, policy, quota, durable audit.
//!
//! The control plane is started and told by its REST API what an operator would tell it; the gateway
//! enrols, takes the bundle, and serves. Both are built binaries; nothing is linked in.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tests_fixtures::stack::{Process, binary, free_port, wait_until};

use crate::material::{AUDIENCE, ISSUER, Material};
use crate::mix::Paths;
use crate::origin::{TOOL, TOOL_DENIED};
use crate::place::{self, Cores};
use crate::rest::Rest;

/// How long a process may take to be ready. Discovery alone may take 20 s by its own time-out.
const READY: Duration = Duration::from_secs(60);
/// More calls than any run makes: the bucket is taken from on each, and never refuses.
const QUOTA: &str = "1000000/s";

/// A configured system. Dropped, it ends.
pub(crate) struct Portcullis {
    pub gateway: Process,
    pub control: Process,
    pub address: SocketAddr,
    data: PathBuf,
    cores: Cores,
}

impl Portcullis {
    /// Starts, configures and enrols.
    ///
    /// # Errors
    /// Which process or which step failed, with the end of its log.
    pub(crate) fn start(
        material: &Material,
        cores: Cores,
        origin: SocketAddr,
    ) -> anyhow::Result<Self> {
        let (mut control, rest, quic) = place::on(cores.load, || start_control(material))?;
        configure(&rest, material, origin).with_context(|| control.log_tail())?;
        let enrolment = rest.post("/v1/appliances/enrolments", &json!({"name": "bench"}))?;
        let token = enrolment.pointer("/token").and_then(|token| token.as_str());
        let token = token.context("an enrolment without a token")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let folder = material.place.path("gateway");
        let data = folder.display().to_string();
        let words = [
            ("--data-dir", data),
            ("--listen", address.to_string()),
            ("--admin-listen", admin.to_string()),
            ("--control", quic.to_string()),
            ("--tls-cert", material.chain.display().to_string()),
            ("--tls-key", material.key.display().to_string()),
            ("--cores", cores.proxy.to_string()),
        ];
        let words: Vec<String> =
            words.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        // The token is for the first start only; the environment keeps it out of `ps`.
        let once = [
            ("PORTCULLIS_ENROL_TOKEN".to_owned(), token.to_owned()),
            ("RUST_LOG".to_owned(), "info".to_owned()),
        ];
        let log = material.place.path("gateway.log");
        let program = binary("portcullis-gateway")?;
        let mut gateway =
            place::on(cores.proxy, || Process::start("gateway", &program, &words, &once, &log))?;
        let in_force = || current(&rest).then_some(());
        if let Err(fault) = wait_until(READY, "bundle in force", in_force) {
            anyhow::bail!("{fault}\n{}{}", gateway.log_tail(), control.log_tail());
        }
        anyhow::ensure!(gateway.ended().is_none(), "the gateway ended\n{}", gateway.log_tail());
        anyhow::ensure!(control.ended().is_none(), "control ended\n{}", control.log_tail());
        Ok(Self { gateway, control, address, data: folder, cores })
    }

    /// Where the mixes go.
    pub(crate) fn paths(&self, material: &Material) -> Paths {
        Paths {
            host: "localhost".to_owned(),
            modern: "/servers/orders/mcp".to_owned(),
            legacy: "/servers/legacy/mcp".to_owned(),
            token: material.token.clone(),
        }
    }

    /// Waits until the bundle has proved good: while it is on trial each start writes that down first,
    /// and a kill counts against it.
    ///
    /// # Errors
    /// When that takes longer than it may.
    pub(crate) fn after_the_trial(&self) -> anyhow::Result<()> {
        let floor = self.data.join("floor");
        let is_good = || {
            let bytes = std::fs::read(&floor).ok()?;
            bytes.get(8..16)?.iter().any(|byte| *byte != 0).then_some(())
        };
        wait_until(READY, "bundle that has proved good", is_good)
    }

    /// Executes the gateway that was ended.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub(crate) fn start_gateway(&mut self) -> anyhow::Result<()> {
        place::on(self.cores.proxy, || self.gateway.restart())
    }
}

fn start_control(material: &Material) -> anyhow::Result<(Process, Rest, SocketAddr)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let quic = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let data = material.place.path("control");
    let words = [
        "--data-dir".to_owned(),
        data.display().to_string(),
        "--listen".to_owned(),
        address.to_string(),
        "--quic-listen".to_owned(),
        quic.to_string(),
    ];
    let log = material.place.path("control.log");
    let program = binary("portcullis-control")?;
    let mut control = Process::start("control", &program, &words, &[], &log)?;
    let token = data.join("bootstrap-token");
    let mut rest = Rest { address, token: String::new() };
    control.until(READY, "answer of the REST API", || {
        let Ok(text) = std::fs::read_to_string(&token) else { return false };
        rest.token = text.trim().to_owned();
        rest.get("/v1/status").is_ok()
    })?;
    Ok((control, rest, quic))
}

/// True when the one appliance enforces what was applied.
fn current(rest: &Rest) -> bool {
    let Ok(answer) = rest.get("/v1/appliances") else { return false };
    let all = answer.get("items").unwrap_or(&answer).as_array().cloned().unwrap_or_default();
    all.iter().any(|one| one.get("state").is_some_and(|state| state == "current"))
}

fn configure(rest: &Rest, material: &Material, origin: SocketAddr) -> anyhow::Result<()> {
    let files = json!({
        "portcullis.toml": settings(&material.jwks, origin),
        "support.cedar": POLICY.replace("TOOL_DENIED", TOOL_DENIED),
        "tests/support.toml": TESTS.replace("TOOL_DENIED", TOOL_DENIED).replace("TOOL", TOOL),
    });
    rest.post("/v1/apply", &json!({"files": files, "message": "bench"})).map(drop)
}

fn settings(jwks: &str, origin: SocketAddr) -> String {
    format!(
        r#"[gateway]
public_url = "https://localhost"
hosts = ["localhost"]

[identity.bench]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
claims = {{ tenant = "org", roles = "roles", groups = "groups", agent = "azp" }}
jwks = '''{jwks}'''

[servers.orders]
url = "http://{origin}/mcp"
era = "modern"

[servers.legacy]
url = "http://{origin}/legacy"
era = "legacy"

[roles.support]
[roles.auditor]

[quotas.agents]
per = "agent"
calls = "{QUOTA}"
"#
    )
}

/// A handful of rules: one that allows the call, one that denies, some that are not about it.
const POLICY: &str = r#"permit(principal in Role::"support", action == Action::"call", resource in Server::"orders");
permit(principal in Role::"support", action == Action::"call", resource in Server::"legacy");
permit(principal in Role::"auditor", action == Action::"call", resource == Tool::"orders/tool_0002");
forbid(principal, action == Action::"call", resource == Tool::"orders/TOOL_DENIED");
forbid(principal, action == Action::"call", resource == Tool::"orders/tool_0003") when { context.arguments has limit && context.arguments.limit > 500 };
"#;

const TESTS: &str = r#"[[case]]
caller = { tenant = "acme-eu", user = "jane", roles = ["support"] }
call = { tool = "orders/TOOL", arguments = { customer_id = "C-4711" } }
expect = "allow"

[[case]]
caller = { tenant = "acme-eu", user = "jane", roles = ["support"] }
call = { tool = "orders/TOOL_DENIED", arguments = { customer_id = "C-4711" } }
expect = "deny"
"#;
