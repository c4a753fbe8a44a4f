//! How a new box comes in, and how a certificate travels: one request, one answer.

use dataplane_telemetry::WallNanos;
use zeroize::Zeroizing;

use super::{DER_BYTES_MAX, Encoded, Kind, SHORT_BYTES_MAX, framed, put_text, text, unexpected};
use crate::names::{at_most, wrong};
use crate::wire::{Reader, put_short};
use crate::{ApplianceId, PublicKey, Refused};

/// Signing keys that an appliance trusts at a time: the present one, and the next while it rotates.
const SIGNING_KEYS_MAX: usize = 8;

/// A client certificate as its issuer made it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Certified {
    /// DER.
    pub certificate: Vec<u8>,
    /// When the appliance asks for the next one: at half its life.
    pub renew_at: WallNanos,
    pub expires_at: WallNanos,
}

/// The one request of a box that is not enrolled.
#[derive(Clone, Eq, PartialEq)]
pub struct Enrol {
    /// The token's secret part.
    pub secret: Zeroizing<String>,
    /// The box's own public key (SubjectPublicKeyInfo, DER); the private one never leaves it.
    pub public_key: Vec<u8>,
}

/// What an enrolled box keeps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Enrolled {
    pub appliance: ApplianceId,
    pub certified: Certified,
    /// The CA certificate, DER.
    pub ca: Vec<u8>,
    pub signing_keys: Vec<PublicKey>,
}

impl Enrol {
    pub fn encode(&self) -> Result<Encoded, Refused> {
        let mut body = Zeroizing::new(Vec::with_capacity(4 + self.secret.len() + DER_BYTES_MAX));
        put_short(&mut body, self.secret.as_bytes());
        put_short(&mut body, &self.public_key);
        framed(Kind::Enrol, &body)
    }

    pub fn decode(kind: Kind, body: &[u8]) -> Result<Self, Refused> {
        if kind != Kind::Enrol {
            return Err(unexpected(kind));
        }
        let mut reader = Reader::new("message", body);
        let secret = Zeroizing::new(reader.text("enrolment token", 64)?.to_owned());
        let public_key = reader.short("public key", DER_BYTES_MAX)?.to_vec();
        reader.end()?;
        Ok(Self { secret, public_key })
    }
}

impl Enrolled {
    /// The answer to an [`Enrol`]: in, or why not.
    pub fn encode(answer: &Result<Self, String>) -> Result<Encoded, Refused> {
        let mut body = Vec::new();
        match answer {
            Ok(enrolled) => {
                put_short(&mut body, enrolled.appliance.as_str().as_bytes());
                enrolled.certified.put(&mut body);
                put_short(&mut body, &enrolled.ca);
                for key in &enrolled.signing_keys {
                    body.extend_from_slice(&key.0);
                }
                framed(Kind::Enrolled, &body)
            }
            Err(reason) => {
                put_text(&mut body, reason);
                framed(Kind::EnrolRefused, &body)
            }
        }
    }

    pub fn decode(kind: Kind, body: &[u8]) -> Result<Result<Self, String>, Refused> {
        let mut reader = Reader::new("message", body);
        match kind {
            Kind::Enrolled => {
                let appliance = ApplianceId::new(reader.text("appliance", SHORT_BYTES_MAX)?)?;
                let certified = Certified::take(&mut reader)?;
                let ca = reader.short("CA certificate", DER_BYTES_MAX)?.to_vec();
                let keys = reader.rest().chunks(32).map(<[u8; 32]>::try_from);
                let keys: Vec<_> = keys
                    .map(|key| key.map(PublicKey))
                    .collect::<Result<_, _>>()
                    .map_err(|_| wrong("signing keys", "", "are not 32 bytes each"))?;
                at_most("signing keys", keys.len(), SIGNING_KEYS_MAX)?;
                Ok(Ok(Self { appliance, certified, ca, signing_keys: keys }))
            }
            Kind::EnrolRefused => {
                let reason = text(&mut reader, "reason")?;
                reader.end()?;
                Ok(Err(reason))
            }
            kind => Err(unexpected(kind)),
        }
    }
}

impl Certified {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_short(out, &self.certificate);
        out.extend_from_slice(&self.renew_at.0.to_le_bytes());
        out.extend_from_slice(&self.expires_at.0.to_le_bytes());
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        Ok(Self {
            certificate: reader.short("certificate", DER_BYTES_MAX)?.to_vec(),
            renew_at: WallNanos(reader.u64()?),
            expires_at: WallNanos(reader.u64()?),
        })
    }
}
