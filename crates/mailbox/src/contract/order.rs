//! In which order things happen and are answered.

use super::Subject;
use super::asker::{Asker, ann, body, dedup, key, message, of, read, ticket_of, to, topic, trim, user};
use crate::operations::{Completion, Open, Operation, Registration};
use crate::{DedupKey, Stored};

/// A read that is asked with an append sees it, and does not see a later one.
pub fn a_read_sees_what_was_asked_before_it<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    let page = asker.ticket();
    let operations = vec![
        Operation::Append(asker.ticket(), message(10, &[1])),
        read(page, &ann(1), 0, 10, 1_000),
        Operation::Append(asker.ticket(), message(11, &[1])),
    ];
    asker.store.port(0).ask(operations);
    asker.turn();
    let heard = asker.heard(0);
    let answer = heard.iter().find_map(|heard| match heard {
        Completion::Read(of, Ok(found)) if *of == page => Some(found),
        _ => None,
    });
    let answer = answer.unwrap_or_else(|| panic!("{heard:?}"));
    assert_eq!(
        answer.messages.iter().map(|message| (message.seq, &message.body)).collect::<Vec<_>>(),
        [(10, &body(10, 1))]
    );
    assert_eq!(heard.len(), 3);
}

/// A session that opens counts what was asked before, and what it has confirmed is trimmed first.
pub fn a_session_that_opens_sees_what_was_asked_before_it<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    let opened = asker.ticket();
    let open =
        Open { address: ann(1), acknowledged: 10, register: true, devices_max: 5, now_ms: asker.now_ms };
    let operations = vec![
        Operation::Append(asker.ticket(), message(10, &[1])),
        Operation::Append(asker.ticket(), message(11, &[1])),
        Operation::Open(opened, Box::new(open)),
        Operation::Append(asker.ticket(), message(12, &[1])),
    ];
    asker.store.port(0).ask(operations);
    asker.turn();
    let count = asker.heard(0).into_iter().find_map(|heard| match heard {
        Completion::Opened(of, Ok(found)) if of == opened => Some(found.count),
        _ => None,
    });
    let count = count.expect("it is answered");
    assert_eq!((count.messages, count.acknowledged), (1, 10));
}

/// Whatever is answered before the store had time to make it durable promises nothing.
pub fn promises_come_when_they_are_durable_and_the_rest_at_once<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    let (page, devices) = (asker.ticket(), asker.ticket());
    let operations = vec![
        Operation::Append(asker.ticket(), dedup(key("a"), message(10, &[1]))),
        Operation::Register(
            asker.ticket(),
            Registration { user: user("ann"), device: None, devices_max: 5, now_ms: asker.now_ms },
        ),
        Operation::Remove(asker.ticket(), ann(1), 10),
        Operation::Recall(asker.ticket(), user("ann"), key("a")),
        read(page, &ann(1), 0, 10, 1_000),
        Operation::User(devices, user("ann")),
    ];
    asker.store.port(0).ask(operations);
    asker.store.begin(asker.now_ms);
    let at_once: Vec<u32> = asker.heard(0).iter().filter_map(ticket_of).map(|(ticket, _)| ticket).collect();
    assert!(at_once.contains(&page.number()) && at_once.contains(&devices.number()), "{at_once:?}");
    let promises = 6 - at_once.len();
    asker.turn();
    assert_eq!(asker.heard(0).len(), promises, "the rest, each once");
}

/// What a device has confirmed need not be written; the deduplication id is, and the publisher hears yes.
pub fn an_acknowledgement_that_overtakes_its_message_spares_the_write_and_not_the_answer<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    let sent = dedup(key("a"), topic("t", message(10, &[1, 2])));
    let operations = vec![
        Operation::Append(asker.ticket(), sent),
        Operation::Trim(vec![trim(1, 10), trim(2, 9)]),
        Operation::Append(asker.ticket(), message(11, &[1])),
    ];
    asker.store.port(0).ask(operations);
    asker.turn();
    let heard = asker.heard(0);
    assert_eq!(heard.len(), 2);
    for answer in heard {
        let Completion::Appended(_, Ok(stored)) = answer else { panic!("{answer:?}") };
        assert!(stored.into_iter().all(|stored| stored == Stored::Yes));
    }
    let mut asker = asker.reopened(S::crash);
    assert_eq!((asker.reads(&ann(1)), asker.reads(&ann(2))), (vec![11], vec![10]));
    let remembered = asker.recall(&user("ann"), &key("a")).expect("it is remembered");
    assert_eq!((remembered.seq, remembered.outcomes.len()), (10, 2));
}

/// A watermark confirms what was sent before it, and nothing later.
pub fn a_trim_spares_nothing_that_was_asked_after_it<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    let operations = vec![
        Operation::Trim(vec![trim(1, 9)]),
        Operation::Append(asker.ticket(), message(10, &[1])),
        Operation::Append(asker.ticket(), message(11, &[1])),
        Operation::Trim(vec![trim(1, 10)]),
        Operation::Trim(vec![trim(1, 4)]),
    ];
    asker.store.port(0).ask(operations);
    asker.turn();
    asker.heard(0);
    assert_eq!(asker.reads(&ann(1)), [11]);
}

/// Each shard has its own users, and hears of them alone.
pub fn what_is_asked_through_one_port_is_answered_there<S: Subject>() {
    let mut asker = Asker::<S>::new(super::ROOMY, 3, 1);
    let names = ["ann", "bob", "cid"];
    let mut asked = Vec::new();
    for (port, name) in names.iter().enumerate() {
        let (append, recall) = (asker.ticket(), asker.ticket());
        let key = DedupKey { scope: crate::DedupScope::Publisher(port as u64), id: "a".into() };
        asker.store.port(port).ask(vec![
            Operation::Append(append, dedup(key.clone(), to(name, message(10 + port as u64, &[1])))),
            Operation::Recall(recall, user(name), key),
        ]);
        asked.push(vec![append.number(), recall.number()]);
    }
    asker.turn();
    for (port, asked) in asked.into_iter().enumerate() {
        let mut heard: Vec<u32> = asker
            .heard(port)
            .iter()
            .filter_map(ticket_of)
            .map(|(ticket, works)| if works { ticket } else { 0 })
            .collect();
        heard.sort_unstable();
        assert_eq!(heard, asked, "port {port}");
    }
    assert_eq!(asker.reads(&of("cid", 1)), [12]);
}
