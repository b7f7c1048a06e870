//! Devices that come and go as they like, and note everything that they are delivered.
//!
//! A thread has many devices and waits for all of their sockets. What a device does in a session is drawn by lot when
//! it begins: whether it stays, leaves soon or stays away for long, and whether it acknowledges promptly, slowly or not
//! at all. When everything is to be drained they all come, stay and acknowledge promptly.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use campanile_protocol::messages::{Content as PayloadContent, Deliver, ServerFrame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::content::Content;
use super::records::{self, Manner, Receipt};
use super::session::{self, End, Session};
use super::world::{Phase, World};

/// How long a thread sleeps when nothing arrives.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(30);
/// A device acknowledges promptly after so many messages …
const ACK_EVERY: u32 = 32;
/// … or so long after the first that is not acknowledged.
const ACK_PROMPTLY: Duration = Duration::from_millis(50);
/// A device that acknowledges slowly.
const ACK_SLOWLY: Duration = Duration::from_millis(600);

/// A session and what is to happen in it.
struct Open {
    session: Session,
    incarnation: u32,
    manner: Manner,
    leaves_at: Option<Instant>,
    /// The highest number of the session.
    seq: u64,
    unacknowledged: u32,
    first_unacknowledged: Instant,
    caught_up: bool,
}

/// A device.
struct Device {
    token: String,
    record: records::Device,
    sessions: u32,
    open: Option<Open>,
    connects_at: Instant,
    /// The epoch, and the highest number that was processed in it.
    processed: (u64, u64),
    /// It counts as settled.
    settled: bool,
    /// The first thing that was wrong with a frame.
    complaint: Option<String>,
}

/// What a thread's devices have seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) devices: Vec<records::Device>,
    /// Frames that no device should ever be sent.
    pub(crate) complaints: Vec<String>,
}

/// Runs every `count`th device from `index` on, until it is told to stop.
///
/// # Errors
/// A token cannot be signed, or the sockets cannot be waited for.
pub(crate) fn run(world: &World, index: u32, count: u32) -> anyhow::Result<Seen> {
    let numbers = (index..world.audience.devices).step_by(count as usize);
    let mut devices: Vec<Device> =
        numbers.map(|number| Device::new(world, number)).collect::<Result<_, _>>()?;
    while world.phase() != Phase::Stop {
        let draining = world.phase() == Phase::Drain;
        for device in &mut devices {
            device.step(world, draining);
        }
        let (open, mut sockets): (Vec<usize>, Vec<PollFd<'_>>) = devices
            .iter()
            .enumerate()
            .filter_map(|(at, device)| Some((at, device.open.as_ref()?.session.descriptor())))
            .map(|(at, socket)| (at, PollFd::from_borrowed_fd(socket, PollFlags::IN)))
            .unzip();
        match poll(&mut sockets, Some(&TICK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = sockets.iter().map(|socket| !socket.revents().is_empty()).collect();
        for (at, _) in open.into_iter().zip(ready).filter(|(_, ready)| *ready) {
            devices[at].read(world);
        }
    }
    let mut seen = Seen::default();
    for device in devices {
        seen.complaints.extend(device.complaint);
        seen.devices.push(device.record);
    }
    Ok(seen)
}

impl Device {
    fn new(world: &World, number: u32) -> anyhow::Result<Device> {
        let token = world.credentials.token(&world.audience, number).map_err(anyhow::Error::msg)?;
        let (user, device) = (world.audience.user_of(number), world.audience.device_id(number) - 1);
        Ok(Device {
            token: token.unwrap_or_default(),
            record: records::Device { user, device, receipts: Vec::new() },
            sessions: 0,
            open: None,
            // Not all at once.
            connects_at: Instant::now() + Duration::from_millis(u64::from(number % 50) * 4),
            processed: (0, 0),
            settled: false,
            complaint: None,
        })
    }

    /// Connects, acknowledges or leaves if it is time to.
    fn step(&mut self, world: &World, draining: bool) {
        let now = Instant::now();
        let Some(open) = &mut self.open else {
            if now >= self.connects_at || draining && now + RETRY < self.connects_at {
                self.connect(world, draining);
            }
            return self.settle(world, false);
        };
        if draining {
            (open.manner, open.leaves_at) = (Manner::Promptly, None);
        }
        if open.leaves_at.is_some_and(|at| at <= now) {
            return self.leave();
        }
        let due = open.unacknowledged > 0
            && match open.manner {
                Manner::Promptly => {
                    open.unacknowledged >= ACK_EVERY || now - open.first_unacknowledged >= ACK_PROMPTLY
                }
                Manner::Slowly => now - open.first_unacknowledged >= ACK_SLOWLY,
                Manner::Never => false,
            };
        let result = if due { open.acknowledge() } else { open.session.flush() };
        let settled = open.caught_up && open.unacknowledged == 0;
        if result.is_err() {
            return self.lost();
        }
        self.settle(world, settled);
    }

    fn connect(&mut self, world: &World, draining: bool) {
        let before = world.incarnation();
        let opened = Session::open(world.listen, &self.token);
        // If the gateway was killed meanwhile it is not known whose session it is; nothing of it was read.
        let opened = opened.ok().filter(|_| world.incarnation() == before);
        let Some(session) = opened else {
            self.connects_at = Instant::now() + RETRY;
            return;
        };
        self.sessions += 1;
        world.sessions.fetch_add(1, Ordering::Relaxed);
        let (manner, stays) = if draining { (Manner::Promptly, None) } else { draw() };
        let now = Instant::now();
        self.open = Some(Open {
            session,
            incarnation: before,
            manner,
            leaves_at: stays.map(|stays| now + stays),
            seq: 0,
            unacknowledged: 0,
            first_unacknowledged: now,
            caught_up: false,
        });
        // What came with the answer is in the client's buffer already, and no socket tells of it.
        self.read(world);
    }

    /// Leaves, for a short or a long while.
    fn leave(&mut self) {
        if let Some(open) = self.open.take() {
            open.session.end(fastrand::bool());
        }
        let away_ms = match fastrand::u32(0..10) {
            0..7 => fastrand::u64(0..400),
            7..9 => fastrand::u64(400..3_000),
            _ => fastrand::u64(3_000..12_000),
        };
        self.connects_at = Instant::now() + Duration::from_millis(away_ms);
    }

    /// The session has ended without our wish.
    fn lost(&mut self) {
        self.open = None;
        self.connects_at = Instant::now() + RETRY.mul_f64(fastrand::f64());
    }

    fn settle(&mut self, world: &World, settled: bool) {
        match (std::mem::replace(&mut self.settled, settled), settled) {
            (false, true) => world.settled.fetch_add(1, Ordering::SeqCst),
            (true, false) => world.settled.fetch_sub(1, Ordering::SeqCst),
            _ => 0,
        };
    }

    fn read(&mut self, world: &World) {
        let Some(mut open) = self.open.take() else { return };
        let mut frames = Vec::new();
        let result = open.session.read(&mut frames);
        for frame in frames {
            self.take(world, &mut open, frame);
        }
        match result {
            Ok(()) => return self.open = Some(open),
            Err(End::Gone) => {}
            Err(End::Wrong(what)) => self.complain(&what),
        }
        self.lost();
    }

    /// Notes the first thing that is wrong.
    fn complain(&mut self, what: &str) {
        let (user, device, session) = (self.record.user, self.record.device, self.sessions);
        self.complaint
            .get_or_insert_with(|| format!("device {device} of user {user}, session {session}: {what}"));
    }

    fn take(&mut self, world: &World, open: &mut Open, frame: ServerFrame) {
        match frame {
            ServerFrame::Welcome(welcome) => {
                let (epoch, last) = self.processed;
                if epoch == welcome.epoch && last > 0 {
                    // If it cannot be said the session is over, which shows when it is read.
                    let _ = open.session.hello(last, epoch);
                } else {
                    self.processed = (welcome.epoch, 0);
                }
            }
            ServerFrame::Deliver(deliver) => {
                if let Err(error) = self.receive(world, open, &deliver) {
                    self.complain(&format!("{error:#}"));
                }
            }
            ServerFrame::CaughtUp(_) => open.caught_up = true,
            ServerFrame::Error(error) => self.complain(&format!("{error:?}")),
            _ => {}
        }
    }

    fn receive(&mut self, world: &World, open: &mut Open, deliver: &Deliver) -> anyhow::Result<()> {
        let data = match deliver.payload.as_ref().and_then(|payload| payload.content.as_ref()) {
            Some(PayloadContent::Data(data)) => &data[..],
            _ => &[],
        };
        let receipt = Receipt {
            session: self.sessions,
            manner: open.manner,
            caught_up: open.caught_up,
            incarnation: open.incarnation,
            seq: deliver.seq,
            id: session::id(&deliver.id)?,
            content: Content::read(world.run, data).map(|content| content.number),
        };
        self.record.receipts.push(receipt);
        world.receipts.fetch_add(1, Ordering::Relaxed);
        if open.unacknowledged == 0 {
            open.first_unacknowledged = Instant::now();
        }
        open.unacknowledged += 1;
        open.seq = open.seq.max(deliver.seq);
        // What is processed is told to the next session, whether this one acknowledges it or not: it is an
        // acknowledgement, so a device that acknowledges nothing says nothing there either.
        if open.manner != Manner::Never {
            self.processed.1 = self.processed.1.max(deliver.seq);
        }
        Ok(())
    }
}

impl Open {
    fn acknowledge(&mut self) -> anyhow::Result<()> {
        self.unacknowledged = 0;
        self.session.acknowledge(self.seq)
    }
}

/// How a session will be: when it acknowledges, and how long it stays; `None` until the gateway is killed.
fn draw() -> (Manner, Option<Duration>) {
    let ms = |range: std::ops::Range<u64>| Some(Duration::from_millis(fastrand::u64(range)));
    match fastrand::u32(0..20) {
        0..9 => (Manner::Promptly, None),
        9..12 => (Manner::Slowly, None),
        12..16 => (Manner::Promptly, ms(20..1_500)),
        16..18 => (Manner::Slowly, ms(20..1_500)),
        _ => (Manner::Never, ms(20..2_000)),
    }
}
