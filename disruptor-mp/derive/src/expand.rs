//! Writes the implementation.
//!
//! It lists the fields in `Struct::FIELDS`, with a bound on each type and offsets from the compiler, and takes everything
//! else from `disruptor-mp`. A struct without type or const parameters reads its own id at once, so that `cargo check`
//! already judges it; a generic one is judged where a ring of it is built.
//!
//! Names: only absolute paths through the providing crate, so that a user's own `Event`, `core` or `u64` is not met, and
//! no prelude is needed.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{DeriveInput, Error, Fields, GenericParam, Generics, Index, parse_quote};

use crate::attributes::Options;
use crate::{provider, refuse};

/// The implementation, or errors together with a stub of one: with it, the places that use the type stay silent, and the
/// reason is all that the user has to read. No stub where it would itself be complained about.
pub(crate) fn event(input: &DeriveInput) -> TokenStream {
    let options = match Options::of(&input.attrs) {
        Ok(options) => options,
        Err(error) => return error.into_compile_error(),
    };
    let provider = match provider::path(&options) {
        Ok(provider) => provider,
        Err(error) => return error.into_compile_error(),
    };
    match refuse::check(input) {
        Ok(fields) => implementation(input, &options, &provider, fields),
        Err(error) => stub(input, &provider, error),
    }
}

fn implementation(
    input: &DeriveInput,
    options: &Options,
    provider: &TokenStream,
    fields: &Fields,
) -> TokenStream {
    let name = &input.ident;
    let name_text = name.unraw().to_string();
    let support = quote!(#provider::__event);
    let core = quote!(#support::core);
    let generics = bounded(&input.generics, provider);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let fields = fields
        .iter()
        .enumerate()
        .map(|(at, field)| field_entry(at, field, &support));
    let packed_slots = options
        .packed_slots
        .then(|| quote!(const PACKED_SLOTS: #core::primitive::bool = true;));
    let id = judgement(name.span(), options, &support);
    // Today's compiler evaluates `ID` of such a struct unasked. A constant of its own must be evaluated.
    let judged_now = is_concrete(&generics)
        .then(|| quote!(const _: #core::primitive::u64 = <#name as #support::Struct>::ID;));

    quote! {
        const _: () = {
            #[automatically_derived]
            impl #impl_generics #support::Struct for #name #type_generics #where_clause {
                const NAME: &'static #core::primitive::str = #name_text;
                const FIELDS: &'static [#support::Field] = &[#(#fields),*];
                const ID: #core::primitive::u64 = #id;
            }

            // `Event` is unsafe to implement; the bounds on the fields and the judgement in `layout_id` are the proof.
            #[automatically_derived]
            unsafe impl #impl_generics #provider::Event for #name #type_generics #where_clause {
                const LAYOUT_ID: #core::primitive::u64 = <Self as #support::Struct>::ID;
                #packed_slots

                fn describe_layout(out: &mut dyn #core::fmt::Write) -> #core::fmt::Result {
                    #support::describe::<Self>(out)
                }
            }

            #judged_now
        };
    }
}

/// `layout_id::<Self>()`, written as if the user had done so at the name of the struct: there the compiler will show what
/// is wrong with the layout. A path of the user's own keeps its spans, since the meaning of a `$crate` depends on them.
fn judgement(at: Span, options: &Options, support: &TokenStream) -> TokenStream {
    let function = quote!(#support::layout_id);
    if options.provider.is_some() {
        return quote!(#function::<Self>());
    }
    let function = function.into_iter().map(|mut token| {
        token.set_span(at);
        token
    });
    quote_spanned!(at=> #(#function)*::<Self>())
}

/// `Field::of::<Type>("name", offset)`, with errors about the type at the type.
fn field_entry(at: usize, field: &syn::Field, support: &TokenStream) -> TokenStream {
    let ty = &field.ty;
    let (member, text) = if let Some(ident) = &field.ident {
        (quote!(#ident), ident.unraw().to_string())
    } else {
        let index = Index::from(at);
        (quote!(#index), at.to_string())
    };
    let offset = quote!(#support::core::mem::offset_of!(Self, #member));
    quote_spanned!(ty.span().resolved_at(Span::mixed_site())=> #support::Field::of::<#ty>(#text, #offset))
}

fn bounded(generics: &Generics, provider: &TokenStream) -> Generics {
    let mut generics = generics.clone();
    for parameter in &mut generics.params {
        if let GenericParam::Type(parameter) = parameter {
            parameter.bounds.push(parse_quote!(#provider::Event));
        }
    }
    generics
}

/// Lifetimes are refused before, so whatever parameter there is makes the struct generic.
fn is_concrete(generics: &Generics) -> bool {
    generics.params.is_empty()
}

fn stub(input: &DeriveInput, provider: &TokenStream, error: Error) -> TokenStream {
    let error = error.into_compile_error();
    if input.generics.lifetimes().next().is_some() || refuse::holds_an_address(&input.data) {
        return error;
    }
    let name = &input.ident;
    let core = quote!(#provider::__event::core);
    let generics = bounded(&input.generics, provider);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    quote! {
        #error
        const _: () = {
            #[automatically_derived]
            unsafe impl #impl_generics #provider::Event for #name #type_generics #where_clause {
                const LAYOUT_ID: #core::primitive::u64 = 1;

                fn describe_layout(_: &mut dyn #core::fmt::Write) -> #core::fmt::Result {
                    #core::result::Result::Ok(())
                }
            }
        };
    }
}
