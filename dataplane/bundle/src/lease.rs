//! Leases: secrets, lent to one appliance for a while.
//!
//! They travel on the mutually authenticated channel only and are never written to disk. Values are
//! wiped when dropped and never shown. A message holds all leases of the appliance: what is absent
//! from it is lent no longer.

use std::fmt;

use dataplane_telemetry::WallNanos;
use zeroize::Zeroizing;

use crate::Refused;
use crate::limits::{LEASES_MAX, NAME_BYTES_MAX, SECRET_BYTES_MAX};
use crate::names::{at_most, distinct, name};
use crate::wire::{Reader, put_short};

/// One secret until `expires_at`.
#[derive(Clone, Eq, PartialEq)]
pub struct Lease {
    /// The secret's name, as `inject` names it.
    pub secret: String,
    /// Rises each time the secret's value is set.
    pub revision: u64,
    pub value: Zeroizing<Vec<u8>>,
    pub expires_at: WallNanos,
}

impl fmt::Debug for Lease {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret, revision, expires_at, .. } = self;
        write!(out, "Lease({secret}, revision {revision}, until {})", expires_at.secs())
    }
}

/// All leases of one appliance, in one message's body.
pub fn encode(leases: &[Lease]) -> Result<Zeroizing<Vec<u8>>, Refused> {
    check(leases)?;
    let size = |lease: &Lease| lease.secret.len() + lease.value.len() + 20;
    // Sized beforehand: a vector that grows leaves unwiped copies behind.
    let mut out = Zeroizing::new(Vec::with_capacity(2 + leases.iter().map(size).sum::<usize>()));
    out.extend_from_slice(&u16::try_from(leases.len()).unwrap_or(u16::MAX).to_le_bytes());
    for lease in leases {
        put_short(&mut out, lease.secret.as_bytes());
        out.extend_from_slice(&lease.revision.to_le_bytes());
        out.extend_from_slice(&lease.expires_at.0.to_le_bytes());
        put_short(&mut out, &lease.value);
    }
    Ok(out)
}

/// The reverse of [`encode`].
pub fn decode(bytes: &[u8]) -> Result<Vec<Lease>, Refused> {
    let mut reader = Reader::new("leases", bytes);
    let count = usize::from(reader.u16()?);
    at_most("leases", count, LEASES_MAX)?;
    let mut leases = Vec::new();
    for _ in 0..count {
        leases.push(Lease {
            secret: reader.text("leases.secret", NAME_BYTES_MAX)?.to_owned(),
            revision: reader.u64()?,
            expires_at: WallNanos(reader.u64()?),
            value: Zeroizing::new(reader.short("leases.value", SECRET_BYTES_MAX)?.to_vec()),
        });
    }
    reader.end()?;
    check(&leases)?;
    Ok(leases)
}

fn check(leases: &[Lease]) -> Result<(), Refused> {
    at_most("leases", leases.len(), LEASES_MAX)?;
    for lease in leases {
        name("leases.secret", &lease.secret)?;
        at_most("leases.value", lease.value.len(), SECRET_BYTES_MAX)?;
    }
    distinct("leases", leases.iter().map(|lease| lease.secret.as_str()))
}
