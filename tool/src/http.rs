//! What a server and a client of HTTP have in common: messages that come and go within a time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The most bytes of a message that are read.
pub(crate) const MESSAGE_MAX: usize = 8 << 10;
/// The longest time for which the other side may keep this one waiting: once to be heard, and once to listen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Writes all of it, or fails after this time, however often the other side reads a little.
pub(crate) fn write_within(
    time: Duration,
    stream: &mut TcpStream,
    mut bytes: &[u8],
) -> io::Result<()> {
    let end = Instant::now() + time;
    while !bytes.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left))?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until the message is whole, has ended, or is as long as a message may be. Fails after this time, however often
/// the other side writes a little.
pub(crate) fn read_within(
    time: Duration,
    stream: &mut TcpStream,
    is_whole: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    let end = Instant::now() + time;
    let mut message = Vec::new();
    let mut bytes = [0; 1024];
    while message.len() < MESSAGE_MAX && !is_whole(&message) {
        let left = end.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => message.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(message)
}

/// A message's head and what follows the empty line; `None` until that line has come.
pub(crate) fn head_and_body(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((&message[..end], &message[end + 4..]))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_client_that_reads_slowly_is_given_up_while_it_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let reader = TcpStream::connect(listener.local_addr().expect("its address"));
        let mut reader = reader.expect("connect");
        let (mut client, _) = listener.accept().expect("accept");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut bytes = [0; 1024];
                while !is_over.load(Ordering::Relaxed) {
                    reader.read_exact(&mut bytes).expect("it is written to");
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            // more than all buffers hold
            let answer = vec![b'x'; 64 << 20];
            let written = write_within(Duration::from_millis(100), &mut client, &answer);
            is_over.store(true, Ordering::Relaxed);
            let kind = written.expect_err("the client reads too slowly").kind();
            assert!(
                matches!(kind, io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock),
                "{kind}"
            );
        });
    }
}
