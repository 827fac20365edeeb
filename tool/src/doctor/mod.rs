//! `doctor`: what limits rings on this machine, or in this container. Each check reads what the kernel says, and
//! changes nothing.

mod cores;
mod host;
mod surroundings;

use std::fs;
use std::io::{self, Write, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use disruptor_mp::inspect::{InspectError, Phase, cpu_quota, memory_limit};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;
use serde_json::{Value, json};

use self::host::Host;
use crate::list::read;
use crate::options::In;
use crate::text::{bytes, printable};
use crate::{Failure, Outcome, reported};

/// Less free space than this holds few rings.
const SPACE_MIN: u64 = 16 << 20;
/// The size of `/dev/shm` in a container for which nobody chose another one.
const CONTAINER_SHM: u64 = 64 << 20;
/// Fewer descriptors than this are used up by a program with many rings.
const DESCRIPTORS_MIN: u64 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Ok,
    /// Worth knowing.
    Note,
    /// Rings will fail or be slow.
    Warning,
}

/// What one check found.
struct Report {
    name: &'static str,
    level: Level,
    text: String,
}

fn report(name: &'static str, level: Level, text: impl Into<String>) -> Report {
    Report {
        name,
        level,
        text: text.into(),
    }
}

pub(crate) fn run(place: &In, json: bool) -> Result<Outcome, Failure> {
    let (directory, host) = (place.directory(), Host::at("/"));
    let mut reports = vec![
        space(&directory),
        writing(&directory),
        surroundings::memory(memory_limit()),
    ];
    reports.extend(cores::reports(&host, cpu_quota()));
    let is_in_kubernetes = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    reports.extend([
        surroundings::huge_pages(&host),
        barrier(has_barrier()),
        memory_lock(),
        descriptors(),
        surroundings::proc_mounted(&host),
        surroundings::namespaces(&host),
        surroundings::container(&host, is_in_kubernetes),
        surroundings::boot_id(&host),
    ]);
    reports.extend(surroundings::removal_at_logout(&host, geteuid().as_raw()));
    reports.push(rings(place)?);
    let is_warned = reports.iter().any(|report| report.level == Level::Warning);
    let outcome = match is_warned {
        true => Outcome::Finding,
        false => Outcome::Fine,
    };
    reported(print(&reports, json), outcome)
}

fn print(reports: &[Report], json: bool) -> io::Result<()> {
    let mut out = stdout().lock();
    if json {
        let array: Vec<Value> = reports
            .iter()
            .map(|report| json!({"check": report.name, "level": word(report.level), "text": report.text}))
            .collect();
        return writeln!(out, "{}", Value::Array(array));
    }
    for report in reports {
        writeln!(
            out,
            "{:<7} {:<14} {}",
            word(report.level),
            report.name,
            printable(&report.text)
        )?;
    }
    Ok(())
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Warning => "warning",
    }
}

fn space(directory: &Path) -> Report {
    let name = "space";
    let shown = directory.display();
    let found = match statvfs(directory) {
        Ok(found) => found,
        Err(error) => {
            return report(
                name,
                Level::Warning,
                format!("{shown}: {error}; no ring can be created here"),
            );
        }
    };
    #[allow(
        clippy::unnecessary_cast,
        reason = "systems have different types for them"
    )]
    let unit = found.fragment_size() as u64;
    #[allow(
        clippy::unnecessary_cast,
        reason = "systems have different types for them"
    )]
    let [free, size] = [found.blocks_available() as u64, found.blocks() as u64]
        .map(|blocks| blocks.saturating_mul(unit));
    space_of(&shown.to_string(), free, size)
}

fn space_of(shown: &str, free: u64, size: u64) -> Report {
    let name = "space";
    let text = format!("{shown}: {} free of {}", bytes(free), bytes(size));
    match (free, size) {
        // a tmpfs that was mounted with size=0
        (_, 0) => report(
            name,
            Level::Ok,
            format!("{shown}: no limit of its own, only that of memory"),
        ),
        (..SPACE_MIN, _) => report(
            name,
            Level::Warning,
            format!(
                "{text}; rings need 16 KiB and their slots: see `myelon clean --dry-run --dir {shown}`, or enlarge it \
                 (docker: --shm-size)"
            ),
        ),
        (_, ..=CONTAINER_SHM) => report(
            name,
            Level::Note,
            format!(
                "{text}; containers have this little unless told otherwise (docker: --shm-size)"
            ),
        ),
        _ => report(name, Level::Ok, text),
    }
}

/// Whether a file can be made here, without a name and without leaving anything behind.
fn writing(directory: &Path) -> Report {
    let name = "permission";
    let shown = directory.display();
    let user = geteuid();
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options.custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC);
    match options.open(directory) {
        Ok(_) => report(
            name,
            Level::Ok,
            format!("user {user} may create rings in {shown}"),
        ),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
            report(
                name,
                Level::Note,
                format!(
                    "{shown} has no nameless files: a creator that dies may leave a file, which the next one removes"
                ),
            )
        }
        Err(error) => report(
            name,
            Level::Warning,
            format!("user {user} cannot create rings in {shown}: {error}"),
        ),
    }
}

/// Whether a sleeper can impose a barrier on the other side.
fn has_barrier() -> bool {
    // linux/membarrier.h: the command that asks for the commands, and the bit of the one that rings use
    const QUERY: libc::c_long = 0;
    const GLOBAL_EXPEDITED: libc::c_long = 1 << 1;
    // SAFETY: the query takes its number and two zeros, and touches no memory.
    let commands = unsafe { libc::syscall(libc::SYS_membarrier, QUERY, 0, 0) };
    commands > 0 && commands & GLOBAL_EXPEDITED != 0
}

/// Without that barrier, each publication and release has its own.
fn barrier(is_permitted: bool) -> Report {
    let name = "membarrier";
    match is_permitted {
        true => report(name, Level::Ok, "sleepers impose their barrier on others"),
        false => report(
            name,
            Level::Warning,
            "not permitted here (seccomp?): each publication and release executes a fence while sleeping is possible",
        ),
    }
}

fn memory_lock() -> Report {
    let name = "memlock";
    match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((libc::RLIM_INFINITY, _)) => report(name, Level::Ok, "no limit"),
        Ok((limit, _)) => report(
            name,
            Level::Note,
            format!(
                "{} may be locked: `with_memory_lock` fails for larger rings (ulimit -l)",
                bytes(limit)
            ),
        ),
        Err(error) => report(name, Level::Note, error.to_string()),
    }
}

fn descriptors() -> Report {
    let name = "descriptors";
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((limit, most)) => {
            let text = format!("{limit}, at most {most}; each handle takes one (ulimit -n)");
            let level = if limit < DESCRIPTORS_MIN {
                Level::Warning
            } else {
                Level::Ok
            };
            report(name, level, text)
        }
        Err(error) => report(name, Level::Note, error.to_string()),
    }
}

/// What the rings themselves say.
fn rings(place: &In) -> Result<Report, Failure> {
    let name = "rings";
    let (mut count, mut size, mut full, mut faulty, mut dead, mut hidden) =
        (0, 0, Vec::new(), Vec::new(), 0, 0);
    // a directory that is missing was reported above
    let found = place.rings().into_iter().flatten();
    for found in found {
        let ring = printable(&found.name);
        match read(found) {
            Ok((inspector, seen)) => {
                count += 1;
                size += inspector.info().segment_bytes;
                if seen.blocker().is_some() {
                    full.push(ring.clone());
                }
                if !seen.faults.is_empty() {
                    faulty.push(ring);
                }
                dead += u64::from(seen.phase() == Phase::Orphaned);
            }
            Err(InspectError::Unreadable { .. }) => hidden += 1,
            Err(InspectError::HalfMade { .. }) => dead += 1,
            Err(InspectError::Damaged { .. }) => faulty.push(ring),
            Err(_) => {}
        }
    }
    let mut text = format!("{count}, {} in all", bytes(size));
    let mut level = Level::Ok;
    if dead > 0 {
        let of_directory = match &place.dir {
            Some(directory) => format!(" --dir {}", directory.display()),
            None => String::new(),
        };
        text += &format!(
            "; {dead} without a living producer: see `myelon clean --dry-run{of_directory}`"
        );
        level = Level::Note;
    }
    if hidden > 0 {
        text += &format!("; files that may be more, but may not be read by this user: {hidden}");
    }
    if !full.is_empty() {
        text += &format!("; full: {}, see `myelon show`", full.join(", "));
        level = Level::Note;
    }
    if !faulty.is_empty() {
        text += &format!("; damaged: {}, see `myelon show`", faulty.join(", "));
        level = Level::Warning;
    }
    Ok(report(name, level, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_space_is_a_warning_and_no_limit_is_none() {
        for (free, size, level) in [
            (1 << 30, 1 << 30, Level::Ok),
            (1 << 20, 1 << 30, Level::Warning),
            (0, 1 << 30, Level::Warning),
            (60 << 20, 64 << 20, Level::Note),
            (0, 0, Level::Ok),
        ] {
            let report = space_of("/dev/shm", free, size);
            assert_eq!(report.level, level, "{}", report.text);
        }
    }

    #[test]
    fn a_system_call_that_is_forbidden_is_a_warning() {
        assert_eq!(barrier(false).level, Level::Warning);
        assert_eq!(barrier(true).level, Level::Ok);
    }
}
