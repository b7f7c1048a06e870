//! Says what this machine allows and, against that, how close the gateway comes; and whether it keeps its word when it
//! is killed.
//!
//! Every figure is printed as a table and, with `--json`, written as a [`report::Record`]; [`tables`] are made of
//! those.

mod all;
mod compare;
mod demo;
mod floor;
mod gateway;
mod kernel_memory;
mod ledger;
mod mailbox;
mod plot;
mod receiver;
mod report;
mod tables;

use clap::{Parser, Subcommand};

/// The gateway's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures what this machine allows.
#[derive(Parser)]
#[command(name = "bench", version)]
struct CommandLine {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// The least work with which this machine can do the gateway's socket job.
    #[command(subcommand)]
    Floor(floor::Floor),
    /// What the gateway reaches, beside the floor.
    #[command(subcommand)]
    Gateway(gateway::Gateway),
    /// The work for each message, of two gateways in turn, beside the floor.
    HotPath(gateway::HotPath),
    /// The demo, as often as asked.
    Demo(demo::Demo),
    /// Whether anything is lost, reordered or stored twice when the gateway is killed again and again.
    Ledger(ledger::Ledger),
    /// The embedded mailbox alone, beside the disk that it writes to.
    #[command(subcommand)]
    Mailbox(mailbox::Mailbox),
    /// Any server that broadcasts, under more and more load.
    Compare(Box<compare::Compare>),
    /// All of the above but the comparison with other servers, one after another, into a folder of results.
    All(all::All),
    /// Writes the tables of the documents from the results, or says where they differ.
    Report(tables::ReportCommand),
    /// Draws what has been compared.
    Plot(plot::Plot),
    /// Counts what subscribers receive; the others start it.
    #[command(hide = true)]
    Receiver(receiver::ReceiverProcess),
}

fn main() -> anyhow::Result<()> {
    match CommandLine::parse().benchmark {
        Benchmark::All(all) => all.run(),
        Benchmark::Compare(compare) => compare.run(),
        Benchmark::Demo(demo) => demo.run(),
        Benchmark::Floor(floor) => floor.run(),
        Benchmark::Gateway(gateway) => gateway.run(),
        Benchmark::HotPath(hot_path) => hot_path.run(),
        Benchmark::Ledger(ledger) => ledger.run(),
        Benchmark::Mailbox(mailbox) => mailbox.run(),
        Benchmark::Plot(plot) => plot.run(),
        Benchmark::Report(report) => report.run(),
        Benchmark::Receiver(receiver) => receiver.run(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::CommandLine;

    #[test]
    fn every_benchmark_has_its_place_in_the_page() {
        let page = include_str!("../../docs/load-testing.md");
        let is_named =
            |name: &str| page.contains(&format!("`{name}`")) || page.contains(&format!("`{name} "));
        for group in CommandLine::command().get_subcommands().filter(|group| !group.is_hide_set()) {
            let group_name = format!("bench {}", group.get_name());
            assert!(is_named(&group_name), "{group_name} is in no page");
            for leaf in group.get_subcommands().filter(|leaf| !leaf.is_hide_set()) {
                let name = leaf.get_name();
                let named = is_named(&format!("{group_name} {name}")) || is_named(name);
                assert!(named, "{group_name} {name} is in no page");
            }
        }
    }
}
