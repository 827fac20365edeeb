//! Refuses items whose tokens alone show that they can be no event, and says what to write instead.
//!
//! Soundness does not need any of this: a type alias passes here, and is then refused by the bound on each
//! field. This module exists because a bound can only report that something is missing.

use quote::ToTokens;
use syn::{Data, DeriveInput, Error, Fields, GenericParam, Type};

use crate::attributes::{Options, Repr};

/// The fields of a struct that may become an event, or all reasons why it cannot.
pub(crate) fn check(input: &DeriveInput) -> syn::Result<&Fields> {
    let fields = match &input.data {
        Data::Struct(data) => &data.fields,
        Data::Enum(data) => return Err(Error::new_spanned(data.enum_token, no_enum(input))),
        Data::Union(data) => return Err(Error::new_spanned(data.union_token, no_union(input))),
    };
    let mut reasons = Reasons::default();
    reasons.add(Options::refuse_on_fields(fields));
    reasons.add(repr(input));
    for parameter in &input.generics.params {
        if let GenericParam::Lifetime(lifetime) = parameter {
            reasons.add(Err(Error::new_spanned(
                lifetime,
                "an event can't borrow: the other process does not have what it points to. Own the bytes instead, for \
                 instance as `[u8; N]`",
            )));
        }
    }
    if fields.is_empty() {
        let message =
            "an event needs at least one field: with no bytes there is nothing to publish";
        reasons.add(Err(Error::new_spanned(&input.ident, message)));
    }
    for field in fields {
        reasons.add(field_type(&field.ty));
    }
    reasons.into_result().map(|()| fields)
}

/// Errors that are reported together.
#[derive(Default)]
struct Reasons(Option<Error>);

impl Reasons {
    fn add(&mut self, checked: syn::Result<()>) {
        let Err(reason) = checked else { return };
        match &mut self.0 {
            Some(all) => all.combine(reason),
            none => *none = Some(reason),
        }
    }

    fn into_result(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

fn no_enum(input: &DeriveInput) -> String {
    format!(
        "an enum can't derive `Event`: the bytes in a segment may hold a number that is no variant of `{0}`, and reading \
         such a value is undefined behaviour. Keep the integer in the event and convert it with `TryFrom`; or, if every \
         value of the integer is a variant, implement `Event` for `{0}` by hand",
        input.ident
    )
}

fn no_union(input: &DeriveInput) -> String {
    format!(
        "a union can't derive `Event`: its shorter fields leave bytes uninitialised. Use a struct with `[u8; N]` and \
         convert, or implement `Event` for `{}` by hand if all of its fields cover all of its bytes",
        input.ident
    )
}

fn repr(input: &DeriveInput) -> syn::Result<()> {
    let repr = Repr::of(&input.attrs)?;
    if let Some(packed) = repr.packed {
        return Err(Error::new(
            packed,
            "an event can't be `packed`: readers borrow its fields in place, and those would be unaligned. Use plain \
             `#[repr(C)]`, order the fields from the largest alignment to the smallest, and fill what remains with an \
             explicit field such as `_pad: [u8; N]`",
        ));
    }
    if repr.c || repr.transparent {
        return Ok(());
    }
    Err(Error::new_spanned(
        &input.ident,
        format!(
            "`{}` has no fixed layout: the compiler may order its fields differently in the other program. Add \
             `#[repr(C)]`, or `#[repr(transparent)]` around a single field",
            input.ident
        ),
    ))
}

/// Checks the element type of arrays, so that `[bool; 4]` gets the advice for `bool`.
fn field_type(ty: &Type) -> syn::Result<()> {
    let advice = match ty {
        Type::Array(array) => return field_type(&array.elem),
        Type::Group(group) => return field_type(&group.elem),
        Type::Paren(paren) => return field_type(&paren.elem),
        Type::Path(path) => match path.path.get_ident().map(ToString::to_string).as_deref() {
            Some("bool") => {
                "only two of the 256 values of its byte are valid, and the segment may hold any. Use `u8`"
            }
            Some("char") => "not every 32-bit value is a character. Use `u32` and `char::from_u32`",
            Some("usize") => "its width differs between programs. Use `u64` or `u32`",
            Some("isize") => "its width differs between programs. Use `i64` or `i32`",
            Some("str") => "it has no size of its own. Use `[u8; N]` with a length beside it",
            _ => return Ok(()),
        },
        Type::Reference(_) => {
            "it is an address, which means nothing in another process. Store the value itself, or a number that names it"
        }
        Type::Ptr(_) => {
            "it is an address, which means nothing in another process. Store an offset or an index"
        }
        Type::FnPtr(_) => {
            "it is an address, and other programs have other code there. Store a number that names the function"
        }
        Type::Tuple(_) => {
            "a tuple has no fixed layout. Use a struct with `#[repr(C)]` that derives `Event` as well"
        }
        Type::Slice(_) => {
            "it has no size of its own. Use an array `[T; N]` with a length beside it"
        }
        Type::TraitObject(_) => {
            "it has no size of its own and refers to code of one process. Store the data"
        }
        Type::Never(_) => "it has no values",
        _ => return Ok(()),
    };
    let shown = ty.to_token_stream().to_string();
    Err(Error::new_spanned(
        ty,
        format!("`{}` can't be in an event: {advice}", tidy(&shown)),
    ))
}

/// Whether a field is visibly an address, which may keep the struct from being `Send` or `Sync`.
pub(crate) fn holds_an_address(data: &Data) -> bool {
    fn is_address(ty: &Type) -> bool {
        match ty {
            Type::Array(array) => is_address(&array.elem),
            _ => matches!(ty, Type::Ptr(_) | Type::Reference(_)),
        }
    }
    matches!(data, Data::Struct(data) if data.fields.iter().any(|field| is_address(&field.ty)))
}

/// Removes the worst artefacts of printed tokens: `& 'static str`, `* const u8`, `[u8 ; 4]`.
fn tidy(tokens: &str) -> String {
    let mut text = tokens.to_owned();
    for (from, to) in [
        ("& ", "&"),
        ("* ", "*"),
        (" ;", ";"),
        (" ,", ","),
        ("( ", "("),
        (" )", ")"),
        ("fn (", "fn("),
    ] {
        text = text.replace(from, to);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn refusal(ty: &Type) -> String {
        field_type(ty).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn arrays_and_parentheses_hide_nothing() {
        assert!(refusal(&parse_quote!([[bool; 2]; 3])).starts_with("`bool` can't be in an event"));
        assert!(refusal(&parse_quote!((usize))).contains("Use `u64` or `u32`"));
        assert!(refusal(&parse_quote!([&'static str; 2])).starts_with("`&'static str` can't"));
    }

    #[test]
    fn what_only_the_compiler_can_judge_passes() {
        for ty in [
            parse_quote!(u32),
            parse_quote!(T),
            parse_quote!(my::bool),
            parse_quote!([T; { N + 1 }]),
        ] {
            assert_eq!(refusal(&ty), "");
        }
    }

    #[test]
    fn all_reasons_are_reported_at_once() {
        let input: DeriveInput = parse_quote!(
            struct S<'a> {
                a: &'a u8,
                b: bool,
            }
        );
        assert_eq!(check(&input).err().unwrap().into_iter().count(), 4);
    }
}
