//! What a header says of the event type. The creator of a ring writes the record, and every process that attaches
//! compares it with its own.

/// The event type as a header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventRecord {
    pub(crate) id: u64,
    pub(crate) size: u64,
    pub(crate) align: u64,
    /// Name and fields in words, for messages; cut to 256 bytes.
    pub(crate) text: String,
}

impl EventRecord {
    /// Whether both records describe the same bytes; the text does not count.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        (self.id, self.size, self.align) == (other.id, other.size, other.align)
    }
}

impl core::fmt::Display for EventRecord {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} (layout id {:016x})", self.text, self.id)
    }
}
