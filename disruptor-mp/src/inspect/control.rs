//! A private copy of the control lines, read as bytes.

use super::{InspectError, Inspector};
use crate::Sequence;
use crate::layout::CONTROL_OFFSET;
use crate::layout::control::Control;
use crate::layout::stamp::MAX_SEQUENCE;
use crate::sync::Ordering;

impl Inspector {
    /// The control lines at about one moment. Kernels copy aligned words whole; a word that came in two pieces after
    /// all shows as a value that cannot be true, and is read again.
    pub(super) fn read_control(&self) -> Result<Box<Control>, InspectError> {
        let mut control = Box::<Control>::new_uninit();
        let at = control.as_mut_ptr().cast::<u8>();
        // SAFETY: the box has room for a `Control`, which is that many bytes.
        unsafe { at.write_bytes(0, size_of::<Control>()) };
        // SAFETY: every byte of the box was written above, and the box is not used while the slice lives.
        let bytes = unsafe { core::slice::from_raw_parts_mut(at, size_of::<Control>()) };
        self.read(bytes, CONTROL_OFFSET as u64)?;
        // SAFETY: `Control` consists of integer atomics (`layout::control`), of which any bytes are a value, as a
        // mapping relies on, too (R1); all of its bytes are initialised.
        Ok(unsafe { control.assume_init() })
    }

    /// The floor word alone, clamped as everywhere (R1): every sequence up to it may already be reused.
    pub(super) fn read_floor(&self) -> Result<Sequence, InspectError> {
        let mut word = [0; 8];
        self.read(&mut word, CONTROL_OFFSET as u64)?;
        Ok(clamp(i64::from_ne_bytes(word)))
    }
}

/// The floor of a copy of the lines.
pub(super) fn floor_of(control: &Control) -> Sequence {
    clamp(control.producer.floor.load(Ordering::Relaxed))
}

fn clamp(floor: Sequence) -> Sequence {
    floor.clamp(-1, MAX_SEQUENCE)
}

/// `read_floor` reads the first word of the lines.
const _: () = assert!(
    core::mem::offset_of!(Control, producer) == 0
        && core::mem::offset_of!(crate::layout::control::ProducerLine, floor) == 0
);
