//! The dependencies obey `deny.toml`: their licences, their versions, where they come from. None needs a newer compiler
//! than the workspace declares. Those that come with the rings are few, and `docs/choosing-a-layer.md` lists them.
//! `ci/deny` holds them to `deny.toml` with cargo-deny as well.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use toml::{Table, Value as Setting};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A package that is not of this workspace.
#[derive(Clone, Debug)]
struct Dependency {
    name: String,
    version: String,
    license: String,
    source: String,
    rust_version: Option<String>,
}

/// What cargo prints, with every feature and for every system.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--locked", "--color", "never"])
        .current_dir(ROOT)
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

fn dependencies() -> Vec<Dependency> {
    let printed = cargo(&["metadata", "--format-version", "1", "--all-features"]);
    let metadata: Value = serde_json::from_str(&printed).expect("JSON");
    // the lock file lists more: what a feature would need that nobody uses
    let everything = ["tree", "--workspace", "--all-features", "--target", "all"];
    let printed = cargo(&[&everything[..], &["--prefix", "none", "--format", "{p}"]].concat());
    let used: BTreeSet<(&str, &str)> = printed
        .lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| (name, rest.split(' ').next().unwrap_or_default()))
        .collect();
    let is_used = |one: &Dependency| used.contains(&(one.name.as_str(), one.version.as_str()));
    let text = |package: &Value, key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .filter(|package| !package["source"].is_null())
        .map(|package| Dependency {
            name: text(package, "name"),
            version: text(package, "version"),
            license: text(package, "license"),
            source: text(package, "source"),
            rust_version: package["rust_version"].as_str().map(str::to_owned),
        })
        .filter(is_used)
        .collect()
}

fn rules() -> Table {
    let text = std::fs::read_to_string(format!("{ROOT}/deny.toml")).expect("deny.toml");
    text.parse().expect("TOML")
}

/// The texts of a list of `deny.toml`; of a list of tables, those under `key`.
fn list(rules: &Table, section: &str, name: &str, key: &str) -> Vec<String> {
    let list = rules[section][name].as_array().expect("a list");
    let texts = list.iter().map(|entry| match entry {
        Setting::Table(entry) => entry[key].as_str(),
        plain => plain.as_str(),
    });
    texts.map(|text| text.expect("text").to_owned()).collect()
}

/// Whether the licence is one of those allowed. Brackets are passed over and OR binds closer than AND, so that of the
/// expressions which this misreads none is allowed by mistake.
fn is_allowed(license: &str, allowed: &[String]) -> bool {
    let plain = license.replace(['(', ')'], "").replace('/', " OR ");
    plain.split(" AND ").all(|all| {
        let mut any = all.split(" OR ").map(str::trim);
        any.any(|one| allowed.iter().any(|allowed| allowed == one))
    })
}

/// Whether `version` is `prefix`, or a version that begins with it.
fn is_of(version: &str, prefix: &str) -> bool {
    let rest = version.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The numbers of a version, for comparison.
fn numbers(version: &str) -> Vec<u32> {
    let numbers = version.split('.').map(|number| number.parse());
    numbers.map(|number| number.expect("a number")).collect()
}

/// What is wrong with the dependencies.
fn faults_of(dependencies: &[Dependency], rules: &Table, rust_version: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let allowed = list(rules, "licenses", "allow", "");
    let registries = list(rules, "sources", "allow-registry", "");
    let skipped = list(rules, "bans", "skip", "crate");
    let skips = |one: &Dependency| {
        let mut entries = skipped.iter().filter_map(|entry| entry.split_once('@'));
        entries.any(|(name, version)| name == one.name && is_of(&one.version, version))
    };
    for one in dependencies {
        let Dependency { name, version, .. } = one;
        if !is_allowed(&one.license, &allowed) {
            faults.push(format!(
                "{name} {version} has the licence '{}'",
                one.license
            ));
        }
        if !registries
            .iter()
            .any(|url| one.source == format!("registry+{url}"))
        {
            faults.push(format!("{name} {version} comes from {}", one.source));
        }
        let needed = one.rust_version.as_deref().unwrap_or("1.0");
        if numbers(needed) > numbers(rust_version) {
            faults.push(format!("{name} {version} needs Rust {needed}"));
        }
        let mut others = dependencies.iter().filter(|other| !skips(other));
        if !skips(one) && others.any(|other| other.name == *name && other.version != *version) {
            faults.push(format!("{name} {version} is not its only version"));
        }
    }
    for entry in &skipped {
        let (name, _) = entry.split_once('@').expect("name@version");
        let mut versions = dependencies.iter().filter(|one| one.name == name);
        if versions.clone().count() < 2 || !versions.any(skips) {
            faults.push(format!("{entry} need not be skipped any more"));
        }
    }
    faults
}

/// The lowest Rust that the workspace promises to compile with.
fn rust_version() -> String {
    let manifest = std::fs::read_to_string(format!("{ROOT}/Cargo.toml")).expect("the manifest");
    let manifest: Table = manifest.parse().expect("TOML");
    let version = &manifest["workspace"]["package"]["rust-version"];
    version.as_str().expect("text").to_owned()
}

#[test]
fn dependencies_obey_the_rules() {
    let dependencies = dependencies();
    assert!(
        dependencies.len() > 100,
        "{} were found",
        dependencies.len()
    );
    let faults = faults_of(&dependencies, &rules(), &rust_version());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The crates that a user's program gets with these features of a library, without the library itself: those that run
/// in it, and those that only the compiler runs.
fn crates_with(library: &str, features: &str) -> [BTreeSet<String>; 2] {
    let of = |edges: &str| {
        let tree = [
            "tree",
            "-p",
            library,
            "--features",
            features,
            "--edges",
            edges,
        ];
        let printed = cargo(&[&tree[..], &["--prefix", "none", "--format", "{p}"]].concat());
        let names = printed.lines().filter_map(|line| line.split_once(' '));
        let names: BTreeSet<_> = names.map(|(name, _)| name.to_owned()).collect();
        assert!(names.contains(library), "{printed}");
        &names - &BTreeSet::from([library.to_owned()])
    };
    let at_run_time = of("normal,no-proc-macro");
    let compiled = of("normal,build");
    let at_build_time = &compiled - &at_run_time;
    [at_run_time, at_build_time]
}

/// The crates in the row of `docs/choosing-a-layer.md` that begins so.
fn listed(row: &str) -> BTreeSet<String> {
    let path = format!("{ROOT}/docs/choosing-a-layer.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let line = page.lines().find(|line| line.starts_with(row));
    let spans = line.expect("the row").split('`').skip(1).step_by(2);
    spans.map(str::to_owned).collect()
}

#[test]
fn few_crates_come_with_the_rings() {
    let [at_run_time, at_build_time] = crates_with("disruptor-mp", "");
    assert_eq!(at_run_time, listed("| into the program |"));
    let of_others = &at_build_time - &BTreeSet::from(["disruptor-mp-derive".to_owned()]);
    assert_eq!(of_others, listed("| into the compiler alone |"));
    let readme = std::fs::read_to_string(format!("{ROOT}/README.md")).expect("the README");
    assert!(readme.contains(&format!("[{} other crates]", at_run_time.len())));
    let [with_tokio, _] = crates_with("disruptor-mp", "tokio");
    assert!(
        with_tokio.len() > at_run_time.len(),
        "control: a crate more is not counted"
    );
}

#[test]
fn exceptions_have_a_reason() {
    let rules = rules();
    let of_advisories = list(&rules, "advisories", "ignore", "reason");
    let of_versions = list(&rules, "bans", "skip", "reason");
    assert!(
        of_advisories
            .iter()
            .chain(&of_versions)
            .all(|reason| reason.len() > 10)
    );
    assert!(
        cargo(&["tree", "--invert", "bincode", "--depth", "0"]).starts_with("bincode v2.0.1"),
        "the exception for bincode is for version 2.0.1"
    );
}

#[test]
fn control_dependencies_that_break_a_rule() {
    let good = dependencies();
    let libc = good.iter().find(|one| one.name == "libc").expect("libc");
    let broken = |change: &dyn Fn(&mut Dependency)| {
        let mut one = libc.clone();
        change(&mut one);
        let mut all = good.clone();
        all.push(one);
        faults_of(&all, &rules(), &rust_version())
    };
    assert_eq!(broken(&|_| {}), Vec::<String>::new());
    for license in [
        "",
        "GPL-3.0-only",
        "MIT AND GPL-3.0-only",
        "(MIT OR Apache-2.0) AND X",
    ] {
        assert_eq!(
            broken(&|one| one.license = license.into()).len(),
            1,
            "{license}"
        );
    }
    assert_eq!(
        broken(&|one| one.source = "git+https://a.example/b".into()).len(),
        1
    );
    assert_eq!(
        broken(&|one| one.rust_version = Some("99.0".into())).len(),
        1
    );
    assert_eq!(broken(&|one| one.version = "0.1.0".into()).len(), 2);

    let mut rules = rules();
    let skip = rules["bans"]["skip"].as_array_mut().expect("a list");
    skip.push(Setting::Table("crate = 'libc@0.2'".parse().expect("TOML")));
    assert_eq!(faults_of(&good, &rules, &rust_version()).len(), 1);
}
