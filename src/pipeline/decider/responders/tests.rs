use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::time::timeout;

use super::*;
use crate::decide::{Blasts, Limits, Surroundings, gate};
use crate::event::{Ground, Outcome, Proposal, Proposer};
use crate::respond::{Answer, Manner, RespondError};

/// How a [`Fake`] answers.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Hangs,
    Fails,
    /// It fails to let go.
    Keeps,
    GivesUp,
    /// It takes so many milliseconds.
    Slow(u64),
}

/// A backend in memory, which a test may look into and spoil.
#[derive(Clone)]
struct Fake {
    manner: Manner,
    backend: Arc<Mutex<Backend>>,
}

struct Backend {
    mood: Mood,
    /// Somebody removed what was made.
    is_lost: bool,
    held: BTreeMap<IpNet, Timestamp>,
    passing: Vec<IpNet>,
    calls: Vec<&'static str>,
}

const SLOW: Manner = Manner { is_quick: false, ends_bans: false, look: Duration::from_millis(20), ..Manner::KERNEL };
const QUICK: Manner = Manner { look: Duration::from_millis(20), ..Manner::KERNEL };

impl Fake {
    fn new(manner: Manner) -> Fake {
        let backend =
            Backend { mood: Mood::Well, is_lost: false, held: BTreeMap::new(), passing: vec![], calls: vec![] };
        Fake { manner, backend: Arc::new(Mutex::new(backend)) }
    }

    fn set(&self, mood: Mood) {
        self.backend.lock().unwrap().mood = mood;
    }

    fn spoil<T>(&self, spoil: impl FnOnce(&mut Backend) -> T) -> T {
        spoil(&mut self.backend.lock().unwrap())
    }

    fn holds(&self) -> Vec<String> {
        self.spoil(|backend| backend.held.keys().map(ToString::to_string).collect())
    }

    fn count(&self, call: &str) -> usize {
        self.spoil(|backend| backend.calls.iter().filter(|known| **known == call).count())
    }

    fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        act: impl FnOnce(&mut Backend) -> T + Send + 'static,
    ) -> Answer<'static, T> {
        let backend = self.backend.clone();
        Box::pin(async move {
            let (mood, is_lost, number) = {
                let mut backend = backend.lock().unwrap();
                backend.calls.push(name);
                if name == "start" {
                    backend.is_lost = false;
                }
                (backend.mood, backend.is_lost, backend.calls.len())
            };
            let program = "fake".to_owned();
            match mood {
                Mood::Hangs => std::future::pending().await,
                // No two complaints are the same: they name a moment or a process.
                Mood::Fails => return Err(RespondError::Rejected { program, message: format!("number {number}") }),
                Mood::Keeps if name == "lift" => {
                    return Err(RespondError::Rejected { program, message: "stuck".into() });
                }
                Mood::GivesUp if name == "apply" => {
                    act(&mut backend.lock().unwrap());
                    return Err(RespondError::GivenUp { program, message: "never".into() });
                }
                Mood::Slow(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
                _ => {}
            }
            if is_lost {
                return Err(RespondError::Lost);
            }
            Ok(act(&mut backend.lock().unwrap()))
        })
    }
}

impl Responder for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn manner(&self) -> Manner {
        self.manner
    }

    fn start(&mut self) -> Answer<'_, ()> {
        self.call("start", |_| ())
    }

    fn apply<'a>(&'a mut self, permits: &'a [Permit], _now: Timestamp) -> Answer<'a, ()> {
        let permits: Vec<_> = permits.iter().map(|permit| (permit.target(), permit.expires_at())).collect();
        self.call("apply", |backend| backend.held.extend(permits))
    }

    fn lift<'a>(&'a mut self, targets: &'a [IpNet]) -> Answer<'a, ()> {
        let targets = targets.to_vec();
        self.call("lift", move |backend| backend.held.retain(|target, _| !targets.contains(target)))
    }

    fn held(&mut self) -> Answer<'_, Vec<Outcome>> {
        self.call("held", |backend| {
            backend.held.keys().map(|target| Outcome { target: *target, remaining_secs: 60 }).collect()
        })
    }

    fn check(&mut self) -> Answer<'_, ()> {
        self.call("check", |_| ())
    }

    fn allow<'a>(&'a mut self, networks: &'a [IpNet]) -> Answer<'a, ()> {
        let networks = networks.to_vec();
        self.call("allow", |backend| backend.passing = networks)
    }
}

fn responders(fakes: &[&Fake]) -> Responders {
    Responders::new(fakes.iter().map(|fake| Box::new((*fake).clone()) as Box<dyn Responder>).collect())
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn permit(target: &str, secs: u64) -> Permit {
    let now = Timestamp::now();
    let surroundings = Surroundings { taken_at: now, ..Surroundings::default() };
    let proposal = Proposal {
        id: target.into(),
        target: net(target),
        proposer: Proposer::Operator,
        ground: Ground::default(),
        at: now,
        duration_secs: secs,
        offences: 0,
    };
    gate(&proposal, &surroundings, &mut Blasts::default(), &Limits::NONE, now).unwrap()
}

const A: &str = "203.0.113.7/32";
const B: &str = "203.0.113.8/32";

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not in 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn one_that_hangs_or_fails_delays_no_other_and_not_the_decider() {
    for (manner, mood) in [(SLOW, Mood::Hangs), (SLOW, Mood::Fails), (QUICK, Mood::Fails), (QUICK, Mood::Hangs)] {
        let (good, bad) = (Fake::new(QUICK), Fake::new(manner));
        let mut responders = responders(&[&bad, &good]);
        responders.pass(&[], AT_LEISURE).await.unwrap();
        bad.set(mood);
        // For one that should be quick and hangs, it waits once, and not long.
        let before = Instant::now();
        assert!(!responders.hold(&[permit(A, 600)], AT_ONCE).await, "not all have done it");
        assert!(before.elapsed() < AT_ONCE + Duration::from_millis(500), "{:?}", before.elapsed());
        assert_eq!(good.holds(), [A]);
        let before = Instant::now();
        for last in 10..60 {
            responders.hold(&[permit(&format!("203.0.113.{last}/32"), 600)], AT_ONCE).await;
            assert_eq!(good.holds().len(), last - 8);
        }
        assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
    }
}

#[tokio::test]
async fn what_failed_works_again_and_gets_everything_and_then_pending_bans_are_active() {
    let (good, bad) = (Fake::new(QUICK), Fake::new(SLOW));
    let mut responders = responders(&[&good, &bad]);
    responders.pass(&[net("192.0.2.0/24")], AT_LEISURE).await.unwrap();
    bad.set(Mood::Slow(200));
    assert!(!responders.hold(&[permit(A, 600)], AT_ONCE).await, "nobody waits for the slow");
    assert_eq!(responders.carried_out().await, [A]);
    bad.set(Mood::Fails);
    assert!(!responders.hold(&[permit(B, 600)], AT_ONCE).await);
    eventually("it says so", || responders.status()[1].problem.is_some()).await;
    assert!(responders.status()[0].problem.is_none());
    assert_eq!((good.holds(), bad.holds()), (vec![A.into(), B.into()], vec![A.into()]));
    let nothing = timeout(Duration::from_millis(300), responders.carried_out()).await;
    assert!(nothing.is_err(), "it is pending: {nothing:?}");
    bad.spoil(|backend| backend.held.clear());
    bad.set(Mood::Well);
    assert_eq!(responders.carried_out().await, [B]);
    assert_eq!((bad.holds(), bad.spoil(|backend| backend.passing.clone())), (good.holds(), vec![net("192.0.2.0/24")]));
    eventually("the problem is over", || responders.status()[1].problem.is_none()).await;
    assert_eq!((responders.status()[1].repairs, responders.status()[1].restored), (1, 2));
}

#[tokio::test]
async fn who_fails_is_asked_ever_more_seldom_whatever_it_complains_of() {
    let bad = Fake::new(SLOW);
    bad.set(Mood::Fails);
    let mut responders = responders(&[&bad]);
    responders.hold(&[permit(A, 600)], AT_ONCE).await;
    tokio::time::sleep(Duration::from_millis(3500)).await;
    // At once, after a second, after two more; the next after four.
    assert_eq!(bad.count("start"), 3);
}

#[tokio::test]
async fn who_is_let_go_while_it_fails_is_free_when_it_works_again() {
    let bad = Fake::new(QUICK);
    let mut responders = responders(&[&bad]);
    responders.pass(&[], AT_LEISURE).await.unwrap();
    assert!(responders.hold(&[permit(A, 600), permit(B, 600)], AT_ONCE).await);
    bad.set(Mood::Fails);
    let freed = responders.free(&[net(A)], &[A.into()]).await;
    assert!(freed.unwrap_err().starts_with("fake: "), "who asked is told");
    assert_eq!(bad.holds(), [A, B]);
    bad.set(Mood::Well);
    eventually("it is let go", || bad.holds() == [B]).await;

    bad.set(Mood::Fails);
    responders.free(&[net("192.0.2.1/32")], &[]).await.unwrap_err();
    bad.set(Mood::Well);
    // Whatever the clock of the failure says.
    responders.free(&[net(B)], &[B.into()]).await.unwrap();
    assert!(bad.holds().is_empty());
}

#[tokio::test]
async fn who_cannot_be_let_go_keeps_nobody_else_from_being_shut_out() {
    let stuck = Fake::new(QUICK);
    let mut responders = responders(&[&stuck]);
    responders.pass(&[], AT_LEISURE).await.unwrap();
    responders.hold(&[permit(A, 600)], AT_ONCE).await;
    stuck.set(Mood::Keeps);
    responders.free(&[net(A)], &[A.into()]).await.unwrap_err();
    responders.hold(&[permit(B, 600)], AT_ONCE).await;
    eventually("the other is held", || stuck.holds() == [A, B]).await;
    stuck.set(Mood::Well);
    eventually("it is let go", || stuck.holds() == [B]).await;
}

#[tokio::test]
async fn what_ended_is_lifted_where_the_backend_does_not_end_it() {
    let (slow, kernel) = (Fake::new(SLOW), Fake::new(QUICK));
    let mut responders = responders(&[&slow, &kernel]);
    responders.hold(&[permit(A, 1), permit(B, 600)], AT_ONCE).await;
    eventually("both hold both", || slow.holds().len() == 2 && kernel.holds().len() == 2).await;
    eventually("it is lifted", || slow.holds() == [B]).await;
    eventually("it is forgotten", || responders.status().iter().all(|status| status.held == 1)).await;
    assert_eq!((kernel.count("lift"), kernel.holds().len()), (0, 2), "a kernel needs nobody for it");
}

#[tokio::test]
async fn what_somebody_removed_is_there_again_at_once() {
    let fake = Fake::new(QUICK);
    let mut responders = responders(&[&fake]);
    responders.pass(&[net("192.0.2.0/24")], AT_LEISURE).await.unwrap();
    responders.hold(&[permit(A, 600), permit(B, 600)], AT_ONCE).await;
    fake.spoil(|backend| {
        backend.is_lost = true;
        backend.held.clear();
        backend.passing.clear();
    });
    let before = Instant::now();
    eventually("it is repaired", || fake.holds() == [A, B]).await;
    assert!(before.elapsed() < Duration::from_millis(500), "{:?}", before.elapsed());
    assert_eq!(fake.spoil(|backend| backend.passing.clone()), [net("192.0.2.0/24")]);
    eventually("it is counted", || responders.status()[0].repairs == 1).await;
    let status = responders.status();
    assert_eq!((status[0].restored, &status[0].problem), (2, &None));
}

#[tokio::test]
async fn strays_stay_until_everything_was_read_again() {
    let (told, _news) = mpsc::unbounded_channel();
    let (said, _status) = watch::channel(PostStatus::default());
    let fake = Fake::new(QUICK);
    fake.spoil(|backend| backend.held.insert(net(B), Timestamp::now()));
    let mut task = Task::new(0, Box::new(fake.clone()), told, said);
    task.take(Order::Hold(vec![permit(A, 600)]));
    task.work().await;
    task.compare(Timestamp::now()).await.unwrap();
    assert!(task.leaving.is_empty() && task.fresh.is_empty(), "who knows whose it is");
    task.take(Order::Tidy);
    task.compare(Timestamp::now()).await.unwrap();
    assert_eq!(task.leaving, [net(B)].into());
}

#[tokio::test]
async fn strays_go_when_everything_was_read_again_and_what_is_missing_is_put_back() {
    let fake = Fake::new(SLOW);
    fake.spoil(|backend| backend.held.insert(net(B), Timestamp::now()));
    let mut responders = responders(&[&fake]);
    responders.pass(&[], AT_LEISURE).await.unwrap();
    responders.hold(&[permit(A, 600)], AT_ONCE).await;
    eventually("it holds both", || fake.holds() == [A, B]).await;
    fake.spoil(|backend| backend.held.remove(&net(A)));
    responders.tidy().await;
    eventually("the stray goes, the missing comes", || fake.holds() == [A]).await;
    assert_eq!(responders.status()[0].restored, 1);
}

#[tokio::test]
async fn what_is_refused_for_good_is_shown_not_tried_again_and_pending() {
    let fake = Fake::new(QUICK);
    let mut responders = responders(&[&fake]);
    responders.pass(&[], AT_LEISURE).await.unwrap();
    fake.set(Mood::GivesUp);
    assert!(!responders.hold(&[permit(A, 600)], AT_ONCE).await);
    assert!(responders.status()[0].problem.as_ref().unwrap().contains("never"));
    let looks = fake.count("check");
    eventually("it was looked at", || fake.count("check") > looks + 3).await;
    assert_eq!((fake.count("apply"), fake.count("start")), (1, 1));
    fake.set(Mood::Well);
    assert!(responders.hold(&[permit(B, 600)], AT_ONCE).await, "the next is carried out");
    assert_eq!(responders.status()[0].problem, None);
    assert!(timeout(Duration::from_millis(100), responders.carried_out()).await.is_err(), "the first is pending");
}

#[tokio::test]
async fn orders_that_come_all_the_time_keep_nobody_from_looking() {
    let fake = Fake::new(SLOW);
    let mut responders = responders(&[&fake]);
    responders.pass(&[], AT_LEISURE).await.unwrap();
    fake.set(Mood::Slow(10));
    for i in 0..300u32 {
        responders.hold(&[permit(&format!("{}/32", std::net::Ipv4Addr::from(0x0b00_0000 + i)), 600)], AT_ONCE).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(fake.count("check") > 5, "{} looks", fake.count("check"));
}
