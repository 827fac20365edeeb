//! Names of segments that every system accepts, and the name of what coordinates a ring.

use disruptor_mp::{Event, Producer, RingState};

use super::error::{TransportError, TransportResult};

/// The longest name of a shared memory segment on macOS, in bytes: `PSHMNAMLEN` in its `sys/posix_shm.h` is 31, which
/// counts a leading slash and, in older kernels, the NUL at the end.
pub const SEGMENT_NAME_LIMIT_MACOS: usize = 29;

/// Checks that every system accepts `name` as the name of a segment: ASCII letters, digits, `-`, `_` and `.`,
/// no dot at the start, and at most [`SEGMENT_NAME_LIMIT_MACOS`] bytes.
///
/// # Errors
///
/// [`TransportError::InvalidName`] with the reason.
///
/// # Examples
///
/// ```
/// use myelon::transport::validate_segment_name;
///
/// assert!(validate_segment_name("orders-1").is_ok());
/// let error = validate_segment_name("orders/1").unwrap_err();
/// assert!(error.to_string().starts_with("'orders/1' cannot name a segment"));
/// ```
pub fn validate_segment_name(name: &str) -> TransportResult<()> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() {
        Err(invalid_name(name, "it is empty"))
    } else if name.len() > SEGMENT_NAME_LIMIT_MACOS {
        Err(invalid_name(
            name,
            "it is longer than the 29 bytes that macOS takes",
        ))
    } else if name.starts_with('.') {
        Err(invalid_name(
            name,
            "it starts with a dot: those are kept for temporary files",
        ))
    } else if !name.chars().all(is_fine) {
        Err(invalid_name(
            name,
            "it has other characters than ASCII letters, digits, '-', '_' and '.'",
        ))
    } else {
        Ok(())
    }
}

pub(crate) fn invalid_name(name: &str, reason: &'static str) -> TransportError {
    TransportError::InvalidName {
        name: name.to_owned(),
        reason,
    }
}

/// The name of the object that coordinates a ring's producer and consumers. It is the ring's own name: the
/// coordination line is part of the ring's segment, and there is no second object.
///
/// ```
/// assert_eq!(myelon::coordination_cursor_name("orders"), "orders");
/// ```
pub fn coordination_cursor_name(ring: &str) -> String {
    ring.to_owned()
}

/// The current contents of the ring's coordination line: which consumers are registered, and how far each of
/// them is. The line is part of the segment, so it exists as long as the ring does.
///
/// # Examples
///
/// ```
/// let ring = myelon::HeapRing::<u64>::new(8)?;
/// let tx = ring.producer()?;
/// let _reader = ring.consumer("reader")?;
/// assert_eq!(myelon::ensure_coordination_cursor(&tx).consumers.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn ensure_coordination_cursor<E: Event, B>(ring: &Producer<E, B>) -> RingState {
    ring.ring_state()
}
