//! Where the scenes are played: the running system, its clients, its command line, its narrator.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use serde_json::json;
use tests_fixtures::mcp::Era;
use tests_fixtures::mcp::client::{Client, Target, connect};
use tests_fixtures::stack::{System, SystemSpec, binary};

/// The running system.
pub(crate) struct Stage {
    pub system: System,
    pub folder: BTreeMap<String, String>,
    begun: Instant,
    scene: usize,
}

impl Stage {
    pub(crate) fn set_up() -> anyhow::Result<Self> {
        let begun = Instant::now();
        println!("Portcullis: an MCP gateway that knows the caller, decides, and can prove it.\n");
        let mut spec = SystemSpec::usual();
        let settings = spec.folder.get_mut("portcullis.toml").context("the usual folder")?;
        settings.push_str(DEMO_QUOTA);
        let folder = spec.folder.clone();
        let system = System::start_telling(&spec, |step| {
            println!("  {:>5.1} s  {step}", begun.elapsed().as_secs_f32());
        })?;
        println!("  {:>5.1} s  ready", begun.elapsed().as_secs_f32());
        Ok(Self { system, folder, begun, scene: 0 })
    }

    /// Begins a scene.
    pub(crate) fn scene(&mut self, title: &str) {
        self.scene += 1;
        println!("\n{}. {title}", self.scene);
    }

    /// A line of what happened.
    pub(crate) fn tell(&self, line: impl AsRef<str>) {
        for line in line.as_ref().lines() {
            println!("   {line}");
        }
    }

    /// A connected client of this person.
    pub(crate) async fn client(
        &self,
        user: &str,
        roles: &[&str],
        era: Era,
    ) -> anyhow::Result<Client> {
        let target = Target {
            url: self.system.url("/mcp"),
            token: Some(self.system.token_of(user, roles)?),
            certificates: Some(self.system.certificate()),
            timeout: None,
        };
        connect(&target, era).await
    }

    /// One modern call without an SDK between: status, `Retry-After` and body as they came.
    pub(crate) async fn raw_call(
        &self,
        user: &str,
        roles: &[&str],
        tool: &str,
    ) -> anyhow::Result<(u16, String, String)> {
        let pem = std::fs::read(self.system.certificate())?;
        let trusted = reqwest::Certificate::from_pem_bundle(&pem)?;
        let http = reqwest::Client::builder().no_proxy().tls_certs_only(trusted).build()?;
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({"name": tool, "arguments": {"customer": "c-1"}, "_meta": meta});
        let body =
            json!({"jsonrpc": "2.0", "id": "loop", "method": "tools/call", "params": params});
        let answer = http
            .post(self.system.url("/mcp"))
            .bearer_auth(self.system.token_of(user, roles)?)
            .header("Accept", "application/json, text/event-stream")
            .header("MCP-Protocol-Version", "2026-07-28")
            .header("Mcp-Method", "tools/call")
            .header("Mcp-Name", tool)
            .json(&body)
            .send()
            .await?;
        let retry_after = answer.headers().get("Retry-After").map(|value| value.to_str());
        let retry_after = retry_after.transpose()?.unwrap_or_default().to_owned();
        Ok((answer.status().as_u16(), retry_after, answer.text().await?))
    }

    /// Writes the policy folder to disk, where an operator has it.
    pub(crate) fn write_folder(&self) -> anyhow::Result<String> {
        for (path, text) in &self.folder {
            self.system.place.write(&format!("policy/{path}"), &self.system.filled_in(text))?;
        }
        Ok(self.system.place.path("policy").display().to_string())
    }

    /// Runs the command line and shows what it printed. True when it exited with zero.
    pub(crate) fn portcullis(&self, arguments: &[&str]) -> anyhow::Result<bool> {
        let shown = arguments.join(" ").replace(&self.folder_of_run(), "");
        println!("   $ portcullis {shown}");
        let output = Command::new(binary("portcullis")?)
            .args(arguments)
            .env("PORTCULLIS_URL", format!("http://{}", self.system.rest))
            .env("PORTCULLIS_TOKEN", &self.system.token)
            .env("NO_COLOR", "1")
            .output()?;
        for text in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(text).replace(&self.folder_of_run(), "");
            text.lines().for_each(|line| println!("     {line}"));
        }
        Ok(output.status.success())
    }

    fn folder_of_run(&self) -> String {
        format!("{}/", self.system.place.path("").display()).replace("//", "/")
    }

    /// The URL to paste, and what to try next.
    pub(crate) fn farewell(&mut self, keep: bool) {
        let system = &mut self.system;
        let url = system.url("/mcp");
        println!("\nAll seven scenes took {:.1} s.", self.begun.elapsed().as_secs_f32());
        if keep {
            system.place.keep();
            println!("It keeps running until Ctrl-C.");
        } else {
            println!("It ends here; `cargo xtask demo --keep` leaves it running.");
        }
        println!("\nPaste into an MCP client:\n\n   {url}");
        if keep {
            let token = system.token_of("ann", &["support"]).unwrap_or_default();
            println!("   Authorization: Bearer {token}");
            println!("   (trust {})", system.certificate().display());
        }
        println!("\nTry next:\n");
        if keep {
            if let Some(folder) = binary("portcullis").ok().as_deref().and_then(Path::parent) {
                println!("   export PATH={}:$PATH", folder.display());
            }
            println!(
                "   export PORTCULLIS_URL=http://{} PORTCULLIS_TOKEN={}",
                system.rest, system.token
            );
        }
        println!("   portcullis status");
        println!("   portcullis tools");
        println!("   portcullis calls --follow");
        println!("   portcullis kill server erp --reason 'a drill'");
    }
}

/// For scene 3: what an agent that loops runs into.
const DEMO_QUOTA: &str = r#"
[quotas.loops]
per = "caller_tool"
tool = "crm/get_orders"
calls = "60/min"
burst = 5
"#;
