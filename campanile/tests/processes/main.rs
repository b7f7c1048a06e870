//! Real gateway processes and those who talk to them.

mod channel_clients;
mod channel_documentation;
mod documentation;
mod early_ends;
mod lifecycle;
mod listeners;
mod lost_output;
mod node;
mod ordinary_clients;
