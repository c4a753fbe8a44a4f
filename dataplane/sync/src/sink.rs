//! What the channel hands to the dataplane, and what it asks of it.

use std::net::IpAddr;

use dataplane_bundle::drops::{CardPackets, DropOrder, DropsReport};
use dataplane_bundle::message::Status;
use dataplane_bundle::{Bundle, KillList, Lease};
use dataplane_drops::Explained;

/// Between two looks at what is dropped. The control plane is told when it has changed.
pub const DROPS_MS: u64 = 1_000;

/// The dataplane, as the channel sees it. Methods are called from the channel's threads, `on_bundle`
/// from another than the rest: a kill never waits for a bundle.
pub trait Sink: Send + Sync + 'static {
    /// Tries the bundle and makes it the active one, or says why not, and keeps the old. It may take
    /// its time. Bundles come one after the other, each newer than the last that was accepted.
    fn on_bundle(&self, bundle: Bundle) -> Result<(), String>;

    /// These kills are in force, and no others. Called before anything is written or acknowledged;
    /// it must not block. The same list may come again.
    fn on_kills(&self, kills: &KillList);

    /// These leases are lent, and no others.
    fn on_leases(&self, leases: Vec<Lease>);

    /// Asked every few seconds; must not block.
    fn status(&self) -> Status;

    /// What is dropped now; none where this box never drops anybody. Asked each [`DROPS_MS`]; must not
    /// block.
    fn drops(&self) -> Option<DropsReport> {
        None
    }

    /// Carries an operator's order out, or says why not: how many subjects were released, how many
    /// entries are held. It may come twice. It may take a moment: it has a thread of its own.
    ///
    /// # Errors
    /// A sentence for the operator.
    fn on_drop_order(&self, _order: &DropOrder) -> Result<u32, String> {
        Err("this box drops nobody, so there is nothing to release or to hold".to_owned())
    }

    /// What is known of an address; none where this box never drops anybody. It may take a moment.
    fn explain_address(&self, _address: IpAddr) -> Option<Explained> {
        None
    }

    /// The newest packets that each card has dropped, as far as they were sampled; what is not headers
    /// is cut off. It may take a moment.
    fn packets(&self) -> Vec<CardPackets> {
        Vec::new()
    }
}

/// The log's durable records, for the control plane's copy.
pub trait RecordSource: Send + 'static {
    /// Records that are on stable storage. Asked often: an atomic read.
    fn durable(&self) -> u64;

    /// Reads records from index `first` on into `out`, in the log's order, while
    /// [`Records::cost`](dataplane_bundle::message::Records::cost) of them fits into `room`. Returns
    /// the index of the first one that it read: higher than `first` where older ones are no longer
    /// kept. May block on the disk.
    fn read(&mut self, first: u64, room: usize, out: &mut Vec<Vec<u8>>) -> Result<u64, String>;
}
