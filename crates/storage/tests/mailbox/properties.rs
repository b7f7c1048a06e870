//! One suite for every mailbox: random operations, and a plain map that knows what must come of them.

use std::ops::Range;

use bytes::Bytes;
use campanile_mailbox::{
    Address, Append, Dedup, DedupKey, DedupScope, DeviceRecord, Envelope, Mailbox, MailboxLimits, Trim,
    UserRecord,
};
use campanile_protocol::ids::UserId;
use campanile_storage::{FjallMailbox, MailboxOptions, RoomOptions};
use fastrand::Rng;
use tempfile::TempDir;

use crate::model::Model;

/// A mailbox under test, and where it lives.
pub(crate) trait Subject {
    type Mailbox: Mailbox;

    fn make(limits: MailboxLimits) -> Self;

    fn mailbox(&mut self) -> &mut Self::Mailbox;

    /// Closes it in order and opens it again.
    fn reopen_cleanly(&mut self);
}

pub(crate) struct Embedded {
    dir: TempDir,
    limits: MailboxLimits,
    mailbox: Option<FjallMailbox>,
}

impl Embedded {
    fn open(&mut self) {
        let room = RoomOptions { ballast_bytes: 4096, free_low_bytes: 0, free_critical_bytes: 0 };
        let options = MailboxOptions { room, ..MailboxOptions::default() };
        let mailbox = FjallMailbox::open_with(self.dir.path(), self.limits, options);
        self.mailbox = Some(mailbox.expect("the store opens"));
    }
}

impl Subject for Embedded {
    type Mailbox = FjallMailbox;

    fn make(limits: MailboxLimits) -> Embedded {
        let mut made = Embedded { dir: crate::support::directory(), limits, mailbox: None };
        made.open();
        made
    }

    fn mailbox(&mut self) -> &mut FjallMailbox {
        self.mailbox.as_mut().expect("it is open")
    }

    fn reopen_cleanly(&mut self) {
        self.mailbox = None;
        self.open();
    }
}

/// A run: a mailbox and the model beside it.
struct Run<S> {
    subject: S,
    model: Model,
    rng: Rng,
    now_ms: u64,
    seq: u64,
    users: Vec<UserId>,
}

impl<S: Subject> Run<S> {
    fn new(seed: u64, limits: MailboxLimits) -> Run<S> {
        let mut rng = Rng::with_seed(seed);
        let long = "u".repeat(64);
        let names = ["a", "ab", "b", "名前", long.as_str()];
        let users = names[..rng.usize(1..=names.len())].iter().map(|name| name.parse().expect("an id"));
        Run {
            subject: S::make(limits),
            model: Model::new(limits),
            now_ms: 1_000_000,
            seq: 0,
            users: users.collect(),
            rng,
        }
    }

    fn mailbox(&mut self) -> &mut S::Mailbox {
        self.subject.mailbox()
    }

    fn user(&mut self) -> UserId {
        self.users[self.rng.usize(..self.users.len())].clone()
    }

    fn address(&mut self) -> Address {
        Address { user: self.user(), device: self.rng.u32(1..=3).try_into().expect("a device") }
    }

    fn dedup_key(&mut self) -> DedupKey {
        let scope = match self.rng.bool() {
            true => DedupScope::Publisher(self.rng.u64(..2)),
            false => DedupScope::Sibling(self.rng.u32(1..3)),
        };
        DedupKey { scope, id: format!("id {}", self.rng.u8(..12)).into() }
    }

    fn message(&mut self) -> Append {
        self.seq += self.rng.u64(1..4);
        let ttl_ms = [5, 50, 5_000, 1_000_000][self.rng.usize(..4)];
        let topic = ["", "", "t", "u", "a longer topic"][self.rng.usize(..5)];
        let shared: Bytes = vec![self.rng.u8(..); self.rng.usize(..200)].into();
        let mut envelopes = Vec::new();
        for device in 1..=3u32 {
            if self.rng.u8(..3) > 0 {
                let own = vec![self.rng.u8(..); self.rng.usize(..200)].into();
                let body = if self.rng.bool() { shared.clone() } else { own };
                let confirmed = self.rng.u8(..6) == 0;
                envelopes.push(Envelope { device: device.try_into().expect("a device"), body, confirmed });
            }
        }
        let dedup = (self.rng.u8(..3) == 0).then(|| Dedup {
            key: self.dedup_key(),
            digest: [self.rng.u8(..); 16],
            until_ms: self.now_ms + [5, 500, 100_000][self.rng.usize(..3)],
        });
        let (user, seq, expires_at_ms) = (self.user(), self.seq, self.now_ms + ttl_ms);
        Append { user, seq, expires_at_ms, topic: topic.into(), envelopes, dedup }
    }

    fn step(&mut self) {
        match self.rng.u8(..100) {
            0..40 => self.append(),
            40..55 => self.trim(),
            55..62 => self.remove(),
            62..72 => self.read(),
            72..76 => self.fetch(),
            76..82 => self.count(),
            82..88 => self.recall(),
            88..91 => self.put_user(),
            91..93 => self.reserve(),
            93..95 => self.now_ms += self.rng.u64(..200),
            95..97 => self.expire(),
            97 => self.mailbox().sync().expect("a sync"),
            _ => self.close(),
        }
    }

    fn append(&mut self) {
        let count = self.rng.usize(1..6);
        let appends: Vec<Append> = (0..count).map(|_| self.message()).collect();
        let now_ms = self.now_ms;
        let got = self.mailbox().append(&appends, now_ms).expect("an append");
        let expected: Vec<_> = appends.iter().map(|append| self.model.append(append, now_ms)).collect();
        assert_eq!(got, expected, "{appends:?}");
    }

    fn trim(&mut self) {
        let mut trims = Vec::new();
        for _ in 0..self.rng.usize(1..4) {
            let trim = Trim { address: self.address(), up_to: self.rng.u64(..=self.seq) };
            self.model.trim(&trim.address, trim.up_to);
            trims.push(trim);
        }
        self.mailbox().trim(&trims).expect("a trim");
    }

    /// Mostly the number of a message that waits.
    fn some_seq(&mut self, address: &Address) -> u64 {
        let waiting = self.model.waiting(address, 0, 0);
        match waiting.is_empty() || self.rng.u8(..4) == 0 {
            true => self.rng.u64(..=self.seq),
            false => waiting[self.rng.usize(..waiting.len())].0,
        }
    }

    fn remove(&mut self) {
        let address = self.address();
        let (seq, now_ms) = (self.some_seq(&address), self.now_ms);
        let got = self.mailbox().remove(&address, seq, now_ms).expect("a removal");
        assert_eq!(got, self.model.remove(&address, seq, now_ms), "{address:?} {seq}");
    }

    fn read(&mut self) {
        let address = self.address();
        let (after, now_ms) = (self.some_seq(&address), self.now_ms);
        let after = if self.rng.bool() { after } else { 0 };
        self.read_pages(&address, after, now_ms);
    }

    /// Reads all pages after a number: together they are what waits.
    fn read_pages(&mut self, address: &Address, mut after: u64, now_ms: u64) {
        let expected = self.model.waiting(address, after, now_ms);
        let mut got = Vec::new();
        loop {
            let (messages_max, bytes_max) = (self.rng.usize(1..20), self.rng.usize(..600));
            let page = self.mailbox().read(address, after, messages_max, bytes_max, now_ms).expect("a page");
            let bytes: usize = page.messages.iter().map(|message| message.body.len()).sum();
            assert!(page.messages.len() <= messages_max);
            assert!(bytes <= bytes_max || page.messages.len() == 1);
            assert!(!page.more || !page.messages.is_empty(), "a page brings something, or is the last");
            after = page.messages.last().map_or(after, |last| last.seq);
            got.extend(page.messages.into_iter().map(|message| (message.seq, message.body)));
            if !page.more {
                break;
            }
        }
        assert_eq!(got, expected, "{address:?}");
    }

    fn fetch(&mut self) {
        let address = self.address();
        let (seq, now_ms) = (self.some_seq(&address), self.now_ms);
        let got = self.mailbox().fetch(&address, seq, now_ms).expect("a message");
        let waiting = self.model.waiting(&address, 0, now_ms);
        let expected = waiting.into_iter().find(|(waiting, _)| *waiting == seq).map(|(_, body)| body);
        assert_eq!(got, expected, "{address:?} {seq}");
    }

    fn count(&mut self) {
        let address = self.address();
        let got = self.mailbox().count(&address).expect("a count");
        assert_eq!(got, self.model.count(&address), "{address:?}");
    }

    fn recall(&mut self) {
        let (user, key, now_ms) = (self.user(), self.dedup_key(), self.now_ms);
        self.recall_one(&user, &key, now_ms);
    }

    fn recall_one(&mut self, user: &UserId, key: &DedupKey, now_ms: u64) {
        let got = self.mailbox().recall(user, key, now_ms).expect("a recollection");
        let known = self.model.dedups.get(&(user.clone(), key.clone()));
        let expected = known.filter(|(until_ms, _)| *until_ms > now_ms).map(|(_, known)| known.clone());
        if got.is_some() || self.model.must_recall(user, key) {
            assert_eq!(got, expected, "{user:?} {key:?}");
        }
    }

    fn put_user(&mut self) {
        let user = self.user();
        let got = self.mailbox().user(&user).expect("a user");
        assert_eq!(got.as_ref(), self.model.users.get(&user));
        let devices = (1..self.rng.u32(1..5)).map(|device| DeviceRecord {
            device: device.try_into().expect("a device"),
            created_at_ms: self.now_ms,
            last_seen_at_ms: self.now_ms + 1,
        });
        let record = UserRecord { devices: devices.collect(), last_device: 9 };
        self.mailbox().put_user(&user, &record).expect("a user");
        self.model.users.insert(user, record);
    }

    fn reserve(&mut self) {
        let count = self.rng.u64(1..100);
        let range: Range<u64> = self.mailbox().reserve(count).expect("numbers");
        assert!(range.end - range.start == count && range.start >= self.model.reserved.max(1), "{range:?}");
        self.model.reserved = range.end;
    }

    /// Each call looks at a few entries only, until all have been looked at.
    fn expire(&mut self) {
        let (now_ms, looks) = (self.now_ms, self.rng.usize(1..50));
        let mut removed = 0;
        for _ in 0..4_000 / looks {
            removed += self.mailbox().expire(now_ms, looks).expect("expiry").messages;
        }
        assert_eq!(removed, self.model.expire(now_ms));
    }

    fn close(&mut self) {
        match self.rng.bool() {
            true => {
                self.subject.reopen_cleanly();
                self.model.made_room = 0;
            }
            false => {
                let epoch = self.mailbox().epoch();
                // Watermarks may be written with the second sync only.
                self.mailbox().sync().expect("a sync");
                self.mailbox().sync().expect("a sync");
                self.mailbox().reopen().expect("it opens again");
                assert!(epoch != 0 && epoch >> 63 == 0 && epoch == self.mailbox().epoch());
                if self.rng.bool() {
                    // Nothing is known in memory yet.
                    self.now_ms += self.rng.u64(..100);
                    self.expire();
                }
            }
        }
    }

    fn compare_everything(&mut self) {
        let now_ms = self.now_ms;
        for user in self.users.clone() {
            for device in 1..=3u32 {
                let address = Address { user: user.clone(), device: device.try_into().expect("a device") };
                let count = self.mailbox().count(&address).expect("a count");
                assert_eq!(count, self.model.count(&address), "{address:?}");
                self.read_pages(&address, 0, now_ms);
            }
        }
        for (user, key) in self.model.dedups.keys().cloned().collect::<Vec<_>>() {
            self.recall_one(&user, &key, now_ms);
        }
    }
}

/// Runs the whole suite against one kind of mailbox.
pub(crate) fn hold<S: Subject>(seeds: Range<u64>, steps: usize) {
    for seed in seeds {
        println!("seed {seed}");
        let roomy = MailboxLimits {
            messages_per_device_max: 100_000,
            bytes_per_device_max: 1 << 30,
            bytes_total_max: u64::MAX,
        };
        let tight = MailboxLimits { messages_per_device_max: 7, bytes_per_device_max: 900, ..roomy };
        let mut run = Run::<S>::new(seed, if seed % 2 == 0 { roomy } else { tight });
        for _ in 0..steps {
            run.step();
        }
        run.compare_everything();
        run.subject.reopen_cleanly();
        run.compare_everything();
    }
}

#[test]
fn the_embedded_mailbox_does_what_a_map_does() {
    hold::<Embedded>(0..16, 400);
}
