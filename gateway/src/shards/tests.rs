use std::thread;
use std::time::Duration;

use tokio::time::timeout;

use super::*;

/// Only there to turn a hang into a failure; requests would wait for ever.
const PATIENCE: Duration = Duration::from_secs(10);

fn one_shard() -> (Arc<Inbox>, Arc<Shards>) {
    let inbox = Inbox::new();
    let waker = || Arc::new(Waker::new().unwrap());
    let shards =
        Shards::new(waker(), vec![(Arc::clone(&inbox), waker(), Arc::default())], PlacementKey::new([0; 16]));
    (inbox, shards)
}

/// Takes every place of the permits. The askers go away; their places stay taken until the shard answers.
fn fill(shards: &Shards) {
    let link = &shards.links[0];
    while link
        .ask(Bell::new(Arc::clone(&shards.answers_waker)), RequestBody::Broadcast(Arc::default()))
        .is_ok()
    {}
}

fn drained(inbox: &Inbox) -> Vec<RequestBody> {
    std::iter::from_fn(|| inbox.take())
        .map(|request| {
            inbox.answer(request.ticket, Answer::Draining);
            request.body
        })
        .collect()
}

#[test]
fn a_shard_with_a_full_queue_can_be_drained_and_stopped() {
    let (inbox, shards) = one_shard();
    fill(&shards);
    shards.drain(7);
    for _ in 0..10 {
        shards.stop();
    }
    let bodies = drained(&inbox);
    assert_eq!(bodies.len(), REQUESTS_WAITING_MAX + 2);
    let [.., RequestBody::Drain { reconnect_within_ms: 7 }, RequestBody::Stop] = &bodies[..] else {
        panic!("not told to end: {:?}", &bodies[REQUESTS_WAITING_MAX..]);
    };
    // The orders took none of the permits, and give none back.
    shards.links[0].deliver_answers();
    assert_eq!(shards.links[0].places.available_permits(), REQUESTS_WAITING_MAX);
    fill(&shards);
    assert_eq!(drained(&inbox).len(), REQUESTS_WAITING_MAX);
}

#[tokio::test]
async fn whoever_asks_a_shard_that_has_ended_is_told_at_once() {
    let (inbox, shards) = one_shard();
    fill(&shards);
    inbox.end();
    shards.links[0].deliver_answers();
    let user = UserId::try_from("ada").unwrap();
    let asked = timeout(PATIENCE, shards.devices(&user)).await.expect("the asker waits for ever");
    assert_eq!(asked, Err(Unavailable::Stopping));
}

#[tokio::test]
async fn what_a_shard_answered_before_its_end_is_delivered() {
    let (inbox, shards) = one_shard();
    let link = &shards.links[0];
    let answered = link
        .ask(Bell::new(Arc::clone(&shards.answers_waker)), RequestBody::Broadcast(Arc::default()))
        .unwrap();
    let unanswered = link
        .ask(Bell::new(Arc::clone(&shards.answers_waker)), RequestBody::Broadcast(Arc::default()))
        .unwrap();
    inbox.answer(inbox.take().unwrap().ticket, Answer::Disconnected(3));
    inbox.end();
    link.deliver_answers();
    assert!(matches!(answered.await, Ok(Answer::Disconnected(3))));
    assert!(timeout(PATIENCE, unanswered).await.expect("the asker waits for ever").is_err());
}

#[tokio::test]
async fn nobody_who_asks_while_a_shard_ends_waits_for_ever() {
    let user = UserId::try_from("ada").unwrap();
    for _ in 0..300 {
        let (_inbox, shards) = one_shard();
        let answering = Arc::clone(&shards);
        let answers = thread::spawn(move || answering.hand_out_answers());
        let ending = Arc::clone(&shards);
        let end = thread::spawn(move || ending.stop_answering());
        // Before, while or after: there is no shard that would answer.
        let asked = timeout(PATIENCE, shards.devices(&user)).await.expect("the asker waits for ever");
        assert_eq!(asked, Err(Unavailable::Stopping));
        end.join().unwrap();
        answers.join().unwrap().unwrap();
    }
}
