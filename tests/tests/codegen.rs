//! The machine code of the hot calls: no call, no locked instruction, no fence, no division and no panic on the
//! path from the entry of `publish` or `consume` to its end.
//!
//! The functions of `hot-paths/src/main.rs` are compiled as in a release build. The *fast path* of each is the
//! longest path from entry to `ret` that makes no call. It must do what the function is for, which its writes
//! show. The rest of the function may call only the slow halves that are listed by name.
#![cfg(not(miri))]

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use myelon_tests::HotPaths;

/// The slow halves: they wait, wake, refresh the gate, report a fork, or free an error.
const SLOW_HALVES: [&str; 12] = [
    // of a producer, when there is no space, and in a ring with observers; of a consumer, when the next event is not
    // there
    "_slowly",
    "panic_in_doubt", // also then, and where events are in doubt
    "4copy17h",       // of a claim in a ring with observers
    "wake_consumers",
    "wake_producer_for",
    "6forked",
    "6refuse17h",        // in a forked process, and without the lock
    "is_zero_slow_path", // a lease that ends during a panic is not released
    "__rust_dealloc",
    "drop_in_place",
    "_Unwind_Resume", // the last two only while the thread already unwinds
    "panic_in_cleanup",
];
/// The event sizes, each with the limit on instructions: a little more than the longest fast path has today. The path
/// includes each step of the search for the position, up to seven of six instructions with small events.
const SIZES: [(usize, usize); 2] = [(8, 124), (56, 88)];
/// The operations that publish, each with the number of stores to the stack on its fast path. A store between two
/// events costs a part of the throughput while the events' cache lines have to come from another core (`rfcs/0002`).
/// These are the registers in which the function keeps over a wait what it writes then.
const STACK_STORES: [(&str, usize); 6] = [
    ("try_publish", 1),
    ("publish", 2),
    ("publish_managed", 2),
    ("publish_value", 2),
    ("send", 1),
    ("claim", 2),
];
/// How many instructions watching required consumers may add to a publication.
const MOST_FOR_MANAGED: usize = 5;
const OPERATIONS: [&str; 9] = [
    "try_publish",
    "publish",
    "publish_managed",
    "publish_value",
    "send",
    "claim",
    "try_consume_next",
    "try_consume_next_leased",
    "recv",
];

const MESSAGE_OPERATIONS: [&str; 6] = [
    "send_message",
    "try_publish_message",
    "reserve_message",
    "recv_message",
    "send_value",
    "recv_value",
];
/// The slow halves of messages: messages of several frames or with a time, damaged messages, and the ring's
/// end, which is checked where there is no frame.
const SLOW_HALVES_OF_MESSAGES: [&str; 4] =
    ["send_long", "9Assembler3end", "poll_for_news", "now_ns"];

/// The slow halves of messages that no straight path calls. `messages_take_no_locked_instruction` checks them.
const APART: [&str; 4] = [
    "8assemble17h",
    "12put_together17h",
    "15assembled_bytes17h",
    "7nothing17h",
];
/// The straight paths of messages, and a little more than the number of instructions that each has today. The
/// function that ends a loan counts as one, however often it is called.
const MESSAGE_PATHS: [(&str, usize); 5] = [
    ("hot_send_message", 102),
    ("hot_publish_bytes", 108),
    ("hot_try_publish_message", 106),
    ("hot_reserve_message", 114),
    ("hot_recv_message", 164),
];
/// The most stores to the stack on such a path: what the function saves of its caller's registers.
const STACK_STORES_OF_MESSAGES: usize = 5;
/// The function that ends the loan of a message.
const END_OF_LOAN: &str = "drop_in_place$LT$myelon..transport..message..Message";

/// A slow half that took the closure would have the variables that it refers to in memory: each event would be one
/// more store. Such a half is compiled for each closure, so two functions with closures of their own would call two.
#[test]
fn no_slow_half_takes_the_closure() {
    if !cfg!(target_arch = "x86_64") {
        myelon_tests::skip("no_slow_half_takes_the_closure", "needs x86-64");
        return;
    }
    for (size, _) in SIZES {
        let of_value = format!("hot_send_{size}");
        let of_key = format!("hot_send_key_{size}");
        let [of_value, of_key] =
            [of_value, of_key].map(|name| Function::find(&ASSEMBLY, &name).calls());
        assert_eq!(of_value, of_key, "events of {size} bytes");
        assert!(
            of_key.iter().any(|target| target.contains("claim_slowly")),
            "{of_key:?}"
        );
    }
}

#[test]
fn fast_paths_are_straight() {
    if !cfg!(target_arch = "x86_64") {
        myelon_tests::skip("fast_paths_are_straight", "needs x86-64");
        return;
    }
    let assembly = LazyLock::force(&ASSEMBLY);
    println!(
        "{:36} {:>12} {:>8} {:>8}",
        "function", "instructions", "stores", "to stack"
    );
    for operation in OPERATIONS {
        for (size, most) in SIZES {
            let name = format!("hot_{operation}_{size}");
            let function = Function::find(assembly, &name);
            let path = function.fast_path();
            let stores = path.iter().filter(|line| writes_memory(line)).count();
            let to_stack = path.iter().filter(|line| writes_stack(line)).count();
            println!("{name:36} {:>12} {stores:>8} {to_stack:>8}", path.len());
            check(&name, &path, stores, most);
            if let Some((_, most)) = STACK_STORES.iter().find(|(of, _)| *of == operation) {
                let text = path.join("\n");
                assert!(
                    to_stack <= *most,
                    "{name}: {to_stack} stores to the stack:\n{text}"
                );
            }
            for target in function.calls() {
                assert!(is_slow_half(target), "{name} calls {target}");
            }
        }
    }
}

/// A message of one frame is sent and received without any call but the one that copies it, and within a limit
/// of instructions.
#[test]
fn messages_of_one_frame_take_a_straight_path() {
    if !cfg!(target_arch = "x86_64") {
        myelon_tests::skip("messages_of_one_frame_take_a_straight_path", "needs x86-64");
        return;
    }
    let assembly = LazyLock::force(&ASSEMBLY);
    for (name, most) in MESSAGE_PATHS {
        let function = Function::find(assembly, name);
        let mut path = Vec::new();
        for line in function.fast_path_by_way_of(&["memcpy", END_OF_LOAN]) {
            if line.contains(END_OF_LOAN) {
                let end = symbol_of(split(line).1);
                path.extend(Function::find(assembly, &end).fast_path());
            } else if !line.contains("memcpy") {
                path.push(line);
            }
        }
        let stores = path.iter().filter(|line| writes_memory(line)).count();
        let to_stack = path.iter().filter(|line| writes_stack(line)).count();
        println!("{name:36} {:>12} {stores:>8} {to_stack:>8}", path.len());
        check(name, &path, stores, most);
        assert!(
            to_stack <= STACK_STORES_OF_MESSAGES,
            "{name}: {to_stack} stores to the stack"
        );
        for target in function.calls() {
            let is_apart = APART.iter().any(|half| target.contains(half));
            let is_known = is_slow_half(target) || is_apart || target.contains("memcpy");
            assert!(is_known, "{name} calls {target}");
        }
    }
}

/// A message or a value of one frame costs no more locked instructions, fences and divisions than the event
/// that carries it. The check includes every function that is called, except the slow halves.
#[test]
fn messages_take_no_locked_instruction() {
    if !cfg!(target_arch = "x86_64") {
        myelon_tests::skip("messages_take_no_locked_instruction", "needs x86-64");
        return;
    }
    let assembly = LazyLock::force(&ASSEMBLY);
    for operation in MESSAGE_OPERATIONS {
        let mut unfinished = vec![format!("hot_{operation}")];
        let (mut seen, mut stores) = (BTreeSet::new(), 0);
        while let Some(name) = unfinished.pop() {
            let is_here = assembly.contains(&format!("\n{name}:\n"));
            if is_slow_half(&name) || !is_here || !seen.insert(name.clone()) {
                continue;
            }
            let function = Function::find(assembly, &name);
            if let Some(line) = function.lines.iter().find(|line| is_heavy(line)) {
                panic!("hot_{operation}: '{line}' in {name}");
            }
            stores += function.lines.iter().filter(|l| writes_memory(l)).count();
            unfinished.extend(function.calls().into_iter().map(symbol_of));
        }
        println!("hot_{operation:20} {stores:>4} stores in {seen:?}");
        assert!(stores >= 3, "{operation}: that is not what it is for");
    }
}

/// The function that a call names, directly or through a table.
fn symbol_of(operand: &str) -> String {
    let name = operand.trim_start_matches('*');
    name.split('@').next().unwrap_or_default().to_owned()
}

/// Required consumers are checked only while the ring is full.
#[test]
fn a_managed_publication_costs_what_a_plain_one_does() {
    if !cfg!(target_arch = "x86_64") {
        myelon_tests::skip(
            "a_managed_publication_costs_what_a_plain_one_does",
            "needs x86-64",
        );
        return;
    }
    let assembly = LazyLock::force(&ASSEMBLY);
    for size in [8, 56] {
        let count = |operation| {
            let function = Function::find(assembly, &format!("hot_{operation}_{size}"));
            function.fast_path().len()
        };
        let (plain, managed) = (count("publish"), count("publish_managed"));
        println!("{size} bytes: plain {plain}, managed {managed}");
        assert!(managed <= plain + MOST_FOR_MANAGED, "{plain}, {managed}");
    }
}

#[test]
fn the_check_can_fail() {
    let assembly = "f:\n\tmovq\t%rax, (%rdi)\n\tlock\n\txaddq\t%rax, (%rdi)\n\ttestb\t%al, %al\n\tje\t.L1\n\tretq\n\
                    .L1:\n\tcallq\tpanic\n\tretq\n.Lfunc_end0:\n";
    let function = Function::find(assembly, "f");
    let path = function.fast_path();
    assert_eq!(path.len(), 6);
    assert!(forbidden(&path).is_some_and(|line| line.starts_with("lock")));
    assert_eq!(function.calls(), BTreeSet::from(["panic"]));
    let calls_always = Function::find("g:\n\tcallq\tmemcpy\n\tretq\n.Lfunc_end0:\n", "g");
    assert!(calls_always.fast_path().is_empty());
    for line in [
        "lock\txaddq\t%rax, (%rdi)",
        "mfence",
        "divq\t%rcx",
        "idivl\t%ecx",
        "xchgq\t%rax, (%rdi)",
    ] {
        assert!(forbidden(&[line]).is_some(), "{line}");
    }
    for line in [
        "movq\t%rax, 8(%rdi)",
        "movups\t%xmm0, (%rdx,%rcx)",
        "movq\t$1, (%rax)",
    ] {
        assert!(writes_memory(line) && !writes_stack(line), "{line}");
    }
    for line in [
        "movq\t%rax, 8(%rsp)",
        "movups\t%xmm0, (%rsp)",
        "pushq\t%rax",
    ] {
        assert!(writes_stack(line) && !writes_memory(line), "{line}");
    }
    for line in [
        "movq\t(%rax), %rcx",
        "movq\t8(%rsp), %rax",
        "leaq\t4(,%rax,4), %rsi",
        "cmpq\t%rax, (%rdi)",
    ] {
        assert!(!writes_memory(line) && !writes_stack(line), "{line}");
    }
}

fn is_slow_half(name: &str) -> bool {
    let mut halves = SLOW_HALVES.iter().chain(&SLOW_HALVES_OF_MESSAGES);
    halves.any(|half| name.contains(half))
}

#[track_caller]
fn check(name: &str, path: &[&str], stores: usize, most: usize) {
    let text = path.join("\n");
    assert!(
        !path.is_empty(),
        "{name}: no way through it that calls nothing"
    );
    if let Some(line) = forbidden(path) {
        panic!("{name}: '{line}' on the fast path:\n{text}");
    }
    // the event, the stamp or the released sequence, and the private position
    assert!(stores >= 3, "{name}: that is not what it is for:\n{text}");
    assert!(
        path.len() <= most,
        "{name}: {} instructions:\n{text}",
        path.len()
    );
}

/// The first instruction that has no place on a fast path.
fn forbidden<'a>(path: &[&'a str]) -> Option<&'a str> {
    let is_forbidden = |line: &&&str| {
        let (name, operands) = split(line);
        is_heavy(line) || name.starts_with("call") || operands.contains("panic_fmt")
    };
    path.iter().find(is_forbidden).copied()
}

/// Whether the instruction is locked, a fence or a division.
fn is_heavy(line: &str) -> bool {
    let (name, operands) = split(line);
    let is_locked = name.starts_with("lock") || name.starts_with("xchg") && operands.contains('(');
    let is_division = name.starts_with("div") || name.starts_with("idiv");
    is_locked || name.ends_with("fence") || is_division
}

/// Whether the instruction writes to memory that is not the stack.
fn writes_memory(line: &str) -> bool {
    let (name, operands) = split(line);
    let destination = operands.rsplit_once(", ").map_or("", |(_, last)| last);
    // an operand with an index contains commas
    let is_memory =
        operands.ends_with(')') && !destination.starts_with('%') || destination.ends_with(')');
    let compares = name.starts_with("cmp") || name.starts_with("test");
    is_memory && name.starts_with("mov") && !compares && !operands.ends_with("(%rsp)")
}

/// Whether the instruction writes to the stack.
fn writes_stack(line: &str) -> bool {
    let (name, operands) = split(line);
    name.starts_with("push") || name.starts_with("mov") && operands.ends_with("(%rsp)")
}

fn split(line: &str) -> (&str, &str) {
    line.split_once(char::is_whitespace).unwrap_or((line, ""))
}

/// A function's instructions, and the indexes of its labels.
struct Function<'a> {
    lines: Vec<&'a str>,
    labels: HashMap<&'a str, usize>,
}

impl<'a> Function<'a> {
    fn find(assembly: &'a str, name: &str) -> Self {
        // the compiler merges two equal functions into one with two names
        let alias = format!("{name} = ");
        if let Some(other) = assembly.lines().find_map(|line| line.strip_prefix(&alias)) {
            return Self::find(assembly, other);
        }
        let start = format!("{name}:");
        let mut function = Self {
            lines: Vec::new(),
            labels: HashMap::new(),
        };
        let body = assembly.lines().skip_while(|line| *line != start).skip(1);
        for line in body.take_while(|line| !line.starts_with(".Lfunc_end")) {
            let line = line.split('#').next().unwrap_or_default().trim_end();
            if let Some(label) = line.strip_suffix(':') {
                function.labels.insert(label, function.lines.len());
            } else if line.starts_with('\t') && !line.starts_with("\t.") {
                function.lines.push(line.trim_start());
            }
        }
        assert!(
            !function.lines.is_empty(),
            "no function {name} in the assembly"
        );
        function
    }

    /// The instructions that may follow the one at `at`: none at the end, and none after a call.
    fn successors(&self, at: usize) -> Vec<usize> {
        let (name, operand) = split(self.lines[at]);
        let target = self.labels.get(operand).copied();
        match name {
            "ud2" => Vec::new(),
            "jmp" => target.into_iter().collect(),
            _ if name.starts_with("ret") => Vec::new(),
            _ if name.starts_with('j') => target.into_iter().chain([at + 1]).collect(),
            _ => vec![at + 1],
        }
    }

    /// The longest path from entry to `ret` without a call and without a loop.
    fn fast_path(&self) -> Vec<&'a str> {
        self.fast_path_by_way_of(&[])
    }

    /// Like [`fast_path`](Self::fast_path), but calls of the functions in `passed` do not end the path.
    fn fast_path_by_way_of(&self, passed: &[&str]) -> Vec<&'a str> {
        let mut longest = Vec::new();
        let mut unfinished = vec![vec![0]];
        while let Some(path) = unfinished.pop() {
            let at = *path.last().expect("a path starts somewhere");
            let (name, operand) = split(self.lines[at]);
            if name.starts_with("call") && !passed.iter().any(|part| operand.contains(part)) {
                continue;
            }
            if name.starts_with("ret") && path.len() > longest.len() {
                longest = path;
                continue;
            }
            for next in self.successors(at) {
                if !path.contains(&next) && next < self.lines.len() {
                    unfinished.push(path.iter().copied().chain([next]).collect());
                }
            }
        }
        longest.into_iter().map(|at| self.lines[at]).collect()
    }

    /// Every function that this function may call, except while it unwinds.
    fn calls(&self) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut unfinished = vec![0];
        let mut targets = BTreeSet::new();
        while let Some(at) = unfinished.pop() {
            if at >= self.lines.len() || !seen.insert(at) {
                continue;
            }
            let (name, operand) = split(self.lines[at]);
            let leaves = name == "jmp" && !self.labels.contains_key(operand);
            if name.starts_with("call") || leaves {
                targets.insert(operand);
            }
            // the code after a call that does not return may belong to another function's half, whose calls
            // count as well
            unfinished.extend(self.successors(at));
        }
        targets
    }
}

static ASSEMBLY: LazyLock<String> =
    LazyLock::new(|| HotPaths::compile(env!("CARGO"), env!("CARGO_TARGET_TMPDIR")).assembly);
