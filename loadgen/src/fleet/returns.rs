//! Devices that go and come back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use campanile_engine::{Commands, Conn, Time};
use campanile_protocol::frame::close_code;

use super::{Fleet, State};

/// How long a device that comes back stays away at most.
const AWAY_MAX: Duration = Duration::from_secs(1);

/// Who goes and who comes back, and when.
#[derive(Default)]
pub(super) struct Returns {
    coming: BinaryHeap<Reverse<(Time, u32)>>,
    going: BinaryHeap<Reverse<(Time, Conn)>>,
}

impl Returns {
    /// When somebody goes next, or comes if there is room for an attempt.
    pub(super) fn next(&self, room: bool) -> Option<Time> {
        let coming = self.coming.peek().filter(|_| room).map(|Reverse((at, _))| *at);
        let going = self.going.peek().map(|Reverse((at, _))| *at);
        [coming, going].into_iter().flatten().min()
    }
}

impl Fleet {
    /// A session has begun; it ends by itself if sessions are to.
    pub(super) fn will_go(&mut self, now: Time, conn: Conn) {
        if let Some(average) = self.settings.session {
            let stay = average.mul_f64(0.5 + self.random.f64());
            self.returns.going.push(Reverse((now + stay, conn)));
        }
    }

    /// A device's connection has ended, or could not be made; it comes back if devices are to.
    pub(super) fn will_return(&mut self, now: Time, number: u32) {
        if self.settings.reconnect && self.is_to_be_there(number) {
            let away = AWAY_MAX.mul_f64(self.random.f64());
            self.returns.coming.push(Reverse((now + away, number)));
        }
    }

    /// A device with a session ends it, because it wants to. Which one it is; `None` if there is no session.
    pub(super) fn part_with(&mut self, conn: Conn) -> Option<u32> {
        let number = self.tenant(conn).filter(|device| device.state == State::Open)?.number;
        self.stats.connected.subtract(1);
        self.stats.left.add(1);
        self.leave_channels(number);
        self.may_not_publish(number);
        self.close(conn, close_code::NORMAL, "");
        Some(number)
    }

    /// Lets those go and come whose time it is.
    pub(super) fn come_and_go(&mut self, now: Time, commands: &mut Commands<()>) {
        while let Some(&Reverse((at, conn))) = self.returns.going.peek()
            && at <= now
        {
            self.returns.going.pop();
            if let Some(number) = self.part_with(conn) {
                self.will_return(now, number);
            }
        }
        while let Some(&Reverse((at, number))) = self.returns.coming.peek()
            && at <= now
            && self.attempts.len() < self.settings.attempts_max
        {
            self.returns.coming.pop();
            // Whom the stages have let go, or called themselves meanwhile.
            if !self.is_to_be_there(number) || self.is_there(number) {
                continue;
            }
            match self.settings.credentials.token(&self.settings.audience, number) {
                Ok(token) => self.begin(number, token, now, commands),
                Err(reason) => *self.stats.details().failures.entry(reason).or_default() += 1,
            }
        }
    }
}
