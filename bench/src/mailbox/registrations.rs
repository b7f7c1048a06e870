//! What the mailbox keeps in memory of devices that are registered and for which nothing comes.
//!
//! Each device does what a connection that registers does: its user is looked for and written, and what waits is
//! counted. In between the store syncs and looks for what has expired, as its thread does.

use std::time::{Duration, Instant};

use campanile_harness::usage::own_status_bytes;
use campanile_mailbox::executor::Mailbox as _;
use campanile_mailbox::{Address, DeviceRecord, UserRecord};
use clap::Args;

use super::{NOW_MS, Place, open};
use crate::report::Findings;

/// Connections that one sync is for.
const GROUP: u64 = 64;
const EXPIRE_LOOKS_MAX: usize = 512;

/// What is measured.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// Devices, each of a user of its own.
    #[arg(long, default_value_t = 100_000)]
    devices: u64,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    options.place.output.measure(|| once(options))
}

fn once(options: &Options) -> anyhow::Result<Findings> {
    let directory = options.place.directory()?;
    let before = own_status_bytes("RssAnon");
    let mut mailbox = open(directory.path())?;
    let opened = own_status_bytes("RssAnon");
    let mut report = Findings::new();
    report.add("open_kib", kib(opened, before));
    for round in ["new", "known"] {
        let started = Instant::now();
        for device in 0..options.devices {
            let address = Address { user: format!("user-{device:08}").parse()?, device: 1.try_into()? };
            if mailbox.user(&address.user)?.is_none() {
                let device = address.device;
                let known = DeviceRecord { device, created_at_ms: NOW_MS, last_seen_at_ms: NOW_MS };
                let record = UserRecord { devices: vec![known], last_device: device.get() };
                mailbox.put_user(&address.user, &record)?;
            }
            anyhow::ensure!(mailbox.count(&address)?.messages == 0, "a message waits");
            if device % GROUP == 0 {
                mailbox.sync()?;
                mailbox.expire(NOW_MS, EXPIRE_LOOKS_MAX)?;
            }
        }
        mailbox.sync()?;
        let rate = options.devices as f64 / started.elapsed().as_secs_f64();
        report.add(format!("{round}_devices_per_second"), rate);
        report.add(format!("{round}_kib"), kib(own_status_bytes("RssAnon"), opened));
        std::thread::sleep(Duration::from_secs(1));
        report.add(format!("{round}_a_second_later_kib"), kib(own_status_bytes("RssAnon"), opened));
    }
    Ok(report)
}

fn kib(now: u64, before: u64) -> f64 {
    (now as f64 - before as f64) / 1024.0
}
