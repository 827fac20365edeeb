//! Required consumers.

/// Liveness.
#[derive(Debug)]
pub(crate) struct Liveness {}
