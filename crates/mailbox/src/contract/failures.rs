//! What is heard of a store that fails inside, and what is left of it.

use fastrand::Rng;

use super::asker::{Asker, ann, key, message, of, read, ticket_of, to, user};
use super::{Call, ROOMY, SOON_MS, Subject};
use crate::operations::{Completion, Open, Operation, Registration, StoreFailed};
use crate::{Partition, Stored};

/// One of everything that is answered, of one user.
fn everything<S: Subject>(asker: &mut Asker<S>) -> Vec<Operation> {
    let now_ms = asker.now_ms;
    let open = Open { address: ann(1), acknowledged: 0, register: true, devices_max: 5, now_ms };
    vec![
        Operation::Append(asker.ticket(), message(10, &[1])),
        Operation::Recall(asker.ticket(), user("ann"), key("a")),
        Operation::Open(asker.ticket(), Box::new(open)),
        Operation::User(asker.ticket(), user("ann")),
        Operation::Register(
            asker.ticket(),
            Registration { user: user("ann"), device: None, devices_max: 5, now_ms },
        ),
        read(asker.ticket(), &ann(1), 0, 100, 1_000),
        Operation::Fetch(asker.ticket(), ann(1), 10),
        Operation::Remove(asker.ticket(), ann(1), 10),
        Operation::Reserve(asker.ticket(), 100),
    ]
}

fn is_news(completion: &Completion) -> bool {
    matches!(completion, Completion::Reopened(_))
}

/// How often each partition was begun anew.
fn news(heard: &[Completion]) -> usize {
    heard.iter().filter(|heard| is_news(heard)).count() / Partition::COUNT
}

/// After a failed sync nothing is promised that is not kept, and everybody hears that the store forgot something.
pub fn after_a_failed_sync_every_promise_is_a_failure_and_every_shard_hears_of_it<S: Subject>() {
    let mut asker = Asker::<S>::new(ROOMY, 2, 1);
    asker.store.fail(Call::Sync);
    let operations = everything(&mut asker);
    asker.store.port(0).ask(operations);
    let append = asker.ticket();
    asker.store.port(1).ask(vec![Operation::Append(append, to("bob", message(11, &[2])))]);
    asker.turn();
    asker.now_ms += SOON_MS;
    asker.turn();
    let heard = asker.heard(0);
    assert_eq!((heard.len(), news(&heard)), (9 + Partition::COUNT, 1), "{heard:?}");
    let first_news = heard.iter().position(is_news).expect("the news");
    for answer in &heard[..first_news] {
        let promise =
            matches!(answer, Completion::Appended(..) | Completion::Registered(..) | Completion::Removed(..));
        assert_ne!(promise, ticket_of(answer).expect("an answer").1, "{answer:?}");
    }
    assert!(heard[first_news..].iter().all(is_news), "all was answered before");
    let heard = asker.heard(1);
    assert!(matches!(heard[0], Completion::Appended(of, Err(StoreFailed)) if of == append), "{heard:?}");
    assert_eq!((heard.len(), news(&heard)), (1 + Partition::COUNT, 1));
    assert_eq!(asker.append(message(20, &[1])), [Stored::Yes], "work goes on");
    let mut asker = asker.reopened(S::crash);
    assert!(asker.reads(&ann(1)).contains(&20));
}

/// While the store cannot be opened, every question is answered all the same.
pub fn while_the_store_cannot_be_opened_everything_is_refused<S: Subject>() {
    let mut asker = Asker::<S>::new(ROOMY, 2, 1);
    asker.store.fail(Call::Append);
    asker.store.fail(Call::Reopen);
    let operations = everything(&mut asker);
    let asked = operations.len();
    asker.store.port(0).ask(operations);
    asker.turn();
    let heard = asker.heard(0);
    assert_eq!(heard.len(), asked, "{heard:?}");
    assert!(heard.iter().all(|answer| ticket_of(answer).is_some_and(|(_, works)| !works)), "{heard:?}");
    let append = asker.ticket();
    asker.store.port(0).ask(vec![Operation::Append(append, message(20, &[1]))]);
    asker.turn();
    assert!(matches!(asker.heard(0)[..], [Completion::Appended(of, Err(StoreFailed))] if of == append));
    asker.now_ms += SOON_MS;
    let append = asker.ticket();
    asker.store.port(0).ask(vec![Operation::Append(append, message(21, &[1]))]);
    asker.turn();
    let heard = asker.heard(0);
    assert_eq!(news(&heard), 1);
    assert!(matches!(heard.last(), Some(Completion::Appended(of, Ok(_))) if *of == append), "{heard:?}");
    assert_eq!(news(&asker.heard(1)), 1);
}

/// What is heard after the news of a partition's new life was done in that life.
pub fn whatever_is_heard_after_the_news_of_a_failure_was_done_after_it<S: Subject>() {
    for fails in [Call::Append, Call::Other] {
        let mut asker = Asker::<S>::roomy();
        asker.store.fail(fails);
        let mut operations = Vec::new();
        for number in 10..14 {
            operations.push(Operation::Append(asker.ticket(), message(number, &[1])));
            operations.push(read(asker.ticket(), &ann(1), 0, 100, 10_000));
        }
        asker.store.port(0).ask(operations);
        asker.turn();
        asker.now_ms += SOON_MS;
        asker.turn();
        let heard = asker.heard(0);
        assert_eq!((heard.len(), news(&heard)), (8 + Partition::COUNT, 1), "{heard:?}");
        let at = heard.iter().position(is_news).expect("the news");
        assert!(heard[..at].iter().any(|answer| ticket_of(answer).is_some_and(|(_, works)| !works)));
        let appended =
            heard[at..].iter().filter(|answer| matches!(answer, Completion::Appended(_, Ok(_)))).count();
        let left = asker.reads(&ann(1));
        assert!(left.len() >= appended, "{appended} were stored in this life: {left:?} of {heard:?}");
    }
}

/// A disk that fails for every call is left alone for a while.
pub fn a_disk_that_goes_on_failing_is_not_opened_again_for_every_operation<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    asker.turn();
    (0..50).for_each(|_| asker.store.fail(Call::Other));
    let operations = (0..50).map(|_| read(asker.ticket(), &ann(1), 0, 10, 100)).collect();
    asker.store.port(0).ask(operations);
    asker.turn();
    let heard = asker.heard(0);
    assert!(news(&heard) <= 1, "{heard:?}");
    assert_eq!(heard.iter().filter_map(ticket_of).count(), 50);
}

/// Each question has one answer, from a disk that does everything it may, and each yes is kept.
pub fn every_question_is_answered_once_and_what_was_promised_is_there<S: Subject>() {
    const NAMES: [&str; 2] = ["ann", "bob"];
    for seed in 0..20 {
        let mut asker = Asker::<S>::new(ROOMY, 2, seed);
        let mut rng = Rng::with_seed(seed);
        let mut open = [Vec::new(), Vec::new()];
        let mut promised = [Vec::new(), Vec::new()];
        let mut failed = 0;
        for turn in 0..200 {
            if rng.u8(..10) == 0 && turn < 150 {
                let call = [Call::Sync, Call::Append, Call::Other, Call::Reopen][rng.usize(..4)];
                asker.store.fail(call);
            }
            for port in 0..2 {
                for _ in 0..rng.u32(0..6) {
                    let ticket = asker.ticket();
                    let number = u64::from(ticket.number());
                    open[port].push(ticket.number());
                    asker.store.port(port).ask(vec![match rng.u32(0..4) {
                        0..3 => Operation::Append(ticket, to(NAMES[port], message(number, &[1]))),
                        _ => {
                            let ticket = crate::operations::Ticket::new(ticket.number());
                            Operation::Fetch(ticket, of(NAMES[port], 1), number)
                        }
                    }]);
                }
            }
            asker.turn();
            asker.now_ms += rng.u64(..300);
            for port in 0..2 {
                for answer in asker.heard(port) {
                    let Some((ticket, works)) = ticket_of(&answer) else { continue };
                    let at = open[port].iter().position(|open| *open == ticket);
                    open[port].swap_remove(
                        at.unwrap_or_else(|| panic!("seed {seed}: twice, or not asked: {answer:?}")),
                    );
                    failed += u32::from(!works);
                    if let Completion::Appended(_, Ok(stored)) = answer {
                        assert_eq!(stored, [Stored::Yes]);
                        promised[port].push(u64::from(ticket));
                    }
                }
            }
        }
        assert!(open.iter().all(Vec::is_empty), "seed {seed}: not answered: {open:?}");
        assert!(failed > 0, "seed {seed}: nothing failed");
        let mut asker = asker.reopened(S::crash);
        for (name, promised) in NAMES.iter().zip(promised) {
            let waiting = asker.reads(&of(name, 1));
            let lost: Vec<_> = promised.iter().filter(|number| !waiting.contains(number)).collect();
            assert!(lost.is_empty() && !promised.is_empty(), "seed {seed}: {name} has lost {lost:?}");
        }
    }
}
