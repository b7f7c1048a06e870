//! Real gateway processes and those who talk to them.

mod documentation;
mod lifecycle;
mod node;
mod ordinary_clients;
