//! iceoryx2: a service of publish and subscribe.

use std::error::Error;

use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use perf_bench::compare::{Link, Peer, Receiver, Sender, Transport};

pub(crate) const PEER: Peer = Peer::across::<Iceoryx2>(
    "iceoryx2",
    "iceoryx2 0.10.0: publish and subscribe without overflow, loan_uninit and write_payload, receive in a loop; \
     RetryUntilDelivered waits where a subscriber's buffer is full",
);

pub(crate) struct Iceoryx2;

/// An end, and the service and the node that it belongs to.
pub(crate) struct End<P, const W: usize> {
    port: P,
    _service: PortFactory<ipc::Service, [u64; W], ()>,
    _node: Node<ipc::Service>,
}

type Service<const W: usize> = PortFactory<ipc::Service, [u64; W], ()>;

fn open<const W: usize>(link: &Link) -> Result<(Node<ipc::Service>, Service<W>), Box<dyn Error>> {
    let mut config = Config::default();
    config.global.prefix = FileName::new(link.prefix().as_bytes())?;
    let root = link
        .directory
        .to_str()
        .ok_or("the directory's name is no text")?;
    config.global.set_root_path(&Path::new(root.as_bytes())?);
    let node = NodeBuilder::new()
        .config(&config)
        .create::<ipc::Service>()?;
    let service = node
        .service_builder(&link.name.as_str().try_into()?)
        .publish_subscribe::<[u64; W]>()
        .enable_safe_overflow(false)
        .subscriber_max_buffer_size(link.capacity)
        .max_publishers(1)
        .max_subscribers(link.receivers)
        .open_or_create()?;
    Ok((node, service))
}

impl Transport for Iceoryx2 {
    type Tx<const W: usize> = End<Publisher<ipc::Service, [u64; W], ()>, W>;
    type Rx<const W: usize> = End<Subscriber<ipc::Service, [u64; W], ()>, W>;

    fn sender<const W: usize>(link: &Link) -> Result<Self::Tx<W>, Box<dyn Error>> {
        let (node, service) = open(link)?;
        let publisher = service.publisher_builder();
        let publisher = publisher.backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
        Ok(End {
            port: publisher.create()?,
            _service: service,
            _node: node,
        })
    }

    fn receiver<const W: usize>(link: &Link) -> Result<Self::Rx<W>, Box<dyn Error>> {
        let (node, service) = open(link)?;
        Ok(End {
            port: service.subscriber_builder().create()?,
            _service: service,
            _node: node,
        })
    }
}

impl<const W: usize> Sender<W> for End<Publisher<ipc::Service, [u64; W], ()>, W> {
    #[inline(always)]
    fn try_send(&mut self, write: &impl Fn(&mut [u64; W])) -> bool {
        let sample = self
            .port
            .loan_uninit()
            .expect("one sample at a time is loaned");
        let mut words = [0; W];
        write(&mut words);
        sample
            .write_payload(words)
            .send()
            .expect("the service is open");
        true
    }
}

impl<const W: usize> Receiver<W> for End<Subscriber<ipc::Service, [u64; W], ()>, W> {
    #[inline(always)]
    fn receive(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        let sample = self.port.receive().expect("the service is open");
        sample.map_or(0, |sample| {
            read(sample.payload());
            1
        })
    }
}
