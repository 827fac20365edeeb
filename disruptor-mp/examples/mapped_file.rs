//! A ring in a mapped file: a durable consumer leaves, comes back, and continues where it was.
//!
//! `cargo run -p disruptor-mp --example mapped_file`

use std::error::Error;
use std::time::Duration;

use disruptor_mp::prelude::*;
use disruptor_mp::{MmapConsumer, MmapProducer, MmapTransportLayout};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Removes the ring's directory when it is dropped.
struct Directory(std::path::PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let unique = disruptor_mp::portable_shm_segment_name("files");
    let directory = Directory(std::env::temp_dir().join(unique));
    let layout = MmapTransportLayout::new(&directory.0, "orders");

    let mut tx = MmapProducer::<u64>::create(&layout, 16, || 0)?;
    let mut rx = MmapConsumer::<u64>::attach(&layout, 16, "ledger")?;
    for order in 0..10 {
        tx.send(Deadline::after(TIMEOUT), |slot| *slot = order)?;
    }
    for order in 0..4 {
        assert_eq!(*rx.recv(Deadline::after(TIMEOUT))?, order);
    }

    // The ledger leaves. Its place is kept: the producer can fill the ring, and no further.
    rx.detach()?;
    for order in 10..20 {
        tx.send(Deadline::after(TIMEOUT), |slot| *slot = order)?;
    }
    assert!(tx.try_send(|slot| *slot = 20).is_err());
    let blocked_on = tx.blocked_on().expect("the ring is full");
    println!("{blocked_on}");
    assert!(blocked_on.to_string().contains("'ledger'"));

    // The producer ends, too. The file stays, as the ledger has unread events.
    tx.close()?;
    assert!(layout.path().exists());

    // The ledger comes back: the fifth order is next, and the end follows the last one.
    let mut rx = MmapConsumer::<u64>::attach(&layout, 16, "ledger")?;
    for order in 4..20 {
        assert_eq!(*rx.recv(Deadline::after(TIMEOUT))?, order);
    }
    assert_eq!(
        rx.recv(Deadline::after(TIMEOUT)).err(),
        Some(RecvError::Closed)
    );
    drop(rx);
    assert!(
        !layout.path().exists(),
        "the consumer that drains it takes the file along"
    );
    println!("20 orders, read in two sittings");
    Ok(())
}
