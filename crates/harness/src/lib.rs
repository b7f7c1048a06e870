//! Starting our own programs, and looking at them: what benchmarks, the demo and tests of whole processes share.
//!
//! What always holds: whatever was started or made through this crate is gone when this process is, however it ends. A
//! [`Process`] is killed and a [`Folder`] removed when it is dropped; if this process does not get that far, because of
//! a signal (SIGKILL too), a closed pipe or a panic that aborts, its [`keeper`] does it.
//!
//! Everything here waits: none of it belongs on a thread that serves others.

pub mod folder;
pub mod gateway;
pub mod http;
pub mod keeper;
pub mod ports;
pub mod process;
pub mod programs;
pub mod usage;
pub mod worker;

pub use folder::Folder;
pub use gateway::{Gateway, GatewayOptions};
pub use process::{Launch, Process};
pub use usage::Usage;
pub use worker::Worker;
