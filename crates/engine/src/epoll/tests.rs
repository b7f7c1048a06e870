//! What only a kernel that refuses shows.

use std::net::{TcpListener, TcpStream};

use super::*;
use crate::listener::ACCEPT_RETRY;

#[test]
fn a_connection_that_cannot_be_watched_yet_is_handed_in_later() {
    let peers = Peers::<u32>::new(1).unwrap();
    let mut driver = Epoll::new(0, Arc::clone(&peers), 4, None).unwrap();
    // A file cannot be watched.
    let socket = OwnedFd::from(std::fs::File::open("/proc/self/exe").unwrap());
    let arrive = |socket: OwnedFd, parcel: u32| {
        assert!(peers.take_room(0));
        let arrival = InTransit { socket, parcel: Box::new(parcel) };
        assert!(peers.arriving(0).push(arrival).is_ok());
    };
    arrive(socket, 7);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let good = OwnedFd::from(listener.accept().unwrap().0);
    arrive(good.try_clone().unwrap(), 8);

    let mut seen = Vec::new();
    let mut turn = |driver: &mut Epoll<u32>, next: Next| {
        let mut report = |_: Now, event: Event<'_, u32>| {
            if let Event::HandedIn { conn, parcel } = event {
                seen.push((conn, *parcel));
            }
        };
        driver.wait(next, &|| false, &mut report).unwrap();
        seen.clone()
    };
    assert_eq!(turn(&mut driver, Next::Now), []);
    let patience = driver.patience(Next::Event, &|| false).unwrap();
    assert!(patience > Duration::ZERO && patience <= ACCEPT_RETRY, "neither a spin nor for ever");
    driver.peers.waker(0).awake();
    // It sleeps until then, and fails again.
    assert_eq!(turn(&mut driver, Next::Event), []);
    assert!(driver.stranded.is_some() && driver.in_use() == 0);

    // The kernel relents.
    let (_, stranded) = driver.stranded.as_mut().unwrap();
    rustix::io::dup2(&good, &mut stranded.socket).unwrap();
    assert_eq!(turn(&mut driver, Next::Event).iter().map(|&(_, parcel)| parcel).collect::<Vec<_>>(), [7, 8]);

    // The room is what it was.
    for (conn, _) in turn(&mut driver, Next::Now) {
        driver.release(conn);
    }
    assert_eq!((0..5).map(|_| peers.take_room(0)).collect::<Vec<_>>(), [true, true, true, true, false]);
}
