//! Kills: what is off for everyone, now, whatever policy says.
//!
//! A kill list is the whole of them, signed under a purpose of its own, with a serial that only
//! rises. It can only deny: there is nothing in it that could permit.
//!
//! Layout, little-endian: magic 8, version u16, length of the JSON u32, serial u64, created u64,
//! key id 8, JSON, Ed25519 signature 64 over everything before it.

use dataplane_telemetry::WallNanos;
use serde::{Deserialize, Serialize};

use crate::keys::{KeyId, PublicKey, Purpose, SIGNATURE_BYTES, Signer, verify};
use crate::limits::{KILL_LIST_BYTES_MAX, KILLS_MAX, REASON_BYTES_MAX};
use crate::names::{at_most, distinct, identity, name, tool_name, wrong};
use crate::wire::Reader;
use crate::{Refused, json, wall};

const MAGIC: [u8; 8] = *b"PORTKILL";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 38;
const WHAT: &str = "kill list";

/// Everything that is killed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KillList {
    /// Rises with each change, a lifted kill included. Zero: no list was ever made.
    pub serial: u64,
    pub created_at: WallNanos,
    pub kills: Vec<Kill>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    /// A name, unique in the list.
    pub id: String,
    pub target: KillTarget,
    /// Told to the caller.
    pub reason: String,
    /// Who killed, told to the caller.
    pub author: String,
    #[serde(with = "wall")]
    pub at: WallNanos,
    /// Absent: until it is lifted.
    #[serde(with = "wall::option", default)]
    pub expires_at: Option<WallNanos>,
}

impl Kill {
    #[must_use]
    pub fn is_active(&self, wall: WallNanos) -> bool {
        self.expires_at.is_none_or(|expires_at| wall < expires_at)
    }
}

#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum KillTarget {
    Tool {
        server: String,
        tool: String,
    },
    Server {
        server: String,
    },
    Tenant {
        tenant: String,
    },
    User {
        tenant: String,
        user: String,
    },
    Agent {
        tenant: String,
        agent: String,
    },
    /// Every token that names this OAuth client (`client_id` or `azp`).
    Client {
        client: String,
    },
    /// One token, by its `jti`, or one API key, by its id.
    Token {
        token: String,
    },
}

impl KillList {
    /// Signs the list. Refuses what [`KillList::open`] would refuse.
    pub fn seal(&self, signer: &Signer) -> Result<Vec<u8>, Refused> {
        self.check()?;
        let body = json::write(WHAT, &self.kills)?;
        let bytes = seal(self.serial, self.created_at, &body, signer);
        at_most(WHAT, bytes.len(), KILL_LIST_BYTES_MAX)?;
        Ok(bytes)
    }

    /// Whatever the body holds: for the properties that fuzzing checks.
    pub(crate) fn seal_unchecked(serial: u64, body: &[u8], signer: &Signer) -> Vec<u8> {
        seal(serial, WallNanos(1), body, signer)
    }

    /// Opens a list that a trusted key signed and whose serial is at least `floor`.
    pub fn open(bytes: &[u8], trusted: &[PublicKey], floor: u64) -> Result<Self, Refused> {
        at_most(WHAT, bytes.len(), KILL_LIST_BYTES_MAX)?;
        let mut reader = Reader::new(WHAT, bytes);
        let magic = reader.array()?;
        if magic != MAGIC {
            return Err(Refused::Magic { what: WHAT, found: magic });
        }
        let version = reader.u16()?;
        if version != VERSION {
            return Err(Refused::Version { what: WHAT, found: version, supported: VERSION });
        }
        let length = reader.u32()? as usize;
        let serial = reader.u64()?;
        let created_at = WallNanos(reader.u64()?);
        let key_id = KeyId(reader.array()?);
        let body = reader.bytes(length)?;
        let signed = bytes.get(..reader.at()).unwrap_or_default();
        let signature = reader.bytes(SIGNATURE_BYTES)?;
        reader.end()?;
        verify(trusted, key_id, Purpose::KillList, WHAT, signed, signature)?;
        if serial < floor {
            return Err(Refused::OlderKills { found: serial, floor });
        }
        let list = Self { serial, created_at, kills: json::read(WHAT, body)? };
        list.check()?;
        Ok(list)
    }

    fn check(&self) -> Result<(), Refused> {
        at_most("kills", self.kills.len(), KILLS_MAX)?;
        self.kills.iter().try_for_each(Kill::check)?;
        distinct("kills", self.kills.iter().map(|kill| kill.id.as_str()))
    }
}

impl Kill {
    fn check(&self) -> Result<(), Refused> {
        name("kills.id", &self.id)?;
        for (field, text) in [("kills.reason", &self.reason), ("kills.author", &self.author)] {
            at_most(field, text.len(), REASON_BYTES_MAX)?;
            if text.chars().any(char::is_control) {
                return Err(wrong(field, text, "has a control character"));
            }
        }
        self.target.check()
    }
}

impl KillTarget {
    /// Checks the names in it; a kill of what does not exist is well formed, and waits for it.
    pub fn check(&self) -> Result<(), Refused> {
        match self {
            Self::Tool { server, tool } => {
                name("kills.target.server", server)?;
                tool_name("kills.target.tool", tool)
            }
            Self::Server { server } => name("kills.target.server", server),
            Self::Tenant { tenant } => identity("kills.target.tenant", tenant),
            Self::User { tenant, user: who } | Self::Agent { tenant, agent: who } => {
                identity("kills.target.tenant", tenant)?;
                identity("kills.target.who", who)
            }
            Self::Client { client } => identity("kills.target.client", client),
            Self::Token { token } => identity("kills.target.token", token),
        }
    }
}

fn seal(serial: u64, created_at: WallNanos, body: &[u8], signer: &Signer) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len() + SIGNATURE_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&serial.to_le_bytes());
    bytes.extend_from_slice(&created_at.0.to_le_bytes());
    bytes.extend_from_slice(&signer.public_key().id().0);
    bytes.extend_from_slice(body);
    let signature = signer.sign(Purpose::KillList, &bytes);
    bytes.extend_from_slice(&signature);
    bytes
}
