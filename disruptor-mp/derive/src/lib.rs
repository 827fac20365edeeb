//! The derive of `disruptor_mp::Event`. Use it through `disruptor-mp` or `myelon`, which re-export it.
//!
//! The work is split in two. `refuse` decides everything that the tokens show, with an error at the right
//! place: the kind of item, its `repr`, and types that can never be in an event. Only the compiler knows
//! sizes, offsets and whether a field's type is an event. So the generated code (`expand`) lists the fields
//! and lets `disruptor-mp` judge the list at compile time.

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

mod attributes;
mod expand;
mod manifest;
mod provider;
mod refuse;

/// Implements `Event` for a struct with `#[repr(C)]` or `#[repr(transparent)]`, or reports why it can't be an event.
///
/// Each field must be an event, there may be no padding, and the struct must be `Copy`. The parameters of a
/// generic struct get the bound `Event`. `#[event(packed_slots)]` asks for dense slots;
/// `#[event(crate = path)]` names the crate that provides the trait. The trait's own page has examples.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::event(&input).into()
}
