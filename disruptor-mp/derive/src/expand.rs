//! Writes the implementation.
//!
//! The implementation lists the fields in `Event::__FIELDS`. Each entry has a bound on the type that the
//! field has in the compiled program, and an offset from the compiler. Everything else comes from
//! `disruptor-mp`. A struct without type or const parameters reads its own id at once, so that `cargo check`
//! judges it; a generic struct is judged where a ring of it is built.
//!
//! Names: the output uses only paths through the providing crate, so that it does not meet a user's own `Event`,
//! `core` or `u64`, and needs no prelude. Still, that path may lead to a module of the user's own, and the tokens that
//! are seen here need not be those that are compiled. So a check counts only if it depends on the type `Field<Self>`,
//! which the genuine trait demands for `__FIELDS`: see `rfcs/0001-event-bound.md`. The output has no `unsafe` block,
//! as a macro of the user's could expand inside it.

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{DeriveInput, Error, Fields, GenericParam, Generics, Ident, Member, Type, parse_quote};

use crate::attributes::Options;
use crate::{provider, refuse};

/// The implementation, or errors together with a stub of one. With the stub, the compiler does not complain
/// where the type is used, so that the user reads only the reason. There is no stub where the compiler would
/// complain about the stub itself.
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
    let field = quote!(#support::Field<Self>);
    let generics = bounded(&input.generics, provider);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let members: Vec<Member> = fields.members().collect();
    let entries = fields
        .iter()
        .enumerate()
        .map(|(at, declared)| entry(&members, at, declared, &support));
    let packed_slots = options
        .packed_slots
        .then(|| quote!(const PACKED_SLOTS: #core::primitive::bool = true;));
    let id = at_name(name, options, quote!(<#field>::layout_id(#name_text)));
    let judged_now = judged_now(input, &support);

    // SAFETY: `Event` is unsafe to implement. The proof is the list and the id, which only the genuine `Field<Self>`
    // can make and judge. The output has no attribute, not even `automatically_derived`, as a macro of the
    // user's could have that name.
    quote! {
        const _: () = {
            unsafe impl #impl_generics #provider::Event for #name #type_generics #where_clause {
                const LAYOUT_ID: #core::primitive::u64 = #id;
                const __FIELDS: &'static [#field] = &[#(#entries),*];
                #packed_slots

                fn describe_layout(out: &mut dyn #core::fmt::Write) -> #core::fmt::Result {
                    <#field>::describe_struct(out)
                }
            }

            #judged_now
        };
    }
}

/// The expression, with the span of the struct's name: the compiler will show errors of the layout there.
/// Names still resolve as elsewhere in the output; otherwise they could mean something else there. A path of
/// the user's own keeps its spans, since the meaning of a `$crate` depends on them.
fn at_name(name: &Ident, options: &Options, expression: TokenStream) -> TokenStream {
    if options.provider.is_some() {
        return expression;
    }
    let at = name.span().resolved_at(Span::call_site());
    expression
        .into_iter()
        .map(|mut token| {
            token.set_span(at);
            token
        })
        .collect()
}

/// `Field::of(projection, "name", offset)`.
///
/// No type is named. The projection destructures the struct as it is after all macros, and the compiler
/// infers the type. The first projection names every field, so that none is left out. The binding without a
/// type, and the tuple around it, keep the compiler from dereferencing the field to something else.
fn entry(members: &[Member], at: usize, field: &syn::Field, support: &TokenStream) -> TokenStream {
    let member = &members[at];
    let text = match member {
        Member::Named(ident) => ident.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    };
    let others = if at == 0 {
        let others = &members[1..];
        quote!(#(#others: _),*)
    } else {
        quote!(..)
    };
    let (start, end) = ends(&field.ty);
    let arguments = quote_spanned!(start=> |this: &Self|);
    let mut body = Group::new(
        Delimiter::Brace,
        quote_spanned! {end=>
            let Self { #member: field, #others } = this;
            let shown = (field,);
            shown
        },
    );
    body.set_span(end);
    quote! {
        <#support::Field<Self>>::of(
            #arguments #body,
            #text,
            #support::core::mem::offset_of!(Self, #member)
        )
    }
}

/// The spans of the type's first and last tokens: errors about the field are shown there.
fn ends(ty: &Type) -> (Span, Span) {
    let mut tokens = ty.to_token_stream().into_iter();
    let start = tokens
        .next()
        .map_or_else(Span::mixed_site, |token| token.span());
    let end = tokens.last().map_or(start, |token| token.span());
    let hygienic = Span::mixed_site();
    (start.resolved_at(hygienic), end.resolved_at(hygienic))
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

/// A constant that reads the id of a struct without parameters: a constant of an implementation is evaluated
/// only where it is used. Lifetimes are refused earlier, so any parameter makes the struct generic.
fn judged_now(input: &DeriveInput, support: &TokenStream) -> Option<TokenStream> {
    let name = &input.ident;
    input
        .generics
        .params
        .is_empty()
        .then(|| quote!(const _: () = <#support::Field<#name>>::judge();))
}

/// The errors are inside the id, so that the compiler reports no missing value beside them. The list is
/// empty, which is refused as well: so a user's own crate `core`, with a `compile_error!` that reports
/// nothing, gains nothing. The errors have a block of their own, which hides anything that they may declare
/// from the call after it.
fn stub(input: &DeriveInput, provider: &TokenStream, error: Error) -> TokenStream {
    let error = error.into_compile_error();
    if input.generics.lifetimes().next().is_some() || refuse::holds_an_address(&input.data) {
        return error;
    }
    let name = &input.ident;
    let name_text = name.unraw().to_string();
    let support = quote!(#provider::__event);
    let core = quote!(#support::core);
    let field = quote!(#support::Field<Self>);
    let generics = bounded(&input.generics, provider);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let judged_now = judged_now(input, &support);
    // SAFETY: the implementation never compiles, because its layout id contains the error.
    quote! {
        const _: () = {
            unsafe impl #impl_generics #provider::Event for #name #type_generics #where_clause {
                const LAYOUT_ID: #core::primitive::u64 = {
                    { #error }
                    <#field>::layout_id(#name_text)
                };
                const __FIELDS: &'static [#field] = &[];

                fn describe_layout(_: &mut dyn #core::fmt::Write) -> #core::fmt::Result {
                    #core::result::Result::Ok(())
                }
            }

            #judged_now
        };
    }
}
