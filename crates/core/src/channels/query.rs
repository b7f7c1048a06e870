//! A client's question for the members of a channel, of which every shard answers a part.

use campanile_engine::Conn;
use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::{Device, Members};

use crate::requests::MEMBERS_MAX;

/// A client's question that is under way.
pub(super) struct Query {
    conn: Conn,
    reference: String,
    channel: ChannelName,
    /// Shards that have not answered.
    left: usize,
    count: u32,
    members: Vec<Device>,
}

impl Query {
    /// A question that so many shards have to answer.
    pub(super) fn new(conn: Conn, reference: String, channel: ChannelName, shards: usize) -> Query {
        Query { conn, reference, channel, left: shards, count: 0, members: Vec::new() }
    }

    /// One shard has answered. Whether it was the last.
    pub(super) fn add(&mut self, count: u32, members: Vec<Device>) -> bool {
        self.left -= 1;
        self.count += count;
        self.members.extend(members);
        self.members.truncate(MEMBERS_MAX);
        self.left == 0
    }

    /// Who has asked, and what it is told.
    pub(super) fn answer(self) -> (Conn, Members) {
        let Query { conn, reference, channel, count, members, .. } = self;
        (conn, Members { r#ref: reference, channel: channel.as_str().to_owned(), count, members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_but_not_all_are_named() {
        let channel = ChannelName::try_from("chat:1").unwrap();
        let mut query = Query::new(Conn { slot: 3, generation: 1 }, "q".to_owned(), channel, 2);
        let members = |count: usize| vec![Device { user: "u".to_owned(), device: 1 }; count];
        assert!(!query.add(700, members(700)));
        assert!(query.add(900, members(900)));
        let (conn, answer) = query.answer();
        assert_eq!((conn.slot, answer.r#ref.as_str(), answer.channel.as_str()), (3, "q", "chat:1"));
        assert_eq!((answer.count, answer.members.len()), (1_600, MEMBERS_MAX));
    }
}
