//! Portcullis with everything on, as real processes: TLS, tokens, policy, quota, durable audit.
//!
//! The control plane is started and told by its REST API what an operator would tell it; the gateway
//! enrols, takes the bundle, and serves. Both are built binaries; nothing is linked in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
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
    pub gateway: Gateway,
    pub plane: ControlPlane,
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
        let plane = ControlPlane::start(material, cores)?;
        let further = format!(
            r#"
[servers.legacy]
url = "http://{origin}/legacy"
era = "legacy"

[roles.auditor]
"#
        );
        let rules = POLICY.replace("TOOL_DENIED", TOOL_DENIED);
        plane.apply(&json!({
            "portcullis.toml": settings(&material.jwks, origin, QUOTA) + &further,
            "support.cedar": rules,
            "tests/support.toml": TESTS.replace("TOOL_DENIED", TOOL_DENIED).replace("TOOL", TOOL),
        }))?;
        let gateway = Gateway::start(material, cores, &plane, "gateway", Ipv4Addr::LOCALHOST, &[])?;
        Ok(Self { gateway, plane })
    }

    /// Where the mixes go.
    pub(crate) fn paths(&self, material: &Material) -> Paths {
        paths(&material.token)
    }
}

/// Where the mixes go, for the holder of this token.
pub(crate) fn paths(token: &str) -> Paths {
    Paths {
        host: "localhost".to_owned(),
        modern: "/servers/orders/mcp".to_owned(),
        legacy: "/servers/legacy/mcp".to_owned(),
        token: token.to_owned(),
    }
}

/// One appliance.
pub(crate) struct Gateway {
    pub process: Process,
    /// Its name, for the control plane and on disk.
    pub name: String,
    pub address: SocketAddr,
    /// Where metrics are read.
    pub admin: SocketAddr,
    /// Its data directory.
    pub data: PathBuf,
    cores: Cores,
}

impl Gateway {
    /// Starts and enrols one; `further` are words of its command line.
    ///
    /// # Errors
    /// Which step failed, with the ends of the logs.
    pub(crate) fn start(
        material: &Material,
        cores: Cores,
        plane: &ControlPlane,
        name: &str,
        at: impl Into<IpAddr>,
        further: &[String],
    ) -> anyhow::Result<Self> {
        let enrolment = plane.rest.post("/v1/appliances/enrolments", &json!({"name": name}))?;
        let token = enrolment.pointer("/token").and_then(|token| token.as_str());
        let token = token.context("an enrolment without a token")?;
        let address = SocketAddr::new(at.into(), free_port()?);
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let data = material.place.path(name);
        let words = [
            ("--data-dir", data.display().to_string()),
            ("--listen", address.to_string()),
            ("--admin-listen", admin.to_string()),
            ("--control", plane.quic.to_string()),
            ("--tls-cert", material.chain.display().to_string()),
            ("--tls-key", material.key.display().to_string()),
            ("--cores", cores.proxy.to_string()),
        ];
        let mut words: Vec<String> =
            words.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        words.extend_from_slice(further);
        // The token is for the first start only; the environment keeps it out of `ps`.
        let once = [
            ("PORTCULLIS_ENROL_TOKEN".to_owned(), token.to_owned()),
            ("RUST_LOG".to_owned(), "info".to_owned()),
        ];
        let log = material.place.path(&format!("{name}.log"));
        let program = binary("portcullis-gateway")?;
        let mut process =
            place::on(cores.proxy, || Process::start(name, &program, &words, &once, &log))?;
        if let Err(fault) = plane.until_current(name) {
            anyhow::bail!("{fault}\n{}{}", process.log_tail(), plane.process.log_tail());
        }
        anyhow::ensure!(process.ended().is_none(), "{name} ended\n{}", process.log_tail());
        Ok(Self { process, name: name.to_owned(), address, admin, data, cores })
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
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        place::on(self.cores.proxy, || self.process.restart())
    }
}

/// The control plane, and its REST API as an administrator.
pub(crate) struct ControlPlane {
    pub process: Process,
    pub rest: Rest,
    quic: SocketAddr,
}

impl ControlPlane {
    /// # Errors
    /// When it does not come up; the text has the end of its log.
    pub(crate) fn start(material: &Material, cores: Cores) -> anyhow::Result<Self> {
        let (process, rest, quic) = place::on(cores.load, || start_control(material))?;
        Ok(Self { process, rest, quic })
    }

    /// Applies a folder.
    ///
    /// # Errors
    /// Why it is refused.
    pub(crate) fn apply(&self, files: &Value) -> anyhow::Result<()> {
        let applied = self.rest.post("/v1/apply", &json!({"files": files, "message": "bench"}));
        applied.map(drop).with_context(|| self.process.log_tail())
    }

    /// Waits until the appliance enforces what was applied.
    ///
    /// # Errors
    /// When that takes longer than it may.
    pub(crate) fn until_current(&self, appliance: &str) -> anyhow::Result<()> {
        let is_current = || current(&self.rest, appliance).then_some(());
        wait_until(READY, &format!("bundle in force on {appliance}"), is_current)
    }
}

fn start_control(material: &Material) -> anyhow::Result<(Process, Rest, SocketAddr)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let quic = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let data = material.elsewhere.path("control");
    let words = [
        "--data-dir".to_owned(),
        data.display().to_string(),
        "--listen".to_owned(),
        address.to_string(),
        "--quic-listen".to_owned(),
        quic.to_string(),
    ];
    // It copies records all the time, and the load must not wait meanwhile: it is another machine's.
    let (program, words) = place::behind(&binary("portcullis-control")?, &words);
    let log = material.place.path("control.log");
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

/// True when the appliance enforces what was applied.
fn current(rest: &Rest, appliance: &str) -> bool {
    let Ok(answer) = rest.get("/v1/appliances") else { return false };
    let all = answer.get("items").unwrap_or(&answer).as_array().cloned().unwrap_or_default();
    let is = |one: &Value, field, value: &str| one.get(field).is_some_and(|found| found == value);
    all.iter().any(|one| is(one, "name", appliance) && is(one, "state", "current"))
}

/// One server, one role and what every agent may call; more may be appended.
pub(crate) fn settings(jwks: &str, origin: SocketAddr, calls: &str) -> String {
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

[roles.support]

[quotas.agents]
per = "agent"
calls = "{calls}"
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
