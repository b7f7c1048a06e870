//! What of a report is not as it should be.

use std::fmt;

use super::{Channels, Connections, Report, grouped};
use crate::saturation::Saturation;

/// Something that went wrong, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// What it was.
    pub what: &'static str,
    /// How often; not 0.
    pub count: u64,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, grouped(self.count))
    }
}

/// Those that have occurred.
pub(super) fn occurred<const N: usize>(flaws: [(&'static str, u64); N]) -> impl Iterator<Item = Flaw> {
    flaws.into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| Flaw { what, count })
}

impl Report {
    /// What must not happen in any run, and has.
    pub fn broken_promises(&self) -> Vec<Flaw> {
        self.channels.iter().flat_map(Channels::broken_promises).collect()
    }

    /// What has gone wrong: a device that could not connect or did not stay, and a message that did not arrive once,
    /// where it should. What comes again in a later session is no loss: delivery is at least once.
    pub fn losses(&self) -> Vec<Flaw> {
        let mut losses: Vec<Flaw> = occurred([
            ("attempts to connect that failed", self.connections.failed),
            ("connections ended early", self.connections.ended_early),
            ("messages not accepted", self.publications().map(|pushes| pushes.failed).sum()),
        ])
        .collect();
        if let Some(deliveries) = &self.deliveries {
            losses.extend(occurred([
                ("messages lost", deliveries.lost),
                ("messages that came twice in one session", deliveries.duplicated),
                ("messages that came to a device they were not for", deliveries.astray),
                ("frames that cannot be decoded", deliveries.undecodable),
                ("messages out of order", deliveries.out_of_order),
            ]));
        }
        if let Some(replay) = &self.replay {
            let left = self.connections.opened.saturating_sub(replay.caught_up);
            let out_of_order = self.deliveries.as_ref().map_or(replay.out_of_order, |_| 0);
            losses.extend(occurred([
                ("replays that did not end", left),
                ("messages of replays out of order", out_of_order),
            ]));
        }
        losses.extend(self.channels.iter().flat_map(Channels::losses));
        losses
    }

    /// How busy the load generator's threads were, if that made it the bottleneck.
    pub fn bottleneck(&self) -> Option<&Saturation> {
        self.process.saturation.as_ref().filter(|saturation| saturation.is_bottleneck())
    }

    /// Whether nobody was to connect.
    pub fn expects_nobody(&self) -> bool {
        self.connections.target == 0
    }

    /// How many arrivals were expected, if some were and there was none.
    pub fn expected_in_vain(&self) -> Option<u64> {
        let pushed = self.deliveries.as_ref().map(|found| (found.expected, found.received));
        let fanned_out =
            self.channels.as_ref().map(|found| (found.expected, found.frames + found.frames_late));
        let replayed = self.replay.as_ref().map(|found| (found.waiting, found.messages));
        let in_vain = |(expected, arrived): (u64, u64)| (expected > 0 && arrived == 0).then_some(expected);
        [pushed, fanned_out, replayed].into_iter().flatten().find_map(in_vain)
    }
}

impl Connections {
    /// Whether connections ended that were to stay, and devices that go by themselves are not why nobody is there.
    pub fn has_lost_everybody(&self) -> bool {
        self.ended_early > 0 && (self.left == 0 || self.failed > 0)
    }
}
