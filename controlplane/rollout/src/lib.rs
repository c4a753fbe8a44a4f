//! The control plane's side of the push channel: enrolment, signing, pushing.
