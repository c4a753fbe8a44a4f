//! Where values lie in the storage: packed from its start, what was freed zero again.
//!
//! Storage that nothing was put into is not touched, so locked memory costs what it holds.
//! A value that goes is wiped and the later ones move down, so that free space is always one piece.
//! Values change when a secret is set, not when a call is made: moving 64 KiB then is no cost.

use zeroize::Zeroize;

/// Storage and how much of its start is in use.
pub(crate) struct Space<S: AsMut<[u8]>> {
    storage: S,
    used: usize,
}

/// A value's place. Only the table that packs them may change it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Place {
    start: usize,
    len: usize,
}

impl Place {
    /// Where this value lies after `gone` was taken out below it.
    pub(crate) fn after_removal(self, gone: Self) -> Self {
        let moves = self.start > gone.start;
        Self { start: if moves { self.start - gone.len } else { self.start }, len: self.len }
    }
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> Space<S> {
    pub(crate) const fn new(storage: S) -> Self {
        Self { storage, used: 0 }
    }

    pub(crate) fn free_bytes(&self) -> usize {
        self.storage.as_ref().len().saturating_sub(self.used)
    }

    /// `None` where it does not fit.
    pub(crate) fn add(&mut self, value: &[u8]) -> Option<Place> {
        let place = Place { start: self.used, len: value.len() };
        let end = self.used.checked_add(value.len())?;
        self.storage.as_mut().get_mut(place.start..end)?.copy_from_slice(value);
        self.used = end;
        Some(place)
    }

    /// Wipes the value and closes the gap. Later places move: [`Place::after_removal`].
    pub(crate) fn remove(&mut self, place: Place) {
        let used = self.used;
        let Some(tail) = self.storage.as_mut().get_mut(place.start..used) else { return };
        tail.copy_within(place.len.min(tail.len()).., 0);
        let kept = tail.len().saturating_sub(place.len);
        if let Some(freed) = tail.get_mut(kept..) {
            freed.zeroize();
        }
        self.used = place.start + kept;
    }

    pub(crate) fn get(&self, place: Place) -> Option<&[u8]> {
        self.storage.as_ref().get(place.start..)?.get(..place.len)
    }
}

impl<S: AsMut<[u8]>> Drop for Space<S> {
    fn drop(&mut self) {
        if let Some(used) = self.storage.as_mut().get_mut(..self.used) {
            used.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_is_wiped_and_the_rest_moves_down() {
        let mut space = Space::new(vec![0; 12]);
        let places = [&b"abc"[..], b"de", b"fghi"].map(|value| space.add(value).unwrap());
        assert!(space.add(b"wxyz").is_none());
        space.remove(places[1]);
        let [first, last] = [places[0], places[2]].map(|place| place.after_removal(places[1]));
        assert_eq!((space.get(first), space.get(last)), (Some(&b"abc"[..]), Some(&b"fghi"[..])));
        assert_eq!((&space.storage[..], space.free_bytes()), (&b"abcfghi\0\0\0\0\0"[..], 5));
        space.remove(first);
        let last = last.after_removal(first);
        assert_eq!(&space.storage[..], b"fghi\0\0\0\0\0\0\0\0");
        space.remove(last);
        assert_eq!(&space.storage[..], [0; 12]);
    }
}
