//! What each command does on a machine that lacks something, and when one of its processes dies or hangs: it ends with
//! a clear message, ends its processes, and leaves nothing in shared memory.

#![cfg(target_os = "linux")]

mod run;

use std::os::unix::process::CommandExt;
use std::process::Command;

use run::{Ended, program, turn};

/// Each command that measures, in a short form.
const COMMANDS: [&str; 12] = [
    "raw --size 248 --backend shm --scenario stream",
    "limits",
    "layers --backend shm --scenario long",
    "wait --scenario fan_out",
    "session --scenario call",
    "broadcast --consumers 2",
    "broadcast --layer framed --consumers 2",
    "pingpong --capacity 4096 --layer framed --size 64",
    "stream",
    "churn",
    "nofrag",
    "compare --peer pipe --size 4096",
];

/// One of them for each way in which a command starts its processes and pins them.
const EACH_WAY: [&str; 5] = [
    "raw --size 248 --backend shm --scenario stream",
    "session --scenario call",
    "broadcast --layer framed --consumers 2",
    "pingpong --capacity 4096 --layer framed --size 64",
    "compare --peer pipe --size 4096",
];

/// Runs a script of the shell with the program as `$0` and these arguments, in a shared memory of its own of this size.
/// At its end, the script lists what is left there. `None` if the machine allows no namespaces.
fn in_own_shared_memory(size: &str, script: &str, arguments: &str) -> Option<String> {
    let script = format!(
        "mount -t tmpfs -o size={size} tmpfs /dev/shm || exit 77
        {script}
        echo \"exit code $?\"
        ls -A /dev/shm | sed 's/^/left: /'"
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "bash", "-c"]);
    unshare.args([&script, env!("CARGO_BIN_EXE_perf-bench")]);
    unshare.args(arguments.split(' '));
    let Ended { code, text } = run::to_its_end(&mut unshare);
    if code != Some(0) {
        assert!(std::env::var_os("CI").is_none(), "no namespace: {text}");
        eprintln!("skipped: no namespace: {text}");
        return None;
    }
    Some(text)
}

#[test]
fn each_command_says_how_much_shared_memory_it_needs() {
    let _turn = turn();
    let directory = tempfile::tempdir().expect("a directory");
    let more = [
        "raw --size 248 --backend mmap",
        "broadcast --size 64 --backend mmap",
        "churn --size 64 --backend mmap",
        "wait --size 64 --backend mmap",
        "sweep --tier smoke",
        "repeat",
    ];
    for command in COMMANDS.into_iter().chain(more) {
        // its floors are in memory without a name
        if command == "limits" {
            continue;
        }
        let out = match command.starts_with("sweep") {
            true => format!("--out {}", directory.path().join("rows.jsonl").display()),
            false => String::new(),
        };
        let script = format!("\"$0\" \"$@\" {out} --quick --rounds 1");
        let Some(says) = in_own_shared_memory("32k", &script, command) else {
            return;
        };
        assert!(says.contains("exit code 1"), "{command}: {says}");
        assert!(says.contains("perf-bench: "), "{command}: {says}");
        assert!(says.contains("bytes needed"), "{command}: {says}");
        assert!(!says.contains("left: "), "{command}: {says}");
    }
}

/// Starts the command, sends the signal to the child with this number when the command has objects in shared memory and
/// so many children, and waits.
const STRIKE: &str = "
    \"$0\" \"$@\" --rounds 10000 --budget-s 600 --hang-limit-ms \"$limit\" & driver=$!
    children() { tr ' ' '\\n' </proc/$driver/task/$driver/children | grep .; }
    until test \"$(ls -A /dev/shm | wc -l)\" -gt 0 && test \"$(children | wc -l)\" -ge \"$number\"; do
        kill -0 $driver || break
        sleep 0.02
    done
    sleep 0.3
    child=$(children | sed -n \"${number}p\")
    printf 'the last words' >>/proc/$child/fd/2
    kill -\"$signal\" $child
    wait $driver
    code=$?
    ! kill -0 $child 2>/dev/null || echo 'alive: the child'
    (exit $code)";

/// The commands with a child of each kind, by its number: the second process, a party, a receiver.
const CHILDREN: [(&str, u32, &str); 8] = [
    ("raw --size 56 --backend shm", 1, "peer"),
    ("pingpong --wait-strategy block", 1, "peer"),
    ("wait --scenario fan_out", 1, "party"),
    ("broadcast --consumers 2", 2, "party"),
    (
        "broadcast --layer raw,bincode --size 64 --consumers 2",
        2,
        "peer",
    ),
    ("churn", 2, "party"),
    ("wait --size 64", 1, "party"),
    (
        "compare --peer pipe --size 56 --scenario broadcast",
        3,
        "peer",
    ),
];

#[test]
fn the_death_of_a_child_of_any_kind_ends_the_run_with_its_words() {
    let _turn = turn();
    for (command, number, kind) in CHILDREN {
        let script = format!("number={number} signal=KILL limit=60000{STRIKE}");
        let Some(says) = in_own_shared_memory("64m", &script, command) else {
            return;
        };
        let how =
            format!("the {kind} process ended (signal: 9 (SIGKILL)) and said: the last words");
        assert!(says.contains(&how), "{command}: {says}");
        assert!(says.contains("exit code 1"), "{command}: {says}");
        assert!(!says.contains("alive: "), "{command}: {says}");
        assert!(!says.contains("left: "), "{command}: {says}");
    }
}

/// A session waits for another worker in the place of a dead one, until the deadline.
#[test]
fn the_death_of_a_worker_ends_the_run_at_the_deadline() {
    let _turn = turn();
    let script = format!("number=2 signal=KILL limit=4000{STRIKE}");
    let Some(says) = in_own_shared_memory("64m", &script, "session --scenario call") else {
        return;
    };
    let how = "the party process ended (signal: 9 (SIGKILL)) and said: the last words";
    for part in ["before the deadline (it has died: pid ", how] {
        assert!(says.contains(part), "{says}");
    }
    assert!(says.contains("exit code 1"), "{says}");
    assert!(!says.contains("alive: "), "{says}");
    assert!(!says.contains("left: "), "{says}");
}

#[test]
#[ignore = "takes many seconds: run by ci/bench"]
fn a_child_of_any_kind_that_hangs_is_ended_after_the_deadline() {
    let _turn = turn();
    for (command, number, _) in CHILDREN {
        let script = format!("number={number} signal=STOP limit=1000{STRIKE}");
        let Some(says) = in_own_shared_memory("64m", &script, command) else {
            return;
        };
        // a ring names the consumer for which its producer has waited
        let clear = ["does not answer", "stayed full until the deadline"];
        let is_clear = clear.iter().any(|clear| says.contains(clear));
        assert!(is_clear, "{command}: {says}");
        assert!(says.contains("exit code 1"), "{command}: {says}");
        assert!(!says.contains("alive: "), "{command}: {says}");
        assert!(!says.contains("left: "), "{command}: {says}");
    }
}

/// Runs a command, with few messages, to its good end.
fn succeeds(program: &mut Command, command: &str) -> String {
    program
        .args(command.split(' '))
        .args(["--quick", "--rounds", "1"]);
    let Ended { code, text } = run::to_its_end(program);
    assert_eq!(code, Some(0), "{command}: {text}");
    text
}

/// Lets the program call `sched_setaffinity` in vain, as a container may.
fn without_permission_to_pin(program: &mut Command) {
    let of = |code: u32, jump: (u8, u8), k: u32| libc::sock_filter {
        code: code as u16,
        jt: jump.0,
        jf: jump.1,
        k,
    };
    let call = libc::SYS_sched_setaffinity as u32;
    let filter = [
        of(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), 0),
        of(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, (0, 1), call),
        of(
            libc::BPF_RET | libc::BPF_K,
            (0, 0),
            libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
        ),
        of(libc::BPF_RET | libc::BPF_K, (0, 0), libc::SECCOMP_RET_ALLOW),
    ];
    let refuse = move || {
        let rules = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_ptr().cast_mut(),
        };
        nix::sys::prctl::set_no_new_privs()?;
        let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
        // SAFETY: the rules are as many as their length says, and live until the call has copied them.
        match unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const rules) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec the closure only makes system calls, and allocates nothing.
    unsafe { program.pre_exec(refuse) };
}

#[test]
fn without_permission_to_pin_each_command_goes_on_and_says_so() {
    let _turn = turn();
    for command in EACH_WAY {
        let mut program = program();
        without_permission_to_pin(&mut program);
        let says = succeeds(&mut program, command);
        let why = "NOT pinned, as there is only one core or no permission to pin";
        assert!(says.contains(why), "{command}: {says}");
    }
}

/// Lets the program use one core.
fn on_one_core(program: &mut Command) {
    let keep_to_one = || {
        let all = nix::sched::sched_getaffinity(nix::unistd::Pid::this())?;
        let core = (0..nix::sched::CpuSet::count()).find(|&core| all.is_set(core).unwrap_or(false));
        let mut one = nix::sched::CpuSet::new();
        one.set(core.unwrap_or(0))?;
        Ok(nix::sched::sched_setaffinity(
            nix::unistd::Pid::this(),
            &one,
        )?)
    };
    // SAFETY: between fork and exec the closure only makes system calls, and allocates nothing.
    unsafe { program.pre_exec(keep_to_one) };
}

fn assert_verified_on_one_core(command: &str) {
    let mut program = program();
    on_one_core(&mut program);
    let says = succeeds(&mut program, command);
    assert!(
        says.contains("NOT pinned, as there is only one core"),
        "{command}: {says}"
    );
}

#[test]
fn on_one_core_every_row_is_verified_and_the_output_says_what_it_is_worth() {
    let _turn = turn();
    assert_verified_on_one_core("raw --size 8 --backend shm --scenario stream");
}

#[test]
#[ignore = "takes many seconds: run by ci/bench"]
fn on_one_core_each_command_verifies_its_rows_and_says_what_they_are_worth() {
    let _turn = turn();
    EACH_WAY.into_iter().for_each(assert_verified_on_one_core);
}
