//! Explicit-state models of the protocol: small processes whose every interleaving is searched, with store
//! buffers as on x86 and a death between any two steps. The search also checks that an end can be reached from
//! every state.
//!
//! A model does not test the library's code. It repeats the protocol's steps in the order in which the library
//! takes them, and is small enough to be searched completely. Each has configurations that must hold in every
//! state, and *controls*, in which one step is left out or moved. In a control the search must find the failure
//! that this step prevents, and no other.
//!
//! | model | rules | what it shows | steps of | controls |
//! |---|---|---|---|---|
//! | `join` | R3–R7 | a joiner gets every event after its start, whatever a refresh does meanwhile; an expected joiner gets the first event; rings of 1, 2 and 4 slots, batches, two joiners | `publish/mod.rs` `refresh`, `lines.rs` `join` | either fence, the second scan, the second read; released before it was read; stamped before it is written; the floor of a free run while a consumer is expected |
//! | `batch` | R2 | a batch is seen whole, a writer that panics takes it back, the producer finds its position by its own stamps | `publish/mod.rs` `publish_batch`, `next`, `Unseen` | first stamp first; stamps not taken back; the base left in slots that are reused |
//! | `takeover` | R2, R5, R6, R14 | a death at any step of an event, a batch, a refresh or a takeover loses no event, repeats none, and invents none | `takeover.rs`, `publish/mod.rs` | stamps above the head left; those below zeroed; head by the newest stamp; gate at the floor; no first refresh; no fence; an expected consumer forgotten |
//! | `lines` | R6, R16 | positions of durable consumers survive deaths, evictions, removals and consumers that take lines; dead automatic consumers block no other process | `lines.rs` | ACTIVE without SETTLING; rejoin at the floor, or through JOINING; evicted: durable, without the lock, without a second check; taken without a second check; removed without the id's byte |
//! | `bitmap` | R6, R16 | the registered word is a superset of the registered lines for every process that relies on it | `lines.rs` `join`, `set_free`; `control.rs` `maybe_registered` | bit cleared before FREE; set after the second read; cleared without the lock |
//! | `ends` | R11, R14, R15 | closed and dead are distinguished, and reported only after every event was read; only the last process that drains the ring removes the name | `consumer/waiting.rs` `wait_for_event`, `check_liveness`; `producer/ending.rs`; `segment/mod.rs` `unlink_if_drained` | each second read (stamp, closed word, epoch); epoch after the closed word; closed word not cleared; no lock, no second check, no comparison, no check afterwards, no fence, no need |
//! | `names` | R15 | of creators that race, one has the ring; a dead ring that does not fit is replaced, a live one never | `segment/create.rs` `create_or_take_over`; `names/mod.rs` `remove_leftovers` | no comparison after the lock; no lock; named before it is locked; a link that replaces; a consumer away; leftovers without lock or check |
//! | `locks` | R8 | the kernel releases the lock when its owner is gone, and not before, whatever a forked child keeps | `os/lock.rs`, `os/fork.rs` | lock on the mapped description; inherited mapping; inherited descriptor; a child that unlocks; opened by name; no explicit unlock |
//! | `wake` | R9 | no wake-up is lost, on either side, with fences or with membarrier; after a death a sleeper needs one liveness check | `sleep.rs` | each step left out, or in another order |
//! | `sets` | R9 | no wake-up from any ring is lost by a consumer that sleeps on several rings at once | `sleep.rs` `sleep_until_any`, `ring_set.rs` | one ring without bit or poll, no second poll, word late, one word slept on, barrier before the last bit, no bump, no liveness check |
//! | `readiness` | R9 | no wake-up is lost by a thread that sleeps for an event loop, whatever the loop does meanwhile, and both threads end | `readiness.rs` | fence, bit, either second check, word late; cleared late; not notified; an end that wakes no sentry; no liveness check |
//! | `observers` | R13 | an observer never takes a torn event, even where stores and loads overtake each other | `observe.rs` | busy stamp, both fences, Release, Acquire, second stamp load, floor |
//! | `sessions` | RFC 0008 | a request whose worker dies is delivered again with a count that is not too low; the program gets each piece of its answer once | `session/worker`, `session/scheduler` of `myelon` | released first; noted late or not at all; nothing remembered, or not how far |
//! | `producers` | R10 | claims of several producers, and holes that dead producers leave | (to be built) | intent late, ignored or early back; slot not polled again; holes left; no compare-and-swap |
//!
//! Where the library's order differs from the first wording of a rule, the models have the library's. Batches
//! stamp in ascending order and the first event last; the producer finds its position by its own stamps; a
//! refresh that does not suffice moves nothing; a free run gives max(1, N/8, n).
//!
//! # What the models leave out
//!
//! Sequences are small numbers, laps are few, and there are one or two lines. Memory is that of x86, and for
//! observers also a weaker one. The loom models of `disruptor-mp` cover the orderings that other machines need.
//! Words that only one process writes while it has a lock are read in one step. Events are one word, compared
//! at both ends of a lease.

mod checker;
mod ends;
mod families;
mod locks;
mod mpsc;
mod names;
mod observer;
mod publisher;
mod readiness;
mod ring;
mod sessions;
mod sets;
mod wake;

pub use checker::{Failure, Outcome};
pub use families::{Case, Expect, Family, families};
