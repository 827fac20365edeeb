//! Broadcasts over what has one receiver: the message goes to one connection after the other.

use std::error::Error;

use perf_bench::compare::{Link, Sender};

/// A sender for each receiver.
pub(crate) enum Each<S> {
    One(S),
    Several {
        senders: Vec<S>,
        /// The senders that have sent the message at hand.
        sent: usize,
    },
}

impl<S> Each<S> {
    /// Opens a sender for each receiver, by its number.
    pub(crate) fn open(
        link: &Link,
        mut open: impl FnMut(usize) -> Result<S, Box<dyn Error>>,
    ) -> Result<Self, Box<dyn Error>> {
        Ok(match link.receivers {
            1 => Self::One(open(0)?),
            several => Self::Several {
                senders: (0..several).map(open).collect::<Result<_, _>>()?,
                sent: 0,
            },
        })
    }
}

impl<S: Sender<W>, const W: usize> Sender<W> for Each<S> {
    #[inline(always)]
    fn try_send(&mut self, write: &impl Fn(&mut [u64; W])) -> bool {
        match self {
            Self::One(sender) => sender.try_send(write),
            Self::Several { senders, sent } => {
                while let Some(sender) = senders.get_mut(*sent) {
                    if !sender.try_send(write) {
                        return false;
                    }
                    *sent += 1;
                }
                *sent = 0;
                true
            }
        }
    }
}
