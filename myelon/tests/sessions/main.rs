//! Sessions: one program, as each file alone would compile the members once more.

mod addressed;
mod calls;
mod counters;
mod deaths;
mod ends;
mod frames;
mod heard;
mod idle;
mod labels;
mod life;
mod members;
mod members_for_tasks;
mod outside;
mod policies;
mod processes;
mod removal;
mod requests;
mod required;
mod shared;
mod shutdown;
mod sigterm;
mod tasks;
#[path = "../text_codec/mod.rs"]
mod text_codec;
mod warnings;
mod ways_out;
