//! The machine's speed without any library. No library can be faster, so every figure is shown beside it.

pub(crate) mod bounce;
pub(crate) mod copy;
pub(crate) mod cursor;
pub(crate) mod operation;
pub(crate) mod ping_pong;
pub(crate) mod stream;
pub(crate) mod wake;

/// The bare stream's policy, which every report prints.
pub(crate) const STREAM_POLICY: &str = "stamp behind the event, commit per event, gate reread when out (pause), batches from last to first; packed: fetched 256 bytes ahead";
