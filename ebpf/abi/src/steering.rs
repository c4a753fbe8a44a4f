//! Which core a new connection goes to.

/// Cores that connections are spread over.
pub const CORES_MAX: u32 = 256;

/// A core whose turn it is is passed over for one, drawn at random, that has more than so many connections
/// fewer. Less would chase counts that are a quarter of a second old.
pub const STEERING_SLACK: u32 = 8;

/// The one element of `STEERING`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Steering {
    /// [`crate::ABI_VERSION`]; the kernel's hash chooses while it is another one.
    pub abi: u32,
    /// How many cores there are: 0 to [`CORES_MAX`].
    pub cores: u32,
    /// Counts connections; whose turn it is follows.
    pub turn: u32,
    pub pad: u32,
}

const _: () = assert!(size_of::<Steering>() == 16);
