//! What the push channel asks of the control plane's state, and what it tells it.
//!
//! The store implements it. Every answer may fail; the reason of a refusal is sent to the appliance
//! and shown to its operator, the reason of a failure is logged and the question asked again.

use std::net::SocketAddr;
use std::sync::Arc;

use dataplane_bundle::message::{Certified, Records, Status};
use dataplane_bundle::{ApplianceId, Draft, Revision};
use zeroize::Zeroizing;

/// A secret that an appliance may use: what a lease is made of.
#[derive(Clone)]
pub struct Secret {
    pub name: String,
    /// Rises each time the value is set.
    pub revision: u64,
    pub value: Zeroizing<Vec<u8>>,
}

/// What an appliance has said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Report {
    Connected {
        from: SocketAddr,
        version: String,
        cores: u16,
        revision: Revision,
        kill_serial: u64,
    },
    Disconnected {
        reason: String,
    },
    BundleActive {
        revision: Revision,
    },
    /// `revision` is what was pushed; the appliance keeps the one that it has.
    BundleRefused {
        revision: Revision,
        reason: String,
    },
    KillsApplied {
        serial: u64,
    },
    KillsRefused {
        serial: u64,
        reason: String,
    },
    Status(Status),
}

/// The control plane's state, as the channel needs it. Questions are asked from many connections at
/// a time.
pub trait Directory: Send + Sync + 'static {
    /// Trades the secret part of an enrolment token for the appliance that it was made for, once:
    /// the second time is refused. Only a digest of the secret need be kept.
    fn redeem(
        &self,
        secret: &str,
        from: SocketAddr,
    ) -> impl Future<Output = Result<ApplianceId, String>> + Send;

    /// A certificate was issued, at enrolment or renewal. `sha256` is of its DER.
    fn certified(
        &self,
        appliance: &ApplianceId,
        sha256: [u8; 32],
        certified: &Certified,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Whether a box with this certificate (ours, and not expired) may connect: not when it was
    /// removed.
    fn admit(
        &self,
        appliance: &ApplianceId,
        sha256: [u8; 32],
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// The bundle that the appliance should have. None: no revision yet.
    fn bundle(
        &self,
        appliance: &ApplianceId,
    ) -> impl Future<Output = Result<Option<Arc<Draft>>, String>> + Send;

    /// The secrets that its servers use.
    fn secrets(
        &self,
        appliance: &ApplianceId,
    ) -> impl Future<Output = Result<Vec<Secret>, String>> + Send;

    /// The log index from which on records of this appliance are missing here. A box whose log
    /// starts anew (a new disk) is enrolled as a new appliance: nothing below this index is shipped.
    fn records_next(
        &self,
        appliance: &ApplianceId,
    ) -> impl Future<Output = Result<u64, String>> + Send;

    /// Keeps a batch; records that are here already are skipped. Returns the new
    /// [`Directory::records_next`].
    fn keep_records(
        &self,
        appliance: &ApplianceId,
        records: Records,
    ) -> impl Future<Output = Result<u64, String>> + Send;

    /// Something was said; for the admin log and the console. Must not block.
    fn report(&self, appliance: &ApplianceId, report: Report);
}
