//! `doctor`: what limits rings on this machine, or in this container. Each check reads what the kernel says, and
//! changes nothing.

use std::fs;
use std::io::{self, Write, stdout};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use disruptor_mp::inspect::{InspectError, Phase};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use serde_json::{Value, json};

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
/// The inode number of the first pid namespace of a machine.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

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
    let directory = place.directory();
    let mut reports = vec![space(&directory), writing(&directory)];
    reports.extend(memory());
    reports.extend([
        cores(),
        processor_time(),
        huge_pages(),
        barrier(),
        memory_lock(),
        descriptors(),
    ]);
    reports.extend([proc_mounted(), namespaces(), container(), boot_id()]);
    reports.extend(removal_at_logout());
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
    let text = format!("{shown}: {} free of {}", bytes(free), bytes(size));
    match free {
        ..SPACE_MIN => report(
            name,
            Level::Warning,
            format!(
                "{text}; rings need 16 KiB and their slots: run `myelon clean`, or enlarge it (docker: --shm-size)"
            ),
        ),
        _ if size <= CONTAINER_SHM => report(
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
    let user = nix::unistd::geteuid();
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

/// The memory limit of this process's cgroup: rings in shared memory count against it.
fn memory() -> Vec<Report> {
    let name = "memory limit";
    let Some((used, limit)) = cgroup_numbers("memory.current", "memory.max") else {
        return vec![report(
            name,
            Level::Ok,
            "this cgroup has none that could be read",
        )];
    };
    let left = limit.saturating_sub(used);
    let text = format!(
        "{} left of {} in this cgroup, which rings count against",
        bytes(left),
        bytes(limit)
    );
    let level = if left < SPACE_MIN {
        Level::Warning
    } else {
        Level::Note
    };
    vec![report(name, level, text)]
}

/// The numbers of two files of this process's cgroup, version 2. `None` where there is no limit.
fn cgroup_numbers(used: &str, limit: &str) -> Option<(u64, u64)> {
    let number = |file| cgroup_file(file)?.trim().parse().ok();
    Some((number(used)?, number(limit)?))
}

fn cgroup_file(file: &str) -> Option<String> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    // in a namespace of its own, the path is relative to the mount
    let inner = format!("/sys/fs/cgroup{path}/{file}");
    fs::read_to_string(inner)
        .or_else(|_| fs::read_to_string(format!("/sys/fs/cgroup/{file}")))
        .ok()
}

fn cores() -> Report {
    let name = "cores";
    let online = std::thread::available_parallelism().map_or(1, usize::from);
    let allowed = status_line("Cpus_allowed_list").unwrap_or_else(|| String::from("unknown"));
    let isolated = trimmed("/sys/devices/system/cpu/isolated").filter(|text| !text.is_empty());
    let mut text = format!("{online} may be used: {allowed}");
    if let Some(isolated) = isolated {
        text += &format!("; isolated: {isolated}");
    }
    let siblings = trimmed("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list");
    if let Some(siblings) = siblings.filter(|text| text.contains([',', '-'])) {
        text += &format!("; cores {siblings} share their units, so place two sides elsewhere");
    }
    match online {
        1 => report(
            name,
            Level::Warning,
            format!("{text}; use `Block`: spinning takes the core from the other side"),
        ),
        _ => report(name, Level::Ok, text),
    }
}

/// The quota of processor time.
fn processor_time() -> Report {
    let name = "quota";
    let quota = cgroup_file("cpu.max").and_then(|text| {
        let (quota, period) = text.trim().split_once(' ')?;
        Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
    });
    match quota {
        Some(cores) if cores < 2.0 => report(
            name,
            Level::Warning,
            format!(
                "{cores:.2} cores: two sides that spin use it up and are then stopped; use `Block`"
            ),
        ),
        Some(cores) => report(name, Level::Note, format!("{cores:.2} cores")),
        None => report(
            name,
            Level::Ok,
            "no quota of processor time that could be read",
        ),
    }
}

fn huge_pages() -> Report {
    let name = "huge pages";
    let chosen = |text: String| Some(text.split_once('[')?.1.split_once(']')?.0.to_owned());
    let shared = trimmed("/sys/kernel/mm/transparent_hugepage/shmem_enabled").and_then(chosen);
    match shared.as_deref() {
        Some("never" | "deny") => report(
            name,
            Level::Note,
            "shared memory gets none (shmem_enabled is never): `HugePages::Try` has no effect on it",
        ),
        Some(mode) => report(name, Level::Ok, format!("shared memory: {mode}")),
        None => report(name, Level::Note, "the kernel does not say"),
    }
}

/// Whether a sleeper can impose a barrier on the other side; else each publication and release has its own.
fn barrier() -> Report {
    let name = "membarrier";
    // linux/membarrier.h: the command that asks for the commands, and the bit of the one that rings use
    const QUERY: libc::c_long = 0;
    const GLOBAL_EXPEDITED: libc::c_long = 1 << 1;
    // SAFETY: the query takes its number and two zeros, and touches no memory.
    let commands = unsafe { libc::syscall(libc::SYS_membarrier, QUERY, 0, 0) };
    match commands > 0 && commands & GLOBAL_EXPEDITED != 0 {
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

fn proc_mounted() -> Report {
    let name = "/proc";
    match Path::new("/proc/self/fd").exists() {
        true => report(name, Level::Ok, "mounted"),
        false => report(
            name,
            Level::Warning,
            "not mounted: handles cannot open their locks, and nothing attaches",
        ),
    }
}

fn namespaces() -> Report {
    let name = "pid namespace";
    match fs::metadata("/proc/self/ns/pid").map(|found| found.ino()) {
        Ok(FIRST_PID_NAMESPACE) => report(name, Level::Ok, "the machine's first"),
        Ok(number) => report(
            name,
            Level::Note,
            format!(
                "number {number}, of a container: process ids of other namespaces mean nothing here"
            ),
        ),
        Err(error) => report(name, Level::Note, format!("not known: {error}")),
    }
}

fn container() -> Report {
    let name = "container";
    let marks = [
        "/.dockerenv",
        "/run/.containerenv",
        "/run/systemd/container",
    ];
    let kubernetes = std::env::var_os("KUBERNETES_SERVICE_HOST").map(|_| "KUBERNETES_SERVICE_HOST");
    match marks
        .into_iter()
        .find(|mark| Path::new(mark).exists())
        .or(kubernetes)
    {
        Some(mark) => report(
            name,
            Level::Note,
            format!(
                "this is one ({mark}): only containers with the same /dev/shm and user share its rings"
            ),
        ),
        None => report(name, Level::Ok, "no sign of one"),
    }
}

fn boot_id() -> Report {
    let name = "boot id";
    match fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(_) => report(name, Level::Ok, "readable"),
        Err(error) => report(
            name,
            Level::Warning,
            format!(
                "not readable ({error}): rings in files cannot tell whether the machine was restarted"
            ),
        ),
    }
}

/// systemd removes the shared memory of users that log out.
fn removal_at_logout() -> Option<Report> {
    let is_login =
        nix::unistd::geteuid().as_raw() >= 1000 && Path::new("/run/systemd/system").exists();
    let configured = fs::read_to_string("/etc/systemd/logind.conf").unwrap_or_default();
    let is_off = configured.lines().any(|line| line.trim() == "RemoveIPC=no");
    (is_login && !is_off).then(|| {
        report(
            "logout",
            Level::Note,
            "systemd removes this user's rings at the last logout, unless RemoveIPC=no is set or lingering is enabled",
        )
    })
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
        text += &format!("; {dead} without a living producer: see `myelon clean --dry-run`");
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

/// The value of a line of `/proc/self/status`.
fn status_line(key: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

fn trimmed(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}
