//! Where the scenes are played: the running system, its clients, its command line, its narrator.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
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
        tell(line);
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

    /// Writes the policy folder to disk, where an operator has it.
    pub(crate) fn write_folder(&self) -> anyhow::Result<String> {
        for (path, text) in &self.folder {
            self.system.place.write(&format!("policy/{path}"), &self.system.filled_in(text))?;
        }
        Ok(self.system.place.path("policy").display().to_string())
    }

    /// Runs the command line and shows what it printed. True when it exited with zero.
    pub(crate) fn portcullis(&self, arguments: &[&str]) -> anyhow::Result<bool> {
        portcullis(&self.system, arguments)
    }

    /// The URL to paste, and what to try next.
    pub(crate) fn farewell(&mut self, keep: bool) {
        let system = &mut self.system;
        let url = system.url("/mcp");
        println!("\nAll eight scenes took {:.1} s.", self.begun.elapsed().as_secs_f32());
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

/// A line of what happened.
pub(crate) fn tell(line: impl AsRef<str>) {
    for line in line.as_ref().lines() {
        println!("   {line}");
    }
}

/// Runs the command line for a system and shows what it printed. True when it exited with zero.
pub(crate) fn portcullis(system: &System, arguments: &[&str]) -> anyhow::Result<bool> {
    let folder = format!("{}/", system.place.path("").display()).replace("//", "/");
    println!("   $ portcullis {}", arguments.join(" ").replace(&folder, ""));
    let output = Command::new(binary("portcullis")?)
        .args(arguments)
        .env("PORTCULLIS_URL", format!("http://{}", system.rest))
        .env("PORTCULLIS_TOKEN", &system.token)
        .env("NO_COLOR", "1")
        .output()?;
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(text).replace(&folder, "");
        text.lines().for_each(|line| println!("     {line}"));
    }
    Ok(output.status.success())
}

/// For scene 3: what an agent that loops runs into.
const DEMO_QUOTA: &str = r#"
[quotas.loops]
per = "caller_tool"
tool = "crm/get_orders"
calls = "60/min"
burst = 5
"#;
