//! How long what an appliance saw at an address counts, before its network card may drop it.
//!
//! Every key has a default; the bounds are the dataplane's own. Shorter times find an offender's
//! address sooner and a neighbour's later.

use dataplane_drops::{Attribution as Rule, RuleFault};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Problem;

/// `[gateway.attribution]`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Attribution {
    /// An address with two owners is shared for so long. 46,800,000 (13 h) to 2,678,400,000 (31 days);
    /// 86,400,000 (a day) unless told.
    #[schema(minimum = 46_800_000, maximum = 2_678_400_000_u64)]
    pub memory_ms: u64,
    /// An address is one owner's once nobody else was seen there for so long. 1,000 to `memory_ms`;
    /// 600,000 unless told.
    #[schema(minimum = 1_000, maximum = 2_678_400_000_u64)]
    pub certain_after_ms: u64,
    /// After a request without a good credential an address is nobody's for so long. 1,000 to
    /// `memory_ms`; 600,000 unless told.
    #[schema(minimum = 1_000, maximum = 2_678_400_000_u64)]
    pub unauthenticated_ms: u64,
}

impl Default for Attribution {
    fn default() -> Self {
        let Rule { memory_ms, certain_after_ms, unauthenticated_ms } = Rule::default();
        Self { memory_ms, certain_after_ms, unauthenticated_ms }
    }
}

impl Attribution {
    /// As the dataplane reads it.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        let Self { memory_ms, certain_after_ms, unauthenticated_ms } = *self;
        Rule { memory_ms, certain_after_ms, unauthenticated_ms }
    }

    /// # Errors
    /// Names the field, and what it may be.
    pub(crate) fn check(&self, field: &str) -> Result<(), Problem> {
        match self.rule().check() {
            Ok(_) | Err(RuleFault::Selective) => Ok(()),
            Err(RuleFault::Bounds { field: part, found, min, max }) => {
                Err(Problem::invalid(format!("`{part}` is {found}"))
                    .field(format!("{field}.{part}"))
                    .help(format!("write a number from {min} to {max}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Attribution {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_left_out_is_as_the_dataplane_has_it() {
        assert_eq!(read("").rule(), Rule::default());
        let text = "memory_ms = 50000000\ncertain_after_ms = 2000\nunauthenticated_ms = 3000\n";
        assert_eq!(read(text).rule(), toml::from_str(text).unwrap());
        assert!(toml::from_str::<Attribution>("memory = 1").is_err());
    }

    #[test]
    fn one_past_a_bound_names_the_field_and_what_it_may_be() {
        let problem = read("certain_after_ms = 999").check("attribution").unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("attribution.certain_after_ms"));
        assert_eq!(problem.help.as_deref(), Some("write a number from 1000 to 86400000"));
        let problem = read("memory_ms = 46799999").check("attribution").unwrap_err();
        assert_eq!(problem.help.as_deref(), Some("write a number from 46800000 to 2678400000"));
        assert!(read("certain_after_ms = 1000").check("attribution").is_ok());
    }
}
