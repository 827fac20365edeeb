//! The structs that the derive accepts, and the ids, texts and flags that it gives them.
//!
//! The structs that it refuses are in `tests/refused`, each with its message.

use core::num::{Saturating, Wrapping};

use disruptor_mp::{Event, EventLayout, LayoutId};

fn text<E: Event>() -> String {
    EventLayout::<E>::new().to_string()
}

#[derive(Clone, Copy, Debug, Default, Event)]
#[repr(C)]
struct Tick {
    price: i64,
    qty: u32,
    side: [u8; 4],
}

#[derive(Clone, Copy, Debug, Event)]
#[repr(C)]
struct Leg {
    tick: Tick,
    weight: f64,
}

#[derive(Clone, Copy, Debug, Event)]
#[repr(C)]
struct Pair<A, B> {
    first: A,
    second: B,
}

#[derive(Clone, Copy, Debug, Event)]
#[repr(C)]
struct Block<T, const ROWS: usize, const COLUMNS: usize = 2>
where
    T: Default,
{
    cells: [[T; COLUMNS]; ROWS],
}

#[derive(Clone, Copy, Debug, Event)]
#[repr(transparent)]
struct Price(i64);

#[derive(Clone, Copy, Debug, Event)]
#[repr(C)]
struct Numbered(u64, Price, [u16; 4]);

#[derive(Clone, Copy, Debug, Event)]
#[repr(C, align(64))]
struct Line {
    sequence: u64,
    payload: [u8; 56],
}

#[derive(Clone, Copy, Debug, Event)]
#[repr(C)]
#[event(packed_slots)]
struct Tiny {
    value: u64,
}

#[test]
fn layouts_read_as_sentences_of_fields() {
    assert_eq!(
        text::<Tick>(),
        "{ price: i64 @0, qty: u32 @8, side: [u8; 4] @12 } size 16 align 8"
    );
    assert_eq!(
        text::<Leg>(),
        "{ tick: { price: i64 @0, qty: u32 @8, side: [u8; 4] @12 } size 16 align 8 @0, weight: f64 @16 } size 24 align 8"
    );
    assert_eq!(
        text::<Numbered>(),
        "{ 0: u64 @0, 1: { 0: i64 @0 } size 8 align 8 @8, 2: [u16; 4] @16 } size 24 align 8"
    );
    assert_eq!(
        text::<Line>(),
        "{ sequence: u64 @0, payload: [u8; 56] @8 } size 64 align 64"
    );
    assert_eq!(
        text::<Block<u8, 3>>(),
        "{ cells: [[u8; 2]; 3] @0 } size 6 align 1"
    );
    assert_eq!(
        text::<Pair<u32, f32>>(),
        "{ first: u32 @0, second: f32 @4 } size 8 align 4"
    );
    assert_eq!(
        format!("{:?}", EventLayout::<Wrapping<u8>>::default()),
        "u8"
    );
}

#[test]
fn ids_do_not_change_between_releases() {
    // A change here makes running programs of two releases refuse each other: it needs a new scheme name in
    // `LayoutId`.
    assert_eq!(LayoutId::new("test").finish(), 0x30a6_359c_697f_13fd);
    assert_eq!(u8::LAYOUT_ID, 0x2c6a_490a_6c62_0e5c);
    assert_eq!(<[u8; 4]>::LAYOUT_ID, 0xe820_8c3a_891a_2a7e);
    assert_eq!(Tick::LAYOUT_ID, 0x0342_8f34_21b2_36d4);
    assert_eq!(Leg::LAYOUT_ID, 0x6519_1375_7675_187d);
}

#[test]
fn the_name_of_a_struct_is_not_part_of_its_id() {
    mod elsewhere {
        #[derive(Clone, Copy, disruptor_mp::Event)]
        #[repr(C)]
        pub(super) struct Renamed {
            pub(super) price: i64,
            pub(super) qty: u32,
            pub(super) side: [u8; 4],
        }
    }
    let same = elsewhere::Renamed {
        price: 1,
        qty: 2,
        side: [3; 4],
    };
    assert_eq!((same.price, same.qty, same.side), (1, 2, [3; 4]));
    assert_eq!(elsewhere::Renamed::LAYOUT_ID, Tick::LAYOUT_ID);
}

macro_rules! id_of {
    ($($body:tt)*) => {{
        #[derive(Clone, Copy, Event)]
        #[repr(C)]
        struct Variant $($body)*
        Variant::LAYOUT_ID
    }};
}

#[test]
fn whatever_moves_or_renames_a_byte_changes_the_id() {
    let ids = [
        Tick::LAYOUT_ID,
        id_of!({ cost: i64, qty: u32, side: [u8; 4] }),
        id_of!({ price: u64, qty: u32, side: [u8; 4] }),
        id_of!({ price: f64, qty: u32, side: [u8; 4] }),
        id_of!({ price: i64, side: [u8; 4], qty: u32 }),
        id_of!({ price: i64, qty: u32, side: [i8; 4] }),
        id_of!({ price: i64, qty: u32, side: [u8; 4], more: [u8; 8] }),
        id_of!({ price: i64, qty: u32, side: [u16; 2] }),
        id_of!({ price: Price, qty: u32, side: [u8; 4] }),
        id_of!({ tick: Tick }),
        id_of!((i64, u32, [u8; 4]);),
        <[Tick; 1]>::LAYOUT_ID,
        <[Tick; 2]>::LAYOUT_ID,
        <[[u8; 8]; 2]>::LAYOUT_ID,
        <[[u8; 2]; 8]>::LAYOUT_ID,
        <[u8; 16]>::LAYOUT_ID,
    ];
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(
            ids.iter().position(|other| other == id),
            Some(at),
            "two layouts share an id: {ids:x?}"
        );
    }
}

#[test]
fn an_alignment_is_part_of_the_id() {
    #[derive(Clone, Copy, Event)]
    #[repr(C)]
    struct Loose {
        payload: [u8; 64],
    }
    #[derive(Clone, Copy, Event)]
    #[repr(C)]
    #[repr(align(64))]
    struct Aligned {
        payload: [u8; 64],
    }
    assert_eq!(
        (Loose { payload: [0; 64] }).payload,
        (Aligned { payload: [0; 64] }).payload
    );
    assert_ne!(Loose::LAYOUT_ID, Aligned::LAYOUT_ID);
}

#[test]
fn arithmetic_wrappers_are_their_integer() {
    assert_eq!(Wrapping::<u32>::LAYOUT_ID, u32::LAYOUT_ID);
    assert_eq!(Saturating::<i64>::LAYOUT_ID, i64::LAYOUT_ID);
    assert_eq!(
        text::<Pair<Wrapping<u8>, Saturating<i8>>>(),
        "{ first: u8 @0, second: i8 @1 } size 2 align 1"
    );
}

#[test]
fn generic_structs_differ_by_their_arguments() {
    assert_ne!(Pair::<u32, f32>::LAYOUT_ID, Pair::<f32, u32>::LAYOUT_ID);
    assert_ne!(Block::<u8, 2, 4>::LAYOUT_ID, Block::<u8, 4, 2>::LAYOUT_ID);
    assert_eq!(text::<Pair<Pair<u8, u8>, [u8; 2]>>(), {
        "{ first: { first: u8 @0, second: u8 @1 } size 2 align 1 @0, second: [u8; 2] @2 } size 4 align 1"
    });
}

#[test]
fn dense_slots_are_asked_for_by_each_type_itself() {
    #[derive(Clone, Copy, Event)]
    #[repr(transparent)]
    struct Around(Tiny);
    const { assert!(Tiny::PACKED_SLOTS) };
    const { assert!(!Around::PACKED_SLOTS && !Tick::PACKED_SLOTS && !u64::PACKED_SLOTS) };
    assert_eq!(Around(Tiny { value: 3 }).0.value, 3);
}

#[test]
fn keywords_and_lower_case_names_are_plain_names() {
    #[derive(Clone, Copy, Event)]
    #[repr(C)]
    struct Odd {
        r#type: u32,
        größe: u32,
    }
    let value = Odd {
        r#type: 1,
        größe: 2,
    };
    assert_eq!(value.r#type + value.größe, 3);
    assert_eq!(
        text::<Odd>(),
        "{ type: u32 @0, größe: u32 @4 } size 8 align 4"
    );
}

#[test]
fn a_users_own_type_may_be_called_event() {
    // A whole crate of such names is among the fixtures of `myelon-tests`.
    #[derive(Clone, Copy, ::disruptor_mp::Event)]
    #[repr(C)]
    struct Event {
        at: u64,
    }
    assert_eq!(
        <Event as ::disruptor_mp::Event>::LAYOUT_ID,
        id_of!({ at: u64 })
    );
    assert_eq!((Event { at: 7 }).at, 7);
}

#[test]
fn the_providing_crate_may_be_named() {
    mod facade {
        pub(super) use disruptor_mp as rings;
        pub(super) use disruptor_mp::*;
    }
    use facade as again;
    #[derive(Clone, Copy, Event)]
    #[repr(C)]
    #[event(crate = facade::rings, packed_slots)]
    struct ByPath(u64);
    #[derive(Clone, Copy, Event)]
    #[repr(C)]
    #[event(crate = "again")]
    struct ByText(u64);
    assert_eq!(ByPath(1).0, ByText(1).0);
    assert_eq!(ByPath::LAYOUT_ID, ByText::LAYOUT_ID);
}

#[test]
fn parameters_may_bring_their_own_bounds_and_associated_types() {
    trait Venue: Copy {
        type Code;
    }
    #[derive(Clone, Copy, Event)]
    #[repr(transparent)]
    struct Lse(u8);
    impl Venue for Lse {
        type Code = [u8; 4];
    }
    #[derive(Clone, Copy, Event)]
    #[repr(C)]
    struct Order<V: Venue>
    where
        V::Code: disruptor_mp::Event,
    {
        venue: V,
        code: V::Code,
    }
    let order = Order {
        venue: Lse(1),
        code: [0; 4],
    };
    assert_eq!((order.venue.0, order.code), (1, [0; 4]));
    assert_eq!(
        text::<Order<Lse>>(),
        "{ venue: { 0: u8 @0 } size 1 align 1 @0, code: [u8; 4] @1 } size 5 align 1"
    );
}

#[test]
fn fields_that_are_compiled_out_do_not_count() {
    #[derive(Clone, Copy, Event)]
    #[cfg_attr(all(), repr(C))]
    struct Slim {
        value: u64,
        #[cfg(any())]
        extra: bool,
    }
    assert_eq!((Slim { value: 5 }).value, 5);
    assert_eq!(text::<Slim>(), "{ value: u64 @0 } size 8 align 8");
}

#[test]
fn any_bytes_are_an_event() {
    // The reason for the promise: a value is made from any bytes that a segment holds. Miri reads each byte
    // of the copy, so that it also shows that there is no padding.
    for fill in [0x00_u8, 0x01, 0x7f, 0x80, 0xff] {
        let bytes = [fill; size_of::<Leg>()];
        // SAFETY: `Leg` is an event, so any bytes of its size are a value of it.
        let leg: Leg = unsafe { core::mem::transmute(bytes) };
        assert_eq!(leg.tick.side, [fill; 4]);
        // SAFETY: `Leg` is an event, so each of its bytes is initialised.
        let back: [u8; size_of::<Leg>()] = unsafe { core::mem::transmute(leg) };
        assert_eq!(back, bytes);
    }
}
