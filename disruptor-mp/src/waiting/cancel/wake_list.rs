//! The list of everything that a cancelled token wakes. A signal handler may walk it.
//!
//! `cancel` stores the flag and visits each node of the list; it takes no lock, allocates and frees nothing, and never
//! waits. An endpoint has an [`Entry`] in the list of each of its tokens. A node has at most one entry at a time, is
//! reused after that entry has gone, and is freed with the token.
//!
//! An entry alone claims its node, stores the value and removes it again; a visitor alone counts itself in
//! and out. A visitor that has counted itself in sees either no value, or one that the entry keeps alive
//! until the visitor has counted itself out. If a signal handler interrupts a thread that removes an entry,
//! and visits the node, the handler is done when the thread goes on.
//!
//! In a forked child, a counted visitor may be a thread of the parent (R8), which never counts itself out
//! there. The child does not wait for it: the node's value is leaked, and the node is not used again.

use std::ptr;
use std::sync::Arc;

use crate::clock;
use crate::os::fork;
use crate::sync::signal_safe::{AtomicBool, AtomicPtr, AtomicU32};
use crate::sync::{Ordering, fence, process, yield_now};

/// Yields of an entry that is dropped, before it sleeps: its visitor is about to be done, or was preempted.
const YIELDS: u32 = 64;
const PAUSE: std::time::Duration = std::time::Duration::from_micros(50);

/// A flag, and the values that are woken when it is set.
#[derive(Debug)]
pub(crate) struct WakeList<T> {
    is_cancelled: AtomicBool,
    /// The newest node. Nodes are only ever added, in front.
    first: AtomicPtr<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    /// Null while there is nothing to wake. Stored by the entry that has claimed the node.
    value: AtomicPtr<T>,
    /// How many visitors may hold a reference to the value.
    visitors: AtomicU32,
    /// Whether an entry has the node.
    is_claimed: AtomicBool,
    /// The next older node. Stored before the node is in the list.
    next: AtomicPtr<Node<T>>,
}

impl<T> Default for WakeList<T> {
    fn default() -> Self {
        Self {
            is_cancelled: AtomicBool::new(false),
            first: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

impl<T> WakeList<T> {
    /// Sets the flag and calls `wake` for the value of each entry. May run in a signal handler if `wake` may.
    pub(crate) fn cancel(&self, wake: impl Fn(&T)) {
        self.is_cancelled.store(true, Ordering::Release);
        // SYNC POINT cancel: pairs with the fence of an endpoint that is about to sleep (R9). Either the
        // endpoint sees the flag, or this call sees the endpoint's entry.
        signal_safe_step!(CancelFence, fence(Ordering::SeqCst));
        for node in self.nodes() {
            node.visit(&wake);
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }

    /// Makes every cancellation from now on wake `value`, until the entry is dropped. The caller checks the
    /// flag afterwards, behind a fence (R9).
    pub(crate) fn enter(list: &Arc<Self>, value: T) -> Entry<T> {
        let value = Box::into_raw(Box::new(value));
        let node = list.claim();
        node.value.store(value, Ordering::Release);
        Entry {
            node: ptr::from_ref(node),
            value,
            live: fork::live_word(),
            _list: Arc::clone(list),
        }
    }

    /// A node for one entry.
    fn claim(&self) -> &Node<T> {
        // a visitor that is still counted in an unclaimed node may not exist in this process (R8)
        let is_free = |node: &&Node<T>| {
            node.visitors.load(Ordering::Relaxed) == 0
                && !node.is_claimed.swap(true, Ordering::Acquire)
        };
        if let Some(node) = self.nodes().find(is_free) {
            return node;
        }
        let made = Box::into_raw(Box::new(Node {
            value: AtomicPtr::new(ptr::null_mut()),
            visitors: AtomicU32::new(0),
            is_claimed: AtomicBool::new(true),
            next: AtomicPtr::new(ptr::null_mut()),
        }));
        // SAFETY: made just now, and freed only with the list, which outlives the reference; all its fields
        // are atomic (R1).
        let node = unsafe { &*made };
        let mut first = self.first.load(Ordering::Relaxed);
        loop {
            node.next.store(first, Ordering::Relaxed);
            match self.first.compare_exchange(
                first,
                made, // not the reference's address: the list frees the node
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return node,
                Err(found) => first = found,
            }
        }
    }

    fn nodes(&self) -> impl Iterator<Item = &Node<T>> {
        let at = |word: &AtomicPtr<Node<T>>| {
            // SAFETY: null, or a node that was published with Release and is freed only with the list.
            unsafe { word.load(Ordering::Acquire).as_ref() }
        };
        std::iter::successors(at(&self.first), move |node| at(&node.next))
    }
}

impl<T> Drop for WakeList<T> {
    fn drop(&mut self) {
        // when a model has failed, its values are dropped outside of the model checker
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        let mut at = self.first.load(Ordering::Acquire);
        while !at.is_null() {
            // SAFETY: made by `Box::into_raw` in `claim`; entries keep the list alive, so no other reference
            // to it is left.
            let node = unsafe { Box::from_raw(at) };
            at = node.next.load(Ordering::Relaxed);
        }
    }
}

impl<T> Node<T> {
    fn visit(&self, wake: impl Fn(&T)) {
        self.visitors.fetch_add(1, Ordering::Relaxed);
        // SYNC POINT visit: pairs with the fence of an entry's drop. Either the drop sees the visitor, or the
        // visitor sees no value.
        signal_safe_step!(VisitFence, fence(Ordering::SeqCst));
        // SAFETY: null, or a value whose entry waits for this visitor before it frees it.
        if let Some(value) = unsafe { self.value.load(Ordering::Acquire).as_ref() } {
            wake(value);
        }
        self.visitors.fetch_sub(1, Ordering::Release);
    }
}

/// A value's place in a [`WakeList`]. Dropping it removes the value and waits for every visitor that is
/// waking it; not for use in signal handlers.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    node: *const Node<T>,
    value: *mut T,
    /// Zero in a forked child.
    live: &'static process::AtomicU64,
    /// Keeps the node alive. Dropped last.
    _list: Arc<WakeList<T>>,
}

// SAFETY: the node is shared by atomics alone; the value is lent to other threads and freed by the thread
// that drops the entry.
unsafe impl<T: Send + Sync> Send for Entry<T> {}
// SAFETY: a shared entry gives access to nothing.
unsafe impl<T: Send + Sync> Sync for Entry<T> {}

impl<T> Entry<T> {
    /// Returns once no visitor is left; `false` in a forked child, where a visitor may be counted for good.
    fn wait_for_visitors(&self, node: &Node<T>) -> bool {
        let mut rounds = 0;
        while node.visitors.load(Ordering::Acquire) != 0 {
            if self.live.load(Ordering::Relaxed) == 0 {
                return false;
            }
            rounds += 1;
            match rounds > YIELDS && !cfg!(loom) {
                true => clock::sleep(PAUSE),
                false => yield_now(),
            }
        }
        true
    }
}

impl<T> Drop for Entry<T> {
    fn drop(&mut self) {
        // when a model has failed, its values are dropped outside of the model checker
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        // SAFETY: the list keeps its nodes, and this entry the list.
        let node = unsafe { &*self.node };
        node.value.store(ptr::null_mut(), Ordering::Relaxed);
        // SYNC POINT visit
        signal_safe_step!(LeaveListFence, fence(Ordering::SeqCst));
        let mut is_alone = true;
        signal_safe_step!(LeaveListWait, is_alone = self.wait_for_visitors(node));
        if !is_alone {
            return;
        }
        node.is_claimed.store(false, Ordering::Release);
        // the model has to find a control that frees too early, before it can crash
        let controls = [
            left_out!(VisitFence),
            left_out!(LeaveListFence),
            left_out!(LeaveListWait),
        ];
        if cfg!(loom) && controls.contains(&true) {
            return;
        }
        // SAFETY: made by `Box::into_raw` in `enter`. The node no longer leads to it, and no visitor that has
        // seen it is left.
        drop(unsafe { Box::from_raw(self.value) });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU32 as Count, Ordering::Relaxed};

    use super::*;

    #[test]
    fn nodes_are_used_again_and_everything_is_freed() {
        let list = Arc::new(WakeList::default());
        let alive = Arc::new(());
        for round in 0..3 {
            let entries: Vec<_> = (0..4)
                .map(|_| WakeList::enter(&list, Arc::clone(&alive)))
                .collect();
            assert_eq!(list.nodes().count(), 4, "round {round}");
            let woken = Cell::new(0);
            list.cancel(|_| woken.set(woken.get() + 1));
            assert_eq!(woken.get(), 4);
            drop(entries);
            list.cancel(|_| panic!("nobody is left"));
        }
        assert_eq!(Arc::strong_count(&alive), 1);
        assert!(list.is_cancelled());
    }

    /// Two threads add and drop entries while two others walk the list: every value that is woken is alive.
    #[test]
    fn what_is_woken_is_alive() {
        struct Alive(Count);
        impl Drop for Alive {
            fn drop(&mut self) {
                self.0.store(0, Relaxed);
            }
        }
        let list = Arc::new(WakeList::default());
        let rounds = if cfg!(miri) { 20 } else { 5000 };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        drop(WakeList::enter(&list, Alive(Count::new(7))));
                    }
                });
                scope.spawn(|| {
                    for _ in 0..rounds {
                        list.cancel(|value: &Alive| assert_eq!(value.0.load(Relaxed), 7));
                    }
                });
            }
        });
        assert!(list.nodes().all(|node| node.value.load(Relaxed).is_null()));
    }
}
