//! From the connect to the session: the 101 answer and, where there are sessions, the `welcome`.

use campanile_engine::{CloseMode, Command, Commands, Conn, Time};
use campanile_protocol::upgrade::{
    HeadReader, Request, ResponseError, client_key, parse_response, write_request,
};

use super::{Device, Fleet, PER_TURN_MAX, State};
use crate::refusal;

/// The longest body of a refusal that is waited for, in bytes.
const REFUSAL_BYTES_MAX: usize = 4_096;

/// A connection on its way.
pub(super) struct Attempt {
    started: Time,
    /// `Sec-WebSocket-Key`.
    key: String,
    /// The request, until it is sent.
    request: Vec<u8>,
    answer: HeadReader,
    /// Once the server has said no.
    refused: Option<Refused>,
    /// Once TCP has connected.
    conn: Option<Conn>,
}

impl Attempt {
    /// Why the server has said no, as far as it has said it; `None` if it has not.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refused.as_ref().map(|refused| refusal::reason(refused.status, &refused.body))
    }
}

/// A refusal, whose body says why.
struct Refused {
    status: u16,
    /// How long the body is to be.
    length: usize,
    body: Vec<u8>,
}

impl Refused {
    fn new(status: u16, head: &[u8]) -> Refused {
        let head = String::from_utf8_lossy(head);
        let length = head.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
            if name.eq_ignore_ascii_case("content-length") { value.trim().parse().ok() } else { None }
        });
        Refused { status, length: length.unwrap_or(0).min(REFUSAL_BYTES_MAX), body: Vec::new() }
    }

    /// Takes what has come. Whether that is all.
    fn take(&mut self, data: &[u8]) -> bool {
        self.body.extend_from_slice(&data[..data.len().min(self.length - self.body.len())]);
        self.body.len() == self.length
    }
}

impl Fleet {
    /// Begins the attempts that are due. When the next one is; `None` if that is not a matter of time.
    pub(super) fn ramp(&mut self, now: Time, commands: &mut Commands<()>) -> Option<Time> {
        for begun in 0.. {
            let number = self.next_device;
            if number >= self.settings.connecting {
                // Gives the memory of the tokens back.
                self.tokens = Vec::new().into_iter();
                return None;
            }
            if self.attempts.len() >= self.settings.attempts_max {
                return None;
            }
            let due = self.due(number);
            if due > now || begun == PER_TURN_MAX {
                return Some(due);
            }
            self.next_device += self.count;
            let token = self.tokens.next().flatten();
            self.begin(number, token, now, commands);
        }
        None
    }

    /// When a device is to connect.
    fn due(&self, number: u32) -> Time {
        let start = self.control.start();
        match self.settings.ramp_per_second {
            rate if rate > 0.0 => start + std::time::Duration::from_secs_f64(f64::from(number) / rate),
            _ => start,
        }
    }

    pub(super) fn begin(
        &mut self,
        number: u32,
        token: Option<String>,
        now: Time,
        commands: &mut Commands<()>,
    ) {
        let settings = &self.settings;
        let key = client_key(self.random.u128(..).to_ne_bytes());
        let mut request = Vec::with_capacity(512);
        write_request(&mut request, &self.request(&key, token.as_deref()));
        let from = match settings.sources.len() {
            0 => None,
            sources => {
                // Fleets take turns too, so that all of them use all sources.
                let turn = (number / self.count + self.index) as usize % sources;
                Some((settings.sources[turn], 0).into())
            }
        };
        commands.push(Command::Connect { tag: number.into(), from, to: settings.target });
        let attempt =
            Attempt { started: now, key, request, answer: HeadReader::new(), refused: None, conn: None };
        self.deadlines.push_back((now + self.settings.connect_timeout, number));
        self.attempts.insert(number, attempt);
    }

    fn request<'a>(&'a self, key: &'a str, bearer_token: Option<&'a str>) -> Request<'a> {
        Request {
            host: &self.settings.host,
            path: &self.settings.path,
            key,
            protocols: self.settings.encoding.subprotocol(),
            bearer_token,
            deflate: false,
        }
    }

    pub(super) fn connected(&mut self, conn: Conn, number: u32, commands: &mut Commands<()>) {
        let Some(attempt) = self.attempts.get_mut(&number) else {
            // Its time was over.
            return commands.close(conn, CloseMode::Abort);
        };
        attempt.conn = Some(conn);
        let request = std::mem::take(&mut attempt.request);
        let slot = conn.slot as usize;
        if self.devices.len() <= slot {
            self.devices.resize_with(slot + 1, Device::default);
        }
        self.devices[slot] =
            Device { generation: conn.generation, number, state: State::Upgrading, ..Device::default() };
        self.note_place(number, conn.slot);
        self.post(conn, request);
        commands.push(Command::Watch { conn });
    }

    /// Counts an attempt that has failed.
    pub(super) fn failed(&mut self, now: Time, number: u32, reason: String) {
        // One that has failed by its deadline fails only once.
        if self.attempts.remove(&number).is_some() {
            self.will_return(now, number);
            self.stats.failed.add(1);
            self.settings.roster.failed(number);
            *self.stats.details().failures.entry(reason).or_default() += 1;
        }
    }

    pub(super) fn upgrade_input(
        &mut self,
        now: Time,
        conn: Conn,
        data: &mut [u8],
        commands: &mut Commands<()>,
    ) {
        let Some(number) = self.tenant(conn).map(|device| device.number) else { return };
        let Some(mut attempt) = self.attempts.remove(&number) else { return };
        let mut rest = &*data;
        if let Some(refused) = &mut attempt.refused {
            let is_whole = refused.take(rest);
            self.attempts.insert(number, attempt);
            return self.upgrade_refused(now, conn, number, is_whole, commands);
        }
        let answer = match attempt.answer.next(&mut rest) {
            Ok(None) => {
                self.attempts.insert(number, attempt);
                return;
            }
            Ok(Some(head)) => {
                let answer = parse_response(head, &self.request(&attempt.key, None));
                if let Err(ResponseError::Refused { status, .. }) = answer {
                    attempt.refused = Some(Refused::new(status, head));
                }
                answer
            }
            Err(_) => Err(ResponseError::Malformed),
        };
        let reason = match answer {
            Ok(accepted) if accepted.subprotocol.is_none() => "no_subprotocol".into(),
            Ok(_) => {
                let used = data.len() - rest.len();
                self.recorder.connected(now, now.since(attempt.started));
                self.attempts.insert(number, attempt);
                if let Some(device) = self.tenant(conn) {
                    device.state = State::Opening;
                }
                if !self.settings.is_welcomed {
                    self.opened(now, conn, number);
                }
                return self.input(now, conn, &mut data[used..]);
            }
            Err(ResponseError::Refused { .. }) => {
                let is_whole = attempt.refused.as_mut().is_none_or(|refused| refused.take(rest));
                self.attempts.insert(number, attempt);
                return self.upgrade_refused(now, conn, number, is_whole, commands);
            }
            Err(ResponseError::Malformed) => "malformed_answer".into(),
            Err(ResponseError::NotUpgrade) => "not_an_upgrade".into(),
            Err(ResponseError::AcceptKey) => "wrong_accept_key".into(),
            Err(ResponseError::NotOffered) => "not_offered".into(),
        };
        self.attempts.insert(number, attempt);
        self.give_up(now, conn, number, reason, commands);
    }

    /// The server has said no. Once it has said why, `is_whole`, that is counted.
    fn upgrade_refused(
        &mut self,
        now: Time,
        conn: Conn,
        number: u32,
        is_whole: bool,
        commands: &mut Commands<()>,
    ) {
        let reason = self.attempts.get(&number).and_then(Attempt::refusal);
        if let Some(reason) = reason.filter(|_| is_whole) {
            self.give_up(now, conn, number, reason, commands);
        }
    }

    fn give_up(&mut self, now: Time, conn: Conn, number: u32, reason: String, commands: &mut Commands<()>) {
        self.failed(now, number, reason);
        self.forget(conn.slot);
        commands.close(conn, CloseMode::Abort);
    }

    /// A session has begun.
    pub(super) fn opened(&mut self, now: Time, conn: Conn, number: u32) {
        if let Some(attempt) = self.attempts.remove(&number) {
            self.recorder.opened(now, now.since(attempt.started));
        }
        let is_silent = self.settings.audience.is_silent(number);
        self.stats.opened.add(1);
        self.stats.connected.add(1);
        self.settings.roster.connected(number, !is_silent);
        if let Some(device) = self.tenant(conn) {
            device.state = State::Open;
        }
        self.will_go(now, conn);
        // Those that subscribe stop reading when they have.
        if is_silent && !self.subscribes(number) {
            self.subscribers.pausing.push(conn);
        }
    }

    /// Gives up the attempts whose time is over.
    pub(super) fn expire_attempts(&mut self, now: Time, commands: &mut Commands<()>) {
        while let Some(&(deadline, number)) = self.deadlines.front() {
            // A deadline of an attempt that has ended is passed over as soon as it is the oldest.
            let patience = self.settings.connect_timeout;
            let attempt = self.attempts.get(&number).filter(|attempt| attempt.started + patience == deadline);
            let Some((conn, refusal)) = attempt.map(|attempt| (attempt.conn, attempt.refusal())) else {
                self.deadlines.pop_front();
                continue;
            };
            if deadline > now {
                return;
            }
            self.deadlines.pop_front();
            let is_opening =
                conn.and_then(|conn| self.tenant(conn)).is_some_and(|device| device.state == State::Opening);
            let silence = if is_opening { "no_welcome" } else { "timed_out" };
            self.failed(now, number, refusal.unwrap_or_else(|| silence.into()));
            if let Some(conn) = conn {
                self.forget(conn.slot);
                commands.close(conn, CloseMode::Abort);
            }
        }
    }

    /// Gives up all attempts, because the run ends. They have not failed.
    pub(super) fn abandon_attempts(&mut self) {
        self.deadlines.clear();
        self.next_device = u32::MAX;
        for (_, attempt) in std::mem::take(&mut self.attempts) {
            if let Some(conn) = attempt.conn {
                // The driver closes what is left when the shard ends.
                self.forget(conn.slot);
            }
        }
    }
}
