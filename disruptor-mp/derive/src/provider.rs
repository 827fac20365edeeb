//! Finds the crate that provides `Event` in the crate where the derive runs.

use std::env;
use std::path::PathBuf;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Error, Ident, Path};

use crate::attributes::Options;
use crate::manifest::Manifest;

/// The packages that provide `Event`. The first one that the user's `Cargo.toml` lists is taken.
const PROVIDERS: [&str; 2] = ["disruptor-mp", "myelon"];

/// The path of the providing crate: from the user's option, or else from the manifest of the crate that is compiled.
///
/// Inside a providing crate the path is absolute as well: its examples and tests know it by that name, and
/// its library does because of `extern crate self`.
pub(crate) fn path(options: &Options) -> syn::Result<TokenStream> {
    if let Some(path) = &options.provider {
        return Ok(explicit(path));
    }
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .and_then(|directory| Manifest::at(PathBuf::from(directory).join("Cargo.toml")));
    let name = manifest.and_then(|manifest| {
        let mut names = PROVIDERS.iter().map(|package| manifest.name_of(package));
        names.find_map(|name| name)
    });
    if let Some(name) = name {
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
