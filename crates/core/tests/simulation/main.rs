//! Shards in the simulator: what they promise to clients and to the control plane, told as stories, and then from a
//! thousand seeds. No socket is opened; the clock is virtual.
#![allow(clippy::print_stderr, reason = "what a failed test has printed says how to repeat it")]

mod seeds;
mod stories;
mod support;
