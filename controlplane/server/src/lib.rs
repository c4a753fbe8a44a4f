//! portcullis-control: the control plane process.
