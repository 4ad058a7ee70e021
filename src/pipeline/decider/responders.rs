//! The responders, each at work in a task of its own: one that hangs, fails or takes minutes stops no other. Here
//! the decider gives them orders and hears what was carried out.

mod task;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};

use self::task::Task;
use crate::decide::Permit;
use crate::event::{Outcome, Timestamp};
use crate::respond::{Dropped, Manner, Responder};

/// So long the decider waits for quick responders while findings wait; what comes later is noted when it
/// comes.
pub(super) const AT_ONCE: Duration = Duration::from_secs(1);
/// The same where somebody waits for the answer: longer than the deadline of any quick call.
pub(super) const AT_LEISURE: Duration = Duration::from_secs(40);

/// What a responder should do.
enum Order {
    Hold(Vec<Permit>),
    Free(Vec<IpNet>),
    /// These networks, and no others, always pass.
    Pass(Vec<IpNet>),
    /// From now on, what is held and not ordered is let go.
    Tidy,
    /// Nothing is wanted any more: the task ends when all is let go.
    Close,
    /// Say what the backend holds, as soon as it can be asked.
    Tell(oneshot::Sender<Vec<Outcome>>),
}

/// An order, and whom to tell when it was tried.
struct Message {
    order: Order,
    tried: Option<oneshot::Sender<Result<(), String>>>,
}

/// Ids of decisions that a responder has carried out.
struct Held {
    post: usize,
    ids: Vec<String>,
}

/// What a responder says of itself.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct PostStatus {
    pub name: &'static str,
    /// Why it does not do what it should.
    pub problem: Option<String>,
    /// Targets that it should hold.
    pub held: usize,
    /// Orders among them that it has not carried out yet.
    pub waiting: usize,
    /// How often it was made ready again, or was found to hold less or more than it should.
    pub repairs: u64,
    /// Bans that were put back by those.
    pub restored: u64,
    /// Targets that its backend has no place for, such as IPv6 where there is IPv4 alone.
    pub not_taken: u64,
    pub dropped: Option<Dropped>,
}

/// One responder's task, seen from the decider.
struct Post {
    orders: mpsc::UnboundedSender<Message>,
    status: watch::Receiver<PostStatus>,
    is_quick: bool,
    ends_bans: bool,
    /// An order of which nobody waited for the end any more.
    overdue: Option<oneshot::Receiver<Result<(), String>>>,
    sees_clients_behind_proxies: bool,
}

/// A bit for each post.
type Posts = u32;

/// All responders.
pub(super) struct Responders {
    posts: Vec<Post>,
    news: mpsc::UnboundedReceiver<Held>,
    /// By the id of a decision, the posts that have not carried it out yet, and its end.
    outstanding: HashMap<String, (Posts, Timestamp)>,
    /// Ids of those that all have carried out, not told yet.
    done: Vec<String>,
}

impl Responders {
    /// Starts a task for each. Their first order should be [`pass`](Self::pass).
    pub fn new(responders: Vec<Box<dyn Responder>>) -> Responders {
        let (told, news) = mpsc::unbounded_channel();
        let open = |(number, responder): (usize, Box<dyn Responder>)| {
            let (orders, taken) = mpsc::unbounded_channel();
            let (said, status) = watch::channel(PostStatus { name: responder.name(), ..PostStatus::default() });
            let Manner { is_quick, ends_bans, sees_clients_behind_proxies, .. } = responder.manner();
            tokio::spawn(Task::new(number, responder, told.clone(), said).run(taken));
            Post { orders, status, is_quick, ends_bans, overdue: None, sees_clients_behind_proxies }
        };
        let posts = responders.into_iter().enumerate().map(open).collect();
        Responders { posts, news, outstanding: HashMap::new(), done: vec![] }
    }

    /// Has targets shut out by all. Gives whether all have done it; the others are told of by
    /// [`carried_out`](Self::carried_out).
    pub async fn hold(&mut self, permits: &[Permit], patience: Duration) -> bool {
        self.expect(permits);
        // Why one failed stands in its status.
        let _ = self.order(|| Order::Hold(permits.to_vec()), patience).await;
        self.are_done(permits)
    }

    /// The same, of which [`are_held`](Self::are_held) waits for the end: more may be ordered meanwhile.
    pub fn begin_to_hold(&mut self, permits: &[Permit]) {
        self.expect(permits);
        for post in &self.posts {
            // A task ends with its channel alone.
            let _ = post.orders.send(Message { order: Order::Hold(permits.to_vec()), tried: None });
        }
    }

    /// Whether all have shut out all of what was begun.
    pub async fn are_held(&mut self, permits: &[Permit], patience: Duration) -> bool {
        let _ = self.order(|| Order::Hold(vec![]), patience).await;
        self.are_done(permits)
    }

    fn expect(&mut self, permits: &[Permit]) {
        let all: Posts = (0..self.posts.len()).fold(0, |posts, post| posts | 1 << post);
        self.outstanding.extend(permits.iter().map(|permit| (permit.id().to_owned(), (all, permit.expires_at()))));
    }

    fn are_done(&mut self, permits: &[Permit]) -> bool {
        while let Ok(held) = self.news.try_recv() {
            self.note(held);
        }
        let all_done = permits.iter().all(|permit| !self.outstanding.contains_key(permit.id()));
        if all_done {
            let told: HashSet<&str> = permits.iter().map(Permit::id).collect();
            self.done.retain(|id| !told.contains(&**id));
        }
        all_done
    }

    /// Lets targets go, and forgets the decisions that held them.
    ///
    /// # Errors
    /// A quick responder could not; it goes on trying.
    pub async fn free(&mut self, targets: &[IpNet], ids: &[String]) -> Result<(), String> {
        for id in ids {
            self.outstanding.remove(id);
        }
        self.order(|| Order::Free(targets.to_vec()), AT_LEISURE).await
    }

    /// Whether any backend does not end bans by itself.
    pub fn must_be_told_of_ends(&self) -> bool {
        self.posts.iter().any(|post| !post.ends_bans)
    }

    /// Has targets let go where the backend does not end bans by itself.
    pub fn free_ended(&mut self, targets: &[IpNet]) {
        for post in self.posts.iter().filter(|post| !post.ends_bans) {
            // A task ends with its channel alone.
            let _ = post.orders.send(Message { order: Order::Free(targets.to_vec()), tried: None });
        }
    }

    /// Another ban took the place of these.
    pub fn forget(&mut self, ids: &[String]) {
        for id in ids {
            self.outstanding.remove(id);
        }
    }

    /// Has everything let go; each task ends when it has done it.
    pub async fn close(mut self) {
        let _ = self.order(|| Order::Close, AT_LEISURE).await;
    }

    /// Makes these, and only these, the networks that always pass.
    ///
    /// # Errors
    /// As for [`free`](Self::free).
    pub async fn pass(&mut self, networks: &[IpNet], patience: Duration) -> Result<(), String> {
        self.order(|| Order::Pass(networks.to_vec()), patience).await
    }

    /// Asks each backend what it holds; it answers when it can be asked.
    pub fn ask(&self) -> Vec<oneshot::Receiver<Vec<Outcome>>> {
        let ask = |post: &Post| {
            let (tell, told) = oneshot::channel();
            // A task ends with its channel alone.
            let _ = post.orders.send(Message { order: Order::Tell(tell), tried: None });
            told
        };
        self.posts.iter().map(ask).collect()
    }

    /// From now on, what is held and was not ordered is let go.
    pub async fn tidy(&mut self) {
        let _ = self.order(|| Order::Tidy, Duration::ZERO).await;
    }

    /// Whether any of them stops a client whose packets come from a proxy.
    pub fn reach_behind_proxies(&self) -> bool {
        self.posts.iter().any(|post| post.sees_clients_behind_proxies)
    }

    /// Ids of decisions that all responders have carried out by now and had not before.
    pub async fn carried_out(&mut self) -> Vec<String> {
        while self.done.is_empty() {
            match self.news.recv().await {
                Some(held) => self.note(held),
                // There is no responder.
                None => std::future::pending().await,
            }
        }
        std::mem::take(&mut self.done)
    }

    /// Forgets decisions that ended before all had carried them out.
    pub fn forget_ended(&mut self, now: Timestamp) {
        self.outstanding.retain(|_, (_, expires_at)| now.secs_until(*expires_at) > 0);
    }

    pub fn status(&self) -> Vec<PostStatus> {
        self.posts.iter().map(|post| post.status.borrow().clone()).collect()
    }

    fn note(&mut self, held: Held) {
        for id in held.ids {
            let Some((posts, _)) = self.outstanding.get_mut(&id) else { continue };
            *posts &= !(1 << held.post);
            if *posts == 0 {
                self.outstanding.remove(&id);
                self.done.push(id);
            }
        }
    }

    /// Tells all; waits for those that are quick, and no second time for one that hangs unless long.
    async fn order(&mut self, order: impl Fn() -> Order, patience: Duration) -> Result<(), String> {
        let mut waiting = vec![];
        for (number, post) in self.posts.iter_mut().enumerate() {
            let (tried, answer) = oneshot::channel();
            // A task ends with its channel alone.
            let _ = post.orders.send(Message { order: order(), tried: Some(tried) });
            let hangs = post.overdue.as_mut().is_some_and(|answer| answer.try_recv() == Err(TryRecvError::Empty));
            if post.is_quick && (!hangs || patience > AT_ONCE) {
                waiting.push((number, answer));
            }
        }
        let deadline = tokio::time::Instant::now() + patience;
        let mut failed = vec![];
        for (number, mut answer) in waiting {
            let Some(post) = self.posts.get_mut(number) else { continue };
            post.overdue = None;
            match tokio::time::timeout_at(deadline, &mut answer).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => failed.push(error),
                Ok(Err(_)) | Err(_) => {
                    failed.push(format!("{} did not answer in time", post.status.borrow().name));
                    post.overdue = Some(answer);
                }
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }
}
