//! Each command: one or two questions to the control plane, and their answers shown.

mod calls;
mod columns;
mod drops;
mod packets;
mod reading;
mod tokens;

use std::io::Read;
use std::path::Path;

use clap::CommandFactory;
use serde_json::{Map, Value, json};

use crate::arguments::{
    AppliancesAction, Arguments, AuditAction, Command, ExplainArguments, KeysAction, Output,
    SecretsAction, ServersAction, Target,
};
use crate::client::{Client, keep_login, progress, segment};
use crate::fault::Fault;
use crate::{audit, folder, screen, show};

use self::columns::*;

const DONE: u8 = 0;
const NOT_AS_IT_SHOULD_BE: u8 = 1;
const DIFFERENT: u8 = 4;

/// Runs the command; its exit code.
pub(crate) fn run(arguments: &Arguments) -> Result<u8, Fault> {
    let output = arguments.output;
    match &arguments.command {
        Command::Audit { action: AuditAction::Verify { dir, checkpoint, key } } => {
            return audit::verify(dir, checkpoint, key.as_deref(), output);
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "portcullis", &mut script);
            say!("{}", String::from_utf8_lossy(&script).trim_end());
            return Ok(DONE);
        }
        _ => {}
    }
    let asked = Asked { client: Client::new(arguments)?, output };
    asked.run(arguments)
}

struct Asked {
    client: Client,
    output: Output,
}

impl Asked {
    fn run(&self, arguments: &Arguments) -> Result<u8, Fault> {
        let client = &self.client;
        match &arguments.command {
            Command::Apply { folder, dry_run, message } => self.apply(folder, *dry_run, message),
            Command::Diff { folder } => self.apply(folder, true, ""),
            Command::Explain(question) => self.explain(question),
            Command::Servers { action } => self.servers(action.as_ref()),
            Command::Tools => self.list("/v1/tools", TOOLS),
            Command::Kill { what, name, reason, expires_in_s } => {
                let mut body = json!({"target": target(*what, name), "reason": reason});
                if let Some(seconds) = expires_in_s {
                    body["expires_in_s"] = json!(seconds);
                }
                self.tell(&client.post("/v1/kills", &body)?, |kill| {
                    say!("killed {} (kill {}, list {})", name, kill["id"], kill["serial"]);
                })
            }
            Command::Unkill { what, name } => self.unkill(*what, name),
            Command::Kills => self.list("/v1/kills", KILLS),
            Command::Drops { action } => self.drops(action.as_ref()),
            Command::Tenants { action } => self.read("/v1/tenants", TENANTS, action.as_ref()),
            Command::Roles { action } => self.read("/v1/roles", ROLES, action.as_ref()),
            Command::Groups { action } => self.read("/v1/groups", GROUPS, action.as_ref()),
            Command::Quotas { action } => self.read("/v1/quotas", QUOTAS, action.as_ref()),
            Command::Identity { action } => self.identity(action.as_ref()),
            Command::Policies { action } => self.policies(action.as_ref()),
            Command::Gateway => self.tell(&client.get("/v1/gateway")?, show::item),
            Command::Tokens { action } => self.tokens(action.as_ref()),
            Command::AdminLog { limit } => self.admin_log(*limit),
            Command::Secrets { action } => self.secrets(action.as_ref()),
            Command::Keys { action } => self.keys(action.as_ref()),
            Command::Calls(filter) => calls::show(client, self.output, filter),
            Command::Status => self.tell(&client.get("/v1/status")?, show::status),
            Command::Appliances { action } => self.appliances(action.as_ref()),
            Command::Revisions { action } => self.revisions(action.as_ref()),
            Command::Rollback { revision, message } => {
                let path = format!("/v1/revisions/{revision}/rollback");
                self.tell(&client.post(&path, &json!({"message": message}))?, show::applied)
            }
            Command::Login => login(Client::new(arguments)?),
            Command::Audit { .. } | Command::Completions { .. } => Ok(DONE),
        }
    }

    /// JSON as it is, or for people.
    fn tell(&self, value: &Value, show: impl FnOnce(&Value)) -> Result<u8, Fault> {
        match self.output {
            Output::Json => screen::json(value)?,
            Output::Table => show(value),
        }
        Ok(DONE)
    }

    fn list(&self, path: &str, columns: Columns) -> Result<u8, Fault> {
        let items = self.client.all(path)?;
        self.tell(&Value::Array(items), |items| show::table(show::array(items), columns))
    }

    fn apply(&self, folder: &Path, dry_run: bool, message: &str) -> Result<u8, Fault> {
        let files = folder::read(folder)?;
        progress("compiling, testing and asking new servers for their tools");
        let body = json!({"files": files, "dry_run": dry_run, "message": message});
        let applied = self.client.post("/v1/apply", &body)?;
        self.tell(&applied, show::applied)?;
        let differs = applied["changed"].as_bool().unwrap_or(false);
        Ok(if dry_run && differs { DIFFERENT } else { DONE })
    }

    fn explain(&self, question: &ExplainArguments) -> Result<u8, Fault> {
        let wrong = |fault| Fault::Usage(format!("--arguments is not a JSON object: {fault}"));
        let arguments: Map<String, Value> =
            serde_json::from_str(&question.arguments).map_err(wrong)?;
        let caller = json!({
            "tenant": question.tenant, "user": question.user, "agent": question.agent,
            "roles": question.roles, "groups": question.groups,
        });
        let body = json!({"caller": caller, "tool": question.tool, "arguments": arguments});
        self.tell(&self.client.post("/v1/explain", &body)?, show::explained)
    }

    fn servers(&self, action: Option<&ServersAction>) -> Result<u8, Fault> {
        let client = &self.client;
        match action {
            None | Some(ServersAction::List) => self.list("/v1/servers", SERVERS),
            Some(ServersAction::Show { name }) => self.show("/v1/servers", name),
            Some(ServersAction::Refresh { name }) => {
                progress("asking the server");
                let found =
                    client.post(&format!("/v1/servers/{}/refresh", segment(name)), &json!({}))?;
                self.tell(&found, show::discovered)
            }
            Some(ServersAction::Drift { name }) => {
                let drift = client.get(&format!("/v1/servers/{}/drift", segment(name)))?;
                self.tell(&drift, show::drift)
            }
            Some(ServersAction::Approve { name, tools, message }) => {
                let body = json!({"tools": tools, "message": message});
                let applied =
                    client.post(&format!("/v1/servers/{}/approve", segment(name)), &body)?;
                self.tell(&applied, show::applied)
            }
        }
    }

    /// A kill is taken back by what it killed: that is what the operator knows.
    fn unkill(&self, what: Target, name: &str) -> Result<u8, Fault> {
        let wanted = target(what, name);
        let kills = self.client.all("/v1/kills")?;
        let mut lifted = Vec::new();
        for kill in kills.iter().filter(|kill| kill["target"] == wanted) {
            lifted.push(self.client.delete(&format!("/v1/kills/{}", kill["id"]))?);
        }
        if lifted.is_empty() {
            return Err(Fault::Local(format!("{name} is not killed\n  try: portcullis kills")));
        }
        self.tell(&Value::Array(lifted), |_| say!("{name} is on again"))
    }

    fn secrets(&self, action: Option<&SecretsAction>) -> Result<u8, Fault> {
        match action {
            None | Some(SecretsAction::List) => self.list("/v1/secrets", SECRETS),
            Some(SecretsAction::Set { name }) => {
                let body = json!({"value": from_stdin("the secret's value")?});
                let set = self.client.put(&format!("/v1/secrets/{}", segment(name)), &body)?;
                self.tell(&set, |set| say!("{name} is set (revision {})", set["revision"]))
            }
            Some(SecretsAction::Remove { name }) => {
                let removed = self.client.delete(&format!("/v1/secrets/{}", segment(name)))?;
                self.tell(&removed, |_| say!("{name} is removed"))
            }
        }
    }

    fn keys(&self, action: Option<&KeysAction>) -> Result<u8, Fault> {
        match action {
            None | Some(KeysAction::List) => self.list("/v1/keys", KEYS),
            Some(KeysAction::Issue {
                tenant,
                user,
                agent,
                roles,
                groups,
                description,
                expires_in_s,
            }) => {
                let body = json!({
                    "tenant": tenant, "user": user, "agent": agent, "roles": roles,
                    "groups": groups, "description": description, "expires_in_s": expires_in_s,
                });
                let issued = self.client.post("/v1/keys", &without_nulls(body))?;
                self.tell(&issued, |issued| {
                    say!("{}", show::cell(&issued["key"]));
                    eprintln!(
                        "shown this once; it is good until {}",
                        show::cell(&issued["info"]["expires_at"])
                    );
                })
            }
            Some(KeysAction::Revoke { id }) => {
                self.tell(&self.client.delete(&format!("/v1/keys/{}", segment(id)))?, show::applied)
            }
        }
    }

    fn appliances(&self, action: Option<&AppliancesAction>) -> Result<u8, Fault> {
        match action {
            None | Some(AppliancesAction::List) => self.list("/v1/appliances", APPLIANCES),
            Some(AppliancesAction::Show { id }) => self.show("/v1/appliances", id),
            Some(AppliancesAction::Enrol { name }) => {
                let made = self.client.post("/v1/appliances/enrolments", &json!({"name": name}))?;
                self.tell(&made, |made| {
                    say!("{}", show::cell(&made["token"]));
                    eprintln!(
                        "good once, until {}\n  try: portcullis-gateway --control HOST:9441 --enrol TOKEN",
                        show::cell(&made["expires_at"])
                    );
                })
            }
            Some(AppliancesAction::Remove { id }) => {
                let removed = self.client.delete(&format!("/v1/appliances/{}", segment(id)))?;
                self.tell(&removed, |_| say!("{id} is removed"))
            }
        }
    }

    fn test(&self, folder: &Path) -> Result<u8, Fault> {
        let body = json!({"files": folder::read(folder)?});
        let report = self.client.post("/v1/policy-tests", &body)?;
        self.tell(&report, show::tests)?;
        let failed = report["failed"].as_u64().unwrap_or(0) > 0;
        Ok(if failed { NOT_AS_IT_SHOULD_BE } else { DONE })
    }
}

/// Keeps a token only after the control plane has said whose it is.
fn login(client: Client) -> Result<u8, Fault> {
    let token = from_stdin("an API token")?;
    let client = client.with_token(&token);
    let me = client.get("/v1/me")?;
    let path = keep_login(client.url(), &token)?;
    let (name, role) = (&me["token"]["name"], &me["token"]["role"]);
    say!(
        "{} is {} ({}); kept in {}",
        client.url(),
        show::cell(name),
        show::cell(role),
        path.display()
    );
    Ok(DONE)
}

fn target(what: Target, name: &str) -> Value {
    let kind = match what {
        Target::Tool => "tool",
        Target::Server => "server",
        Target::Tenant => "tenant",
        Target::User => "user",
        Target::Agent => "agent",
        Target::Client => "client",
        Target::Token => "token",
    };
    json!({kind: name})
}

fn without_nulls(mut body: Value) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    body
}

/// Secrets are not arguments: those stand in process lists and shell histories.
fn from_stdin(what: &str) -> Result<String, Fault> {
    progress(&format!("{what}, on standard input"));
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|fault| Fault::Local(format!("standard input: {fault}")))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Fault::Usage(format!("{what} is expected on standard input")));
    }
    Ok(text.to_owned())
}
