//! Wall-clock times in JSON: nanoseconds since 1970 as one integer.

use dataplane_telemetry::WallNanos;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(wall: &WallNanos, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(wall.0)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<WallNanos, D::Error> {
    u64::deserialize(from).map(WallNanos)
}

/// The same, where there may be none.
pub(crate) mod option {
    use dataplane_telemetry::WallNanos;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        wall: &Option<WallNanos>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        wall.map(|wall| wall.0).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<WallNanos>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(WallNanos))
    }
}
