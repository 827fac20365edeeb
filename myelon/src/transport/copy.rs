//! Copying a short message without a call. A call of `memcpy` stores its return address, and its caller stores what it
//! has to keep: stores between two frames, which cost a part of the throughput (`rfcs/0002`).

/// The longest message that [`copy_short`] copies, in bytes.
pub(super) const SHORT_BYTES: usize = 128;

/// Copies `from` to the beginning of `to`, in pieces that may overlap.
///
/// # Panics
///
/// If `from` is longer than `to` or than [`SHORT_BYTES`]; the compiler knows better where this is called.
#[inline(always)]
pub(super) fn copy_short(to: &mut [u8], from: &[u8]) {
    let len = from.len();
    assert!(len <= to.len() && len <= SHORT_BYTES);
    let (to, from) = (to.as_mut_ptr(), from.as_ptr());
    let copy = |n: usize, at: usize| {
        // SAFETY: each call below has `at + n <= len`, which both slices have; the exclusive borrow of one of them
        // keeps them apart.
        unsafe { core::ptr::copy_nonoverlapping(from.wrapping_add(at), to.wrapping_add(at), n) }
    };
    match len {
        0 => {}
        1..=3 => {
            copy(1, 0);
            copy(1, len / 2);
            copy(1, len - 1);
        }
        4..=7 => {
            copy(4, 0);
            copy(4, len - 4);
        }
        8..=16 => {
            copy(8, 0);
            copy(8, len - 8);
        }
        17..=32 => {
            copy(16, 0);
            copy(16, len - 16);
        }
        33..=64 => {
            copy(16, 0);
            copy(16, 16);
            copy(16, len - 32);
            copy(16, len - 16);
        }
        _ => {
            copy(16, 0);
            copy(16, 16);
            copy(16, 32);
            copy(16, 48);
            copy(16, len - 64);
            copy(16, len - 48);
            copy(16, len - 32);
            copy(16, len - 16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_copied_and_nothing_behind_it_is_touched() {
        let from: Vec<u8> = (1..=SHORT_BYTES as u8).collect();
        for len in 0..=SHORT_BYTES {
            let mut to = [0; SHORT_BYTES + 1];
            copy_short(&mut to, &from[..len]);
            assert_eq!(to[..len], from[..len], "{len}");
            assert!(to[len..].iter().all(|byte| *byte == 0), "{len}");
        }
    }
}
