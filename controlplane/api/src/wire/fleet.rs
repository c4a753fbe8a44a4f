//! Appliances, their enrolment, and how everything is doing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Card;
use crate::Time;

/// `POST /v1/appliances/enrolments`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentRequest {
    /// The appliance's name.
    pub name: String,
}

/// A one-time token: give it to `portcullis-gateway enrol` within 15 minutes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Enrolment {
    pub name: String,
    /// Also carries the fingerprint of our certificate authority.
    pub token: String,
    pub expires_at: Time,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ApplianceState {
    /// Connected, and on the newest revision and kill list.
    Current,
    /// Connected, and not there yet.
    Behind,
    /// Connected, and refused the newest bundle: see `refused`.
    Refused,
    /// Not connected: it enforces its last bundle.
    Away,
    /// Its certificate is no longer taken.
    Revoked,
}

/// One box.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Appliance {
    pub id: String,
    pub name: String,
    pub state: ApplianceState,
    pub enrolled_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Time>,
    /// The revision that it enforces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_serial: Option<u64>,
    /// Why it refused the newest bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// The public key of its audit log, for `portcullis audit verify --key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires_at: Option<Time>,
    /// What is wrong with it now, as it says itself, or why it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Counters that it last told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
    /// Network interfaces whose cards refuse for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cards: Vec<Card>,
    /// What it counts of refusals that were ignored, and how full its tables are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drops: BTreeMap<String, u64>,
}

/// `GET /v1/status`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Status {
    pub version: String,
    pub started_at: Time,
    pub revision: u64,
    pub kill_serial: u64,
    /// Kills in force.
    pub kills: u32,
    /// Objects of the revision by kind.
    pub objects: BTreeMap<String, u32>,
    pub appliances: BTreeMap<String, u32>,
    /// Network interfaces whose cards refuse for an appliance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cards: Vec<Card>,
    /// What somebody should look at, a sentence each with the next command.
    pub attention: Vec<String>,
}

/// `GET /v1/health`, for probes: no token needed, nothing told.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Health {
    /// `ok`; anything else comes with status 503.
    pub health: String,
}
