//! The appliance's side of the push channel: QUIC, enrolment, bundles on disk.
