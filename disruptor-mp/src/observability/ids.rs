//! The ids of counters, and what each one counts.

use core::fmt;

/// The quantity that a counter counts.
///
/// # Examples
///
/// ```
/// use disruptor_mp::observability::CounterId;
///
/// assert_eq!(CounterId::EVENTS_PUBLISHED.get(), 0x10);
/// assert_eq!(CounterId::EVENTS_PUBLISHED.name(), Some("events_published"));
/// assert_eq!(CounterId::application(2).get(), 0x102);
/// assert!(CounterId::application(2).is_application());
/// assert_eq!(format!("{:?}", CounterId::EVENTS_PUBLISHED), "CounterId(events_published 0x10)");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterId(u32);

/// The description of an id: one row of [`COUNTERS`].
///
/// # Examples
///
/// ```
/// use disruptor_mp::observability::{COUNTERS, CounterInfo};
///
/// let first: CounterInfo = COUNTERS[0];
/// assert_eq!((first.id.get(), first.name), (0x10, "events_published"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CounterInfo {
    /// The id.
    pub id: CounterId,
    /// Its name, for machines: lower case, with underscores.
    pub name: &'static str,
    /// What it counts, for people.
    pub text: &'static str,
}

/// The first id that a program may use for counters of its own.
pub const APPLICATION_IDS_FROM: u32 = 0x100;

macro_rules! counters {
    ($($constant:ident = $id:literal, $name:literal, $text:literal;)*) => {
        impl CounterId {
            $(
                #[doc = $text]
                pub const $constant: Self = Self($id);
            )*
        }

        /// Every id of this crate family, in ascending order.
        pub const COUNTERS: [CounterInfo; [$($id),*].len()] = [
            $(CounterInfo { id: CounterId::$constant, name: $name, text: $text },)*
        ];
    };
}

counters! {
    EVENTS_PUBLISHED = 0x10, "events_published", "Events this producer has published since it started.";
    BYTES_PUBLISHED = 0x11, "bytes_published", "Bytes of the published events, without stamps.";
    PRODUCER_FULL_EVENTS = 0x12, "producer_full_events", "Events that found the ring full, once each.";
    PRODUCER_PARKS = 0x13, "producer_parks", "Times the waiting producer went to sleep.";
    PRODUCER_UNPARKS = 0x14, "producer_unparks", "Times the producer went on after a sleep.";
    EVENTS_CONSUMED = 0x20, "events_consumed", "Events this consumer has released since it attached.";
    BYTES_CONSUMED = 0x21, "bytes_consumed", "Bytes of the released events, without stamps.";
    CONSUMER_EMPTY_SPINS = 0x22, "consumer_empty_spins", "Polls of a waiting consumer that found no event.";
    CONSUMER_PARKS = 0x23, "consumer_parks", "Times the waiting consumer went to sleep.";
    CONSUMER_UNPARKS = 0x24, "consumer_unparks", "Times the consumer went on after a sleep.";
    CONSUMER_LAG_MAX = 0x25, "consumer_lag_max", "The largest lag that the consumer has noted, or the present one.";
    CONSUMER_LAG = 0x26, "consumer_lag", "Published events that this consumer has not released.";
    FRAMES_PUBLISHED = 0x30, "frames_published", "Frames that were published.";
    FRAMES_FRAGMENTED = 0x31, "frames_fragmented", "Messages that took more than one frame.";
    FRAMES_REASSEMBLED = 0x32, "frames_reassembled", "Messages that were put together from more than one frame.";
    CODEC_ENCODED = 0x33, "codec_encoded", "Messages that were encoded.";
    CODEC_DECODED = 0x34, "codec_decoded", "Messages that were decoded.";
    SESSION_MALFORMED = 0x40, "session_malformed", "Messages that no member of a session sends, which were dropped.";
    ANSWERS_UNKNOWN = 0x41, "answers_unknown", "Answers to requests that were not sent, which were dropped.";
    WORKER_ABSENCES = 0x42, "worker_absences", "Times that a scheduler has found this worker dead, or gone without leaving.";
    REQUESTS_IN_FLIGHT = 0x43, "requests_in_flight", "Requests that this worker had not completed when its scheduler last checked.";
    OLDEST_REQUEST_MS = 0x44, "oldest_request_ms", "The age of the oldest of them, in milliseconds; 0 if there were none.";
    REQUEST_DELIVERIES = 0x45, "request_deliveries", "How often the oldest of them had been delivered to the worker.";
}

impl CounterId {
    /// The id number `n` of a program's own ids. Numbers above the 32-bit range give its highest id.
    pub const fn application(n: u32) -> Self {
        Self(APPLICATION_IDS_FROM.saturating_add(n))
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether the id is one of a program's own.
    pub const fn is_application(self) -> bool {
        self.0 >= APPLICATION_IDS_FROM
    }

    /// The name of an id of this crate family.
    pub fn name(self) -> Option<&'static str> {
        COUNTERS
            .iter()
            .find(|info| info.id == self)
            .map(|info| info.name)
    }
}

impl From<u32> for CounterId {
    fn from(id: u32) -> Self {
        Self(id)
    }
}

impl From<CounterId> for u32 {
    fn from(id: CounterId) -> Self {
        id.0
    }
}

impl PartialEq<u32> for CounterId {
    fn eq(&self, id: &u32) -> bool {
        self.0 == *id
    }
}

impl fmt::Debug for CounterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "CounterId({name} {:#x})", self.0),
            None => write!(f, "CounterId({:#x})", self.0),
        }
    }
}

impl fmt::Display for CounterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#x})", self.0),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// The ids of the table in `from..to`; there must be exactly `N`.
pub(super) const fn between<const N: usize>(from: u32, to: u32) -> [CounterId; N] {
    let mut found = [CounterId(0); N];
    let (mut row, mut count) = (0, 0);
    while row < COUNTERS.len() {
        let id = COUNTERS[row].id;
        if from <= id.0 && id.0 < to {
            found[count] = id;
            count += 1;
        }
        row += 1;
    }
    assert!(count == N, "an endpoint counts every id of its range");
    found
}

/// The table is in ascending order, so that no id is in it twice, and all its ids are below the programs' own.
const _: () = {
    let mut row = 0;
    while row < COUNTERS.len() {
        assert!(COUNTERS[row].id.0 < APPLICATION_IDS_FROM);
        assert!(!COUNTERS[row].name.is_empty() && !COUNTERS[row].text.is_empty());
        assert!(row == 0 || COUNTERS[row - 1].id.0 < COUNTERS[row].id.0);
        row += 1;
    }
};
