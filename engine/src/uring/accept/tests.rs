//! Accepting, on a real ring.

use std::net::{SocketAddr, TcpListener};

use super::*;
use crate::driver::Next;
use crate::peers::Peers;
use std::time::Duration;

/// `None` where the tests of `io_uring` are not wanted.
fn driver(slots: u32, backlog: i32) -> Option<(Uring<()>, SocketAddr)> {
    if std::env::var_os("CAMPANILE_NO_URING").is_some_and(|value| value == "1") {
        return None;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, backlog).unwrap();
    let address = listener.local_addr().unwrap();
    let driver = Uring::new(0, Peers::new(1).unwrap(), slots, Some(listener.into())).unwrap();
    Some((driver, address))
}

#[test]
fn a_listener_that_is_gone_leaves_no_deadline_behind() {
    for failures in [[libc::EINVAL, libc::EMFILE], [libc::EMFILE, libc::EINVAL]] {
        let Some((mut driver, _)) = driver(16, 16) else { return };
        driver.accepting.armed = 2;
        for failure in failures {
            let token = token::of_index(Request::Accept, 0);
            driver.accepted(Completion { token, result: -failure, flags: 0 });
        }
        assert!(driver.accepting.listener.is_none());
        // A deadline that nobody takes away would keep the driver awake for ever.
        std::thread::sleep(ACCEPT_RETRY);
        driver.update_accepts().unwrap();
        assert!(driver.patience(Next::Event, &|| false) > Duration::from_secs(1));
    }
}
