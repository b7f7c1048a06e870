//! How much slower than the disk the mailbox is.
//!
//! A *round* appends and syncs batches of one size for a while, first by the bare loop and then by the mailbox, or the
//! other way round, so that a disk that changes its mind changes it for both. The bare loop writes as many bytes as the
//! bodies of a batch have to the end of one file, and syncs it with `fdatasync`.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use campanile_mailbox::executor::Mailbox as _;
use campanile_storage::FjallMailbox;
use clap::Args;

use super::{BODY_BYTES, DEVICES, NOW_MS, Place, messages, open};
use crate::report::{Asked, Findings, Spread};

/// The next message is confirmed after so many later ones of its device.
const CONFIRMED_AFTER: u64 = 32;

/// What is measured.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// Messages in a batch; each size is measured.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1000])]
    batches: Vec<u64>,
    /// Rounds of each size.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How long each half of a round takes, in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    round_ms: u64,
    /// Let the devices confirm what they have, as connected ones do.
    #[arg(long)]
    trim: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    options.place.output.measure(|| once(options))
}

fn once(options: &Options) -> anyhow::Result<Findings> {
    let directory = options.place.directory()?;
    let mut disk = Disk {
        file: File::create(directory.path().join("bare"))?,
        mailbox: open(&directory.path().join("mailbox"))?,
        body: vec![0x5a; BODY_BYTES].into(),
        seq: 1,
        trim: options.trim,
    };
    let mut report = Findings::new();
    for &batch in &options.batches {
        let half = Duration::from_millis(options.round_ms);
        let (mut bare, mut mailbox, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..options.rounds {
            let (of_disk, of_mailbox) = if round % 2 == 0 {
                let of_disk = disk.bare(batch, half)?;
                (of_disk, disk.mailbox(batch, half)?)
            } else {
                let of_mailbox = disk.mailbox(batch, half)?;
                (disk.bare(batch, half)?, of_mailbox)
            };
            bare.push(of_disk);
            mailbox.push(of_mailbox);
            ratios.push(of_mailbox / of_disk);
        }
        let median = |values: &[f64]| Spread::of(values).median;
        report.add(format!("batch_{batch}_bare_messages_per_second"), median(&bare));
        report.add(format!("batch_{batch}_mailbox_messages_per_second"), median(&mailbox));
        let name = format!("batch_{batch}_mailbox_to_bare_ratio");
        report.add_target(name, Asked::AtLeast(0.7), median(&ratios));
    }
    Ok(report)
}

struct Disk {
    file: File,
    mailbox: FjallMailbox,
    body: Bytes,
    seq: u64,
    trim: bool,
}

impl Disk {
    /// Messages per second of the bare loop.
    fn bare(&mut self, batch: u64, time: Duration) -> anyhow::Result<f64> {
        let bytes = self.body.repeat(batch as usize);
        let (started, mut written) = (Instant::now(), 0);
        while started.elapsed() < time {
            self.file.write_all(&bytes)?;
            self.file.sync_data()?;
            written += batch;
        }
        Ok(written as f64 / started.elapsed().as_secs_f64())
    }

    /// Messages per second of the mailbox. Making them is not its work, and not in the time.
    fn mailbox(&mut self, batch: u64, time: Duration) -> anyhow::Result<f64> {
        let (mut spent, mut appended) = (Duration::ZERO, 0);
        while spent < time {
            let appends = messages(self.seq..self.seq + batch, &self.body)?;
            let trims = if self.trim { self.trims(&appends) } else { Vec::new() };
            let started = Instant::now();
            self.mailbox.append(&appends, NOW_MS)?;
            self.mailbox.trim(&trims)?;
            self.mailbox.sync()?;
            spent += started.elapsed();
            self.seq += batch;
            appended += batch;
        }
        Ok(appended as f64 / spent.as_secs_f64())
    }

    /// What devices confirm every so many messages.
    fn trims(&self, appends: &[campanile_mailbox::Append]) -> Vec<campanile_mailbox::Trim> {
        let due = appends.iter().filter(|append| (append.seq / DEVICES).is_multiple_of(CONFIRMED_AFTER));
        let confirm = |append: &campanile_mailbox::Append| campanile_mailbox::Trim {
            address: campanile_mailbox::Address {
                user: append.user.clone(),
                device: append.envelopes[0].device,
            },
            up_to: append.seq.saturating_sub(DEVICES),
        };
        due.map(confirm).collect()
    }
}
