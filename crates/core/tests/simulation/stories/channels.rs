//! Channels: what subscribers, publishers and those who watch a user are promised.

mod following;
mod lifetime;
mod passes;
mod publishing;
mod recovery;
mod rights;
mod slow;
mod states;
