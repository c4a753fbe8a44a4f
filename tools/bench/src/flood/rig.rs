//! What all parts of `flood` stand on: namespaces, one control plane, two gateways, an offender.
//!
//! Both gateways are in one namespace behind one card, on the measured processor; one has the card drop,
//! the other does not. What comes in by the card is received by a thread of the kernel on that
//! processor, too, as on a machine of its own. Clients, servers and the control plane are on the other
//! processor, where the offender gets only the time that nobody else wants.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use dataplane_telemetry::metrics::{CARD_DROPPED, DROP_ENTRIES, DROPS, Metric};
use rustix::process::{Pid, setpriority_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::{Value, json};
use tests_fixtures::stack::{self, Net, Process, wait_until};

use super::agent::Came;
use crate::load::Load;
use crate::material::{Material, TENANT};
use crate::mix::{Mix, Script};
use crate::place::{self, Cores, NICE};
use crate::portcullis::{self, ControlPlane, Gateway};
use crate::rig::Origin;
use crate::usage;

/// The tenant that floods.
pub(super) const OFFENDER: &str = "zeta";
/// How long anything of the ladder may take before the run is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Gateways that spend less in a look than this have nothing to do but their looks: 2 % of a processor each.
const LOOK: Duration = Duration::from_millis(500);
const IDLE_NS: u64 = 20_000_000;

/// A running rig. Dropped, it ends.
pub(super) struct Rig<'a> {
    pub net: &'a Net,
    pub cores: Cores,
    pub material: &'a Material,
    pub plane: ControlPlane,
    /// Its card drops.
    pub with_card: Gateway,
    /// The same, but it was given no card.
    pub without: Gateway,
    pub receiving: Receiving,
    /// Of the agents of the innocent tenant.
    pub tokens: Vec<String>,
    origin: Origin,
    offenders_token: PathBuf,
}

/// The innocent tenant: as many agents as connections, which together make so many calls a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Innocent {
    pub rate: u64,
    pub connections: usize,
}

impl Innocent {
    /// What every agent may call: none of the innocent's comes near it, one that loops does at once.
    fn limit(self) -> String {
        let each_minute = self.rate * 60 / self.connections as u64;
        format!("{}/min", each_minute * 3 / 2 + 60)
    }
}

/// What the offender does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub connections: usize,
    pub calls_each: u32,
    pub at_once: u32,
    pub patience_ms: u64,
}

impl<'a> Rig<'a> {
    /// To be called in the gateway's namespace.
    ///
    /// # Errors
    /// What did not start.
    pub(super) fn start(
        net: &'a Net,
        material: &'a Material,
        cores: Cores,
        tools: usize,
        innocent: Innocent,
    ) -> anyhow::Result<Self> {
        let origin = Origin::start(material, cores, tools)?;
        let plane = ControlPlane::start(material, cores)?;
        plane.apply(&folder(&material.jwks, origin.address, &innocent.limit(), STEADY))?;
        let card = ["--card-interface", Net::CARD, "--card-pins"].map(str::to_owned);
        let mut card = card.to_vec();
        card.push(net.pins().display().to_string());
        let gateway = |name: &str, further: &[String]| {
            Gateway::start(material, cores, &plane, name, Net::GATEWAY, further)
        };
        let (with_card, without) = (gateway("with-card", &card)?, gateway("without", &[])?);
        let receiving = Receiving::start(net, cores.proxy)?;
        let token = material.token_of(OFFENDER, "loops")?;
        let offenders_token = material.place.write("offender.token", &token)?;
        let agents = 0..innocent.connections;
        let tokens = agents.map(|number| material.token_of(TENANT, &format!("agent-{number}")));
        let tokens = tokens.collect::<anyhow::Result<Vec<_>>>()?;
        let made = Self {
            net,
            cores,
            material,
            plane,
            with_card,
            without,
            receiving,
            tokens,
            origin,
            offenders_token,
        };
        Ok(made)
    }

    /// Puts a quota of every agent and its ladder in force on both gateways.
    ///
    /// # Errors
    /// When the folder is refused, or does not arrive.
    pub(super) fn apply(&self, limit: &str, ladder: &str) -> anyhow::Result<()> {
        self.plane.apply(&folder(&self.material.jwks, self.origin.address, limit, ladder))?;
        self.plane.until_current(&self.with_card.name)?;
        self.plane.until_current(&self.without.name)
    }

    /// Starts the offender in the namespace where this is called.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn offend(
        &self,
        gateway: &Gateway,
        from: IpAddr,
        manner: Manner,
    ) -> anyhow::Result<Offender> {
        let own = std::env::current_exe()?;
        let words = [
            ("--to", gateway.address.to_string()),
            ("--from", from.to_string()),
            ("--token-file", self.offenders_token.display().to_string()),
            ("--connections", manner.connections.to_string()),
            ("--calls-each", manner.calls_each.to_string()),
            ("--at-once", manner.at_once.to_string()),
            ("--patience-ms", manner.patience_ms.to_string()),
        ];
        let words = words.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        let words: Vec<String> = std::iter::once("offender".to_owned()).chain(words).collect();
        let (program, words) = place::behind(&own, &words);
        let log = self.material.place.path(&format!("offender-{}.log", crate::clock::now_ns()));
        let start = || Process::start("offender", &program, &words, &[], &log);
        Ok(Offender { process: place::on(self.cores.load, start)? })
    }

    /// Connections of the innocent's agents, each with its first call behind it, and what they call. They
    /// come from the namespace where this is called.
    ///
    /// # Errors
    /// When one of them is not served.
    pub(super) fn agents(&self, gateway: &Gateway) -> anyhow::Result<(Load, Script)> {
        let script = Script::of_callers(Mix::Call, &portcullis::paths(""), &self.tokens);
        let tls = Some(self.material.tls.clone());
        let mut load = Load::new(gateway.address, tls, self.tokens.len())?;
        load.warm_up(&script)?;
        Ok((load, script))
    }

    /// The same beginning for all: both gateways at rest, and nobody dropped. What is under way when a
    /// flood ends would climb again, so rest comes first.
    ///
    /// # Errors
    /// When it does not come to that.
    pub(super) fn afresh(&self) -> anyhow::Result<()> {
        self.rest()?;
        self.forgive()
    }

    /// Ends all that is dropped, and forgets that anybody climbed.
    ///
    /// # Errors
    /// When it is not done.
    pub(super) fn forgive(&self) -> anyhow::Result<()> {
        let order = json!({"what": "all", "reason": "the next round"});
        self.plane.rest.post("/v1/drops/release", &order)?;
        wait_until(PATIENCE, "the release of all drops", || {
            let entries = |gateway| metric(gateway, &DROP_ENTRIES).ok();
            (entries(&self.with_card)? + entries(&self.without)? == 0).then_some(())
        })
    }

    /// Waits until the disk has what was written and both gateways have nothing to do: after a flood that
    /// was recorded, a log has its next segments to write.
    fn rest(&self) -> anyhow::Result<()> {
        rustix::fs::sync();
        let spent = || Ok(self.spent_ns(&self.with_card)? + used_ns(&self.without)?);
        let mut before: anyhow::Result<u64> = spent();
        wait_until(PATIENCE, "rest of both gateways", || {
            std::thread::sleep(LOOK);
            let now = spent();
            let both = now.as_ref().ok().zip(before.as_ref().ok());
            let is_idle = both.is_some_and(|(now, before)| now.saturating_sub(*before) < IDLE_NS);
            before = now;
            is_idle.then_some(())
        })
    }

    /// Waits until this gateway has begun to drop once more than before.
    ///
    /// # Errors
    /// When it does not.
    pub(super) fn until_dropping(&self, gateway: &Gateway, before: u64) -> anyhow::Result<()> {
        wait_until(PATIENCE, "drop of the offender", || {
            (drops(gateway).ok()? > before).then_some(())
        })
        .with_context(|| gateway.process.log_tail())
    }

    /// Processor time of a gateway and of receiving packets, in nanoseconds.
    ///
    /// # Errors
    /// When the gateway has ended.
    pub(super) fn spent_ns(&self, gateway: &Gateway) -> anyhow::Result<u64> {
        Ok(used_ns(gateway)? + self.receiving.spent_ns()?)
    }
}

/// Processor time of a gateway alone.
fn used_ns(gateway: &Gateway) -> anyhow::Result<u64> {
    let pid = gateway.process.id().context("the gateway ended")?;
    Ok(usage::cpu(pid)?.total_us() * 1_000)
}

/// How often a gateway has begun to drop somebody.
pub(super) fn drops(gateway: &Gateway) -> anyhow::Result<u64> {
    metric(gateway, &DROPS)
}

/// Packets that the card has dropped, once its count stands still: it is read twice a second.
pub(super) fn dropped_packets(gateway: &Gateway) -> anyhow::Result<u64> {
    let mut last = None;
    wait_until(PATIENCE, "steady count of dropped packets", || {
        let now = metric(gateway, &CARD_DROPPED).ok()?;
        std::thread::sleep(Duration::from_millis(700));
        (last.replace(now) == Some(now)).then_some(now)
    })
}

fn metric(gateway: &Gateway, metric: &Metric) -> anyhow::Result<u64> {
    stack::metric(&gateway.admin.to_string(), metric.name)
}

/// The flooding process.
pub(super) struct Offender {
    process: Process,
}

impl Offender {
    /// What came of it so far.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn came(&mut self) -> anyhow::Result<Came> {
        ensure!(self.process.ended().is_none(), "the offender ended\n{}", self.process.log_tail());
        let text = self.process.log_text();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let line = whole.lines().next_back();
        line.map_or(Ok(Came::default()), |line| serde_json::from_str(line).context("its figures"))
    }
}

/// The kernel's thread that takes packets from the card and runs its program.
pub(super) struct Receiving {
    pid: i32,
}

impl Receiving {
    /// Has the card's packets received by a thread of their own, on this processor.
    fn start(net: &Net, core: usize) -> anyhow::Result<Self> {
        let interface = Net::CARD;
        // `ip netns exec` shows the interfaces of that namespace below /sys; otherwise they are ours.
        let set = format!("echo 1 >/sys/class/net/{interface}/threaded");
        let words = ["netns", "exec", &net.gateway_name(), "sh", "-c", &set];
        let status = Command::new("ip").args(words).status().context("ip")?;
        ensure!(status.success(), "{interface} is not received by a thread");
        let wanted = format!("napi/{interface}-");
        let pid = wait_until(PATIENCE, "a thread that receives", || {
            let all = std::fs::read_dir("/proc").ok()?.flatten();
            let found = all.filter(|one| {
                let name = std::fs::read_to_string(one.path().join("comm")).unwrap_or_default();
                name.starts_with(&wanted)
            });
            found.filter_map(|one| one.file_name().to_str()?.parse::<i32>().ok()).max()
        })?;
        let thread = Pid::from_raw(pid);
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(thread, &set).context("the receiving thread's processor")?;
        // As urgent as the gateway.
        let _ = setpriority_process(thread, NICE);
        Ok(Self { pid })
    }

    /// Its processor time, exactly.
    fn spent_ns(&self) -> anyhow::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", self.pid))?;
        text.split(' ').next().and_then(|ns| ns.parse().ok()).context("schedstat")
    }
}

/// A ladder with its defaults, but for a drop that outlasts every measurement.
pub(super) const STEADY: &str = "drop = { drop_ms_first = 300000 }";

fn folder(jwks: &str, origin: SocketAddr, limit: &str, ladder: &str) -> Value {
    let further = format!(
        r#"
# So that a run need not wait ten minutes.
[gateway.attribution]
certain_after_ms = 1000

[quotas.agents.ladder]
{ladder}
"#
    );
    let settings = portcullis::settings(jwks, origin, limit) + &further;
    json!({"portcullis.toml": settings, "support.cedar": POLICY})
}

const POLICY: &str = r#"permit(principal in Role::"support", action == Action::"call", resource in Server::"orders");
"#;
