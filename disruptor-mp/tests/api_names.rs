//! Every name of layer 0, as programs use them. What does not compile here breaks somebody.

use disruptor_mp as api;

#[path = "api_names/names.rs"]
mod names;
