//! `bench ledger`: whether the gateway keeps its word when it is killed again and again.
//!
//! Publishers note every message that was accepted, devices everything that they are delivered; meanwhile the gateway
//! is killed (SIGKILL) at random moments and started again with the same data. At the end all devices come, everything
//! that waits is delivered, and the two books are compared ([`checker`]). A kill takes the process, not the machine:
//! what a power cut does is not shown here.

mod breach;
mod checker;
mod content;
mod context;
mod devices;
mod publisher;
mod records;
mod session;
mod world;

use std::collections::BTreeMap;
use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use campanile_harness::{Gateway, GatewayOptions, programs};
use campanile_load::audience::{Audience, To};
use campanile_load::credentials::Credentials;
use clap::Args;

use self::checker::Findings;
use self::devices::Seen;
use self::publisher::{Published, PublisherSettings};
use self::records::Records;
use self::world::{Phase, USER_PREFIX, World};
use crate::report::{self, Asked, Output, Spread};

/// Kills the gateway again and again while messages flow, and compares what was accepted with what was delivered. Exit
/// code 1 if a promise was broken; the gateway's data and log, and a list of all breaches, are kept then.
#[derive(Args, Debug)]
pub(crate) struct Ledger {
    /// How often the gateway is killed
    #[arg(long, default_value_t = 20)]
    cycles: u32,
    /// Messages per second
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Devices in all
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    devices: u32,
    /// Devices of each user
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=32))]
    devices_per_user: u32,
    /// Bytes of each payload
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Messages of each request
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    batch: u32,
    /// Connections that publish, each with users of its own
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    publishers: u32,
    /// Threads that hold the devices
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// The gateway is killed no earlier than so many milliseconds after it was ready …
    #[arg(long, default_value_t = 200)]
    kill_after_ms_min: u64,
    /// … and no later than so many
    #[arg(long, default_value_t = 2_000)]
    kill_after_ms_max: u64,
    /// Messages that were seen under a second id before a kill are breaches, too
    #[arg(long)]
    strict: bool,
    /// The gateway's program [default: campanile, beside this one]
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Driver of the gateway: auto, uring or epoll
    #[arg(long, default_value = "auto")]
    driver: String,
    /// Where the gateway's data is put, in a folder of its own [default: the folder for temporary files]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// A line of the gateway's configuration, like shards=2; repeat for more
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    output: Output,
}

/// How long tokens hold.
const TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Everything is drained when nothing has arrived for so long and every device has caught up.
const QUIET: Duration = Duration::from_secs(2);
/// Nothing more is expected when nothing has arrived for so long, whoever has not caught up.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);
/// Every other kill waits so long for a request to be on its way.
const REQUEST_PATIENCE: Duration = Duration::from_millis(200);
/// Breaches that are printed.
const PRINTED_MAX: usize = 40;

/// What a run was like.
#[derive(Default)]
struct Course {
    /// From ready to killed, over all cycles.
    flowed: Duration,
    /// From start to ready, for each start but the first.
    ready_msec: Vec<f64>,
    /// Accepted while messages flowed.
    accepted: u64,
    /// It took so long until everything was drained.
    drained: Duration,
}

/// What everybody has noted.
#[derive(Default)]
struct Books {
    records: Records,
    /// Messages that were refused, by code.
    refusals: BTreeMap<String, u64>,
    /// Frames that no device should ever be sent.
    complaints: Vec<String>,
}

impl Ledger {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let users = self.devices.div_ceil(self.devices_per_user);
        ensure!(self.publishers <= users, "{} publishers for {users} users", self.publishers);
        ensure!(self.bytes >= content::BYTES_MIN, "--bytes: at least {}", content::BYTES_MIN);
        let kill_after_ms = self.kill_after_ms_min..=self.kill_after_ms_max;
        ensure!(!kill_after_ms.is_empty(), "--kill-after-ms-max is less than --kill-after-ms-min");
        self.output.measure(|| self.once(users))
    }

    /// A gateway with a log, which is of use only when something is wrong.
    fn gateway(&self) -> anyhow::Result<Gateway> {
        let program = match &self.gateway {
            Some(program) => program.clone(),
            None => programs::beside("campanile")?,
        };
        let options = GatewayOptions {
            parent: self.folder.clone(),
            has_log_file: true,
            ..GatewayOptions::new(program, "ledger")
        };
        Gateway::start(options.config(self.set.iter().cloned()).args([
            "--driver",
            &self.driver,
            "--log",
            "warn",
        ]))
    }

    fn once(&self, users: u32) -> anyhow::Result<report::Findings> {
        let mut node = self.gateway()?;
        let credentials = Credentials::hs256(&node.secret_file(), USER_PREFIX.into(), TOKEN_LIFETIME);
        let audience =
            Audience { to: To::RandomUser, devices: self.devices, users, seed: 0, silent_percent: 0 };
        let world = World::new(
            node.listen(),
            node.api_listen(),
            node.options().api_key.clone(),
            audience,
            credentials.map_err(anyhow::Error::msg)?,
            self.bytes,
        );
        register(&world, &node)?;
        let (course, books) = self.run_world(&world, &mut node)?;
        let findings = checker::check(&books.records);
        self.conclude(node, &course, &books, &findings)
    }

    /// Lets everything happen.
    fn run_world(&self, world: &World, node: &mut Gateway) -> anyhow::Result<(Course, Books)> {
        let (course, published, seen) = std::thread::scope(|scope| {
            let publishers: Vec<_> = (0..self.publishers)
                .map(|index| {
                    let (count, batch) = (self.publishers, self.batch);
                    let rate = f64::from(self.rate) / f64::from(count);
                    scope.spawn(move || {
                        publisher::publish(world, PublisherSettings { index, count, rate, batch })
                    })
                })
                .collect();
            let holders: Vec<_> = (0..self.threads)
                .map(|index| scope.spawn(move || devices::run(world, index, self.threads)))
                .collect();
            let course = self.cycles(world, node, &publishers);
            world.set_phase(if course.is_ok() { Phase::Drain } else { Phase::Stop });
            let published = join(publishers);
            let course = course.map(|mut course| {
                course.drained = drain(world);
                course
            });
            world.set_phase(Phase::Stop);
            (course, published, join(holders))
        });
        let (course, published, seen): (Course, Vec<Published>, Vec<Seen>) = (course?, published?, seen?);
        let mut books = Books::default();
        for published in published {
            books.records.publications.extend(published.publications);
            for (code, count) in published.refusals {
                *books.refusals.entry(code).or_default() += count;
            }
        }
        for seen in seen {
            books.records.devices.extend(seen.devices);
            books.complaints.extend(seen.complaints);
        }
        Ok((course, books))
    }

    /// Kills the gateway and starts it again, as often as asked.
    fn cycles<T>(
        &self,
        world: &World,
        node: &mut Gateway,
        publishers: &[ScopedJoinHandle<'_, T>],
    ) -> anyhow::Result<Course> {
        let mut course = Course::default();
        let counts = || {
            [&world.accepted, &world.unanswered, &world.receipts, &world.sessions]
                .map(|counter| counter.load(Ordering::Relaxed))
        };
        let mut before = counts();
        for cycle in 1..=self.cycles {
            let ready = Instant::now();
            let flow = Duration::from_millis(fastrand::u64(self.kill_after_ms_min..=self.kill_after_ms_max));
            std::thread::sleep(flow);
            if cycle % 2 == 0 {
                wait_for_a_request(world);
            }
            ensure!(!publishers.iter().any(ScopedJoinHandle::is_finished), "a publisher has given up");
            node.kill()?;
            let flowed = ready.elapsed();
            world.next_incarnation();
            let ready = node.start_again().context("after a kill")?;
            course.flowed += flowed;
            course.ready_msec.push(ready.as_secs_f64() * 1e3);
            let after = counts();
            let [accepted, unanswered, receipts, sessions] = std::array::from_fn(|at| after[at] - before[at]);
            before = after;
            // Whoever does not take it does without, and the cycles go on.
            let _ = writeln!(
                stdout(),
                "cycle {cycle}/{}: {:.2} s, {accepted} accepted, {unanswered} requests without an answer, {receipts} \
                 delivered, {sessions} sessions; killed, ready again in {:.0} ms",
                self.cycles,
                flowed.as_secs_f64(),
                ready.as_secs_f64() * 1e3
            );
        }
        course.accepted = before[0];
        Ok(course)
    }

    /// Prints what was found. Removes what the gateway has written, unless something is wrong.
    fn conclude(
        &self,
        mut node: Gateway,
        course: &Course,
        books: &Books,
        findings: &Findings,
    ) -> anyhow::Result<report::Findings> {
        let Books { refusals, complaints, .. } = books;
        let mut report = report::Findings::new();
        let flowed = course.flowed.as_secs_f64();
        report.add("cycles", self.cycles.into());
        report.add("devices", self.devices.into());
        report.add("flow_seconds", flowed);
        let rate = course.accepted as f64 / flowed;
        report.add_target("accepted_per_second", Asked::AtLeast(f64::from(self.rate) * 0.9), rate);
        report.add("accepted", findings.accepted as f64);
        report.add("refused", findings.refused as f64);
        for (code, count) in refusals {
            report.add(format!("refused_{code}"), *count as f64);
        }
        report.add("retried_after_no_answer", findings.retried as f64);
        report.add("deliveries_owed", findings.expected as f64);
        report.add("deliveries_received", findings.receipts as f64);
        report.add("deliveries_repeated", findings.repeats as f64);
        let ready = Spread::of(&course.ready_msec);
        report.add("ready_after_kill_msec", ready.median);
        report.add("ready_after_kill_slowest_msec", ready.max);
        report.add("drain_seconds", course.drained.as_secs_f64());
        let count = |kinds: &[&str]| {
            findings.breaches.iter().filter(|breach| kinds.contains(&breach.kind())).count() as f64
        };
        let none = Asked::AtMost(0.0);
        report.add_promise("lost", none, count(&["lost", "other_id_only", "wrong_devices"]));
        report.add_promise("order_broken", none, count(&["not_growing", "reordered", "publish_order"]));
        report.add_promise(
            "names_broken",
            none,
            count(&["id_changed", "seq_changed", "shared_id", "shared_seq"]),
        );
        report.add_promise("forged_or_astray", none, count(&["forged", "astray"]));
        report.add_promise("complaints_of_devices", none, complaints.len() as f64);
        if self.strict {
            report.add_promise("second_ids_before_kills", none, findings.orphans as f64);
        } else {
            report.add("second_ids_before_kills", findings.orphans as f64);
        }
        report.leaves_out(
            "a kill takes the process and spares the page cache: what a power cut does is not shown",
        );
        report.leaves_out(
            "a message whose answer a kill cut off may have been delivered under another id before it \
             (`second_ids_before_kills`)",
        );
        let mut wrong: Vec<String> = findings
            .breaches
            .iter()
            .map(|breach| {
                format!("{breach}\n{}", context::context(&books.records, breach)).trim_end().to_owned()
            })
            .collect();
        wrong.extend(complaints.iter().map(|complaint| format!("complaint: {complaint}")));
        if self.strict && findings.orphans > 0 {
            wrong.push(format!(
                "second ids: {} messages were seen under another id before a kill",
                findings.orphans
            ));
        }
        if findings.accepted == 0 {
            wrong.push("nothing was accepted, so nothing is shown".into());
        }
        if wrong.is_empty() {
            node.stop()?;
        } else {
            let summary = complain(node.keep_folder(), &wrong)?;
            report.must(false, || summary);
        }
        Ok(report)
    }
}

/// Prints what is wrong and keeps all of it in a file.
fn complain(folder: PathBuf, wrong: &[String]) -> anyhow::Result<String> {
    let mut file = std::fs::File::create(folder.join("breaches"))?;
    wrong.iter().try_for_each(|line| writeln!(file, "{line}"))?;
    // All of them are in the file.
    let _ = wrong.iter().take(PRINTED_MAX).try_for_each(|line| writeln!(stdout(), "{line}"));
    Ok(format!("{} promises were broken; data, log and list are in {}", wrong.len(), folder.display()))
}

fn join<T>(threads: Vec<ScopedJoinHandle<'_, anyhow::Result<T>>>) -> anyhow::Result<Vec<T>> {
    let ends: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
    ends.into_iter().map(|end| end.unwrap_or_else(|_| bail!("a thread has panicked"))).collect()
}

/// Waits until a request is on its way, and a little longer: a kill then is most likely to find it half done.
fn wait_for_a_request(world: &World) {
    let start = Instant::now();
    while world.asking.load(Ordering::SeqCst) == 0 && start.elapsed() < REQUEST_PATIENCE {
        std::thread::sleep(Duration::from_micros(100));
    }
    std::thread::sleep(Duration::from_micros(fastrand::u64(0..5_000)));
}

/// Waits until every device has caught up and nothing arrives any more. Gives the time until the last arrival.
fn drain(world: &World) -> Duration {
    let start = Instant::now();
    let (mut before, mut last) = (world.receipts.load(Ordering::Relaxed), start);
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let receipts = world.receipts.load(Ordering::Relaxed);
        if std::mem::replace(&mut before, receipts) != receipts {
            last = Instant::now();
        }
        let all = world.settled.load(Ordering::SeqCst) >= u64::from(world.audience.devices);
        if last.elapsed() >= DRAIN_PATIENCE || all && last.elapsed() >= QUIET && start.elapsed() >= QUIET {
            return last - start;
        }
    }
}

/// Registers every device, so that messages wait for those that have never been connected.
fn register(world: &World, node: &Gateway) -> anyhow::Result<()> {
    for device in 0..world.audience.devices {
        let (user, device) = (world.user(world.audience.user_of(device)), world.audience.device_id(device));
        let body = serde_json::json!({ "device": device }).to_string();
        let answer = node.api().post(&format!("/v2/users/{user}/devices"), &body)?.good();
        answer.with_context(|| format!("device {device} of {user} cannot be registered"))?;
    }
    Ok(())
}
