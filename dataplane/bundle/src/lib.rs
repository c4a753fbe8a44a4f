//! Signed bundles and kill messages: what a control plane may tell an appliance.
