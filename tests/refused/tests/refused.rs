//! Programs that the compiler refuses, and what it says of them. The recorded messages come from the current stable
//! compiler; `TRYBUILD=overwrite` records them again.

#[test]
fn what_is_refused_is_refused_with_advice() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/event_compile_fail/*.rs");
}

#[test]
fn no_reference_to_a_slot_leaves_its_closure_or_lease() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/reference_compile_fail/*.rs");
}
