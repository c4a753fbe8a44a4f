//! The REST API's types: what people and programs may say to the control plane.
