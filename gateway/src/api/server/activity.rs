//! What goes on on an HTTP/2 connection, and when it has stopped. `hyper` has a limit for connections on which nobody
//! speaks, not for ones on which nothing happens: without an end to those, clients that only answer pings, or that
//! open no window for their answers, would keep publishers and probes out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::timeout;

/// What goes on.
#[derive(Copy, Clone, Default)]
struct State {
    /// Requests without an answer, or whose answer has not ended.
    requests: usize,
    /// Of these, the ones of which the peer has yet to take something.
    untaken: usize,
}

/// The requests of one connection.
#[derive(Clone)]
pub(super) struct Activity(Arc<watch::Sender<State>>);

/// One request, until it is dropped.
pub(super) struct Running {
    activity: Activity,
    untaken: bool,
}

/// How a connection came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// There was no request for too long.
    Idle,
    /// The peer took nothing of an answer for too long.
    Untaken,
}

impl Activity {
    pub(super) fn new() -> Activity {
        Activity(Arc::new(watch::Sender::new(State::default())))
    }

    /// A request begins.
    pub(super) fn begin(&self) -> Running {
        self.0.send_modify(|state| state.requests += 1);
        Running { activity: self.clone(), untaken: false }
    }

    /// Waits until there has been no request for `idle`, or nothing was taken of an answer for `untaken`.
    pub(super) async fn stopped(&self, idle: Duration, untaken: Duration) -> Stopped {
        let mut states = self.0.subscribe();
        loop {
            let state = *states.borrow_and_update();
            let (patience, stopped) = match state {
                State { requests: 0, .. } => (idle, Stopped::Idle),
                State { untaken: 1.., .. } => (untaken, Stopped::Untaken),
                // The answer is still being made, which the router limits, or the stream waits for its client.
                _ => (Duration::MAX, Stopped::Idle),
            };
            if timeout(patience, states.changed()).await.is_err() {
                return stopped;
            }
        }
    }
}

impl Running {
    /// The body of the request's answer, which ends the request when it is dropped.
    pub(super) fn answer(mut self, body: Body) -> Body {
        self.set_untaken(!body.is_end_stream());
        Body::new(Answer { body, running: self })
    }

    /// Also tells that something has happened.
    fn set_untaken(&mut self, untaken: bool) {
        if untaken || self.untaken {
            self.activity.0.send_modify(|state| {
                state.untaken = state.untaken + usize::from(untaken) - usize::from(self.untaken);
            });
            self.untaken = untaken;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.set_untaken(false);
        self.activity.0.send_modify(|state| state.requests -= 1);
    }
}

/// `hyper` asks for the next part of a body only when the peer has opened a window for it.
struct Answer {
    body: Body,
    running: Running,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into);
        self.running.set_untaken(next.is_ready());
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const IDLE: Duration = Duration::from_secs(30);
    const UNTAKEN: Duration = Duration::from_secs(10);

    async fn stopped_within(activity: &Activity, seconds: u64) -> Option<Stopped> {
        timeout(Duration::from_secs(seconds), activity.stopped(IDLE, UNTAKEN)).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_without_requests() {
        let activity = Activity::new();
        assert_eq!(stopped_within(&activity, 31).await, Some(Stopped::Idle));
        let running = activity.begin();
        assert_eq!(stopped_within(&activity, 1_000).await, None);
        drop(running);
        assert_eq!(stopped_within(&activity, 29).await, None);
        assert_eq!(stopped_within(&activity, 31).await, Some(Stopped::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_is_told_from_one_that_is_not_made() {
        let activity = Activity::new();
        let mut body = activity.begin().answer(Body::from("hello"));
        assert_eq!(stopped_within(&activity, 9).await, None);
        assert_eq!(stopped_within(&activity, 11).await, Some(Stopped::Untaken));
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(stopped_within(&activity, 31).await, Some(Stopped::Idle));
        // A stream that waits for its server is not the client's fault.
        let mut silent = activity.begin().answer(Body::new(crate::api::tests::fake::Silent));
        assert!(timeout(Duration::from_secs(1), silent.frame()).await.is_err());
        assert_eq!(stopped_within(&activity, 1_000).await, None);
    }
}
