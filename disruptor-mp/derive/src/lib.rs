//! The derive of `disruptor_mp::Event`. Use it through `disruptor-mp` or `myelon`, which re-export it.
//!
//! The work is split in two. What the tokens show is decided here, with an error at the right place: the kind of item,
//! its `repr`, types that can never be in an event (`refuse`). What only the compiler knows, sizes, offsets and whether a
//! field's type is an event, is left to the generated code (`expand`), which lists the fields and lets `disruptor-mp`
//! judge the list at compile time.

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

mod attributes;
mod expand;
mod provider;
mod refuse;

/// Implements `Event` for a struct with `#[repr(C)]` or `#[repr(transparent)]`, or says why it can't be one.
///
/// Each field must be an event; there may be no padding; the struct must be `Copy`. Parameters of a generic struct get
/// the bound `Event`. `#[event(packed_slots)]` asks for dense slots, `#[event(crate = path)]` names the crate that
/// provides the trait. The trait's own page has examples.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::event(&input).into()
}
