//! Reads the sockets: the sampled ones at once and frame by frame, the others in turn and without copying.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::frames::{CLOSE, Frames, close_reason};
use super::stamp::{Stamps, now_nanos};
use super::tally::{Order, Sample, Tally};
use super::turns::Turns;

/// Counted sockets that are read before the sampled ones are looked at again: some 60 µs.
const SLICE: usize = 64;
/// How long a wait lasts when nothing comes.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// What one read discards at most: more than a socket's buffer holds.
const DISCARD_BYTES_MAX: usize = 8 << 20;
/// What one read of a sampled socket returns at most.
const READ_BYTES_MAX: usize = 256 << 10;
/// Sampled sockets that one wait reports.
const EVENTS_MAX: usize = 256;

/// A masked pong without a payload (RFC 6455 §5.5.3): the last 4 bytes are the mask.
const PONG: [u8; 6] = campanile_floor::PONG;

/// The sockets of one process.
pub(super) struct Reader {
    epoll: OwnedFd,
    counted: Vec<Option<OwnedFd>>,
    sampled: Vec<Option<Sampled>>,
    stamps: Stamps,
    tally: Tally,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    discarded: Vec<u8>,
    scan: Turns,
    pongs: Option<Turns>,
}

/// A socket of which every frame is looked at.
struct Sampled {
    socket: OwnedFd,
    frames: Frames,
    order: Order,
}

impl Reader {
    /// Without sockets. Of those that are counted each will be read once in `scan`, and all will send a pong once in
    /// `pong_every`, if that is given.
    pub(super) fn new(scan: Duration, pong_every: Option<Duration>) -> Result<Self, Errno> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            counted: Vec::new(),
            sampled: Vec::new(),
            stamps: Stamps::default(),
            tally: Tally::default(),
            events: Vec::with_capacity(EVENTS_MAX),
            buffer: Vec::with_capacity(READ_BYTES_MAX),
            discarded: vec![0; DISCARD_BYTES_MAX],
            scan: Turns::new(scan),
            pongs: pong_every.map(Turns::new),
        })
    }

    /// Takes a socket of which bytes are counted; `read` came with the answer to its upgrade.
    pub(super) fn add_counted(&mut self, socket: OwnedFd, read: &[u8]) {
        self.tally.on_read(read.len());
        self.counted.push(Some(socket));
    }

    /// Takes a socket of which every frame is looked at.
    pub(super) fn add_sampled(&mut self, socket: OwnedFd, read: &[u8]) -> Result<(), Errno> {
        let index = self.sampled.len();
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        self.sampled.push(Some(Sampled { socket, frames: Frames::default(), order: Order::default() }));
        self.buffer.clear();
        self.buffer.extend_from_slice(read);
        self.on_sampled(index);
        Ok(())
    }

    /// Waits for the sampled sockets until the next counted ones are due, and reads what there is.
    pub(super) fn turn(&mut self) -> Result<(), Errno> {
        self.read_sampled(&TICK)?;
        let due = self.scan.due(self.counted.len(), Instant::now());
        self.count_in_slices(due)?;
        self.send_pongs();
        Ok(())
    }

    /// Reads every socket until now and says what has been counted.
    pub(super) fn sample(&mut self, cpu_seconds: f64) -> Result<Sample, Errno> {
        self.count_in_slices(0..self.counted.len())?;
        self.read_sampled(&NOW)?;
        Ok(self.tally.sample(cpu_seconds))
    }

    /// Reads every socket until now and forgets what has been counted.
    pub(super) fn reset(&mut self) -> Result<(), Errno> {
        self.sample(0.0)?;
        self.tally.reset();
        Ok(())
    }

    fn count_in_slices(&mut self, indices: Range<usize>) -> Result<(), Errno> {
        for start in indices.clone().step_by(SLICE) {
            self.count(start..indices.end.min(start + SLICE));
            self.read_sampled(&NOW)?;
        }
        Ok(())
    }

    fn count(&mut self, indices: Range<usize>) {
        let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        for index in indices {
            let Some(socket) = &self.counted[index] else { continue };
            match rustix::net::recv(socket, &mut self.discarded[..], flags) {
                Ok((_, 0)) => self.end(index),
                Ok((_, bytes)) => self.tally.on_read(bytes),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.end(index),
            }
        }
    }

    fn end(&mut self, counted: usize) {
        self.counted[counted] = None;
        self.tally.sample.closed += 1;
    }

    fn read_sampled(&mut self, timeout: &Timespec) -> Result<(), Errno> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let waited = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(timeout));
        for event in &events {
            self.read_one(event.data.u64() as usize);
        }
        self.events = events;
        match waited {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Once: what is left is reported again by the next wait.
    fn read_one(&mut self, index: usize) {
        let Some(sampled) = &self.sampled[index] else { return };
        self.buffer.clear();
        match rustix::net::recv(&sampled.socket, spare_capacity(&mut self.buffer), RecvFlags::DONTWAIT) {
            Ok((_, 0)) => self.end_sampled(index, "without a close frame".into()),
            Ok((_, bytes)) => {
                self.tally.on_read(bytes);
                self.on_sampled(index);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => self.end_sampled(index, error.to_string()),
        }
    }

    /// Looks at what has been read into the buffer.
    fn on_sampled(&mut self, index: usize) {
        let Some(Sampled { frames, order, .. }) = &mut self.sampled[index] else { return };
        let (tally, stamps) = (&mut self.tally, &self.stamps);
        let now = now_nanos();
        let mut close = None;
        tally.sample.sampled_bytes += self.buffer.len() as u64;
        let cut = frames.push(&self.buffer, |frame| {
            if frame.opcode == CLOSE {
                close = Some(close_reason(frame.payload));
            }
            if frame.is_control() {
                return;
            }
            let before = tally.sample.sampled_messages;
            stamps.each(frame.payload, |stamp| tally.on_message(stamp, now, order));
            if tally.sample.sampled_messages == before {
                tally.on_unstamped(frame.payload);
            }
        });
        if let Some(why) = cut.err().map(|error| error.to_string()).or(close) {
            self.end_sampled(index, why);
        }
    }

    fn end_sampled(&mut self, index: usize, why: String) {
        self.sampled[index] = None;
        self.tally.sample.closed += 1;
        self.tally.sample.closed_why.get_or_insert(why);
    }

    /// A socket that cannot take it has unread input at the server and needs no sign of life.
    fn send_pongs(&mut self) {
        let Some(pongs) = &mut self.pongs else { return };
        let counted = self.counted.len();
        for index in pongs.due(counted + self.sampled.len(), Instant::now()) {
            let socket = match index.checked_sub(counted) {
                None => self.counted[index].as_ref(),
                Some(sampled) => self.sampled[sampled].as_ref().map(|sampled| &sampled.socket),
            };
            if let Some(socket) = socket {
                let _ = rustix::net::send(socket, &PONG, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            }
        }
    }
}
