//! How long a store takes to open that holds many messages.

use std::time::Instant;

use bytes::Bytes;
use campanile_mailbox::Address;
use campanile_mailbox::executor::Mailbox as _;
use clap::Args;

use super::{BODY_BYTES, DEVICES, NOW_MS, Place, messages, open};
use crate::report::{Findings, Spread};

/// Messages in a batch while the store is filled.
const BATCH: u64 = 1_000;

/// What is measured.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// Messages that the store holds.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// How often it is opened.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    options.place.output.measure(|| once(options))
}

fn once(options: &Options) -> anyhow::Result<Findings> {
    let directory = options.place.directory()?;
    let body: Bytes = vec![0x5a; BODY_BYTES].into();
    let mut mailbox = open(directory.path())?;
    let mut seq = 1;
    while seq <= options.messages {
        mailbox.append(&messages(seq..seq + BATCH, &body)?, NOW_MS)?;
        mailbox.sync()?;
        seq += BATCH;
    }
    drop(mailbox);
    let (mut opened, mut counted) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        // A journal that holds something is what takes time to open.
        let started = Instant::now();
        let mut mailbox = open(directory.path())?;
        opened.push(started.elapsed().as_secs_f64() * 1e3);
        let started = Instant::now();
        let address = Address { user: "user-00000001".parse()?, device: 1.try_into()? };
        let count = mailbox.count(&address)?.messages;
        counted.push(started.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(count == options.messages / DEVICES, "{count} messages wait");
    }
    let mut report = Findings::new();
    report.add("messages", options.messages as f64);
    report.add("open_ms", Spread::of(&opened).median);
    report.add("open_slowest_ms", Spread::of(&opened).max);
    report.add("first_count_ms", Spread::of(&counted).median);
    report.leaves_out("the files were in the page cache");
    Ok(report)
}
