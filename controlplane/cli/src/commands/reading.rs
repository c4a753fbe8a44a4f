//! Reading what is in force: objects of the revision, revisions themselves, and the admin log.

use serde_json::{Value, json};

use super::Asked;
use super::columns::{ADMIN_LOG, Columns, IDENTITY, OBJECTS, POLICIES, REVISIONS};
use crate::arguments::{IdentityAction, PolicyAction, ReadAction, RevisionsAction};
use crate::client::{progress, segment};
use crate::fault::Fault;
use crate::show;

impl Asked {
    /// A kind of object that has nothing but a list and its members.
    pub(super) fn read(
        &self,
        path: &str,
        columns: Columns,
        action: Option<&ReadAction>,
    ) -> Result<u8, Fault> {
        match action {
            None | Some(ReadAction::List) => self.list(path, columns),
            Some(ReadAction::Show { name }) => self.show(path, name),
        }
    }

    pub(super) fn show(&self, path: &str, name: &str) -> Result<u8, Fault> {
        let item = self.client.get(&format!("{path}/{}", segment(name)))?;
        self.tell(&item, show::item)
    }

    pub(super) fn identity(&self, action: Option<&IdentityAction>) -> Result<u8, Fault> {
        match action {
            None | Some(IdentityAction::List) => self.list("/v1/identity", IDENTITY),
            Some(IdentityAction::Show { name }) => self.show("/v1/identity", name),
            Some(IdentityAction::Refresh { name }) => {
                progress("asking the provider");
                let path = format!("/v1/identity/{}/refresh", segment(name));
                self.tell(&self.client.post(&path, &json!({}))?, show::applied)
            }
        }
    }

    pub(super) fn policies(&self, action: Option<&PolicyAction>) -> Result<u8, Fault> {
        match action {
            None | Some(PolicyAction::List) => {
                let items = Value::Array(self.client.all("/v1/policies")?);
                self.tell(&items, |items| {
                    let items: Vec<_> = show::array(items).iter().map(measured).collect();
                    show::table(&items, POLICIES);
                })
            }
            Some(PolicyAction::Show { path }) => {
                // A policy's name is a path: its slashes part segments.
                let path = path.split('/').map(segment).collect::<Vec<_>>().join("/");
                let item = self.client.get(&format!("/v1/policies/{path}"))?;
                self.tell(&item, |item| {
                    let text = item["spec"]["text"].as_str().unwrap_or_default();
                    text.lines().for_each(|line| say!("{}", show::cell(&json!(line))));
                })
            }
            Some(PolicyAction::Test { folder }) => self.test(folder),
        }
    }

    pub(super) fn revisions(&self, action: Option<&RevisionsAction>) -> Result<u8, Fault> {
        match action {
            None | Some(RevisionsAction::List) => self.list("/v1/revisions", REVISIONS),
            Some(RevisionsAction::Show { revision }) => {
                let content = self.client.get(&format!("/v1/revisions/{revision}"))?;
                self.tell(&content, |content| {
                    show::item(&content["revision"]);
                    show::table(show::array(&content["objects"]), OBJECTS);
                })
            }
            Some(RevisionsAction::Diff { revision, against }) => {
                let against = against.map(|against| ("against", against.to_string()));
                let query: Vec<_> = against.into_iter().collect();
                let path = format!("/v1/revisions/{revision}/diff");
                self.tell(&self.client.get_with(&path, &query)?, |diff| {
                    match show::array(&diff["changes"]) {
                        [] => say!("nothing differs"),
                        _ => show::diff(diff),
                    }
                })
            }
        }
    }

    pub(super) fn admin_log(&self, limit: u32) -> Result<u8, Fault> {
        let page = self.client.get_with("/v1/admin-log", &[("limit", limit.to_string())])?;
        self.tell(&page["items"], |items| show::table(show::array(items), ADMIN_LOG))
    }
}

/// A policy with the size of its text, and the names of its rules.
fn measured(item: &Value) -> Value {
    let text = item["spec"]["text"].as_str().unwrap_or_default();
    let ids = text.split("@id(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let ids: Vec<_> = ids.collect();
    json!({"name": item["name"], "lines": text.lines().count(), "rules": ids})
}
