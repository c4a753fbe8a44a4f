//! Leases: secrets lent to this dataplane for a while.
