//! `serve --otlp`: the metrics of all rings to an OpenTelemetry collector, by OTLP/HTTP in JSON. A thread of its own
//! reads the rings and sends, so a collector that is away or slow holds up nothing. What could not be sent is lost: the
//! next message has the values of its own time.

use std::fmt;
use std::io::{self, Write, stderr};
use std::net::{Ipv6Addr, TcpStream, ToSocketAddrs};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::http::{PATIENCE, head_and_body, read_within, write_within};
use crate::metrics::{FAMILIES, Sample, Samples, samples};
use crate::options::In;
use crate::text::{cut, printable};

/// The port at which collectors receive OTLP/HTTP.
const PORT: u16 = 4318;
/// Where they receive metrics, below the path of the URL.
const PATH: &str = "/v1/metrics";
/// The `aggregationTemporality` of sums that count from a fixed moment on.
const CUMULATIVE: u32 = 2;

/// Where a collector receives metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Collector {
    /// `host:port`.
    authority: String,
    path: String,
}

impl Collector {
    /// The collector at `http://HOST[:PORT][/PATH]`.
    pub(crate) fn at(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or(
            "expected http://HOST[:PORT][/PATH]; for https, let a collector on this machine send on",
        )?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (
                host,
                port.parse().map_err(|_| format!("'{port}' is no port"))?,
            ),
            _ => (authority, PORT),
        };
        let is_address = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .is_some_and(|it| it.parse::<Ipv6Addr>().is_ok()),
            None => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
                !host.is_empty() && host.chars().all(is_part)
            }
        };
        if !is_address {
            return Err(format!(
                "'{host}' is no host: expected a name or an address, without a password"
            ));
        }
        if !path
            .chars()
            .all(|c| c.is_ascii_graphic() && !"?#".contains(c))
        {
            return Err(format!("'{path}' is no path"));
        }
        let path = path.trim_end_matches('/');
        Ok(Self {
            authority: format!("{host}:{port}"),
            path: path.strip_suffix(PATH).unwrap_or(path).to_owned() + PATH,
        })
    }

    /// Sends a message; the error says what happened.
    fn post(&self, body: &str) -> Result<(), String> {
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: myelon/{}\r\nContent-Type: application/json\r\nContent-Length: \
             {}\r\nConnection: close\r\n\r\n",
            self.path,
            self.authority,
            env!("CARGO_PKG_VERSION"),
            body.len()
        );
        let failed = |doing: &str, error: io::Error| format!("{doing}: {}", reason(&error));
        let mut stream = self
            .connect()
            .map_err(|error| failed("connecting", error))?;
        write_within(PATIENCE, &mut stream, (head + body).as_bytes())
            .map_err(|error| failed("sending", error))?;
        let answer = read_within(PATIENCE, &mut stream, is_whole)
            .map_err(|error| failed("waiting for its answer", error))?;
        check(&answer)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut result = Err(io::ErrorKind::NotFound.into());
        for address in self.authority.to_socket_addrs()? {
            result = TcpStream::connect_timeout(&address, PATIENCE);
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// A time that ran out has several names.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("it took longer than {PATIENCE:?}")
        }
        _ => error.to_string(),
    }
}

/// Whether the answer has come to its end, as far as it is read.
fn is_whole(answer: &[u8]) -> bool {
    head_and_body(answer).is_some_and(|(head, body)| {
        let head = String::from_utf8_lossy(head);
        let code = code_of(&head).unwrap_or_default();
        // the others have no body, or one that is not read
        !code.starts_with('2') || code == "204" || body_of(&head, body).is_some()
    })
}

/// The code in the first line of an answer.
fn code_of(head: &str) -> Option<&str> {
    let rest = head.lines().next()?.strip_prefix("HTTP/1.")?;
    rest.split(' ').nth(1).filter(|code| code.len() == 3)
}

/// The value of a field of the head.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    values.next().map(|(_, value)| value.trim())
}

/// The whole body, if what has come of it shows where it ends: it has the length that the head names, or is in chunks.
/// Any other body goes on until the connection is closed.
fn body_of(head: &str, body: &[u8]) -> Option<Vec<u8>> {
    if field(head, "transfer-encoding").is_some_and(|it| it.eq_ignore_ascii_case("chunked")) {
        return joined(body);
    }
    let length: usize = field(head, "content-length")?.parse().ok()?;
    body.get(..length).map(<[u8]>::to_vec)
}

/// The body that has come in chunks, each behind a line with its length; `None` until the last one, which is empty.
fn joined(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let line = str::from_utf8(&rest[..end]).ok()?;
        let digits = line.split(';').next()?.trim();
        let length = usize::from_str_radix(digits, 16).ok()?;
        rest = &rest[end + 2..];
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..length)?);
        rest = rest[length..].strip_prefix(b"\r\n")?;
    }
}

/// Whether the collector has taken everything.
fn check(answer: &[u8]) -> Result<(), String> {
    let (head, body) = head_and_body(answer).ok_or("it closed the connection without an answer")?;
    let head = String::from_utf8_lossy(head);
    if !code_of(&head).is_some_and(|code| code.starts_with('2')) {
        let status = head.lines().next().unwrap_or_default();
        return Err(format!("its answer was '{}'", cut(&printable(status), 100)));
    }
    let body = body_of(&head, body).unwrap_or_else(|| body.to_vec());
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let partial = &body["partialSuccess"];
    match &partial["rejectedDataPoints"] {
        // 64-bit numbers are texts in this JSON, but some write them as numbers
        Value::Null => Ok(()),
        count if *count == 0 || *count == "0" => Ok(()),
        count => {
            let why = partial["errorMessage"].as_str().unwrap_or_default();
            let text = format!("it refused data points: {count}: {why}");
            Err(cut(&printable(&text), 200))
        }
    }
}

/// Starts the thread that sends the metrics of all rings, at once and after each interval.
pub(crate) fn start(
    collector: Collector,
    interval: Duration,
    place: In,
    json: bool,
) -> io::Result<()> {
    let send = move || {
        let mut lost = 0_u64;
        loop {
            let started = Instant::now();
            let sent = samples(&place)
                .map_err(|failure| failure.text())
                .and_then(|samples| {
                    collector.post(&message(&samples, SystemTime::now()).to_string())
                });
            match sent {
                Err(why) => {
                    if lost == 0 {
                        let text = format!(
                            "no metrics reach {collector}: {why}; it is tried again every {interval:?}, and messages that it \
                             does not take are lost"
                        );
                        say(json, Some("collector"), &text);
                    }
                    lost += 1;
                }
                Ok(()) if lost > 0 => {
                    let text = format!("metrics reach {collector} again; messages lost: {lost}");
                    say(json, None, &text);
                    lost = 0;
                }
                Ok(()) => {}
            }
            sleep(interval.saturating_sub(started.elapsed()));
        }
    };
    std::thread::Builder::new().spawn(send).map(drop)
}

/// Reports on stderr, which may be gone.
fn say(json: bool, error: Option<&str>, text: &str) {
    let _ = match json {
        true => writeln!(stderr(), "{}", json!({"error": error, "text": text})),
        false => writeln!(stderr(), "myelon: {text}"),
    };
}

/// The body of a message: an `ExportMetricsServiceRequest`.
fn message(samples: &Samples, now: SystemTime) -> Value {
    let families = FAMILIES.iter().zip(samples);
    let metrics =
        families
            .filter(|(_, samples)| !samples.is_empty())
            .map(|((name, kind, help), samples)| {
                let is_sum = *kind == "counter";
                let points = samples.iter().map(|sample| point(sample, is_sum, now));
                let mut data = json!({"dataPoints": points.collect::<Vec<_>>()});
                if is_sum {
                    data["aggregationTemporality"] = json!(CUMULATIVE);
                    data["isMonotonic"] = json!(true);
                }
                let kind = if is_sum { "sum" } else { "gauge" };
                json!({"name": name, "description": help, kind: data})
            });
    let mut resource = vec![attribute("service.name", "myelon")];
    if let Ok(machine) = nix::sys::utsname::uname() {
        resource.push(attribute(
            "host.name",
            &machine.nodename().to_string_lossy(),
        ));
    }
    json!({"resourceMetrics": [{
        "resource": {"attributes": resource},
        "scopeMetrics": [{
            "scope": {"name": "myelon", "version": env!("CARGO_PKG_VERSION")},
            "metrics": metrics.collect::<Vec<_>>(),
        }],
    }]})
}

/// One value. In this JSON, 64-bit numbers are texts.
fn point(sample: &Sample, is_sum: bool, now: SystemTime) -> Value {
    let nanoseconds = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_nanos().to_string()
    };
    let attributes = sample.labels.iter().map(|(key, text)| attribute(key, text));
    let mut point = json!({
        "attributes": attributes.collect::<Vec<_>>(),
        "timeUnixNano": nanoseconds(now),
        "asInt": sample.value.min(i64::MAX as u64).to_string(),
    });
    // if the clock was set back since the ring was made, no start is told: a start that moves begins a new count each
    // time
    if let Some(since) = sample.since.filter(|since| is_sum && *since <= now) {
        point["startTimeUnixNano"] = json!(nanoseconds(since));
    }
    point
}

fn attribute(key: &str, text: &str) -> Value {
    json!({"key": key, "value": {"stringValue": text}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_default_port_and_the_path_of_metrics() {
        for (url, whole) in [
            ("http://localhost", "http://localhost:4318/v1/metrics"),
            ("http://10.0.0.7:80/", "http://10.0.0.7:80/v1/metrics"),
            ("http://[::1]", "http://[::1]:4318/v1/metrics"),
            ("http://[::1]:9/v1/metrics", "http://[::1]:9/v1/metrics"),
            (
                "http://p:9090/api/v1/otlp",
                "http://p:9090/api/v1/otlp/v1/metrics",
            ),
        ] {
            let collector = Collector::at(url).expect(url);
            assert_eq!(collector.to_string(), whole);
        }
        for url in [
            "",
            "localhost:4318",
            "https://localhost:4318",
            "http://",
            "http://:4318",
            "http://host:port",
            "http://host:99999",
            "http://user:password@host",
            "http://::1",
            "http://[::1",
            "http://[host]",
            "http://host/a b",
            "http://host/a?b",
            "http://host/\r\nA: b",
        ] {
            assert!(Collector::at(url).is_err(), "{url}");
        }
    }

    #[test]
    fn an_answer_is_read_to_its_end_and_checked() {
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"partialSuccess\":{}}";
        assert!(is_whole(ok) && !is_whole(&ok[..ok.len() - 1]) && !is_whole(&ok[..20]));
        for whole in [
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 503 Busy\r\n\r\n",
            "?\r\n\r\n",
        ] {
            assert!(is_whole(whole.as_bytes()), "{whole}");
        }
        // its end is that of the connection
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\n\r\n{}"));
        let told = |body: &str| check(format!("HTTP/1.1 200 OK\r\n\r\n{body}").as_bytes());
        assert_eq!(check(ok), Ok(()));
        for body in [
            "",
            "text",
            r#"{"partialSuccess":{"rejectedDataPoints":"0"}}"#,
        ] {
            assert_eq!(told(body), Ok(()));
        }
        for count in ["3", "\"3\""] {
            let body = format!(
                r#"{{"partialSuccess":{{"rejectedDataPoints":{count},"errorMessage":"old"}}}}"#
            );
            assert!(told(&body).expect_err("refused").ends_with(": old"));
        }
        let refusal = r#"{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"old"}}"#;
        let (one, two) = refusal.split_at(20);
        let chunks = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n{:x}\r\n{one}\r\n{:X};a=b\r\n{two}\r\n0\r\n\r\n",
            one.len(),
            two.len()
        );
        assert!(is_whole(chunks.as_bytes()));
        assert!(
            check(chunks.as_bytes())
                .expect_err("refused")
                .ends_with(": old")
        );
        for end in 0..chunks.len() - 2 {
            assert!(!is_whole(&chunks.as_bytes()[..end]), "{end}");
        }
        for wrong in [
            "x\r\n",
            "-1\r\n",
            "ffffffffffffffff\r\na",
            "ffffffffffffffffff\r\n",
            "1\r\nabc",
        ] {
            assert_eq!(joined(wrong.as_bytes()), None, "{wrong}");
        }
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 503 Busy\r\n\r\n",
            "HTTP/1.1\r\n\r\n",
            "SSH-2.0 200\r\n\r\n",
        ] {
            assert!(check(answer.as_bytes()).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_sum_counts_from_when_its_ring_was_made() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let sample = |since| Sample {
            labels: vec![("ring", String::from("a"))],
            value: u64::MAX,
            since,
        };
        let sum = point(&sample(Some(at(2))), true, at(3));
        assert_eq!(
            (
                &sum["startTimeUnixNano"],
                &sum["timeUnixNano"],
                &sum["asInt"]
            ),
            (
                &json!("2000000000"),
                &json!("3000000000"),
                &json!("9223372036854775807")
            )
        );
        assert!(point(&sample(Some(at(4))), true, at(3))["startTimeUnixNano"].is_null());
        assert!(point(&sample(Some(at(2))), false, at(3))["startTimeUnixNano"].is_null());
    }
}
