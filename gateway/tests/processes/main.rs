//! Real gateway processes and those who talk to them.

mod lifecycle;
mod node;
mod ordinary_clients;
