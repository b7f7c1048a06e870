//! The embedded mailbox alone, without a gateway around it.

mod append;
mod registrations;
mod restart;

use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use campanile_harness::Folder;
use campanile_mailbox::{Append, Envelope, MailboxLimits};
use campanile_storage::FjallMailbox;
use clap::{Args, Subcommand};

use crate::report::Output;

/// Devices that the messages are for, each of a user of its own.
const DEVICES: u64 = 1_000;
const BODY_BYTES: usize = 512;
/// Far in the future: nothing expires.
const EXPIRES_AT_MS: u64 = 1 << 52;
const NOW_MS: u64 = 1_700_000_000_000;

/// The mailbox's benchmarks.
#[derive(Subcommand)]
pub(crate) enum Mailbox {
    /// Appending and syncing batches, against writing the same bytes to one file and syncing that.
    Append(append::Options),
    /// Registering devices: how fast, and what of it stays in memory.
    Registrations(registrations::Options),
    /// Opening a store that holds many messages.
    Restart(restart::Options),
}

impl Mailbox {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Mailbox::Append(options) => append::run(&options),
            Mailbox::Registrations(options) => registrations::run(&options),
            Mailbox::Restart(options) => restart::run(&options),
        }
    }
}

/// Where it is measured, and where the figures go.
#[derive(Args)]
struct Place {
    /// The disk to measure on: a directory is made there, and removed afterwards.
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    #[command(flatten)]
    output: Output,
}

impl Place {
    fn directory(&self) -> anyhow::Result<Folder> {
        Folder::new("mailbox", Some(&self.directory))
    }
}

fn open(directory: &Path) -> anyhow::Result<FjallMailbox> {
    let limits = MailboxLimits {
        messages_per_device_max: u64::MAX,
        bytes_per_device_max: u64::MAX,
        bytes_total_max: u64::MAX,
    };
    FjallMailbox::open(directory, limits).context("the store does not open")
}

/// Messages with these numbers, for one device after the other.
fn messages(seqs: std::ops::Range<u64>, body: &Bytes) -> anyhow::Result<Vec<Append>> {
    let message = |seq| {
        let device = 1.try_into()?;
        Ok(Append {
            user: format!("user-{:08}", seq % DEVICES).parse()?,
            seq,
            expires_at_ms: EXPIRES_AT_MS,
            topic: "".into(),
            envelopes: vec![Envelope { device, body: body.clone(), confirmed: false }],
            dedup: None,
        })
    };
    seqs.map(message).collect()
}
