//! Serde messages whose strings and byte slices are read in place.

use serde::Deserialize;

/// Names the borrowed form of this message type: a type with the same fields in the same order, but with
/// `&'a str` for a `String` and `&'a [u8]` for a byte vector (`#[serde(with = "serde_bytes")]`). With it,
/// `Bincode` and `Postcard` of the message are a [`ZeroCopyCodec`](super::ZeroCopyCodec).
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "bincode")] {
/// use myelon::codec::{Bincode, BorrowedForm, Codec, ZeroCopyCodec};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Order {
///     id: u64,
///     symbol: String,
/// }
///
/// #[derive(Deserialize)]
/// struct OrderRef<'a> {
///     id: u64,
///     symbol: &'a str,
/// }
///
/// impl BorrowedForm for Order {
///     type Borrowed<'a> = OrderRef<'a>;
/// }
///
/// let bytes = Bincode(Order { id: 7, symbol: "XAU".into() }).encode()?;
/// let order = Bincode::<Order>::access(&bytes)?;
/// assert_eq!((order.id, order.symbol), (7, "XAU"));
/// assert!(bytes.as_ptr_range().contains(&order.symbol.as_ptr()));
/// # }
/// # Ok::<(), myelon::CodecError>(())
/// ```
pub trait BorrowedForm {
    /// The message with references into bytes that live for `'a`.
    type Borrowed<'a>: Deserialize<'a>;
}
