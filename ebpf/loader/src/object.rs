//! The objects that are shipped, and the line that `cargo xtask ebpf` stamps into each.
//!
//! The stamp says which ABI it speaks, of which sources it was built and with what. It is a section
//! of its own; it is found by its first words, so that nobody needs a reader of ELF.

use std::fmt;

use ebpf_abi::ABI_VERSION;

use crate::Fault;

/// The card's: nobody needs a BPF toolchain to build the gateway.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../object/portcullis.o");
/// The one that spreads connections.
pub static STEERING_OBJECT: &[u8] = aya::include_bytes_aligned!("../../object/steering.o");

/// How the stamp begins.
const MARK: &[u8] = b"portcullis-object abi=";

/// What an object says about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stamp {
    pub abi: u32,
    /// SHA-256 over the sources of the program and of the ABI, in hexadecimal.
    pub sources: String,
    /// Compiler and linker.
    pub built_with: String,
}

impl Stamp {
    /// Reads the stamp of an object.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(object: &[u8]) -> Result<Self, Fault> {
        Self::read(object).ok_or(Fault::Incomplete("stamp"))
    }

    fn read(object: &[u8]) -> Option<Self> {
        let at = object.windows(MARK.len()).position(|window| window == MARK)?;
        let line = object.get(at + MARK.len()..)?.split(|byte| *byte == b'\n').next()?;
        let line = std::str::from_utf8(line).ok()?;
        let (abi, rest) = line.split_once(" sources=")?;
        let (sources, built_with) = rest.split_once(" with=")?;
        Some(Self {
            abi: abi.parse().ok()?,
            sources: sources.to_owned(),
            built_with: built_with.to_owned(),
        })
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "portcullis-object abi={} sources={}", self.abi, self.sources)?;
        writeln!(to, " with={}", self.built_with)
    }
}

/// # Errors
/// When the object was built for other structs.
pub(crate) fn same_abi(stamp: &Stamp) -> Result<(), Fault> {
    match stamp.abi {
        ABI_VERSION => Ok(()),
        found => Err(Fault::OtherAbi { found, wanted: ABI_VERSION }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_in_an_object() {
        let stamp = Stamp { abi: 7, sources: "ab".into(), built_with: "rustc 1.2, x 3".into() };
        let object = [b"\x7fELF portcullis-", stamp.to_string().as_bytes(), b"\0rest"].concat();
        assert_eq!(Stamp::of(&object).unwrap(), stamp);
        assert!(matches!(Stamp::of(b"\x7fELF"), Err(Fault::Incomplete("stamp"))));
    }

    #[test]
    fn the_shipped_objects_speak_our_abi() {
        for object in [OBJECT, STEERING_OBJECT] {
            assert_eq!(Stamp::of(object).unwrap().abi, ebpf_abi::ABI_VERSION);
        }
    }
}
