//! Why a run did not go as it should, and the exit code that says so: every reason is said, the weightiest decides.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;

use crate::console;
use crate::report::{Flaw, Report, grouped};
use crate::run::Finished;
use crate::saturation::Saturation;
use crate::scenario::RunReport;
use crate::stats::Reasons;
use crate::thresholds::Checked;

/// How the program ends when not all is well. Of several that apply the first in this list decides.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The arguments make no sense.
    Arguments,
    /// Nothing connected, was accepted or was delivered, though it was to be.
    NothingWorked,
    /// A threshold was not kept, a promise was broken, or something was lost that was not to be.
    Threshold,
    /// The run could not take place or go on, or its results could not be written.
    CannotRun,
    /// The load generator itself was the bottleneck: the figures are not the server's.
    Bottleneck,
    /// A signal ended the run.
    Interrupted,
}

impl Code {
    /// The exit code.
    pub const fn number(self) -> u8 {
        match self {
            Code::Arguments => 104,
            Code::NothingWorked => 91,
            Code::Threshold => 99,
            Code::CannotRun => 3,
            Code::Bottleneck => 90,
            Code::Interrupted => 105,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        code.number().into()
    }
}

/// Why a run did not go as it should.
#[derive(Clone, Debug)]
pub enum Reason {
    /// The arguments make no sense, in words for the operator.
    Arguments(String),
    /// The run could not take place or go on, in words for the operator.
    CannotRun(String),
    /// What was found cannot be written, in words for the operator.
    CannotWrite(String),
    /// No device had a session.
    NothingConnected {
        /// Devices that were to.
        devices: u32,
        /// Why they did not.
        why: Reasons,
    },
    /// Every device lost its connection, and none was back at the end.
    EverybodyLost {
        /// Connections that ended.
        connections: u64,
        /// How.
        how: Reasons,
    },
    /// No message was accepted.
    NothingAccepted {
        /// Messages that were sent.
        messages: u64,
        /// Why they were not.
        why: Reasons,
    },
    /// No message arrived.
    NothingDelivered {
        /// Arrivals that were expected.
        expected: u64,
    },
    /// A figure was not as was asked.
    Threshold(Checked),
    /// What is promised in any run did not hold.
    BrokenPromise(Flaw),
    /// Something went wrong, and `--fail-on-loss` was given.
    Loss(Flaw),
    /// The load generator was never idle: what it found is about itself.
    Bottleneck(Saturation),
    /// A signal ended the run.
    Interrupted,
    /// What went wrong in one of several scenarios.
    Scenario {
        /// Its name.
        name: String,
        /// What it was.
        reason: Box<Reason>,
    },
}

impl Reason {
    /// The exit code, and what is said: the one table of both.
    fn entry(&self) -> (Code, String) {
        match self {
            Reason::Arguments(words) => (Code::Arguments, words.clone()),
            Reason::CannotRun(words) | Reason::CannotWrite(words) => (Code::CannotRun, words.clone()),
            Reason::NothingConnected { devices, why } => (
                Code::NothingWorked,
                format!("none of {} devices connected{}", grouped((*devices).into()), listed(why)),
            ),
            Reason::EverybodyLost { connections, how } => (
                Code::NothingWorked,
                format!(
                    "nobody was connected at the end: {} connections were ended{}",
                    grouped(*connections),
                    listed(how)
                ),
            ),
            Reason::NothingAccepted { messages, why } => (
                Code::NothingWorked,
                format!("none of {} messages was accepted{}", grouped(*messages), listed(why)),
            ),
            Reason::NothingDelivered { expected } => (
                Code::NothingWorked,
                format!("nothing was delivered, though {} deliveries were expected", grouped(*expected)),
            ),
            Reason::Threshold(checked) => (Code::Threshold, format!("threshold not kept: {checked}")),
            Reason::BrokenPromise(flaw) => (Code::Threshold, format!("a promise is broken: {flaw}")),
            Reason::Loss(flaw) => (Code::Threshold, format!("--fail-on-loss: {flaw}")),
            Reason::Bottleneck(saturation) => (
                Code::Bottleneck,
                format!("the bottleneck was {saturation}; the figures are not the server's"),
            ),
            Reason::Interrupted => (
                Code::Interrupted,
                "interrupted by a signal; the results are of what had happened until then".into(),
            ),
            Reason::Scenario { name, reason } => {
                let (code, words) = reason.entry();
                (code, format!("scenario {name}: {words}"))
            }
        }
    }

    /// The exit code.
    pub fn code(&self) -> Code {
        self.entry().0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.entry().1)
    }
}

/// Counts by reason in brackets, or nothing.
fn listed(reasons: &Reasons) -> String {
    let list: Vec<String> =
        reasons.iter().map(|(reason, &count)| format!("{reason}: {}", grouped(count))).collect();
    if list.is_empty() { String::new() } else { format!(" ({})", list.join(", ")) }
}

/// What a run comes to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    reasons: Vec<Reason>,
}

impl Verdict {
    /// What a run comes to that has only this one reason.
    pub fn only(reason: Reason) -> Verdict {
        Verdict { reasons: vec![reason] }
    }

    /// What a run comes to that has found this. With `fail_on_loss` everything that was lost counts.
    pub fn of(finished: &Finished, fail_on_loss: bool) -> Verdict {
        let report = &finished.report;
        let mut verdict = Verdict::default();
        verdict.judge_what_worked(report);
        verdict.add_all(finished.broken_off.clone().map(Reason::CannotRun));
        let failed = report.thresholds.iter().filter(|checked| !checked.kept);
        verdict.add_all(failed.cloned().map(Reason::Threshold));
        verdict.add_all(report.broken_promises().into_iter().map(Reason::BrokenPromise));
        if fail_on_loss {
            verdict.add_all(report.losses().into_iter().map(Reason::Loss));
        }
        verdict.add_all(report.bottleneck().copied().map(Reason::Bottleneck));
        verdict.add_all(report.interrupted.then_some(Reason::Interrupted));
        verdict
    }

    /// What a scenario file comes to.
    pub fn of_scenarios(
        report: &RunReport,
        finished: &BTreeMap<String, Finished>,
        fail_on_loss: bool,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        let failed = report.thresholds.iter().filter(|checked| !checked.kept);
        verdict.add_all(failed.cloned().map(Reason::Threshold));
        for (name, finished) in finished {
            let own = Verdict::of(finished, fail_on_loss).reasons.into_iter();
            // A signal is for all of them.
            let own = own.filter(|reason| !matches!(reason, Reason::Interrupted));
            verdict
                .add_all(own.map(|reason| Reason::Scenario { name: name.clone(), reason: Box::new(reason) }));
        }
        verdict.add_all(report.interrupted.then_some(Reason::Interrupted));
        verdict
    }

    /// Adds a reason.
    pub fn add(&mut self, reason: Reason) {
        self.reasons.push(reason);
    }

    /// Every reason, in the order in which they were added.
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// The code of the weightiest reason; `None` if all is well.
    pub fn code(&self) -> Option<Code> {
        self.reasons.iter().map(Reason::code).min()
    }

    /// Says every reason on standard error, and gives the exit code.
    pub fn end(&self) -> ExitCode {
        for reason in &self.reasons {
            console::last_words(&format!("error: {reason}"));
        }
        self.code().map_or(ExitCode::SUCCESS, ExitCode::from)
    }

    fn add_all(&mut self, reasons: impl IntoIterator<Item = Reason>) {
        self.reasons.extend(reasons);
    }

    /// Whether there was anything at all where there was to be something.
    fn judge_what_worked(&mut self, report: &Report) {
        let connections = &report.connections;
        if report.expects_nobody() {
            // Whoever is registered over the API does not connect.
        } else if connections.connected == 0 && !(report.interrupted && connections.failed == 0) {
            let why = connections.failed_by_reason.clone();
            self.add(Reason::NothingConnected { devices: connections.target, why });
        } else if connections.connected_at_end == 0 && connections.has_lost_everybody() {
            let how = connections.ended_early_by_reason.clone();
            self.add(Reason::EverybodyLost { connections: connections.ended_early, how });
        }
        for pushes in report.publications().filter(|pushes| pushes.accepted == 0 && pushes.failed > 0) {
            let why = pushes.failed_by_reason.clone();
            self.add(Reason::NothingAccepted { messages: pushes.failed, why });
        }
        if let Some(expected) = report.expected_in_vain() {
            self.add(Reason::NothingDelivered { expected });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weightiest_of_several_reasons_decides() {
        let flaw = Flaw { what: "messages lost", count: 3 };
        let reasons = [
            (Reason::Interrupted, 105),
            (Reason::Bottleneck(Saturation::default()), 90),
            (Reason::CannotWrite("no room".into()), 3),
            (Reason::Loss(flaw.clone()), 99),
            (Reason::BrokenPromise(flaw), 99),
            (Reason::NothingDelivered { expected: 7 }, 91),
            (Reason::Arguments("nonsense".into()), 104),
        ];
        let mut verdict = Verdict::default();
        assert_eq!(verdict.code(), None);
        for (count, (reason, number)) in (1..).zip(reasons) {
            verdict.add(reason);
            assert_eq!(verdict.code().map(Code::number), Some(number));
            assert_eq!(verdict.reasons().len(), count, "none is forgotten");
        }
    }

    #[test]
    fn reasons_say_how_often_and_why() {
        let why: Reasons = [("connection_refused".to_owned(), 1_200)].into();
        let reason = Reason::NothingConnected { devices: 1_200, why };
        assert_eq!(reason.to_string(), "none of 1,200 devices connected (connection_refused: 1,200)");
        let reason = Reason::Loss(Flaw { what: "messages lost", count: 3 });
        assert_eq!(reason.to_string(), "--fail-on-loss: messages lost: 3");
    }
}
