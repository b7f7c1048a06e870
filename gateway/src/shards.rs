//! The shards as the control plane sees them: what it asks of them, and who waits for which answer.
//!
//! A request reserves the place of its answer before it is queued ([`Inbox`]), so that a shard can always answer and
//! never waits.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use campanile_engine::Waker;
use campanile_protocol::ids::{ChannelName, DeviceId, MessageId, UserId};
use campanile_protocol::messages::{Event, Position};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::{Semaphore, oneshot};

use campanile_core::counters::ShardCounters;
use campanile_core::inbox::{Inbox, REQUESTS_WAITING_MAX};
use campanile_core::placement::{HomeShard, PlacementKey};
use campanile_core::requests::{
    Answer, Bell, ChannelHistory, ChannelPart, PUSHES_PER_REQUEST_MAX, Publish, PublishError, Push,
    PushError, Pushed, Request, RequestBody, Ticket, Unavailable, UserDevice,
};
use campanile_mailbox::operations::RegisterError;
use campanile_mailbox::{Address, Page};

/// The control plane's side of one shard.
struct Link {
    inbox: Arc<Inbox>,
    waker: Arc<Waker>,
    counters: Arc<ShardCounters>,
    /// One permit for each place in the queues, those for orders excepted.
    places: Semaphore,
    next_ticket: AtomicU32,
    waiting: Mutex<HashMap<Ticket, oneshot::Sender<Answer>>>,
}

/// All shards of the node, as the control plane sees them.
pub struct Shards {
    links: Vec<Link>,
    home: HomeShard,
    /// Wakes the thread that hands out the answers of all shards.
    answers_waker: Arc<Waker>,
    drain_ordered: AtomicBool,
    stop_ordered: AtomicBool,
    /// [`Shards::hand_out_answers`] is to end.
    silenced: AtomicBool,
}

impl Shards {
    /// Joins the shards: the inbox of each, what wakes its driver, and what it counts. `answers_waker` wakes
    /// the thread that hands out answers; users are placed by `placement_key`, as the shards do it.
    pub fn new(
        answers_waker: Arc<Waker>,
        parts: Vec<(Arc<Inbox>, Arc<Waker>, Arc<ShardCounters>)>,
        placement_key: PlacementKey,
    ) -> Arc<Shards> {
        let home = HomeShard::new(parts.len(), placement_key);
        let links = parts
            .into_iter()
            .map(|(inbox, waker, counters)| Link {
                inbox,
                waker,
                counters,
                places: Semaphore::new(REQUESTS_WAITING_MAX),
                next_ticket: AtomicU32::new(0),
                waiting: Mutex::new(HashMap::new()),
            })
            .collect();
        Arc::new(Shards {
            links,
            home,
            answers_waker,
            drain_ordered: AtomicBool::new(false),
            stop_ordered: AtomicBool::new(false),
            silenced: AtomicBool::new(false),
        })
    }

    /// How many shards there are.
    pub fn count(&self) -> usize {
        self.links.len()
    }

    /// What each shard has counted.
    pub fn counters(&self) -> impl Iterator<Item = &ShardCounters> {
        self.links.iter().map(|link| &*link.counters)
    }

    /// Hands answers to those who asked, on a thread of its own, until [`Shards::stop_answering`]. A shard could not
    /// do it: waking a task takes locks.
    ///
    /// # Errors
    /// When the event descriptor cannot be waited for.
    pub fn hand_out_answers(&self) -> io::Result<()> {
        while !self.silenced.load(Ordering::Acquire) {
            self.answers_waker.fall_asleep();
            self.links.iter().for_each(Link::deliver_answers);
            let event = self.answers_waker.event();
            let mut events = [PollFd::new(&event, PollFlags::IN)];
            match poll(&mut events, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => self.answers_waker.clear(),
                Err(error) => return Err(error.into()),
            }
        }
        self.links.iter().for_each(Link::deliver_answers);
        Ok(())
    }

    /// Ends [`Shards::hand_out_answers`]. Whoever has no answer by then is told that the node is stopping.
    pub fn stop_answering(&self) {
        self.links.iter().for_each(|link| link.inbox.end());
        self.silenced.store(true, Ordering::Release);
        self.answers_waker.wake();
    }

    /// Pushes messages. The answers are in the order of the pushes.
    ///
    /// # Errors
    /// When no shard takes its part. When only some of them do, the pushes of the others have the error.
    pub async fn push(&self, pushes: Vec<Push>) -> Result<Vec<Result<Pushed, PushError>>, Unavailable> {
        let answers = |answer| match answer {
            Answer::Pushed(pushed) => pushed,
            _ => Vec::new(),
        };
        self.ask_by_shard(pushes, |push| self.home.of(&push.user), RequestBody::Push, answers).await
    }

    /// Publishes messages to channels. The answers are in the order of the messages, and so are the messages of each
    /// channel.
    ///
    /// # Errors
    /// As [`Shards::push`].
    pub async fn publish(
        &self,
        messages: Vec<Publish>,
    ) -> Result<Vec<Result<Position, PublishError>>, Unavailable> {
        let answers = |answer| match answer {
            Answer::Published(published) => published,
            _ => Vec::new(),
        };
        let owner = |message: &Publish| self.home.of_channel(&message.channel);
        self.ask_by_shard(messages, owner, RequestBody::Publish, answers).await
    }

    /// Asks each shard for its part of `items`. The results are in the order of the items.
    async fn ask_by_shard<T, R, E: From<Unavailable>>(
        &self,
        items: Vec<T>,
        shard_of: impl Fn(&T) -> usize,
        body: impl Fn(Vec<T>) -> RequestBody,
        results_of: impl Fn(Answer) -> Vec<Result<R, E>>,
    ) -> Result<Vec<Result<R, E>>, Unavailable> {
        let mut places: Vec<Vec<usize>> = vec![Vec::new(); self.links.len()];
        let mut parts: Vec<Vec<T>> = (0..self.links.len()).map(|_| Vec::new()).collect();
        let mut results: Vec<Result<R, E>> =
            items.iter().map(|_| Err(Unavailable::Stopping.into())).collect();
        for (place, item) in items.into_iter().enumerate() {
            let shard = shard_of(&item);
            places[shard].push(place);
            parts[shard].push(item);
        }
        let bell = self.bell();
        let mut asked = Vec::new();
        for (shard, part) in parts.into_iter().enumerate() {
            let mut part = part.into_iter().peekable();
            let mut at = 0;
            while part.peek().is_some() {
                let chunk: Vec<T> = part.by_ref().take(PUSHES_PER_REQUEST_MAX).collect();
                let range = at..at + chunk.len();
                at = range.end;
                asked.push((shard, range, self.links[shard].ask(Arc::clone(&bell), body(chunk))));
            }
        }
        drop(bell);
        let refused_all = asked.iter().all(|(_, _, asked)| asked.is_err());
        for (shard, range, asked) in asked {
            let places = &places[shard][range];
            match asked {
                Ok(answer) => {
                    let answered = answer.await.map(&results_of).unwrap_or_default();
                    places.iter().zip(answered).for_each(|(&place, result)| results[place] = result);
                }
                Err(unavailable) if refused_all => return Err(unavailable),
                Err(unavailable) => {
                    places.iter().for_each(|&place| results[place] = Err(unavailable.into()));
                }
            }
        }
        Ok(results)
    }

    /// What all shards together know of a channel.
    ///
    /// # Errors
    /// When a shard takes no more work.
    pub async fn channel(&self, channel: &ChannelName) -> Result<ChannelPart, Unavailable> {
        let bell = self.bell();
        let ask = |link: &Link| link.ask(Arc::clone(&bell), RequestBody::Channel(channel.clone()));
        let asked: Vec<_> = self.links.iter().map(ask).collect();
        drop(bell);
        let mut whole = ChannelPart::default();
        for answer in asked {
            if let Answer::Channel(part) = answer?.await.map_err(|_| Unavailable::Stopping)? {
                whole.add(part);
            }
        }
        Ok(whole)
    }

    /// The history of a channel: what came after `since`, or the newest messages.
    ///
    /// # Errors
    /// When the shard takes no more work.
    pub async fn history(
        &self,
        channel: ChannelName,
        since: Option<Position>,
        messages_max: usize,
    ) -> Result<ChannelHistory, Unavailable> {
        let owner = &self.links[self.home.of_channel(&channel)];
        let asked = owner.ask(self.bell(), RequestBody::History { channel, since, messages_max })?;
        match asked.await.map_err(|_| Unavailable::Stopping)? {
            Answer::History(history) => Ok(history),
            _ => Err(Unavailable::Stopping),
        }
    }

    /// Sends an event to every session of the node. How many were sent it, and how many did not keep up.
    ///
    /// # Errors
    /// When a shard takes no more work; other shards may have done their part then.
    pub async fn broadcast(&self, event: Event) -> Result<(u64, u64), Unavailable> {
        let event = Arc::new(event);
        let bell = self.bell();
        let ask = |link: &Link| link.ask(Arc::clone(&bell), RequestBody::Broadcast(Arc::clone(&event)));
        let asked: Vec<_> = self.links.iter().map(ask).collect();
        drop(bell);
        let mut totals = (0, 0);
        for answer in asked {
            if let Answer::Broadcast { sent, skipped } = answer?.await.map_err(|_| Unavailable::Stopping)? {
                totals.0 += u64::from(sent);
                totals.1 += u64::from(skipped);
            }
        }
        Ok(totals)
    }

    /// The devices of a user.
    ///
    /// # Errors
    /// When the shard takes no more work, or the store does not work.
    pub async fn devices(&self, user: &UserId) -> Result<Vec<UserDevice>, Unavailable> {
        match self.ask_home(user, RequestBody::Devices(user.clone())).await? {
            Answer::Devices(devices) => devices,
            _ => Err(Unavailable::Stopping),
        }
    }

    /// Registers a device: this one, or the next free one.
    ///
    /// # Errors
    /// When the shard takes no more work, or the store does not work.
    pub async fn register(
        &self,
        user: &UserId,
        device: Option<DeviceId>,
    ) -> Result<Result<DeviceId, RegisterError>, Unavailable> {
        match self.ask_home(user, RequestBody::Register(user.clone(), device)).await? {
            Answer::Registered(registered) => registered,
            _ => Err(Unavailable::Stopping),
        }
    }

    /// What waits for a device after a number, oldest first.
    ///
    /// # Errors
    /// When the shard takes no more work, or the store does not work.
    pub async fn list(&self, address: Address, after: u64, messages_max: usize) -> Result<Page, Unavailable> {
        let user = address.user.clone();
        match self.ask_home(&user, RequestBody::List { address, after, messages_max }).await? {
            Answer::Listed(page) => page,
            _ => Err(Unavailable::Stopping),
        }
    }

    /// One message that waits for a device: an encoded `Deliver`.
    ///
    /// # Errors
    /// When the shard takes no more work, or the store does not work.
    pub async fn fetch(&self, address: Address, id: MessageId) -> Result<Option<Bytes>, Unavailable> {
        let user = address.user.clone();
        match self.ask_home(&user, RequestBody::Fetch(address, id)).await? {
            Answer::Fetched(message) => message,
            _ => Err(Unavailable::Stopping),
        }
    }

    /// Removes a message that the device has. Whether it was there; durable.
    ///
    /// # Errors
    /// When the shard takes no more work, or the store does not work.
    pub async fn confirm(&self, address: Address, id: MessageId) -> Result<bool, Unavailable> {
        let user = address.user.clone();
        match self.ask_home(&user, RequestBody::Confirm(address, id)).await? {
            Answer::Confirmed(confirmed) => confirmed,
            _ => Err(Unavailable::Stopping),
        }
    }

    /// Closes the sessions of a user, or of one device. How many were closed.
    ///
    /// # Errors
    /// When the shard takes no more work.
    pub async fn disconnect(&self, user: &UserId, device: Option<DeviceId>) -> Result<u32, Unavailable> {
        match self.ask_home(user, RequestBody::Disconnect(user.clone(), device)).await? {
            Answer::Disconnected(count) => Ok(count),
            _ => Err(Unavailable::Stopping),
        }
    }

    /// Begins the end of every shard: see [`RequestBody::Drain`]. A place is kept for it, so it is never refused; the
    /// first call counts.
    pub fn drain(&self, reconnect_within_ms: u32) {
        if !self.drain_ordered.swap(true, Ordering::Relaxed) {
            self.links.iter().for_each(|link| link.order(RequestBody::Drain { reconnect_within_ms }));
        }
    }

    /// Ends every shard now. A place is kept for it, so it is never refused; the first call counts.
    pub fn stop(&self) {
        if !self.stop_ordered.swap(true, Ordering::Relaxed) {
            self.links.iter().for_each(|link| link.order(RequestBody::Stop));
        }
    }

    /// Asks the home shard of a user.
    async fn ask_home(&self, user: &UserId, body: RequestBody) -> Result<Answer, Unavailable> {
        let answer = self.links[self.home.of(user)].ask(self.bell(), body)?;
        answer.await.map_err(|_| Unavailable::Stopping)
    }

    fn bell(&self) -> Arc<Bell> {
        Bell::new(Arc::clone(&self.answers_waker))
    }
}

impl Link {
    /// The bell rings once all its owners are gone: whoever waits for the answer must not keep it.
    fn ask(&self, bell: Arc<Bell>, body: RequestBody) -> Result<oneshot::Receiver<Answer>, Unavailable> {
        if self.inbox.has_ended() {
            return Err(Unavailable::Stopping);
        }
        let place = self.places.try_acquire().map_err(|_| Unavailable::Overloaded)?;
        // Given back with the answer.
        place.forget();
        let ticket = self.ticket();
        let (sender, receiver) = oneshot::channel();
        self.waiting().insert(ticket, sender);
        // Whoever clears `waiting` has seen the end before: either it finds this asker, or the end is seen here.
        let refused = if self.inbox.has_ended() {
            Some(Unavailable::Stopping)
        } else {
            let request = Request { ticket, bell: Some(bell), body };
            self.inbox.ask(request).is_err().then_some(Unavailable::Overloaded)
        };
        if let Some(refused) = refused {
            self.waiting().remove(&ticket);
            self.places.add_permits(1);
            return Err(refused);
        }
        self.waker.wake();
        Ok(receiver)
    }

    /// Asks for something whose answer nobody waits for, in one of the places that are kept for such.
    fn order(&self, body: RequestBody) {
        let taken = self.inbox.ask(Request { ticket: self.ticket(), bell: None, body });
        debug_assert!(taken.is_ok(), "each order is given once, and has its place");
        self.waker.wake();
    }

    fn ticket(&self) -> Ticket {
        Ticket(self.next_ticket.fetch_add(1, Ordering::Relaxed))
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Ticket, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver_answers(&self) {
        // Read first: what is answered before the end is delivered before the rest is refused.
        let ended = self.inbox.has_ended();
        while let Some((ticket, answer)) = self.inbox.take_answer() {
            // Nobody waits for the answer of an order, which took none of the permits' places.
            let Some(asker) = self.waiting().remove(&ticket) else { continue };
            self.places.add_permits(1);
            // An asker that has gone away wanted no answer.
            let _ = asker.send(answer);
        }
        if ended {
            self.waiting().clear();
        }
    }
}

#[cfg(test)]
mod tests;
