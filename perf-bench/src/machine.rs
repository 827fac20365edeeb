//! Facts about the machine, without which a figure means nothing.

use std::fmt;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::affinity::Cores;
use crate::placement::topology;

/// The facts that are printed above every table.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    lines: Vec<(&'static str, String)>,
}

impl Machine {
    /// Reads the facts. A fact that cannot be read is left out or printed as unknown.
    pub(crate) fn read(cores: Option<Cores>) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name| cpu_field(&cpuinfo, name).unwrap_or_else(|| "unknown".into());
        let mut lines = vec![("processor", field("model name"))];
        let count = cpuinfo
            .lines()
            .filter(|line| line.starts_with("processor"))
            .count();
        let virtual_machine = field("flags").split(' ').any(|flag| flag == "hypervisor");
        let placement = match cores {
            Some(Cores { driver, peer }) => format!("pinned to {driver} and {peer}"),
            None => {
                "NOT pinned, as there is only one core or no permission to pin: figures mean little"
                    .into()
            }
        };
        if let Some(cores) = cores {
            lines.push(("distance", topology(cores)));
        }
        lines.push((
            "cores",
            format!(
                "{count}{}, {placement}",
                if virtual_machine { " (virtual)" } else { "" }
            ),
        ));
        if let Ok(system) = nix::sys::utsname::uname() {
            let text = |s: &std::ffi::OsStr| s.to_string_lossy().into_owned();
            lines.push((
                "kernel",
                format!("{} {}", text(system.sysname()), text(system.release())),
            ));
        }
        for (name, path) in [
            (
                "governor",
                "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
            ),
            ("huge pages", "/sys/kernel/mm/transparent_hugepage/enabled"),
            (
                "huge pages, shared memory",
                "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
            ),
        ] {
            if let Ok(text) = fs::read_to_string(path) {
                lines.push((name, chosen(text.trim())));
            }
        }
        if cfg!(debug_assertions) {
            lines.push(("build", "DEBUG: figures mean nothing, use --release".into()));
        }
        Self { lines }
    }
}

impl Machine {
    /// The fact of this name.
    pub(crate) fn fact(&self, name: &str) -> Option<&str> {
        let mut lines = self.lines.iter();
        lines.find_map(|(key, value)| (*key == name).then_some(value.as_str()))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.lines {
            writeln!(f, "{name:<26} {value}")?;
        }
        Ok(())
    }
}

/// Where rows come from. Each row of a file has it; the names are a contract with programs that read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The commit of the source, or `unknown`.
    pub(crate) commit: String,
    pub(crate) command: String,
    pub(crate) processor: String,
    pub(crate) cores: String,
    pub(crate) kernel: String,
    /// `release` or `debug`.
    pub(crate) build: String,
}

impl Origin {
    /// That of the rows of this process, which it measures on these cores.
    pub(crate) fn of_process(cores: Option<Cores>) -> Self {
        let arguments = std::env::args_os().skip(1);
        let command = arguments.fold(String::from("perf-bench"), |command, argument| {
            command + " " + &argument.to_string_lossy()
        });
        Self::new(&Machine::read(cores), commit_of_program(), command)
    }

    /// That of a command on this machine.
    pub(crate) fn new(machine: &Machine, commit: Option<String>, command: String) -> Self {
        let unknown = || String::from("unknown");
        let fact = |name| machine.fact(name).map_or_else(unknown, str::to_owned);
        Self {
            commit: commit.unwrap_or_else(unknown),
            command,
            processor: fact("processor"),
            cores: fact("cores"),
            kernel: fact("kernel"),
            build: String::from(if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            }),
        }
    }

    /// Its facts with their names.
    pub(crate) fn facts(&self) -> [(&'static str, &str); 6] {
        [
            ("commit", &self.commit),
            ("command", &self.command),
            ("processor", &self.processor),
            ("cores", &self.cores),
            ("kernel", &self.kernel),
            ("build", &self.build),
        ]
    }
}

/// The commit of the checkout in which this program lies, with a mark if there were changes.
pub(crate) fn commit_of_program() -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new("git")
        .arg("-C")
        .arg(program.parent()?)
        .args([
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ])
        .output()
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !commit.trim().is_empty()).then(|| commit.trim().to_owned())
}

fn cpu_field(cpuinfo: &str, name: &str) -> Option<String> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// `always [madvise] never` → `madvise`.
fn chosen(text: &str) -> String {
    let inside = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or(text, |(choice, _)| choice).to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn bracketed_choices_and_cpu_fields() {
        assert_eq!(super::chosen("always [madvise] never"), "madvise");
        assert_eq!(super::chosen("performance"), "performance");
        let text = "processor\t: 0\nmodel name\t: A B\n";
        assert_eq!(super::cpu_field(text, "model name").as_deref(), Some("A B"));
        assert_eq!(super::cpu_field(text, "flags"), None);
    }
}
