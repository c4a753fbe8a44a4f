//! API tokens of the control plane. The secret is shown once, alone on standard output, so that
//! `portcullis tokens create ci --role operator > token` keeps it and nothing else.

use serde_json::json;

use super::columns::TOKENS;
use super::{Asked, without_nulls};
use crate::arguments::{TokenRole, TokensAction};
use crate::client::segment;
use crate::fault::Fault;
use crate::show;

impl Asked {
    pub(super) fn tokens(&self, action: Option<&TokensAction>) -> Result<u8, Fault> {
        match action {
            None | Some(TokensAction::List) => self.list("/v1/tokens", TOKENS),
            Some(TokensAction::Create { name, role, expires_in_s }) => {
                let role = match role {
                    TokenRole::Auditor => "auditor",
                    TokenRole::Operator => "operator",
                    TokenRole::Admin => "admin",
                };
                let body = json!({"name": name, "role": role, "expires_in_s": expires_in_s});
                let issued = self.client.post("/v1/tokens", &without_nulls(body))?;
                self.tell(&issued, |issued| {
                    say!("{}", show::cell(&issued["token"]));
                    let info = &issued["info"];
                    eprintln!(
                        "shown this once; {} ({role}), good until {}\n  \
                         try: portcullis login, which reads it from standard input",
                        show::cell(&info["name"]),
                        show::cell(&info["expires_at"])
                    );
                })
            }
            Some(TokensAction::Revoke { id }) => {
                let removed = self.client.delete(&format!("/v1/tokens/{}", segment(id)))?;
                self.tell(&removed, |_| say!("token {id} is taken back"))
            }
        }
    }
}
