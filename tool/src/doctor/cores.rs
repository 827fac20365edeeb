//! The cores: how many this process may use and for how long, and what they share.

use std::collections::BTreeSet;

use super::host::{Host, list_of};
use super::{Level, Report, report};

/// The most sets of cores that a text has.
const SETS_MAX: usize = 8;
const CPUS: &str = "/sys/devices/system/cpu";
const NODES: &str = "/sys/devices/system/node";

/// Sets of cores.
type Sets = BTreeSet<BTreeSet<usize>>;

/// The checks of cores. `quota`: how many cores the quota of processor time keeps busy.
pub(super) fn reports(host: &Host, quota: Option<usize>) -> Vec<Report> {
    let allowed = host.allowed_cores();
    let mut reports = vec![cores(host, allowed.as_ref()), processor_time(quota)];
    // without the kernel's word, all of the machine's
    let allowed = allowed.unwrap_or_else(|| host.numbered(CPUS, "cpu"));
    reports.extend([
        threads(host, &allowed),
        caches(host, &allowed),
        nodes(host, &allowed),
    ]);
    reports
}

fn cores(host: &Host, allowed: Option<&BTreeSet<usize>>) -> Report {
    let name = "cores";
    let count = match allowed {
        Some(allowed) => allowed.len(),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let list = allowed.map_or_else(|| String::from("which ones is not known"), list_of);
    let mut text = format!("{count} may be used: {list}");
    if let Some(isolated) = host.list(&format!("{CPUS}/isolated")) {
        text += &format!("; isolated: {}", list_of(&isolated));
    }
    match count {
        1 => report(
            name,
            Level::Warning,
            format!("{text}; use `Block`: spinning takes the core from the other side"),
        ),
        _ => report(name, Level::Ok, text),
    }
}

fn processor_time(quota: Option<usize>) -> Report {
    let name = "quota";
    match quota {
        Some(1) => report(
            name,
            Level::Warning,
            "less than two cores: two sides that spin use it up and are then stopped; use `Block`",
        ),
        Some(cores) => report(name, Level::Note, format!("{cores} cores")),
        None => report(
            name,
            Level::Ok,
            "no quota of processor time that could be read",
        ),
    }
}

/// The hardware threads of one core.
fn threads(host: &Host, allowed: &BTreeSet<usize>) -> Report {
    let name = "hyperthreads";
    let lists = allowed
        .iter()
        .map(|core| host.list(&format!("{CPUS}/cpu{core}/topology/thread_siblings_list")));
    let sets = among(allowed, lists);
    let shared: Sets = sets.iter().filter(|set| set.len() > 1).cloned().collect();
    match (sets.is_empty(), shared.is_empty()) {
        (true, _) => report(name, Level::Note, "the kernel does not say"),
        (false, true) => report(name, Level::Ok, "no two of these cores share their units"),
        (false, false) => report(
            name,
            Level::Note,
            format!(
                "these share the units of one core: {}; place the two sides of a ring on different ones",
                shown(&shared)
            ),
        ),
    }
}

/// The largest cache that cores share.
fn caches(host: &Host, allowed: &BTreeSet<usize>) -> Report {
    let name = "caches";
    let mut found = Vec::new();
    for core in allowed {
        let caches = format!("{CPUS}/cpu{core}/cache");
        for index in host.numbered(&caches, "index") {
            let cache = format!("{caches}/index{index}");
            let level = host.word(&format!("{cache}/level"));
            let level: Option<u32> = level.and_then(|level| level.parse().ok());
            let holds_data = host.word(&format!("{cache}/type")).as_deref() != Some("Instruction");
            if let Some(level) = level.filter(|_| holds_data) {
                found.push((level, host.list(&format!("{cache}/shared_cpu_list"))));
            }
        }
    }
    let Some(level) = found.iter().map(|(level, _)| *level).max() else {
        return report(name, Level::Note, "the kernel does not say");
    };
    let lists = found.into_iter().filter(|(of, _)| *of == level);
    let sets = among(allowed, lists.map(|(_, list)| list));
    match sets.len() {
        0 => report(
            name,
            Level::Note,
            "the kernel does not say which cores share one",
        ),
        1 if sets.contains(allowed) => report(
            name,
            Level::Ok,
            format!("all of these cores share one of level {level}"),
        ),
        _ => report(
            name,
            Level::Note,
            format!(
                "these share one of level {level}: {}; transfers within one are faster",
                shown(&sets)
            ),
        ),
    }
}

/// The nodes of memory.
fn nodes(host: &Host, allowed: &BTreeSet<usize>) -> Report {
    let name = "numa nodes";
    let numbers = host.numbered(NODES, "node").into_iter();
    let sets = among(
        allowed,
        numbers.map(|node| host.list(&format!("{NODES}/node{node}/cpulist"))),
    );
    match sets.len() {
        0 => report(name, Level::Note, "the kernel does not say"),
        1 if sets.contains(allowed) => report(name, Level::Ok, "these cores are of one node"),
        _ => report(
            name,
            Level::Note,
            format!(
                "cores of one node: {}; place both sides on one: a ring lies on the node of the process that creates it",
                shown(&sets)
            ),
        ),
    }
}

/// What the lists have of the cores that may be used.
fn among(allowed: &BTreeSet<usize>, lists: impl Iterator<Item = Option<BTreeSet<usize>>>) -> Sets {
    let sets = lists.flatten().map(|list| &list & allowed);
    sets.filter(|set| !set.is_empty()).collect()
}

/// The sets in a text, the first ones if they are many.
fn shown(sets: &Sets) -> String {
    let lists: Vec<_> = sets.iter().take(SETS_MAX).map(list_of).collect();
    let more = match sets.len() - lists.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    lists.join(" | ") + &more
}

#[cfg(test)]
mod tests {
    use super::super::host::tests::made_up;
    use super::*;

    /// What a machine of these files gets as its reports, without the quota: name, level and text.
    fn found(files: &[(String, String)]) -> Vec<(&'static str, Level, String)> {
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (&**path, &**text))
            .collect();
        let (_root, host) = made_up(&files);
        let reports = reports(&host, None).into_iter();
        let reports = reports.filter(|report| report.name != "quota");
        reports
            .map(|report| (report.name, report.level, report.text))
            .collect()
    }

    fn file(path: impl Into<String>, text: impl Into<String>) -> (String, String) {
        (path.into(), text.into())
    }

    fn allowed(list: &str) -> (String, String) {
        file(
            "/proc/self/status",
            format!("Name:\tmyelon\nCpus_allowed_list:\t{list}\n"),
        )
    }

    /// The files of a machine of two nodes: threads n and n + 4 of one core, and a cache of level 3 in each node.
    fn two_nodes() -> Vec<(String, String)> {
        let mut files = vec![
            file(format!("{NODES}/node0/cpulist"), "0-1,4-5\n"),
            file(format!("{NODES}/node1/cpulist"), "2-3,6-7\n"),
            // memory without cores
            file(format!("{NODES}/node2/cpulist"), "\n"),
            file(format!("{NODES}/possible"), "0-2\n"),
        ];
        for core in 0..8 {
            let (low, node) = (core % 4, core % 4 / 2);
            let threads = format!("{low},{}\n", low + 4);
            let of_core = format!("{CPUS}/cpu{core}");
            files.push(file(
                format!("{of_core}/topology/thread_siblings_list"),
                &*threads,
            ));
            let of_node = ["0-1,4-5\n", "2-3,6-7\n"][node];
            for (index, level, kind, cores) in [
                (0, "1\n", "Data\n", &*threads),
                (1, "1\n", "Instruction\n", &*threads),
                (2, "3\n", "Unified\n", of_node),
            ] {
                let cache = format!("{of_core}/cache/index{index}");
                files.push(file(format!("{cache}/level"), level));
                files.push(file(format!("{cache}/type"), kind));
                files.push(file(format!("{cache}/shared_cpu_list"), cores));
            }
        }
        files
    }

    #[test]
    fn what_cores_share_is_read_of_all_of_them() {
        let mut files = two_nodes();
        files.push(allowed("0-7"));
        let texts = [
            ("cores", Level::Ok, "8 may be used: 0-7"),
            (
                "hyperthreads",
                Level::Note,
                "these share the units of one core: 0,4 | 1,5 | 2,6 | 3,7; place the two sides of a ring on different ones",
            ),
            (
                "caches",
                Level::Note,
                "these share one of level 3: 0-1,4-5 | 2-3,6-7; transfers within one are faster",
            ),
            (
                "numa nodes",
                Level::Note,
                "cores of one node: 0-1,4-5 | 2-3,6-7; place both sides on one: a ring lies on the node of the process that \
                 creates it",
            ),
        ];
        assert_eq!(
            found(&files),
            texts.map(|(name, level, text)| (name, level, text.into()))
        );
    }

    #[test]
    fn only_cores_that_may_be_used_count() {
        let mut files = two_nodes();
        files.push(file(format!("{CPUS}/isolated"), "2-3\n"));
        files.push(allowed("0-1"));
        let texts = [
            ("cores", "2 may be used: 0-1; isolated: 2-3"),
            ("hyperthreads", "no two of these cores share their units"),
            ("caches", "all of these cores share one of level 3"),
            ("numa nodes", "these cores are of one node"),
        ];
        assert_eq!(
            found(&files),
            texts.map(|(name, text)| (name, Level::Ok, text.into()))
        );
        // two threads of one core
        files.pop();
        files.push(allowed("1,5"));
        let found = found(&files);
        assert!(
            found[1]
                .2
                .starts_with("these share the units of one core: 1,5;"),
            "{found:?}"
        );
    }

    #[test]
    fn one_core_and_a_small_quota_are_warnings() {
        let found = found(&[allowed("3")]);
        assert_eq!(found[0].1, Level::Warning);
        assert!(
            found[0].2.starts_with("1 may be used: 3; use `Block`"),
            "{found:?}"
        );
        for (quota, level, text) in [
            (Some(1), Level::Warning, "less than two cores"),
            (Some(2), Level::Note, "2 cores"),
            (None, Level::Ok, "no quota"),
        ] {
            let report = processor_time(quota);
            assert_eq!(report.level, level);
            assert!(report.text.starts_with(text), "{}", report.text);
        }
    }

    #[test]
    fn files_that_are_missing_or_malformed_are_no_failure() {
        let unknown = |found: &[(&str, Level, String)]| {
            let said = found[1..].iter();
            said.filter(|(_, level, text)| {
                *level == Level::Note && text.starts_with("the kernel does not say")
            })
            .count()
        };
        assert_eq!(unknown(&found(&[])), 3);
        for bad in [
            "",
            "\n",
            "0-",
            "garbage",
            "0-99999999999999999999",
            "-1",
            "1\n2\n",
        ] {
            let mut files: Vec<_> = two_nodes()
                .into_iter()
                .map(|(path, _)| (path, bad.to_owned()))
                .collect();
            files.push(allowed("0-7"));
            files.push(file(format!("{CPUS}/isolated"), bad));
            assert_eq!(unknown(&found(&files)), 3, "{bad:?}");
        }
        // one core that says nothing hides none of the others
        let mut files = two_nodes();
        files.retain(|(path, _)| !path.contains("/cpu0/") && !path.contains("/node0/"));
        files.push(allowed("0-7"));
        let found = found(&files);
        for (index, list) in [
            (1, "0,4 | 1,5 |"),
            (2, "0-1,4-5 | 2-3,6-7"),
            (3, "cores of one node: 2-3,6-7;"),
        ] {
            assert!(found[index].2.contains(list), "{found:?}");
        }
    }

    #[test]
    fn a_large_machine_fits_on_a_line() {
        let mut files = vec![allowed("0-255")];
        for core in 0..256 {
            let path = format!("{CPUS}/cpu{core}/topology/thread_siblings_list");
            files.push(file(path, format!("{},{}", core % 128, core % 128 + 128)));
        }
        let found = found(&files);
        assert!(found[1].2.contains("7,135 and 120 more;"), "{found:?}");
    }
}
