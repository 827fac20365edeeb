//! The numbers of workers that a topology can have.

use super::error::{InferenceTopologyError, InferenceTopologyResult};

/// How many workers a [`FixedTopology`](super::FixedTopology) has.
///
/// # Examples
///
/// ```
/// use myelon::WorkerCount;
///
/// assert_eq!(WorkerCount::from_usize(4), Some(WorkerCount::Four));
/// assert_eq!(WorkerCount::Four.as_usize(), 4);
/// let error = WorkerCount::try_from(9).unwrap_err();
/// assert_eq!(error.to_string(), "a fixed topology has 2 to 8 workers, not 9: use a session for other numbers");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkerCount {
    /// 2
    Two = 2,
    /// 3
    Three,
    /// 4
    Four,
    /// 5
    Five,
    /// 6
    Six,
    /// 7
    Seven,
    /// 8
    Eight,
}

impl WorkerCount {
    /// The count as a number.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(myelon::WorkerCount::Eight.as_usize(), 8);
    /// ```
    pub const fn as_usize(self) -> usize {
        self as usize
    }

    /// The count with this number; `None` outside 2 to 8. `try_from` returns an error instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::WorkerCount;
    ///
    /// assert_eq!(WorkerCount::from_usize(8), Some(WorkerCount::Eight));
    /// assert_eq!(WorkerCount::from_usize(1), None);
    /// ```
    pub const fn from_usize(workers: usize) -> Option<Self> {
        Some(match workers {
            2 => Self::Two,
            3 => Self::Three,
            4 => Self::Four,
            5 => Self::Five,
            6 => Self::Six,
            7 => Self::Seven,
            8 => Self::Eight,
            _ => return None,
        })
    }
}

impl TryFrom<usize> for WorkerCount {
    type Error = InferenceTopologyError;

    fn try_from(found: usize) -> InferenceTopologyResult<Self> {
        Self::from_usize(found).ok_or(InferenceTopologyError::WorkerCount { found })
    }
}
