//! What a completion belongs to, packed into the 64 bits that the kernel carries for us.
//!
//! ```text
//! 63      56 55                    32 31                         0
//! ┌─────────┬────────────────────────┬───────────────────────────┐
//! │ request │ generation of the slot │ slot, or index in a batch │
//! └─────────┴────────────────────────┴───────────────────────────┘
//! ```
//! A parcel that is handed in has its address in the lower 56 bits instead.

use crate::driver::Conn;

/// Generations wrap at 24 bits: a completion would have to be late by 16 million tenants to be mistaken.
pub(super) const GENERATION_MASK: u32 = 0x00ff_ffff;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Request {
    Accept = 1,
    PeerName,
    /// The poll for input: multishot while watched, one-shot before.
    PollIn,
    PollOut,
    Recv,
    Send,
    Shutdown,
    Close,
    /// A hand-off, at its source.
    HandOff,
    /// A hand-off, at its target.
    HandedIn,
    /// The event descriptor of the waker.
    Wake,
    Socket,
    Connect,
    /// What comes before the connect, linked to it. Only a failure is told.
    ConnectStep,
    /// The wake-up of a peer, at its source.
    WakePeer,
    /// Requests whose result nobody waits for: cancellations, and wake-ups that arrive.
    Ignored,
}

const REQUESTS: [Request; 16] = [
    Request::Accept,
    Request::PeerName,
    Request::PollIn,
    Request::PollOut,
    Request::Recv,
    Request::Send,
    Request::Shutdown,
    Request::Close,
    Request::HandOff,
    Request::HandedIn,
    Request::Wake,
    Request::Socket,
    Request::Connect,
    Request::ConnectStep,
    Request::WakePeer,
    Request::Ignored,
];

/// A request for a connection.
pub(super) fn of_conn(request: Request, conn: Conn) -> u64 {
    (request as u64) << 56 | u64::from(conn.generation & GENERATION_MASK) << 32 | u64::from(conn.slot)
}

/// A request by its index in a batch.
pub(super) fn of_index(request: Request, index: usize) -> u64 {
    (request as u64) << 56 | index as u64
}

/// The address of a parcel.
pub(super) fn of_parcel(address: usize) -> u64 {
    let address = address as u64;
    // User space ends below 2^56 on every Linux (x86-64 with five levels, the widest, uses that much).
    assert!(address >> 56 == 0, "an address that does not fit a token");
    (Request::HandedIn as u64) << 56 | address
}

pub(super) fn request(token: u64) -> Option<Request> {
    REQUESTS.get(((token >> 56) as usize).wrapping_sub(1)).copied()
}

pub(super) fn conn(token: u64) -> Conn {
    Conn { slot: token as u32, generation: (token >> 32) as u32 & GENERATION_MASK }
}

pub(super) fn index(token: u64) -> usize {
    token as u32 as usize
}

pub(super) fn parcel(token: u64) -> usize {
    (token & 0x00ff_ffff_ffff_ffff) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_survives_the_round_trip() {
        for request in REQUESTS {
            let conn = Conn { slot: u32::MAX, generation: GENERATION_MASK };
            let token = of_conn(request, conn);
            assert_eq!(super::request(token), Some(request));
            assert_eq!(super::conn(token), conn);
            assert_eq!(super::request(of_index(request, 255)), Some(request));
            assert_eq!(index(of_index(request, 255)), 255);
        }
        assert_eq!(request(0), None);
        assert_eq!(request(u64::MAX), None);
        assert_eq!(parcel(of_parcel(0x7fff_ffff_fff8)), 0x7fff_ffff_fff8);
    }
}
