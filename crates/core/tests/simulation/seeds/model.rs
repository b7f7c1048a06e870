//! What is known of a world from the outside, and what follows from it.

use std::collections::{BTreeMap, HashMap, HashSet};

use campanile_core::requests::{Answer, Outcome, Pushed, Ticket, UserDevice};
use campanile_protocol::ids::MessageId;
use campanile_protocol::messages::Deliver;

use crate::support::Gateway;

struct Asked {
    name: &'static str,
    message: Deliver,
    /// Connections that had seen their welcome when the push was asked for.
    welcomed: Vec<usize>,
}

enum Question {
    Push(Box<Asked>),
    Broadcast(String),
    Final(&'static str),
    Other,
}

/// Who connected, what was asked, and what was answered.
#[derive(Default)]
pub(super) struct Model {
    /// Whose connection it is, by its index.
    owners: HashMap<usize, (&'static str, u32)>,
    questions: HashMap<Ticket, Question>,
    pushes: Vec<(Asked, Pushed)>,
    broadcasts: HashMap<String, u32>,
    finally: HashMap<&'static str, Vec<UserDevice>>,
    kinds: u32,
}

impl Model {
    pub(super) fn connects(&mut self, device: usize, name: &'static str, number: u32) {
        self.owners.insert(device, (name, number));
    }

    pub(super) fn next_kind(&mut self) -> String {
        self.kinds += 1;
        format!("kind {}", self.kinds)
    }

    pub(super) fn asks_push(
        &mut self,
        ticket: Ticket,
        name: &'static str,
        message: Deliver,
        gateway: &Gateway,
    ) {
        let devices = gateway.devices.iter().enumerate();
        let welcomed = devices.filter(|(_, device)| device.welcome().is_some()).map(|(at, _)| at).collect();
        self.questions.insert(ticket, Question::Push(Box::new(Asked { name, message, welcomed })));
    }

    pub(super) fn asks_broadcast(&mut self, ticket: Ticket, name: String) {
        self.questions.insert(ticket, Question::Broadcast(name));
    }

    pub(super) fn asks_final(&mut self, ticket: Ticket, name: &'static str) {
        self.questions.insert(ticket, Question::Final(name));
    }

    pub(super) fn asks_other(&mut self, ticket: Ticket) {
        self.questions.insert(ticket, Question::Other);
    }

    /// Takes the answers that have come.
    pub(super) fn look(&mut self, gateway: &mut Gateway) {
        let answered = self.questions.extract_if(|&ticket, _| gateway.has_answer(ticket));
        for (ticket, question) in answered.collect::<Vec<_>>() {
            match (question, gateway.answer(ticket)) {
                (Question::Push(asked), Some(Answer::Pushed(mut pushed))) => {
                    assert_eq!(pushed.len(), 1);
                    self.pushes.push((*asked, pushed.remove(0).expect("refused")));
                }
                (Question::Broadcast(name), Some(Answer::Broadcast { sent, .. })) => {
                    self.broadcasts.insert(name, sent);
                }
                (Question::Final(name), Some(Answer::Devices(Ok(devices)))) => {
                    self.finally.insert(name, devices);
                }
                (Question::Other, Some(Answer::Devices(_) | Answer::Disconnected(_))) => {}
                (_, answer) => panic!("an answer to another question: {answer:?}"),
            }
        }
    }

    /// Everything that was promised.
    pub(super) fn check(&self, gateway: &Gateway) {
        assert!(self.questions.is_empty(), "{} questions without an answer", self.questions.len());
        assert_eq!(gateway.unanswered(), 0);
        let ids: HashSet<MessageId> = self.pushes.iter().map(|(_, pushed)| pushed.id).collect();
        assert_eq!(ids.len(), self.pushes.len(), "a message id was given out twice");
        self.check_order(gateway);
        self.check_content(gateway);
        self.check_nothing_lost(gateway);
        self.check_broadcasts(gateway);
        self.check_directory(gateway);
    }

    /// The numbers in message ids grow on every connection, and over the sessions of a device: what an older session
    /// got was sent before anything that a newer one got. There is nothing to acknowledge: no message has a number of
    /// its own.
    fn check_order(&self, gateway: &Gateway) {
        let mut sessions: BTreeMap<(&str, u32), Vec<(u64, usize)>> = BTreeMap::new();
        for (&at, &owner) in &self.owners {
            let device = &gateway[at];
            assert!(device.frames().count() == 0 || device.welcome().is_some(), "a frame before the welcome");
            if let Some(welcome) = device.welcome() {
                let named = welcome.device.as_ref().map(|device| (device.user.as_str(), device.device));
                assert_eq!(named, Some(owner), "somebody else's welcome");
                sessions.entry(owner).or_default().push((welcome.generation, at));
            }
        }
        for (owner, mut sessions) in sessions {
            sessions.sort_unstable();
            assert!(
                sessions.windows(2).all(|two| two[0].0 < two[1].0),
                "{owner:?}: two sessions of one number"
            );
            let delivered = sessions.iter().flat_map(|&(_, at)| gateway[at].delivered());
            let numbers: Vec<u64> = delivered
                .map(|message| {
                    assert_eq!(message.seq, 0, "an ephemeral message to acknowledge");
                    message.id.parse::<MessageId>().expect("no id").seq
                })
                .collect();
            assert!(numbers.windows(2).all(|two| two[0] < two[1]), "{owner:?}: out of order: {numbers:?}");
        }
    }

    /// Whatever arrives was pushed to this device, answered as sent, and is what was pushed.
    fn check_content(&self, gateway: &Gateway) {
        let pushes: HashMap<String, &(Asked, Pushed)> =
            self.pushes.iter().map(|push| (push.1.id.to_string(), push)).collect();
        for (&at, &(name, number)) in &self.owners {
            for message in gateway[at].delivered() {
                let Some((asked, pushed)) = pushes.get(&message.id) else {
                    panic!("nobody pushed {message:?}")
                };
                assert_eq!(asked.name, name, "another user's message");
                let outcome = pushed.devices.iter().find(|(device, _)| device.get() == number);
                assert_eq!(outcome.map(|(_, outcome)| *outcome), Some(Outcome::Sent), "{}", message.id);
                let expected = Deliver { id: message.id.clone(), ..asked.message.clone() };
                assert_eq!(*message, expected);
            }
        }
    }

    /// What was answered as sent, to a session that was known when it was asked for and is still there, has arrived.
    fn check_nothing_lost(&self, gateway: &Gateway) {
        for (asked, pushed) in &self.pushes {
            let id = pushed.id.to_string();
            for &at in asked.welcomed.iter().filter(|&&at| gateway[at].is_connected()) {
                let (name, number) = self.owners[&at];
                let sent = name == asked.name
                    && pushed
                        .devices
                        .iter()
                        .any(|&(to, outcome)| to.get() == number && outcome == Outcome::Sent);
                let arrived = gateway[at].delivered().iter().any(|message| message.id == id);
                assert_eq!(arrived, sent, "{name}/{number} and message {id}");
            }
        }
    }

    fn check_broadcasts(&self, gateway: &Gateway) {
        let mut received: HashMap<&str, u32> = HashMap::new();
        for device in &gateway.devices {
            let mut names = HashSet::new();
            for event in device.events() {
                assert!(names.insert(&event.name), "{} came twice", event.name);
                *received.entry(&event.name).or_default() += 1;
            }
        }
        for (name, received) in received {
            assert!(received <= self.broadcasts[name], "{name} came to more than were answered");
        }
    }

    /// The gateway and its clients agree on who is connected.
    fn check_directory(&self, gateway: &Gateway) {
        for (&name, devices) in &self.finally {
            let mut known: Vec<_> = devices
                .iter()
                .filter_map(|known| {
                    let session = known.session.as_ref()?;
                    Some((known.record.device.get(), session.generation, session.subprotocol))
                })
                .collect();
            known.sort_unstable();
            let mut connected: Vec<_> = self
                .owners
                .iter()
                .filter(|&(&at, owner)| owner.0 == name && gateway[at].is_connected())
                .filter_map(|(&at, owner)| {
                    let generation = gateway[at].welcome()?.generation;
                    Some((owner.1, generation, gateway[at].encoding.subprotocol()))
                })
                .collect();
            connected.sort_unstable();
            assert_eq!(known, connected, "{name}");
        }
        let connected = self.owners.keys().filter(|&&at| gateway[at].is_connected()).count();
        assert_eq!(gateway.count("sessions"), connected as u64);
    }

    /// A world in a line, by which two runs of one seed are compared.
    pub(super) fn summary(&self, gateway: &Gateway) -> String {
        let all = gateway.counters.iter().flat_map(|counters| counters.all());
        let counters: Vec<String> = all.map(|(name, _, _, value)| format!("{name} {value}")).collect();
        format!("{} devices, {} pushes, {}", gateway.devices.len(), self.pushes.len(), counters.join(", "))
    }
}
