//! Reads `#[repr(…)]` and `#[event(…)]`.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{Attribute, Error, LitStr, Path, Token};

/// The content of all `#[repr(…)]` attributes of a struct, taken together.
#[derive(Default)]
pub(crate) struct Repr {
    pub(crate) c: bool,
    pub(crate) transparent: bool,
    pub(crate) packed: Option<Span>,
}

impl Repr {
    /// Leaves errors that the compiler itself reports (an unknown word, a clash) to the compiler.
    pub(crate) fn of(attributes: &[Attribute]) -> syn::Result<Self> {
        let mut repr = Self::default();
        for attribute in attributes
            .iter()
            .filter(|attribute| attribute.path().is_ident("repr"))
        {
            attribute.parse_nested_meta(|word| {
                repr.c |= word.path.is_ident("C");
                repr.transparent |= word.path.is_ident("transparent");
                if word.path.is_ident("packed") {
                    repr.packed = Some(word.path.span());
                }
                if word.input.peek(syn::token::Paren) {
                    let argument;
                    syn::parenthesized!(argument in word.input);
                    argument.parse::<proc_macro2::TokenStream>()?;
                }
                Ok(())
            })?;
        }
        Ok(repr)
    }
}

/// The content of all `#[event(…)]` attributes of a struct.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) packed_slots: bool,
    pub(crate) provider: Option<Path>,
}

impl Options {
    pub(crate) fn of(attributes: &[Attribute]) -> syn::Result<Self> {
        let mut options = Self::default();
        for attribute in attributes
            .iter()
            .filter(|attribute| attribute.path().is_ident("event"))
        {
            attribute.parse_nested_meta(|option| {
                if option.path.is_ident("packed_slots") {
                    options.packed_slots = true;
                } else if option.path.is_ident("crate") {
                    let value = option.value()?;
                    options.provider = Some(if value.peek(LitStr) {
                        value.parse::<LitStr>()?.parse_with(Path::parse_mod_style)?
                    } else {
                        value.call(Path::parse_mod_style)?
                    });
                } else {
                    return Err(option.error(
                        "no such option: there are `packed_slots` and `crate = path::to::crate`",
                    ));
                }
                if !option.input.is_empty() && !option.input.peek(Token![,]) {
                    return Err(option.input.error(
                        "`packed_slots` takes no value, and options are separated by commas",
                    ));
                }
                Ok(())
            })?;
        }
        Ok(options)
    }

    /// Refuses options on fields: they would do nothing, so that the mistake would stay unseen.
    pub(crate) fn refuse_on_fields(fields: &syn::Fields) -> syn::Result<()> {
        let misplaced = fields
            .iter()
            .flat_map(|field| &field.attrs)
            .find(|attribute| attribute.path().is_ident("event"));
        misplaced.map_or(Ok(()), |attribute| {
            Err(Error::new(
                attribute.span(),
                "`#[event(…)]` belongs on the struct: there are no options for a field",
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::ToTokens;
    use syn::{DeriveInput, parse_quote};

    #[test]
    fn reprs_in_several_attributes_add_up() {
        let input: DeriveInput = parse_quote! {
            #[repr(C)]
            #[repr(align(64))]
            struct S(u8);
        };
        let repr = Repr::of(&input.attrs).unwrap();
        assert!(repr.c && !repr.transparent && repr.packed.is_none());
    }

    #[test]
    fn packed_is_seen_with_and_without_its_argument() {
        let plain: DeriveInput = parse_quote!(
            #[repr(C, packed)]
            struct S(u8);
        );
        let two: DeriveInput = parse_quote!(
            #[repr(packed(2), C)]
            struct S(u8);
        );
        assert!(Repr::of(&plain.attrs).unwrap().packed.is_some());
        let two = Repr::of(&two.attrs).unwrap();
        assert!(two.packed.is_some() && two.c);
    }

    #[test]
    fn the_provider_may_be_a_path_or_a_string() {
        let path: DeriveInput = parse_quote!(
            #[event(packed_slots, crate = ::a::b)]
            struct S(u8);
        );
        let text: DeriveInput = parse_quote!(
            #[event(crate = "::a::b")]
            struct S(u8);
        );
        assert!(Options::of(&path.attrs).unwrap().packed_slots);
        for input in [path, text] {
            let provider = Options::of(&input.attrs).unwrap().provider.unwrap();
            assert_eq!(provider.to_token_stream().to_string(), ":: a :: b");
        }
    }
}
