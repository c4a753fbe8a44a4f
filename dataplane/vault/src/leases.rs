//! The table of leases: which secret, which revision, until when.
//!
//! A secret keeps its index for as long as the table lives, also while it is not held, so that a
//! catalog's servers may refer to it by number.

use dataplane_telemetry::WallNanos;

use crate::space::{Place, Space};
use crate::{LeaseFault, NAME_BYTES_MAX, PutFault, SECRETS_MAX, VALUE_BYTES_MAX, Why};

/// A secret's number in one table.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SecretIndex(u16);

/// All leases of one core. `S` is the memory that the shell made for the values.
pub struct Leases<S: AsRef<[u8]> + AsMut<[u8]>> {
    space: Space<S>,
    secrets: Vec<Secret>,
}

struct Secret {
    name: Box<str>,
    state: State,
}

enum State {
    Held {
        revision: u64,
        expires_at: WallNanos,
        place: Place,
    },
    /// `revision` is remembered, so that an older one cannot come back.
    Gone {
        revision: u64,
        why: Why,
    },
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> Leases<S> {
    /// No leases yet. What `storage` held stays where no value comes to lie.
    pub fn new(storage: S) -> Self {
        Self { space: Space::new(storage), secrets: Vec::new() }
    }

    /// The secret's index, also where its value has not come yet. Names it if it is new.
    ///
    /// # Errors
    /// `Name` or `TooMany`.
    pub fn index(&mut self, name: &str) -> Result<SecretIndex, PutFault> {
        let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !printable {
            return Err(PutFault::Name);
        }
        if let Some(index) = self.find(name) {
            return Ok(index);
        }
        let index = match self.find("") {
            Some(vacant) => vacant,
            None if self.secrets.len() < SECRETS_MAX => {
                let next = u16::try_from(self.secrets.len()).map_err(|_| PutFault::TooMany)?;
                self.secrets.push(Secret::vacant());
                SecretIndex(next)
            }
            None => return Err(PutFault::TooMany),
        };
        if let Some(secret) = self.get_mut(index) {
            secret.name = name.into();
        }
        Ok(index)
    }

    #[must_use]
    pub fn find(&self, name: &str) -> Option<SecretIndex> {
        let place = self.secrets.iter().position(|secret| &*secret.name == name)?;
        u16::try_from(place).ok().map(SecretIndex)
    }

    /// Keeps a value until `expires_at`, and wipes the one before. The caller wipes its own copy.
    ///
    /// # Errors
    /// See [`PutFault`]; what was held stays.
    pub fn put(
        &mut self,
        name: &str,
        revision: u64,
        value: &[u8],
        expires_at: WallNanos,
        wall: WallNanos,
    ) -> Result<SecretIndex, PutFault> {
        check(value)?;
        if expires_at <= wall {
            return Err(PutFault::Over { since: expires_at });
        }
        let index = self.index(name)?;
        let held = self.get(index).map_or(0, Secret::revision);
        if revision < held {
            return Err(PutFault::Older { held, offered: revision });
        }
        let freed = self.get(index).and_then(Secret::place).map_or(0, |place| self.len_of(place));
        let free_bytes = self.space.free_bytes() + freed;
        if value.len() > free_bytes {
            return Err(PutFault::Full { bytes: value.len(), free_bytes });
        }
        self.wipe(index, Why::Missing);
        let full = PutFault::Full { bytes: value.len(), free_bytes };
        let place = self.space.add(value).ok_or(full)?;
        self.set(index, State::Held { revision, expires_at, place });
        Ok(index)
    }

    /// Lends the same value for longer, or for less long.
    ///
    /// # Errors
    /// `NotHeld` where this revision's value is not here, `Over` where the new end is past.
    pub fn renew(
        &mut self,
        name: &str,
        revision: u64,
        expires_at: WallNanos,
        wall: WallNanos,
    ) -> Result<SecretIndex, PutFault> {
        if expires_at <= wall {
            return Err(PutFault::Over { since: expires_at });
        }
        let index = self.find(name).ok_or(PutFault::NotHeld)?;
        match self.get_mut(index).map(|secret| &mut secret.state) {
            Some(State::Held { revision: held, expires_at: end, .. })
                if *held == revision && *end > wall =>
            {
                *end = expires_at;
                Ok(index)
            }
            _ => Err(PutFault::NotHeld),
        }
    }

    /// Takes a secret back and wipes it. False where it was not held.
    pub fn revoke(&mut self, name: &str) -> bool {
        self.find(name).is_some_and(|index| self.wipe(index, Why::Revoked))
    }

    /// The value, for as long as the borrow lasts.
    ///
    /// # Errors
    /// Says which secret, and why not.
    pub fn lend(&self, index: SecretIndex, wall: WallNanos) -> Result<&[u8], LeaseFault<'_>> {
        let Some(secret) = self.get(index) else {
            return Err(LeaseFault { secret: "", why: Why::Missing });
        };
        let fault = |why| LeaseFault { secret: &secret.name, why };
        match secret.state {
            State::Held { expires_at, .. } if wall >= expires_at => {
                Err(fault(Why::Expired { since: expires_at }))
            }
            State::Held { place, .. } => self.space.get(place).ok_or(fault(Why::Missing)),
            State::Gone { why, .. } => Err(fault(why)),
        }
    }

    /// Wipes what is over; returns how many. To be called at [`Leases::next_expiry`].
    pub fn expire(&mut self, wall: WallNanos) -> usize {
        let mut wiped = 0;
        for index in (0..=u16::MAX).map(SecretIndex).take(self.secrets.len()) {
            let end = self.get(index).and_then(Secret::expires_at);
            if let Some(since) = end.filter(|end| *end <= wall) {
                self.wipe(index, Why::Expired { since });
                wiped += 1;
            }
        }
        wiped
    }

    #[must_use]
    pub fn next_expiry(&self) -> Option<WallNanos> {
        self.secrets.iter().filter_map(Secret::expires_at).min()
    }

    /// Wipes and forgets the secrets that no catalog names any more. Their indices are used again,
    /// so the catalog that knew them must be gone.
    pub fn retain(&mut self, named: impl Fn(&str) -> bool) {
        for index in (0..=u16::MAX).map(SecretIndex).take(self.secrets.len()) {
            if self.get(index).is_some_and(|secret| !named(&secret.name)) {
                self.wipe(index, Why::Missing);
                if let Some(secret) = self.get_mut(index) {
                    *secret = Secret::vacant();
                }
            }
        }
    }

    /// Values held, for the gauge.
    #[must_use]
    pub fn held(&self) -> usize {
        self.secrets.iter().filter(|secret| secret.expires_at().is_some()).count()
    }

    fn len_of(&self, place: Place) -> usize {
        self.space.get(place).map_or(0, <[u8]>::len)
    }

    fn wipe(&mut self, index: SecretIndex, why: Why) -> bool {
        let Some(secret) = self.get(index) else { return false };
        let (revision, place) = (secret.revision(), secret.place());
        self.set(index, State::Gone { revision, why });
        let Some(gone) = place else { return false };
        self.space.remove(gone);
        for secret in &mut self.secrets {
            if let State::Held { place, .. } = &mut secret.state {
                *place = place.after_removal(gone);
            }
        }
        true
    }

    fn set(&mut self, index: SecretIndex, state: State) {
        if let Some(secret) = self.get_mut(index) {
            secret.state = state;
        }
    }

    fn get(&self, index: SecretIndex) -> Option<&Secret> {
        self.secrets.get(usize::from(index.0))
    }

    fn get_mut(&mut self, index: SecretIndex) -> Option<&mut Secret> {
        self.secrets.get_mut(usize::from(index.0))
    }
}

impl Secret {
    /// A place without a secret: no secret's name is empty.
    fn vacant() -> Self {
        Self { name: "".into(), state: State::Gone { revision: 0, why: Why::Missing } }
    }

    const fn revision(&self) -> u64 {
        match self.state {
            State::Held { revision, .. } | State::Gone { revision, .. } => revision,
        }
    }

    const fn place(&self) -> Option<Place> {
        match self.state {
            State::Held { place, .. } => Some(place),
            State::Gone { .. } => None,
        }
    }

    const fn expires_at(&self) -> Option<WallNanos> {
        match self.state {
            State::Held { expires_at, .. } => Some(expires_at),
            State::Gone { .. } => None,
        }
    }
}

/// Names, revisions and times; never a value, nor its length.
impl<S: AsRef<[u8]> + AsMut<[u8]>> std::fmt::Debug for Leases<S> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut map = out.debug_map();
        for secret in &self.secrets {
            match &secret.state {
                State::Held { revision, expires_at, .. } => {
                    map.entry(&secret.name, &(revision, expires_at));
                }
                State::Gone { revision, why } => {
                    map.entry(&secret.name, &(revision, why));
                }
            }
        }
        map.finish()
    }
}

/// A value goes into a header, so it must not be able to end one.
fn check(value: &[u8]) -> Result<(), PutFault> {
    if value.is_empty() {
        return Err(PutFault::Empty);
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(PutFault::TooLong { bytes: value.len() });
    }
    match value.iter().position(|byte| byte.is_ascii_control()) {
        Some(place) => Err(PutFault::Control { place }),
        None => Ok(()),
    }
}
