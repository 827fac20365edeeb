//! Every name of layer 0, as programs use it. If this does not compile, some program breaks.

use disruptor_mp as api;

#[path = "api_names/names.rs"]
mod names;
