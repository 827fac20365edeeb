//! shaq: queues in shared memory.

use std::error::Error;
use std::fs::OpenOptions;
use std::num::NonZeroUsize;
use std::time::Duration;

use perf_bench::compare::{Link, Peer, Receiver, Sender, Transport};
use shaq::broadcast::{self, Broadcast, BroadcastConfig, ProducerId};
use shaq::spsc;

pub(crate) const PEER: Peer = Peer::across::<Shaq>(
    "shaq",
    "shaq 4.1.0: spsc, try_write, and read batches of all that is there; broadcasts through its broadcast queue, whose \
     receivers wait in reserve_read_batch_timeout",
);

pub(crate) struct Shaq;

pub(crate) enum Tx<const W: usize> {
    One(spsc::Producer<[u64; W]>),
    Several(broadcast::Producer<[u64; W]>),
}

pub(crate) enum Rx<const W: usize> {
    One(spsc::Consumer<[u64; W]>),
    Several(broadcast::Consumer<[u64; W]>),
}

impl Transport for Shaq {
    type Tx<const W: usize> = Tx<W>;
    type Rx<const W: usize> = Rx<W>;

    fn sender<const W: usize>(link: &Link) -> Result<Tx<W>, Box<dyn Error>> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true);
        let file = options.open(link.path(0))?;
        if link.receivers == 1 {
            let size = spsc::minimum_file_size::<[u64; W]>(link.capacity);
            // SAFETY: the file is new and only this end initialises it, as its only producer; words are valid in every
            // process.
            return Ok(Tx::One(unsafe { spsc::Producer::create(&file, size) }?));
        }
        let config = BroadcastConfig {
            capacity: link.capacity,
            producer_slots: 1,
            consumer_slots: link.receivers,
        };
        // SAFETY: the file is new and only this end initialises it; words are valid in every process.
        let queue = unsafe { Broadcast::create(&file, config) }?;
        Ok(Tx::Several(queue.producer(ProducerId::new(1))?))
    }

    fn receiver<const W: usize>(link: &Link) -> Result<Rx<W>, Box<dyn Error>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).open(link.path(0))?;
        if link.receivers == 1 {
            // SAFETY: the sender has initialised the file for messages of this type, and this is its only consumer.
            return Ok(Rx::One(unsafe { spsc::Consumer::join(&file) }?));
        }
        // SAFETY: the sender has initialised the file for messages of this type.
        Ok(Rx::Several(unsafe { broadcast::Consumer::join(&file) }?))
    }
}

impl<const W: usize> Sender<W> for Tx<W> {
    #[inline(always)]
    fn try_send(&mut self, write: &impl Fn(&mut [u64; W])) -> bool {
        let mut words = [0; W];
        write(&mut words);
        match self {
            Self::One(producer) => producer.try_write(words).is_ok(),
            Self::Several(producer) => producer.try_write(words).is_ok(),
        }
    }
}

impl<const W: usize> Receiver<W> for Rx<W> {
    #[inline(always)]
    fn receive(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        match self {
            Self::One(consumer) => {
                let Some(batch) = consumer.try_reserve_read_batch(NonZeroUsize::MAX) else {
                    return 0;
                };
                let (first, second) = batch.as_slices();
                first.iter().chain(second).for_each(&mut read);
                batch.len()
            }
            Self::Several(consumer) => {
                let patience = Duration::from_secs(1);
                let batch = consumer.reserve_read_batch_timeout(NonZeroUsize::MAX, patience);
                let Ok(batch) = batch else {
                    return 0;
                };
                let (first, second) = batch.as_slices();
                first.iter().chain(second).for_each(&mut read);
                batch.len()
            }
        }
    }

    #[inline(always)]
    fn receive_one(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        match self {
            Self::One(consumer) => consumer.try_read().map_or(0, |words| {
                read(&words);
                1
            }),
            Self::Several(_) => self.receive(read),
        }
    }
}
