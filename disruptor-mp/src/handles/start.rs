//! Where a new consumer or observer starts.

use crate::Sequence;

/// Where a new consumer starts. A consumer that comes back continues where it was, whatever the value is.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, HeapRing, StartFrom};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let mut tx = ring.producer()?;
/// tx.send_batch(3, Deadline::NEVER, |event, i| *event = i as u64)?;
/// for (start, first) in [(StartFrom::Oldest, Some(0)), (StartFrom::Latest, None), (StartFrom::Sequence(1), Some(1))] {
///     let mut rx = ring.builder().with_start(start).build_consumer()?;
///     assert_eq!(rx.try_recv()?.map(|event| *event), first);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// At the oldest retained event.
    #[default]
    Oldest,
    /// After the newest published event.
    Latest,
    /// At this sequence, which must be retained or the next to be published.
    Sequence(Sequence),
}
