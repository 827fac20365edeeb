//! Finds the crate that provides `Event` in the crate where the derive runs.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Error, Ident, Path};

use crate::attributes::Options;

/// The packages that provide `Event`, with the names of their libraries. The first one that the user's
/// `Cargo.toml` lists is taken.
const PROVIDERS: [(&str, &str); 2] = [("disruptor-mp", "disruptor_mp"), ("myelon", "myelon")];

/// The path of the providing crate: from the user's option, or else from the manifest of the crate that is compiled.
///
/// Inside a providing crate the path is absolute as well: its examples and tests know it by that name, and
/// its library does because of `extern crate self`.
pub(crate) fn path(options: &Options) -> syn::Result<TokenStream> {
    if let Some(path) = &options.provider {
        return Ok(explicit(path));
    }
    for (package, library) in PROVIDERS {
        let name = match crate_name(package) {
            Ok(FoundCrate::Itself) => library.to_owned(),
            Ok(FoundCrate::Name(name)) => name,
            Err(_) => continue,
        };
        let name = Ident::new(&name, Span::call_site());
        return Ok(quote!(::#name));
    }
    Err(Error::new(
        Span::call_site(),
        "the derive finds neither `disruptor-mp` nor `myelon` in this crate's Cargo.toml: add one of them to its \
         [dependencies], or say where `Event` comes from with `#[event(crate = path::to::crate)]`",
    ))
}

fn explicit(path: &Path) -> TokenStream {
    quote!(#path)
}
