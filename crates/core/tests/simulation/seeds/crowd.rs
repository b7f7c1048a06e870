//! What happens in a world: clients come, talk, stall and leave, and questions are asked, all by the seed.

use std::collections::HashSet;
use std::time::Duration;

use campanile_core::requests::RequestBody;
use campanile_engine::sim::{Ending, Faults};
use campanile_protocol::frame::Opcode;
use campanile_protocol::ids::DeviceId;
use campanile_protocol::messages::{Ack, ClientFrame, Deliver, Encoding, Payload, Ping};

use super::model::Model;
use crate::support::{Device, Entry, Gateway, Setup, Targets, listed, user};

/// Things that happen before the network is told to behave.
const HAPPENINGS: usize = 220;
const NAMES: [&str; 5] = ["ada", "bob", "cyd", "dan", "eve"];
/// Numbers of devices that users have; one more than may be connected.
const DEVICES: u64 = 4;

struct Crowd {
    gateway: Gateway,
    model: Model,
    shards: u64,
    /// Whether connections may hold only a few bytes.
    narrow: bool,
    /// Who has written garbage: it may be the beginning of a frame that swallows what follows.
    garbled: HashSet<usize>,
}

fn setup(seed: u64) -> Setup {
    let shards = 1 + (seed % 4) as usize;
    let window_bytes_max = [100, 1_000, 4_096, usize::MAX][(seed / 4 % 4) as usize];
    let clock_jump = if seed.is_multiple_of(5) { 4 } else { 0 };
    let faults = Faults { window_bytes_max, clock_jump, ..Faults::HOSTILE };
    let mut setup = Setup::shards(shards).faults(faults).limits(|limits| {
        limits.devices_per_user_max = DEVICES as u32 - 1;
        limits.handshake_timeout_ms = 3_000;
        limits.handshakes_per_address_max = 5;
        limits.ping_interval_ms = 4_000;
        limits.pong_timeout_ms = 2_000;
        limits.frames_per_second_max = 5;
        limits.message_bytes_max = 2_000;
        limits.max_connections = 60;
    });
    (setup.seed, setup.slots) = (seed, 48);
    setup
}

/// Lives through the world of a seed. Panics if a promise is broken; otherwise says what happened, in short.
pub(super) fn live(seed: u64) -> String {
    let setup = setup(seed);
    let shards = setup.shards as u64;
    let narrow = setup.faults.window_bytes_max < usize::MAX;
    let mut crowd =
        Crowd { gateway: setup.start(), model: Model::default(), shards, narrow, garbled: HashSet::new() };
    for _ in 0..HAPPENINGS {
        crowd.something_happens();
        let steps = 1 + crowd.below(6) as usize;
        crowd.gateway.steps(steps);
        crowd.gateway.pump();
        crowd.model.look(&mut crowd.gateway);
    }
    crowd.comes_to_rest();
    crowd.model.check(&crowd.gateway);
    let summary = crowd.model.summary(&crowd.gateway);
    match crowd.below(3) {
        0 => crowd.is_drained(),
        way => crowd.everybody_leaves(way == 1),
    }
    summary
}

impl Crowd {
    fn below(&mut self, bound: u64) -> u64 {
        self.gateway.world.random(bound)
    }

    fn name(&mut self) -> &'static str {
        NAMES[self.below(NAMES.len() as u64) as usize]
    }

    /// A device that still takes part.
    fn somebody(&mut self) -> Option<usize> {
        let open: Vec<usize> =
            (0..self.gateway.devices.len()).filter(|&at| self.gateway[at].ending == Ending::Open).collect();
        let at = self.below(open.len() as u64) as usize;
        open.get(at).copied()
    }

    fn something_happens(&mut self) {
        match self.below(100) {
            0..25 => self.somebody_connects(),
            25..55 => self.is_pushed(),
            55..58 => self.is_broadcast(),
            58..60 => self.is_asked(),
            60..62 => self.is_disconnected(),
            62..66 => {
                let time = Duration::from_millis(self.below(1_500));
                self.gateway.world.advance(time);
            }
            _ => {
                if let Some(device) = self.somebody() {
                    self.acts(device);
                }
            }
        }
    }

    fn somebody_connects(&mut self) {
        let (name, number) = (self.name(), 1 + self.below(DEVICES) as u32);
        let seconds = if self.below(6) == 0 { self.below(4) } else { 3_600 };
        let token = self.gateway.token(name, number, seconds);
        let entry = match self.below(12) {
            0 => Entry::Nothing,
            1 => Entry::Header("wrong".into()),
            2..7 => Entry::Hello(token),
            _ => Entry::Header(token),
        };
        let encoding = [Encoding::Protobuf, Encoding::Json][self.below(2) as usize];
        let shard = self.below(self.shards) as usize;
        let device = self.gateway.enter(shard, encoding, entry);
        self.model.connects(device, name, number);
        match self.below(12) {
            // Somebody who speaks before the answer, and something else altogether.
            0 => self.gateway[device].say(&ClientFrame::Ping(Ping { nonce: 1 })),
            1 => self.gateway[device].outgoing = b"\x16\x03\x01 not HTTP\r\n\r\n".to_vec(),
            2 => self.gateway[device].step_bytes = 1 + self.below(40) as usize,
            _ => {}
        }
    }

    fn is_pushed(&mut self) {
        let name = self.name();
        let devices = match self.below(3) {
            0 => Targets::All,
            _ => listed(&[1 + self.below(DEVICES) as u32, 1 + self.below(DEVICES) as u32]),
        };
        let kind = self.model.next_kind();
        let payload = vec![self.below(256) as u8; self.below(600) as usize];
        let message = Deliver { kind, payload: Some(Payload::data(payload)), ..Deliver::default() };
        let ticket = self.gateway.ask_push(name, devices, message.clone());
        self.model.asks_push(ticket, name, message, &self.gateway);
    }

    fn is_broadcast(&mut self) {
        let shard = self.below(self.shards) as usize;
        let name = self.model.next_kind();
        let ticket = self.gateway.broadcast(shard, &name);
        self.model.asks_broadcast(ticket, name);
    }

    fn is_asked(&mut self) {
        let name = self.name();
        let ticket = self.gateway.ask_home(name, RequestBody::Devices(user(name)));
        self.model.asks_other(ticket);
    }

    fn is_disconnected(&mut self) {
        let name = self.name();
        let device = match self.below(2) {
            0 => None,
            _ => DeviceId::try_from(1 + self.below(DEVICES) as u32).ok(),
        };
        let ticket = self.gateway.ask_home(name, RequestBody::Disconnect(user(name), device));
        self.model.asks_other(ticket);
    }

    fn acts(&mut self, device: usize) {
        match self.below(26) {
            0..6 => self.gateway[device].reads = false,
            6..14 => self.gateway[device].reads = true,
            14 => self.gateway[device].pongs = false,
            15 => self.gateway.hang_up(device, true),
            16 => self.gateway.hang_up(device, false),
            _ if self.gateway[device].status != Some(101) || self.gateway[device].welcome().is_none() => {}
            17 => self.gateway[device].say_close(4_000),
            18 => {
                let garbage: Vec<u8> = (0..1 + self.below(30)).map(|_| self.below(256) as u8).collect();
                self.garbled.insert(device);
                self.gateway[device].outgoing.extend(garbage);
            }
            19 => self.gateway[device].say_raw(Opcode::Binary, &[7; 3_000]),
            20 => (0..80).for_each(|_| self.gateway[device].say_raw(Opcode::Ping, b"flood")),
            21 => {
                let token = self.gateway.token("ada", 1, 3_600);
                self.gateway[device].say_hello(&token);
            }
            22 => self.gateway[device].say(&ClientFrame::Ack(Ack { seq: 1 })),
            _ => self.gateway[device].say_raw(Opcode::Ping, b"how are you"),
        }
    }

    /// The network behaves and everybody reads, until nothing is under way.
    fn comes_to_rest(&mut self) {
        self.gateway.world.set_faults(Faults::NONE);
        for device in &mut self.gateway.devices {
            (device.reads, device.pongs, device.step_bytes) = (true, true, usize::MAX);
        }
        self.gateway.wait(Duration::from_secs(4));
        // Some connections hold only a few bytes at a time.
        let deadline = self.gateway.world.time() + Duration::from_secs(300);
        while self.is_busy() {
            assert!(self.gateway.world.time() < deadline, "the world does not come to rest");
            self.gateway.wait(Duration::from_millis(200));
        }
        for name in NAMES {
            let ticket = self.gateway.ask_home(name, RequestBody::Devices(user(name)));
            self.model.asks_final(ticket, name);
        }
        // Nothing may change between the question and the check.
        let shards = self.shards as usize;
        for _ in 0..100 {
            self.gateway.steps(shards);
            self.gateway.pump();
            if self.gateway.unanswered() == 0 {
                break;
            }
        }
        self.model.look(&mut self.gateway);
        for (at, device) in self.gateway.devices.iter().enumerate() {
            let answers = device.is_connected() && !self.garbled.contains(&at);
            assert!(
                !answers || device.has_its_pongs(),
                "device {at} has not got its pongs: {:?}",
                device.seen
            );
        }
    }

    /// Whether bytes are under way in either direction.
    fn is_busy(&mut self) -> bool {
        let shards = 0..self.shards as usize;
        let blocked: usize = shards.map(|shard| self.gateway.world.core(shard).blocked()).sum();
        let talks = |device: &Device| device.ending == Ending::Open && !device.outgoing.is_empty();
        blocked > 0 || self.gateway.devices.iter().any(talks)
    }

    fn everybody_leaves(&mut self, politely: bool) {
        for device in 0..self.gateway.devices.len() {
            match politely {
                true if self.gateway[device].is_connected() => self.gateway[device].say_close(1000),
                _ => self.gateway.hang_up(device, device % 2 == 0),
            }
        }
        self.gateway.wait(Duration::from_secs(4));
        let answered = self.gateway.devices.iter().enumerate().all(|(at, device)| {
            device.ending != Ending::Open || device.welcome().is_none() || self.garbled.contains(&at)
        });
        assert!(!politely || answered, "a close was not answered");
        for device in self.garbled.clone() {
            self.gateway.hang_up(device, true);
        }
        self.gateway.wait(Duration::from_secs(2));
        self.gateway.assert_empty();
    }

    fn is_drained(&mut self) {
        let connected: Vec<usize> =
            (0..self.gateway.devices.len()).filter(|&at| self.gateway[at].is_connected()).collect();
        self.gateway.drain(500);
        self.gateway.wait(Duration::from_secs(6));
        for device in connected {
            let device = &self.gateway[device];
            // A connection that holds a few bytes at a time does not take the close frame in a second.
            let slow = self.narrow && device.ending == Ending::Reset;
            assert!(slow || device.code() == Some(4503), "a drained session: {:?}", device.closed);
        }
        assert!(!self.gateway.world.step(), "a drained shard still runs");
        self.gateway.assert_empty();
    }
}
