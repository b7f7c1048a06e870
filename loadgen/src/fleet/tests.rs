//! Fleets in the simulator, against a small server in the same world.

mod channels;

use std::collections::BTreeMap;

use self::channels::ChannelScript;
use campanile_engine::sim::{Faults, World};
use campanile_protocol::messages::{ClientFrame, Deliver, Payload, ServerFrame, Welcome};
use campanile_protocol::upgrade::{HeadReader, UpgradeRequest, write_switching_protocols};

use super::*;
use crate::audience::To;
use crate::payload::Stamp;

const RUN: u64 = 77;
const DEVICES: u32 = 20;

/// What the server does with everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    /// Answers with these bytes instead of consent.
    Answer(&'static str),
    /// Consents for another key.
    WrongKey,
    /// Consents, and closes with this code before there is a session.
    CloseAtOnce(u16),
    /// Consents, and nothing follows.
    NoWelcome,
    /// Consents and welcomes, and closes with this code.
    Close(u16),
    /// Consents and welcomes, and hangs up without a close frame.
    HangUp,
    /// Says nothing.
    Silence,
    /// Consents, pings, welcomes, and delivers message 0 once and message 1 twice.
    Deliver,
    /// Consents and welcomes, and delivers messages 1 to 40 of somebody else a while later.
    Stream,
    /// Consents and welcomes, and delivers message 0 as the first of its mailbox, to every session.
    Redeliver,
    /// Consents and welcomes, and serves channels.
    Channels(ChannelScript),
}

/// The epoch of `Script::Stream`.
const EPOCH: u64 = 7;
/// Its messages.
const STREAM: u64 = 40;
/// Turns of the server before it streams.
const WHILE: u32 = 40;

#[derive(Default)]
struct Peer {
    turns: u32,
    head: HeadReader,
    upgraded: bool,
    decoder: Decoder,
    out: Vec<u8>,
    blocked: bool,
    end: bool,
    /// The device's channels.
    subscribed: Vec<String>,
    /// The newest message of each.
    newest: Vec<u64>,
}

struct Server {
    script: Script,
    peers: BTreeMap<Conn, Peer>,
    pongs: Vec<Vec<u8>>,
    close_codes: Vec<Option<u16>>,
    /// What was acknowledged, by connection.
    acks: BTreeMap<Conn, Vec<u64>>,
    /// `last` and `epoch` of each hello.
    hellos: Vec<(u64, u64)>,
    /// What was asked for and published on channels.
    channels: channels::Requests,
}

impl Server {
    fn upgrade(&mut self, now: Time, conn: Conn, data: &[u8]) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let Some(head) = peer.head.next(&mut &*data).unwrap() else { return };
        let request = UpgradeRequest::parse(head).unwrap();
        assert_eq!(request.bearer_token(), None);
        let out = &mut peer.out;
        peer.upgraded = true;
        let key = if self.script == Script::WrongKey { "AAAAAAAAAAAAAAAAAAAAAA==" } else { request.key };
        match self.script {
            Script::Answer(answer) => return out.extend_from_slice(answer.as_bytes()),
            Script::Silence => return,
            _ => write_switching_protocols(out, key, request.protocols().next(), None),
        }
        if self.script == Script::Deliver {
            frame::encode_frame(frame::Opcode::Ping, b"one", out);
            frame::encode_frame(frame::Opcode::Ping, b"two", out);
        }
        if !matches!(self.script, Script::CloseAtOnce(_) | Script::NoWelcome) {
            let welcome = Welcome { epoch: EPOCH, waiting: STREAM, ..Welcome::default() };
            ServerFrame::Welcome(welcome).encode_frame(Encoding::Protobuf, out).unwrap();
        }
        match self.script {
            Script::Close(code) | Script::CloseAtOnce(code) => frame::encode_close(code, "reason", out),
            Script::HangUp => peer.end = true,
            Script::Redeliver => {
                let mut payload = Vec::new();
                Stamp { run: RUN, number: 0, due: now }.write(40, &mut payload);
                let payload = Some(Payload::data(payload));
                let deliver = Deliver { seq: 1, payload, ..Deliver::default() };
                ServerFrame::Deliver(deliver).encode_frame(Encoding::Protobuf, out).unwrap();
            }
            Script::Deliver => {
                for (number, run) in [(0, RUN), (1, RUN), (1, RUN), (2, RUN), (0, RUN + 1)] {
                    let mut payload = Vec::new();
                    Stamp { run, number, due: now }.write(40, &mut payload);
                    let deliver = Deliver { payload: Some(Payload::data(payload)), ..Deliver::default() };
                    ServerFrame::Deliver(deliver).encode_frame(Encoding::Protobuf, out).unwrap();
                }
            }
            _ => {}
        }
    }

    fn input(&mut self, conn: Conn, mut data: &mut [u8]) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        while let Some(message) = peer.decoder.next(&mut data, &frame::Limits::SERVER).unwrap() {
            match message {
                frame::Message::Pong(content) => self.pongs.push(content.to_vec()),
                frame::Message::Close(code) => {
                    self.close_codes.push(code.map(|(code, _)| code));
                    if !matches!(self.script, Script::Close(_) | Script::CloseAtOnce(_)) {
                        frame::encode_close(1000, "", &mut peer.out);
                    }
                    peer.end = true;
                    return;
                }
                message => match ClientFrame::decode(Encoding::Protobuf, &message).unwrap() {
                    ClientFrame::Ack(ack) => self.acks.entry(conn).or_default().push(ack.seq),
                    ClientFrame::Hello(hello) => self.hellos.push((hello.last, hello.epoch)),
                    frame => match self.script {
                        Script::Channels(script) => self.channels.serve(script, peer, frame),
                        _ => panic!("a device sent {frame:?}"),
                    },
                },
            }
        }
    }

    fn stream(peer: &mut Peer) {
        peer.turns += u32::from(peer.upgraded);
        if peer.turns != WHILE {
            return;
        }
        for seq in 1..=STREAM {
            let deliver = Deliver { seq, payload: Some(Payload::data("somebody's")), ..Deliver::default() };
            ServerFrame::Deliver(deliver).encode_frame(Encoding::Protobuf, &mut peer.out).unwrap();
        }
        let caught_up = ServerFrame::CaughtUp(Default::default());
        caught_up.encode_frame(Encoding::Protobuf, &mut peer.out).unwrap();
    }
}

/// Both ends of the world.
enum Node {
    Fleet(Box<Fleet>),
    Server(Server),
}

impl Core for Node {
    type Parcel = ();

    fn on_event(&mut self, now: Now, event: Event<'_, ()>, commands: &mut Commands<()>) {
        let server = match self {
            Node::Fleet(fleet) => return fleet.on_event(now, event, commands),
            Node::Server(server) => server,
        };
        match event {
            Event::Accepted { conn, .. } => {
                server.peers.insert(conn, Peer::default());
                commands.push(Command::Watch { conn });
            }
            Event::Received { conn, data } => match server.peers.get(&conn) {
                Some(peer) if peer.upgraded => server.input(conn, data),
                _ => server.upgrade(now.time, conn, data),
            },
            Event::HungUp { conn, .. } => {
                server.peers.remove(&conn);
                commands.close(conn, CloseMode::Abort);
            }
            Event::Writable { conn } => {
                if let Some(peer) = server.peers.get_mut(&conn) {
                    peer.blocked = false;
                }
            }
            Event::SendIncomplete { conn, rest, error } => {
                let Some(peer) = server.peers.get_mut(&conn) else { return };
                if error.is_some() {
                    server.peers.remove(&conn);
                    return commands.close(conn, CloseMode::Abort);
                }
                peer.out.splice(0..0, rest);
                peer.blocked = true;
                commands.push(Command::WatchWritable { conn });
            }
            _ => {}
        }
    }

    fn on_turn(&mut self, now: Now, commands: &mut Commands<()>) -> Next {
        let server = match self {
            Node::Fleet(fleet) => return fleet.on_turn(now, commands),
            Node::Server(server) => server,
        };
        commands.push(Command::Accept { on: true });
        for (&conn, peer) in &mut server.peers {
            match server.script {
                Script::Stream => Server::stream(peer),
                Script::Channels(script) => script.stream(peer),
                _ => {}
            }
            if !peer.out.is_empty() && !peer.blocked {
                commands.send(conn, std::mem::take(&mut peer.out).into());
            }
        }
        Next::Now
    }

    fn on_submitted(&mut self, now: Now, commands: &mut Commands<()>) {
        match self {
            Node::Fleet(fleet) => fleet.on_submitted(now, commands),
            Node::Server(server) => server.peers.retain(|&conn, peer| {
                let done = peer.end && peer.out.is_empty();
                if done {
                    commands.close(conn, CloseMode::Graceful);
                }
                !done
            }),
        }
    }

    fn has_mail(&self) -> bool {
        true
    }
}

struct Simulation {
    world: World<Node>,
    control: Arc<Control>,
    stats: Arc<Stats>,
    settings: Arc<FleetSettings>,
}

impl Simulation {
    /// A server, and one fleet that is told to connect `per_second`.
    fn new(seed: u64, faults: Faults, script: Script, per_second: f64) -> Simulation {
        Simulation::with(seed, faults, script, |settings| settings.ramp_per_second = per_second)
    }

    /// A server, and one fleet with other settings than usual.
    fn with(
        seed: u64,
        faults: Faults,
        script: Script,
        change: impl FnOnce(&mut FleetSettings),
    ) -> Simulation {
        let mut world = World::new(seed, faults, 1_700_000_000_000);
        world.add_node(
            Node::Server(Server {
                script,
                peers: BTreeMap::new(),
                pongs: Vec::new(),
                close_codes: Vec::new(),
                acks: BTreeMap::new(),
                hellos: Vec::new(),
                channels: channels::Requests::default(),
            }),
            64,
        );
        let audience =
            Audience { to: To::Broadcast, devices: DEVICES, users: DEVICES, seed: 1, silent_percent: 0 };
        let mut settings = FleetSettings {
            audience,
            connecting: DEVICES,
            acks: None,
            reconnect: false,
            session: None,
            samples: false,
            credentials: Credentials::None,
            target: World::<Node>::address(0),
            host: "gateway".into(),
            path: "/v2/connect".into(),
            sources: vec![Ipv4Addr::new(127, 0, 0, 3)],
            encoding: Encoding::Protobuf,
            ramp_per_second: 0.0,
            stages: None,
            goodbye: Duration::from_secs(3),
            attempts_max: 7,
            connect_timeout: Duration::from_secs(5),
            is_welcomed: true,
            roster: Roster::new(DEVICES),
            run: RUN,
            ledger: Some(Ledger::new(audience, 2)),
            channels: None,
        };
        change(&mut settings);
        let (control, stats) = (Arc::new(Control::default()), Arc::new(Stats::default()));
        let settings = Arc::new(settings);
        let fleet =
            Fleet::new(0, 1, Arc::clone(&settings), Arc::clone(&control), Arc::clone(&stats), seed).unwrap();
        // The server accepts before anybody comes.
        world.steps(3);
        world.add_node(Node::Fleet(Box::new(fleet)), 64);
        control.connect(world.time());
        Simulation { world, control, stats, settings }
    }

    /// Lets the fleet connect, and then say goodbye to its end.
    fn run(&mut self) -> &mut Server {
        self.settle();
        self.end()
    }

    /// Lets the fleet say goodbye.
    fn end(&mut self) -> &mut Server {
        self.control.close();
        self.world.steps(20_000);
        let Node::Fleet(fleet) = self.world.core(1) else { panic!("node 1 is the fleet") };
        assert!(
            fleet.devices.iter().all(|device| device.state == State::Free || device.state == State::Closing)
        );
        assert!(fleet.outbox.is_empty() && fleet.attempts.is_empty());
        self.server()
    }

    /// Until every device has connected or failed, and what was sent has arrived.
    fn settle(&mut self) {
        for _ in 0..40_000 {
            self.world.steps(1);
            if self.stats.opened.value() + self.stats.failed.value() == u64::from(DEVICES) {
                break;
            }
        }
        assert_eq!(self.stats.opened.value() + self.stats.failed.value(), u64::from(DEVICES));
        self.world.steps(2_000);
    }

    fn server(&mut self) -> &mut Server {
        match self.world.core(0) {
            Node::Server(server) => server,
            Node::Fleet(_) => panic!("node 0 is the server"),
        }
    }
}

/// Everybody fails for this reason.
#[track_caller]
fn all_fail(script: Script, reason: &str) {
    let mut simulation = Simulation::new(1, Faults::NONE, script, 0.0);
    simulation.run();
    let stats = &simulation.stats;
    assert_eq!((stats.opened.value(), stats.connected.value()), (0, 0));
    assert_eq!(stats.details().failures, [(reason.to_owned(), u64::from(DEVICES))].into());
    assert!(stats.details().endings.is_empty());
}

/// Everybody connects and is then disconnected in this way.
#[track_caller]
fn all_end(script: Script, how: &str) -> Simulation {
    let mut simulation = Simulation::new(2, Faults::NONE, script, 0.0);
    simulation.run();
    let stats = &simulation.stats;
    assert_eq!((stats.opened.value(), stats.connected.value()), (u64::from(DEVICES), 0));
    assert_eq!(stats.details().endings, [(how.to_owned(), u64::from(DEVICES))].into());
    assert_eq!(stats.ended.value(), u64::from(DEVICES));
    simulation
}

#[test]
fn a_refusal_is_counted_by_its_status() {
    all_fail(Script::Answer("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"), "http_401");
    all_fail(Script::Answer("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\n\r\n"), "http_503");
}

#[test]
fn a_refusal_is_counted_by_the_code_of_its_answer_however_it_comes() {
    let answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 54\r\n\r\n\
                  {\"error\":{\"code\":\"token_invalid\",\"message\":\"not you\"}}";
    all_fail(Script::Answer(answer), "token_invalid");
    // In pieces, but never reset.
    for seed in 0..20 {
        let faults = Faults { reset: 0, ..Faults::HOSTILE };
        let mut simulation = Simulation::new(seed, faults, Script::Answer(answer), 0.0);
        simulation.run();
        let failures = simulation.stats.details().failures.clone();
        assert_eq!(failures, [("token_invalid".to_owned(), u64::from(DEVICES))].into(), "seed {seed}");
    }
    // The server hangs up in the middle of what it says.
    let cut = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5000\r\n\r\n{\"error\":";
    let mut simulation = Simulation::new(1, Faults::NONE, Script::Answer(cut), 0.0);
    simulation.world.steps(200);
    simulation.world.advance(Duration::from_secs(5));
    simulation.world.steps(200);
    assert_eq!(simulation.stats.details().failures, [("http_503".into(), 7)].into());
}

#[test]
fn consent_alone_is_no_session() {
    all_fail(Script::CloseAtOnce(4401), "closed_4401");
    let mut simulation = Simulation::new(3, Faults::NONE, Script::NoWelcome, 0.0);
    simulation.world.steps(200);
    assert_eq!((simulation.stats.opened.value(), simulation.stats.failed.value()), (0, 0));
    simulation.world.advance(Duration::from_secs(5));
    simulation.world.steps(200);
    assert_eq!(simulation.stats.details().failures, [("no_welcome".into(), 7)].into());
    assert_eq!(simulation.settings.roster.devices_connected(), 0);
}

#[test]
fn where_there_are_no_sessions_consent_is_enough() {
    let anonymous = |settings: &mut FleetSettings| settings.is_welcomed = false;
    let mut simulation = Simulation::with(3, Faults::NONE, Script::NoWelcome, anonymous);
    simulation.run();
    assert_eq!((simulation.stats.opened.value(), simulation.stats.failed.value()), (u64::from(DEVICES), 0));
}

#[test]
fn consent_for_another_request_is_not_consent() {
    all_fail(Script::WrongKey, "wrong_accept_key");
    all_fail(Script::Answer("HTTP/1.1 101 Switching Protocols\r\n\r\n"), "not_an_upgrade");
    all_fail(Script::Answer("SSH-2.0-server\r\n\r\n"), "malformed_answer");
}

#[test]
fn a_server_that_says_nothing_is_given_up_in_time() {
    let mut simulation = Simulation::new(3, Faults::NONE, Script::Silence, 0.0);
    let start = simulation.world.time();
    simulation.world.steps(200);
    assert_eq!(simulation.stats.failed.value(), 0, "after {:?}", simulation.world.time().since(start));
    simulation.world.advance(Duration::from_secs(5));
    simulation.world.steps(200);
    // No more than 7 attempts at a time.
    assert_eq!(simulation.stats.details().failures, [("timed_out".into(), 7)].into());
    assert_eq!(simulation.world.in_use(1), 7);
}

#[test]
fn a_close_is_counted_by_its_code_and_answered_with_it() {
    for code in [4409, 4503] {
        let mut simulation = all_end(Script::Close(code), &code.to_string());
        assert_eq!(simulation.server().close_codes, [Some(code); DEVICES as usize]);
    }
    all_end(Script::HangUp, "1006");
}

#[test]
fn messages_are_recorded_once_with_their_latency_and_pings_answered() {
    let mut simulation = Simulation::new(4, Faults::NONE, Script::Deliver, 0.0);
    let server = simulation.run();
    // Of two pings at once the last one is answered, of two apart both are.
    let answered = server.pongs.iter().filter(|pong| *pong == b"two").count();
    assert_eq!(answered, DEVICES as usize);
    assert_eq!(server.close_codes, [Some(1000); DEVICES as usize], "everybody says goodbye");
    let (stats, devices) = (&simulation.stats, u64::from(DEVICES));
    assert_eq!(stats.pings.value(), 2 * devices);
    assert_eq!(stats.received.value(), 2 * devices);
    assert_eq!(stats.duplicated.value(), devices);
    assert_eq!(stats.astray.value(), devices, "there is no message 2");
    assert_eq!(stats.foreign.value(), devices, "another run's");
    assert_eq!(stats.ended.value(), 0);
    let details = stats.details();
    assert_eq!((details.latency.len(), details.connecting.len()), (2 * devices, devices));
    // A few steps of at most 2 ms each lie between the server's turn and the fleet's.
    assert!(details.latency.max() > 0 && details.latency.max() < 1_000_000_000);
}

#[test]
fn the_ramp_keeps_its_rate() {
    // 20 devices at 10 a second: the last one is due after 1.9 s.
    let mut simulation = Simulation::new(5, Faults::NONE, Script::Deliver, 10.0);
    let start = simulation.world.time();
    while simulation.world.time().since(start) < Duration::from_millis(950) {
        simulation.world.steps(1);
    }
    let opened = simulation.stats.opened.value();
    assert!((8..=10).contains(&opened), "{opened} after 950 ms");
    simulation.settle();
    assert_eq!(simulation.stats.opened.value(), u64::from(DEVICES));
}

#[test]
fn a_hostile_network_makes_no_message_appear_twice_or_nowhere() {
    for seed in 0..200 {
        let mut simulation = Simulation::new(seed, Faults::HOSTILE, Script::Deliver, 0.0);
        simulation.run();
        let (stats, devices) = (&simulation.stats, u64::from(DEVICES));
        let (opened, ended) = (stats.opened.value(), stats.ended.value());
        assert_eq!(stats.connected.value(), 0, "seed {seed}");
        assert_eq!(opened + stats.failed.value(), devices, "seed {seed}");
        // Whoever was not disconnected got everything.
        assert!(stats.received.value() >= 2 * (opened - ended), "seed {seed}");
        assert!(stats.received.value() <= 2 * opened, "seed {seed}");
        assert!(stats.duplicated.value() <= opened, "seed {seed}");
        assert_eq!(stats.undecodable.value(), 0, "seed {seed}");
        assert_eq!(stats.details().latency.len(), stats.received.value(), "seed {seed}");
    }
}

fn acknowledging(settings: &mut FleetSettings) {
    settings.acks = Some(AckSettings { every: 32, within: Duration::from_millis(50) });
}

#[test]
fn everything_that_arrives_is_acknowledged_with_few_frames() {
    for (seed, faults) in [(6, Faults::NONE), (7, Faults { reset: 0, ..Faults::HOSTILE })] {
        let mut simulation = Simulation::with(seed, faults, Script::Stream, acknowledging);
        let server = simulation.run();
        let devices = DEVICES as usize;
        assert_eq!(server.acks.len(), devices, "seed {seed}");
        for acks in server.acks.values() {
            assert_eq!(acks.last(), Some(&STREAM), "seed {seed}: {acks:?}");
            assert!(acks.is_sorted_by(|a, b| a < b), "seed {seed}: {acks:?}");
            // In time or in number, never one for each message.
            assert!(acks.len() <= 10, "seed {seed}: {acks:?}");
        }
        let stats = &simulation.stats;
        assert_eq!(stats.delivered.value(), STREAM * u64::from(DEVICES), "seed {seed}");
        assert_eq!(stats.caught_up.value(), u64::from(DEVICES), "seed {seed}");
        assert_eq!(stats.waiting.value(), STREAM * u64::from(DEVICES), "seed {seed}");
        assert_eq!(stats.out_of_order.value(), 0, "seed {seed}");
        assert!(
            stats.first_welcome.value() > 0 && stats.last_caught_up.value() > stats.first_welcome.value()
        );
    }
}

#[test]
fn whoever_is_not_to_acknowledge_sends_nothing() {
    let mut simulation = Simulation::new(8, Faults::NONE, Script::Stream, 0.0);
    assert!(simulation.run().acks.is_empty());
    assert_eq!(simulation.stats.delivered.value(), STREAM * u64::from(DEVICES));
}

#[test]
fn a_stalled_device_stays_connected_and_reads_nothing() {
    let mut simulation = Simulation::with(9, Faults::NONE, Script::Stream, |settings| {
        acknowledging(settings);
        settings.audience.silent_percent = 30;
    });
    simulation.settle();
    let (stats, reading) = (Arc::clone(&simulation.stats), u64::from(DEVICES) * 7 / 10);
    assert_eq!(stats.stalled.value(), u64::from(DEVICES) - reading);
    assert_eq!(stats.connected.value(), u64::from(DEVICES));
    assert_eq!(stats.delivered.value(), STREAM * reading);
    assert_eq!(simulation.server().acks.len() as u64, reading);
}

#[test]
fn whoever_comes_back_says_what_it_has_processed() {
    let mut simulation = Simulation::with(10, Faults::NONE, Script::Stream, |settings| {
        acknowledging(settings);
        settings.reconnect = true;
        settings.session = Some(Duration::from_secs(1));
    });
    for _ in 0..200 {
        simulation.world.advance(Duration::from_millis(50));
        simulation.world.steps(60);
    }
    let server = simulation.end();
    assert!(server.hellos.iter().all(|&hello| hello == (STREAM, EPOCH)), "{:?}", server.hellos);
    let returned = server.hellos.len() as u64;
    let stats = &simulation.stats;
    assert!(returned >= 2 * u64::from(DEVICES), "{returned} came back");
    assert_eq!(stats.ended.value(), 0, "they went by themselves");
    assert!(stats.left.value() >= returned && stats.opened.value() > returned);
    assert_eq!(stats.out_of_order.value(), 0, "a session may repeat what another had");
}

#[test]
fn what_a_later_session_is_sent_again_is_no_duplicate() {
    let mut simulation = Simulation::with(12, Faults::NONE, Script::Redeliver, |settings| {
        settings.reconnect = true;
        settings.session = Some(Duration::from_secs(1));
    });
    for _ in 0..100 {
        simulation.world.advance(Duration::from_millis(50));
        simulation.world.steps(60);
    }
    simulation.end();
    let (stats, devices) = (&simulation.stats, u64::from(DEVICES));
    assert_eq!(stats.received.value(), devices, "each message counts once");
    assert!(stats.redelivered.value() > devices, "{}", stats.redelivered.value());
    assert_eq!((stats.duplicated.value(), stats.out_of_order.value()), (0, 0));
}

#[test]
fn devices_come_back_from_a_gateway_that_hangs_up() {
    let mut simulation =
        Simulation::with(11, Faults::NONE, Script::HangUp, |settings| settings.reconnect = true);
    for _ in 0..100 {
        simulation.world.advance(Duration::from_millis(50));
        simulation.world.steps(60);
    }
    let stats = &simulation.stats;
    assert!(stats.opened.value() >= 3 * u64::from(DEVICES), "{}", stats.opened.value());
    assert_eq!(
        simulation.settings.roster.devices_connected(),
        u64::from(DEVICES),
        "and are no more for that"
    );
    assert_eq!(stats.ended.value(), stats.opened.value() - stats.connected.value());
}

/// Stages of so many seconds to a number of devices each.
fn stages(list: &[(u64, f64)]) -> Stages {
    let stage = |&(seconds, target)| crate::stages::Stage { duration: Duration::from_secs(seconds), target };
    Stages::new(0.0, list.iter().map(stage))
}

/// Lets time pass until so long after the stages' beginning, and a little more for what is to happen then.
fn pass_until(simulation: &mut Simulation, seconds: u64) {
    let until = simulation.control.start() + Duration::from_secs(seconds);
    let now = simulation.world.time();
    simulation.world.advance(until.since(now));
    simulation.world.steps(1_200);
}

#[test]
fn devices_come_and_go_as_the_stages_have_it() {
    let hill = stages(&[(100, 20.0), (100, 20.0), (100, 5.0), (100, 5.0), (0, 12.0), (100, 12.0)]);
    for seed in 0..5 {
        let change = |settings: &mut FleetSettings| settings.stages = Some(hill.clone());
        let mut simulation = Simulation::with(seed, Faults::NONE, Script::Deliver, change);
        for (at, connected) in [(50, 10), (150, 20), (250, 12), (350, 5), (450, 12)] {
            pass_until(&mut simulation, at);
            assert_eq!(simulation.stats.connected.value(), connected, "seed {seed}, at {at} s");
            let Node::Fleet(fleet) = simulation.world.core(1) else { panic!("node 1 is the fleet") };
            let open = fleet.devices.iter().filter(|device| device.state == State::Open);
            let mut numbers: Vec<u32> = open.map(|device| device.number).collect();
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..connected as u32), "who came last goes first");
        }
        let stats = &simulation.stats;
        assert_eq!((stats.opened.value(), stats.left.value()), (20 + 7, 15));
        assert_eq!((stats.ended.value(), stats.failed.value()), (0, 0), "nobody was thrown out");
        simulation.end();
    }
}

#[test]
fn nobody_comes_back_whom_the_stages_have_let_go() {
    let change = |settings: &mut FleetSettings| {
        settings.stages = Some(stages(&[(0, 20.0), (100, 20.0), (0, 0.0), (100, 0.0)]));
        settings.reconnect = true;
    };
    let mut simulation = Simulation::with(4, Faults::NONE, Script::Close(4409), change);
    pass_until(&mut simulation, 10);
    let opened = simulation.stats.opened.value();
    assert!(opened > 20, "they come back while they may: {opened}");
    pass_until(&mut simulation, 110);
    let opened = simulation.stats.opened.value();
    pass_until(&mut simulation, 150);
    assert_eq!((simulation.stats.opened.value(), simulation.stats.connected.value()), (opened, 0));
}
