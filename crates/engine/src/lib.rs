//! Thread-per-core network I/O: the only crate of Campanile that talks to the kernel's sockets, and the only
//! one that may hold `unsafe` code.
//!
//! A [`Core`] is a state machine without I/O: it takes [`Event`]s and the time, and gives [`Command`]s. A
//! [`Driver`] executes the commands and reports what happened. Three drivers run the same core: [`uring`]
//! (direct descriptors, batched submissions), [`epoll`] (kernels and containers that refuse `io_uring`) and
//! [`sim`] (virtual sockets and clock from a seed). [`run`] is the loop that joins the two on a thread.
//!
//! What always holds:
//! - A core owns a connection from the event that introduced it ([`Event::Accepted`], [`Event::Connected`],
//!   [`Event::HandedIn`]) until it commands [`Command::Close`] or [`Command::HandOff`]. Once that
//!   has been executed no event names the connection again but [`Event::SendIncomplete`] for a send commanded
//!   with the close or after it; events of the turn that gave the command may still. Its slot may already be
//!   reused: a [`Conn`] carries a generation.
//! - A send is over when the submission that carried it returns: it was complete, or it is reported with
//!   [`Event::SendIncomplete`] before [`Core::on_submitted`] is called.
//! - A connection that only waits for input owns no buffer.
//!
//! What a core must not do: block, take a lock that another thread can hold, or command two sends for one
//! connection in one turn.

mod close;
pub mod driver;
pub mod epoll;
pub mod listener;
pub mod peers;
pub mod probe;
pub mod sim;
pub mod thread;
pub mod time;
pub mod uring;
pub mod wheel;

pub use driver::{CloseMode, Command, Commands, Conn, Core, Driver, Event, Next, RunOptions, run, run_with};
pub use listener::{ListenError, ListenOptions, Listeners};
pub use peers::{Peers, Waker};
pub use probe::{DriverChoice, DriverKind};
pub use time::{Now, Time};
pub use wheel::Wheel;
