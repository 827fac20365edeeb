//! disruptor: a ring between threads that each read every event.

use std::error::Error;

use disruptor::{
    BusySpin, EventPoller, MultiConsumerBarrier, Producer, SingleConsumerBarrier, SingleProducer,
    SingleProducerBarrier, build_single_producer,
};
use perf_bench::compare::{Ends, InProcess, Link, Peer, RECEIVERS, Receiver, Sender};

pub(crate) const PEER: Peer = Peer::within::<Disruptor>(
    "disruptor",
    "disruptor 4.4.0, threads: one producer, try_publish, and event pollers that take all that is there",
);

pub(crate) struct Disruptor;

pub(crate) enum Tx<const W: usize> {
    One(SingleProducer<[u64; W], SingleConsumerBarrier>),
    Several(SingleProducer<[u64; W], MultiConsumerBarrier>),
}

pub(crate) struct Rx<const W: usize>(EventPoller<[u64; W], SingleProducerBarrier>);

impl InProcess for Disruptor {
    type Tx<const W: usize> = Tx<W>;
    type Rx<const W: usize> = Rx<W>;

    fn open<const W: usize>(link: &Link) -> Result<Ends<Tx<W>, Rx<W>>, Box<dyn Error>> {
        let builder = build_single_producer(link.capacity, || [0; W], BusySpin);
        let (first, builder) = builder.new_event_poller();
        if link.receivers == 1 {
            return Ok(Ends {
                sender: Tx::One(builder.build()),
                receivers: vec![Rx(first)],
            });
        }
        let mut receivers = vec![Rx(first)];
        let (second, mut builder) = builder.new_event_poller();
        receivers.push(Rx(second));
        while receivers.len() < RECEIVERS {
            let (poller, next) = builder.new_event_poller();
            builder = next;
            receivers.push(Rx(poller));
        }
        Ok(Ends {
            sender: Tx::Several(builder.build()),
            receivers,
        })
    }
}

impl<const W: usize> Sender<W> for Tx<W> {
    #[inline(always)]
    fn try_send(&mut self, write: &impl Fn(&mut [u64; W])) -> bool {
        match self {
            Self::One(producer) => producer.try_publish(write).is_ok(),
            Self::Several(producer) => producer.try_publish(write).is_ok(),
        }
    }
}

impl<const W: usize> Receiver<W> for Rx<W> {
    #[inline(always)]
    fn receive(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        let Ok(mut events) = self.0.poll() else {
            return 0;
        };
        let mut count = 0;
        for event in &mut events {
            read(event);
            count += 1;
        }
        count
    }
}
