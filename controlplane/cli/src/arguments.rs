//! The command line, as it is typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// The command line of Portcullis.
///
/// Exit codes: 0 done; 1 refused, or not as it should be; 2 wrong command line; 3 the control plane
/// cannot be reached; 4 there are differences.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version)]
pub(crate) struct Arguments {
    /// Where the control plane's REST API is; the one of `portcullis login` unless told, else
    /// http://127.0.0.1:9440.
    #[arg(long, global = true, env = "PORTCULLIS_URL")]
    pub url: Option<String>,

    /// An API token; `portcullis login` keeps one.
    #[arg(long, global = true, env = "PORTCULLIS_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// A file that holds the token, such as the control plane's `bootstrap-token`; before all else.
    #[arg(long, global = true)]
    pub token_file: Option<PathBuf>,

    /// A certificate authority to trust, PEM, where the REST API has a private one.
    #[arg(long, global = true, env = "PORTCULLIS_CA")]
    pub ca: Option<PathBuf>,

    /// How answers are shown.
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a folder what is in force.
    Apply {
        folder: PathBuf,
        /// Show what would change, and change nothing (exit code 4 if anything would).
        #[arg(long)]
        dry_run: bool,
        /// Why, for those who read the revisions later.
        #[arg(long, short, default_value = "")]
        message: String,
    },
    /// Show what applying a folder would change (exit code 4 if anything).
    Diff { folder: PathBuf },
    /// Why a caller may, or may not, call a tool with these arguments.
    Explain(ExplainArguments),
    /// Tenants of the revision in force.
    Tenants {
        #[command(subcommand)]
        action: Option<ReadAction>,
    },
    /// Identity providers: list, show, fetch their keys now.
    Identity {
        #[command(subcommand)]
        action: Option<IdentityAction>,
    },
    /// Roles, and who has them beside what tokens say.
    Roles {
        #[command(subcommand)]
        action: Option<ReadAction>,
    },
    /// Groups, and who is in them beside what tokens say.
    Groups {
        #[command(subcommand)]
        action: Option<ReadAction>,
    },
    /// Policies: list, show, run a folder's tests.
    #[command(visible_alias = "policy")]
    Policies {
        #[command(subcommand)]
        action: Option<PolicyAction>,
    },
    /// What all appliances share.
    Gateway,
    /// MCP servers: list, show, refresh, approve what has drifted.
    Servers {
        #[command(subcommand)]
        action: Option<ServersAction>,
    },
    /// All tools that are known.
    Tools,
    /// Switch something off for everyone, now.
    Kill {
        #[arg(value_enum)]
        what: Target,
        /// `server/tool`, `server`, `tenant`, `tenant/user`, `tenant/agent`, a client or a token id.
        name: String,
        /// Told to every caller that is refused by it.
        #[arg(long)]
        reason: String,
        /// Seconds until it ends by itself; without it, it stays until it is taken back.
        #[arg(long)]
        expires_in_s: Option<u64>,
    },
    /// Take a kill back, by its target.
    Unkill {
        #[arg(value_enum)]
        what: Target,
        name: String,
    },
    /// Kills in force.
    Kills,
    /// What network cards drop for ignored refusals: list, explain, packets, release, hold.
    Drops {
        #[command(subcommand)]
        action: Option<DropsAction>,
    },
    /// Quotas in force.
    Quotas {
        #[command(subcommand)]
        action: Option<ReadAction>,
    },
    /// Secrets, without their values.
    Secrets {
        #[command(subcommand)]
        action: Option<SecretsAction>,
    },
    /// API keys of agents and services.
    Keys {
        #[command(subcommand)]
        action: Option<KeysAction>,
    },
    /// API tokens of the control plane: list, create, revoke.
    Tokens {
        #[command(subcommand)]
        action: Option<TokensAction>,
    },
    /// Requests that would change something, newest first: who, what, and what came of it.
    AdminLog {
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Recent calls.
    Calls(CallsArguments),
    /// The audit log itself, on this machine, without a server.
    Audit {
        #[command(subcommand)]
        action: AuditAction,
    },
    /// How everything is, and what to look at.
    Status,
    /// Appliances: list, show, enrol, remove.
    Appliances {
        #[command(subcommand)]
        action: Option<AppliancesAction>,
    },
    /// Revisions, newest first; one with its objects, or compared with an older one.
    Revisions {
        #[command(subcommand)]
        action: Option<RevisionsAction>,
    },
    /// A new revision with an old one's content.
    Rollback {
        revision: u64,
        #[arg(long, short, default_value = "")]
        message: String,
    },
    /// Keep the address and a token for later commands; the token is read from standard input.
    Login,
    /// A script that completes commands in a shell.
    Completions { shell: Shell },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Target {
    Tool,
    Server,
    Tenant,
    User,
    Agent,
    Client,
    Token,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DropsAction {
    /// Entries of the cards, newest first.
    List(DropsFilter),
    /// What is known of an address, for whoever calls and says "we are being dropped".
    Explain { address: String },
    /// Dropped packets, newest first, as far as the cards have sampled them: headers, no payload.
    Packets(DropsFilter),
    /// End drops now; who is released begins again at the bottom.
    Release(ReleaseArguments),
    /// Hold a drop for a while from now, if that is longer than it lasts anyway.
    Pin {
        /// Its number, as `portcullis drops` shows it.
        drop: u64,
        /// At most 12 h: `90s`, `30m`, `2h`.
        #[arg(long = "for", value_name = "TIME", value_parser = time_ms)]
        for_ms: u64,
        /// The appliance, where several have a drop of this number.
        #[arg(long)]
        appliance: Option<String>,
        /// For the record.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Args, Debug, Default)]
pub(crate) struct DropsFilter {
    #[arg(long)]
    pub tenant: Option<String>,
    /// Drops that touch this address.
    #[arg(long)]
    pub address: Option<String>,
    #[arg(long)]
    pub appliance: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ReleaseArguments {
    #[command(flatten)]
    pub what: Released,
    /// On this appliance only; a drop's number is found by itself unless several have it.
    #[arg(long)]
    pub appliance: Option<String>,
    /// For the record.
    #[arg(long)]
    pub reason: String,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Released {
    /// The drop of this number.
    #[arg(long)]
    pub drop: Option<u64>,
    /// All of a tenant.
    #[arg(long)]
    pub tenant: Option<String>,
    /// What touches this address.
    #[arg(long)]
    pub address: Option<String>,
    /// Everything.
    #[arg(long)]
    pub all: bool,
}

/// `90s`, `30m`, `2h` in milliseconds.
fn time_ms(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit_ms = match text.get(digits.len()..) {
        Some("ms") => 1,
        Some("s") => 1_000,
        Some("m" | "min") => 60_000,
        Some("h") => 3_600_000,
        _ => return Err("write a number and its unit, as 90s, 30m or 2h".to_owned()),
    };
    let count: Option<u64> = digits.parse().ok();
    count
        .and_then(|count| count.checked_mul(unit_ms))
        .ok_or_else(|| "write a number and its unit, as 90s, 30m or 2h".to_owned())
}

#[derive(Args, Debug)]
pub(crate) struct ExplainArguments {
    /// `server/tool`.
    pub tool: String,
    #[arg(long)]
    pub tenant: String,
    #[arg(long)]
    pub user: Option<String>,
    #[arg(long)]
    pub agent: Option<String>,
    #[arg(long = "role")]
    pub roles: Vec<String>,
    #[arg(long = "group")]
    pub groups: Vec<String>,
    /// The call's arguments, a JSON object.
    #[arg(long, default_value = "{}")]
    pub arguments: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReadAction {
    List,
    Show { name: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum IdentityAction {
    List,
    Show {
        name: String,
    },
    /// Fetch a provider's keys now.
    Refresh {
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RevisionsAction {
    List,
    /// A revision, and the objects that it holds.
    Show {
        revision: u64,
    },
    /// What a revision changed.
    Diff {
        revision: u64,
        /// The older one; the one before unless told.
        #[arg(long)]
        against: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokensAction {
    List,
    /// Create a token; it is shown this once.
    Create {
        /// Who holds it: the author of what is done with it.
        name: String,
        /// Each may what those before it may.
        #[arg(long, value_enum)]
        role: TokenRole,
        /// Seconds until it ends; 90 days unless told.
        #[arg(long)]
        expires_in_s: Option<u64>,
    },
    /// Take a token back: it is refused from now on.
    Revoke {
        id: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TokenRole {
    /// Reads.
    Auditor,
    /// Changes what the gateway does: applies, kills, approves, sets secrets, issues keys.
    Operator,
    /// Also decides who may: tokens, appliances.
    Admin,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServersAction {
    List,
    Show {
        name: String,
    },
    /// Ask a server for its tools now.
    Refresh {
        name: String,
    },
    /// What differs from what was approved.
    Drift {
        name: String,
    },
    /// Approve a server's tools as they were found.
    Approve {
        name: String,
        /// Only these; all that drifted without it.
        #[arg(long = "tool")]
        tools: Vec<String>,
        #[arg(long, short, default_value = "")]
        message: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretsAction {
    List,
    /// Set a secret; its value is read from standard input and never shown again.
    Set {
        name: String,
    },
    Remove {
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysAction {
    List,
    /// Issue a key; it is shown this once.
    Issue {
        #[arg(long)]
        tenant: String,
        #[arg(long)]
        user: Option<String>,
        #[arg(long)]
        agent: Option<String>,
        #[arg(long = "role")]
        roles: Vec<String>,
        #[arg(long = "group")]
        groups: Vec<String>,
        #[arg(long, default_value = "")]
        description: String,
        #[arg(long)]
        expires_in_s: Option<u64>,
    },
    Revoke {
        id: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct CallsArguments {
    #[arg(long)]
    pub tenant: Option<String>,
    #[arg(long)]
    pub user: Option<String>,
    #[arg(long)]
    pub agent: Option<String>,
    #[arg(long)]
    pub server: Option<String>,
    /// The tool's own name.
    #[arg(long)]
    pub tool: Option<String>,
    /// `allow`, `deny`, `quota`, `kill`, ...
    #[arg(long)]
    pub decision: Option<String>,
    /// From this time on, as 2026-01-02T03:04:05Z.
    #[arg(long)]
    pub since: Option<String>,
    #[arg(long, default_value_t = 20)]
    pub limit: u32,
    /// Also the intents: what was begun, before it ended.
    #[arg(long)]
    pub intents: bool,
    /// Go on with new calls as they come, until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditAction {
    /// Verify a log: every record, the chain, the tree, and the checkpoints that were kept.
    Verify {
        /// The log's directory.
        dir: PathBuf,
        /// A checkpoint that was kept elsewhere; the log must still contain it.
        #[arg(long)]
        checkpoint: Vec<PathBuf>,
        /// The log's public key, `NAME+HASH+KEY`, to check the signatures of those checkpoints and of
        /// the directory's own. The gateway tells it at its start, `appliances show` afterwards.
        #[arg(long)]
        key: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AppliancesAction {
    List,
    /// An appliance with all that it said last.
    Show {
        id: String,
    },
    /// A one-time token for a new appliance.
    Enrol {
        name: String,
    },
    /// No longer take an appliance's certificate.
    Remove {
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyAction {
    List,
    /// A policy's text.
    Show {
        path: String,
    },
    /// Run a folder's tests, without applying it.
    Test {
        folder: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_their_unit() {
        assert_eq!(time_ms("90s"), Ok(90_000));
        assert_eq!(time_ms("30m"), Ok(1_800_000));
        assert_eq!((time_ms("2h"), time_ms("5ms")), (Ok(7_200_000), Ok(5)));
        for bad in ["", "30", "m", "-1m", "1.5h", "1d", "5 m", "99999999999999999999s", "1mm"] {
            assert!(time_ms(bad).is_err(), "{bad}");
        }
    }
}
