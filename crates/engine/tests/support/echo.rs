//! A core that sends back what it gets, with backpressure.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use campanile_engine::{CloseMode, Command, Commands, Conn};

use super::probe::{Parcel, Script, Seen};

#[derive(Default)]
struct Line {
    waiting: BytesMut,
    /// The kernel takes no more for now.
    blocked: bool,
    /// The client has said all.
    over: bool,
}

/// Echoes. A connection that does not take its bytes is not read either.
#[derive(Default)]
pub(crate) struct Echo {
    greeting: Vec<u8>,
    lines: BTreeMap<Conn, Line>,
}

impl Script for Echo {
    fn seen(&mut self, seen: &Seen, commands: &mut Commands<Parcel>) {
        match seen {
            Seen::Accepted { conn, .. } | Seen::Connected { conn, .. } | Seen::HandedIn { conn, .. } => {
                let waiting = BytesMut::from(&self.greeting[..]);
                self.lines.insert(*conn, Line { waiting, ..Line::default() });
                commands.push(Command::Watch { conn: *conn });
            }
            Seen::Received { conn, data } => {
                if let Some(line) = self.lines.get_mut(conn) {
                    line.waiting.extend_from_slice(data);
                }
            }
            Seen::HungUp { conn, error } => match (self.lines.get_mut(conn), error) {
                (Some(line), None) => line.over = true,
                _ => self.abort(*conn, commands),
            },
            Seen::SendIncomplete { conn, rest, error: None } => {
                if let Some(line) = self.lines.get_mut(conn) {
                    let behind = line.waiting.split();
                    line.waiting.extend_from_slice(rest);
                    line.waiting.unsplit(behind);
                    line.blocked = true;
                    commands.push(Command::Pause { conn: *conn });
                    commands.push(Command::WatchWritable { conn: *conn });
                }
            }
            Seen::SendIncomplete { conn, .. } => self.abort(*conn, commands),
            Seen::Writable { conn } => {
                if let Some(line) = self.lines.get_mut(conn) {
                    line.blocked = false;
                    commands.push(Command::Watch { conn: *conn });
                }
            }
            Seen::ConnectFailed { .. } | Seen::HandOffFailed { .. } => {}
        }
    }

    fn turn(&mut self, commands: &mut Commands<Parcel>) {
        self.lines.retain(|&conn, line| {
            if line.blocked {
                return true;
            }
            if !line.waiting.is_empty() {
                commands.send(conn, Bytes::from(line.waiting.split()));
                return true;
            }
            if line.over {
                commands.close(conn, CloseMode::Graceful);
            }
            !line.over
        });
    }
}

impl Echo {
    /// Says this to everyone first.
    pub(crate) fn greeting(greeting: Vec<u8>) -> Echo {
        Echo { greeting, ..Echo::default() }
    }

    fn abort(&mut self, conn: Conn, commands: &mut Commands<Parcel>) {
        if self.lines.remove(&conn).is_some() {
            commands.close(conn, CloseMode::Abort);
        }
    }
}
