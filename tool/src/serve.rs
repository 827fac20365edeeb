//! `serve`: the rings as Prometheus text over HTTP. Reads rings only; answers `GET /metrics` and nothing else.

use std::fmt::Write as _;
use std::io::{self, Read, Write, stdout};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use disruptor_mp::inspect::{Liveness, Presence};

use crate::list::{read, type_name};
use crate::options::{In, Serve};
use crate::signals::Ending;
use crate::{Failure, Outcome};

/// The most bytes of a request.
const REQUEST_MAX: usize = 8 << 10;
/// The longest time that a client may take for its request, and for reading the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many requests are answered at a time; more are refused.
const CLIENTS_MAX: usize = 16;
/// The pause between two checks for a client.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn run(options: &Serve, json: bool) -> Result<Outcome, Failure> {
    if !options.listen.ip().is_loopback() && !options.any_host {
        let text = format!(
            "{} can be reached from other machines, and every client is told of all rings: say --any-host if that is meant",
            options.listen
        );
        return Err(Failure::Usage(text));
    }
    let ending = Ending::register()?;
    let failed = |error| Failure::Io(format!("listening at {}", options.listen), error);
    let listener = TcpListener::bind(options.listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    match json {
        true => writeln!(
            stdout(),
            "{}",
            serde_json::json!({"listening": at.to_string()})
        )?,
        false => writeln!(stdout(), "listening at http://{at}/metrics")?,
    }
    stdout().flush()?;
    let place = Arc::new(options.place.clone());
    let clients = Arc::new(AtomicUsize::new(0));
    while !ending.has_come() {
        match listener.accept() {
            Ok((client, _)) => {
                let (place, counted) = (Arc::clone(&place), Counted::new(&clients));
                let answering = std::thread::Builder::new().spawn(move || {
                    // the client's errors are its own
                    let _ = answer(client, counted.is_one_too_many(), &place);
                });
                // without a thread for it, the client is dropped: the next one may find one
                if answering.is_err() {
                    std::thread::sleep(PAUSE);
                }
            }
            // also where a client has gone again, or descriptors are used up for now
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
    Ok(Outcome::Fine)
}

/// One of the clients that are answered at present.
struct Counted {
    clients: Arc<AtomicUsize>,
    /// How many there are with this one.
    count: usize,
}

impl Counted {
    fn new(clients: &Arc<AtomicUsize>) -> Self {
        let clients = Arc::clone(clients);
        let count = clients.fetch_add(1, Ordering::Relaxed) + 1;
        Self { clients, count }
    }

    fn is_one_too_many(&self) -> bool {
        self.count > CLIENTS_MAX
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers one request and closes the connection.
fn answer(mut client: TcpStream, is_crowded: bool, place: &In) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let (status, body) = match is_crowded {
        true => (
            "503 Service Unavailable",
            String::from("too many requests at a time\n"),
        ),
        false => response(&read_head(&mut client)?, place),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n{}Connection: \
         close\r\n\r\n",
        body.len(),
        if status.starts_with("405") {
            "Allow: GET\r\n"
        } else {
            ""
        },
    );
    write_within(PATIENCE, &mut client, (head + &body).as_bytes())?;
    client.shutdown(std::net::Shutdown::Write)
}

/// Writes all of it, or fails after this time, however often the client reads a little.
fn write_within(time: Duration, client: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    let end = Instant::now() + time;
    while !bytes.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        client.set_write_timeout(Some(left))?;
        match client.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The request's lines up to the empty one, or as many bytes as a request may have.
fn read_head(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let end = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut bytes = [0; 1024];
    while head.len() < REQUEST_MAX && !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let left = end.saturating_duration_since(Instant::now());
        client.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match client.read(&mut bytes)? {
            0 => break,
            count => head.extend_from_slice(&bytes[..count]),
        }
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(head)
}

fn response(head: &[u8], place: &In) -> (&'static str, String) {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else {
        return (
            "400 Bad Request",
            String::from("expected a request of HTTP\n"),
        );
    };
    let path = target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default();
    match (version.starts_with(b"HTTP/1."), method, path) {
        (false, ..) => ("400 Bad Request", String::from("expected HTTP/1\n")),
        _ if head.len() >= REQUEST_MAX => (
            "431 Request Header Fields Too Large",
            String::from("the request is too long\n"),
        ),
        (true, b"GET", b"/metrics") => match metrics(place) {
            Ok(text) => ("200 OK", text),
            Err(failure) => ("500 Internal Server Error", failure.text() + "\n"),
        },
        (true, _, b"/metrics") => ("405 Method Not Allowed", String::from("only GET\n")),
        _ => ("404 Not Found", String::from("only /metrics\n")),
    }
}

/// The families of metrics: name, type and meaning.
const FAMILIES: [(&str, &str, &str); 15] = [
    (
        "myelon_ring_readable",
        "gauge",
        "Whether the ring can be read; the reason has a word for why not.",
    ),
    (
        "myelon_ring_info",
        "gauge",
        "Always 1; the labels say what the ring is.",
    ),
    (
        "myelon_ring_published_total",
        "counter",
        "Events that were published since the ring was made.",
    ),
    (
        "myelon_ring_reusable_total",
        "counter",
        "Events whose slots may be written again.",
    ),
    ("myelon_ring_slots", "gauge", "Slots of the ring."),
    ("myelon_ring_bytes", "gauge", "Bytes of the ring's segment."),
    (
        "myelon_ring_producer_alive",
        "gauge",
        "Whether a process holds the producer's lock; missing if unknown.",
    ),
    (
        "myelon_ring_producers_total",
        "counter",
        "Producers that the ring has had.",
    ),
    (
        "myelon_ring_closed",
        "gauge",
        "Whether its producer has ended the ring.",
    ),
    ("myelon_ring_full", "gauge", "Whether no slot is free."),
    (
        "myelon_ring_faults",
        "gauge",
        "Values in the ring that cannot be true.",
    ),
    (
        "myelon_consumer_released_total",
        "counter",
        "Events that the consumer has released, counted from the ring's first.",
    ),
    (
        "myelon_consumer_lag",
        "gauge",
        "Published events that the consumer has not released.",
    ),
    (
        "myelon_consumer_alive",
        "gauge",
        "Whether a process holds the consumer's lock; missing if unknown.",
    ),
    (
        "myelon_consumer_away",
        "gauge",
        "Whether the consumer is away and keeps its place.",
    ),
];

/// All rings as Prometheus text, version 0.0.4. The samples of one family stand together, as the format asks.
fn metrics(place: &In) -> Result<String, Failure> {
    let mut samples: [String; FAMILIES.len()] = Default::default();
    let mut add = |family: &str, labels: &[(&str, &str)], value: u64| {
        let index = FAMILIES.iter().position(|(name, ..)| *name == family);
        let out = &mut samples[index.expect("a family of the table")];
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, text)| format!("{name}=\"{}\"", escaped(text)))
            .collect();
        let _ = writeln!(out, "{family}{{{}}} {value}", labels.join(","));
    };
    for found in place.rings()? {
        let name = found.name.clone();
        let of_ring = [("ring", &*name)];
        let (ring, seen) = match read(found) {
            Ok(read) => read,
            Err(error) => {
                add(
                    "myelon_ring_readable",
                    &[("ring", &name), ("reason", error.word())],
                    0,
                );
                continue;
            }
        };
        let info = ring.info();
        let count = |to: i64| {
            to.saturating_sub(info.first_sequence)
                .saturating_add(1)
                .max(0) as u64
        };
        add(
            "myelon_ring_readable",
            &[("ring", &name), ("reason", "")],
            1,
        );
        let (phase, event) = (seen.phase().to_string(), type_name(&info.event.text));
        add(
            "myelon_ring_info",
            &[("ring", &name), ("state", &phase), ("event", &event)],
            1,
        );
        add(
            "myelon_ring_published_total",
            &of_ring,
            count(seen.published),
        );
        add("myelon_ring_reusable_total", &of_ring, count(seen.floor));
        add("myelon_ring_slots", &of_ring, info.capacity);
        add("myelon_ring_bytes", &of_ring, info.segment_bytes);
        if seen.producer.liveness != Liveness::Unknown {
            let is_alive = seen.producer.liveness == Liveness::Alive;
            add("myelon_ring_producer_alive", &of_ring, is_alive.into());
        }
        add(
            "myelon_ring_producers_total",
            &of_ring,
            seen.producer.epoch.saturating_add(1),
        );
        add("myelon_ring_closed", &of_ring, seen.closed.is_some().into());
        add("myelon_ring_full", &of_ring, seen.held_by.is_some().into());
        add("myelon_ring_faults", &of_ring, seen.faults.len() as u64);
        for consumer in &seen.consumers {
            // two lines may have one id for a moment, or if a peer forged it
            let line = consumer.line.to_string();
            let labels = [
                ("ring", &*name),
                ("consumer", &consumer.id),
                ("line", &line),
            ];
            add(
                "myelon_consumer_released_total",
                &labels,
                count(consumer.position),
            );
            add("myelon_consumer_lag", &labels, consumer.lag);
            if consumer.presence != Presence::Unknown {
                let is_alive = matches!(consumer.presence, Presence::Attached | Presence::Joining);
                add("myelon_consumer_alive", &labels, is_alive.into());
                let is_away = matches!(consumer.presence, Presence::Away | Presence::Expected);
                add("myelon_consumer_away", &labels, is_away.into());
            }
        }
    }
    let mut text = String::new();
    for ((name, kind, help), samples) in FAMILIES.iter().zip(&samples) {
        let _ = write!(
            text,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}"
        );
    }
    Ok(text)
}

/// A label's value as the format wants it: any text, in one line.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn labels_stay_in_their_quotes() {
        assert_eq!(escaped("a\"} 1\nb\\"), "a\\\"} 1\\nb\\\\");
    }

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

    #[test]
    fn only_get_of_one_path_is_answered() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = In {
            dir: Some(directory.path().to_owned()),
        };
        let status = |request: &str| response(request.as_bytes(), &place).0[..3].to_owned();
        assert_eq!(status("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), "200");
        assert_eq!(status("GET /metrics?a=b HTTP/1.0\r\n\r\n"), "200");
        for method in ["POST", "HEAD", "PUT", "DELETE", "get"] {
            assert_eq!(
                status(&format!("{method} /metrics HTTP/1.1\r\n\r\n")),
                "405"
            );
        }
        for path in ["/", "/metrics/", "/../metrics", "//metrics", "*"] {
            assert_eq!(status(&format!("GET {path} HTTP/1.1\r\n\r\n")), "404");
        }
        for request in [
            "",
            "GET",
            "GET /metrics",
            "GET /metrics HTTP/2\r\n\r\n",
            "GET  /metrics HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(status(request), "400", "{request}");
        }
        let long = format!("GET /metrics HTTP/1.1\r\nA: {}", "a".repeat(REQUEST_MAX));
        assert_eq!(status(&long), "431");
    }
}
