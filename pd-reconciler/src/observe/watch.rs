//! Watches: the API server's news as messages. Jobs, assignments and nodes are watched; leases are listed once
//! a second instead, since only an answer proves that silence is the node's and not our connection's.

use std::{fmt::Debug, sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use kube::{
    Api, Resource,
    api::ListParams,
    runtime::{WatchStreamExt as _, utils::Backoff, watcher},
};
use schemas::{Assignment, CachedResult, Job, Queue, well_known};
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::MissedTickBehavior,
};

use crate::{clock::Clock, connection::Connection};

/// News from the API server.
pub(crate) enum Observed {
    Job(Box<watcher::Event<Job>>),
    Assignment(Box<watcher::Event<Assignment>>),
    Node(Box<watcher::Event<Node>>),
    Queue(Box<watcher::Event<Queue>>),
    CachedResult(Box<watcher::Event<CachedResult>>),
    /// All node leases, as listed at a moment of our clock: name and the text of its renewTime.
    Leases(Timestamp, Vec<(String, String)>),
    /// Leases could not be listed.
    NoLeases,
    /// What was observed so far is older than what the server remembers, or of a server that was restored from a backup:
    /// everything is listed anew.
    Expired,
}

/// Messages that wait for the controller: more than one plan's worth of events, and no more memory than
/// a thousand objects.
const QUEUE_LENGTH_MAX: usize = 1024;
/// First and longest delay before a broken watch is tried again.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Lease listings happen this often, or five times within `lost_after`.
const LEASES_EVERY_MAX: Duration = Duration::from_secs(1);
const LEASES_EVERY_MIN: Duration = Duration::from_millis(100);

/// Starts to watch; the tasks end with the set.
pub(crate) fn start(
    connection: &Connection,
    clock: Clock,
    lost_after: Duration,
) -> (mpsc::Receiver<Observed>, JoinSet<()>) {
    let (news, receiver) = mpsc::channel(QUEUE_LENGTH_MAX);
    let mut tasks = JoinSet::new();
    let rounds = Arc::new(watch::Sender::new(0));
    let connection = || Source { connection: connection.clone(), rounds: Arc::clone(&rounds) };
    tasks.spawn(observe("jobs", connection(), news.clone(), |event| Observed::Job(Box::new(event))));
    tasks.spawn(observe("assignments", connection(), news.clone(), |event| Observed::Assignment(Box::new(event))));
    tasks.spawn(observe("nodes", connection(), news.clone(), |event| Observed::Node(Box::new(event))));
    tasks.spawn(observe("queues", connection(), news.clone(), |event| Observed::Queue(Box::new(event))));
    tasks.spawn(observe("cachedresults", connection(), news.clone(), |event| Observed::CachedResult(Box::new(event))));
    tasks.spawn(list_leases(connection().connection, clock, lost_after, news));
    (receiver, tasks)
}

/// Where news come from.
struct Source {
    connection: Connection,
    /// Grows when everything has to be listed anew. Of a server that was restored some kinds would be new and others
    /// old for a moment, and a plan of both could count what that server does not have.
    rounds: Arc<watch::Sender<u64>>,
}

/// Watches all objects of one kind for ever, with whatever client is the current one.
async fn observe<K>(
    what: &'static str,
    Source { mut connection, rounds }: Source,
    news: mpsc::Sender<Observed>,
    wrap: impl Fn(watcher::Event<K>) -> Observed,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + for<'a> serde::Deserialize<'a> + 'static,
{
    let mut round = rounds.subscribe();
    loop {
        let api: Api<K> = Api::all(connection.current());
        tokio::select! {
            () = follow(what, api, &news, &rounds, &wrap) => return,
            () = connection.changed() => {}
            Ok(()) = round.changed() => {}
        }
    }
}

/// Ends only when nobody listens.
async fn follow<K>(
    what: &'static str,
    api: Api<K>,
    news: &mpsc::Sender<Observed>,
    rounds: &watch::Sender<u64>,
    wrap: &impl Fn(watcher::Event<K>) -> Observed,
) where
    K: Resource + Clone + Debug + Send + for<'a> serde::Deserialize<'a> + 'static,
{
    let stream = watcher(api, watcher::Config::default()).backoff(Delays::new());
    futures::pin_mut!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                if news.send(wrap(event)).await.is_err() {
                    return;
                }
            }
            Err(error) if is_expired(&error) => {
                tracing::warn!(what, %error, "watch expired; everything is listed anew");
                // First the word, then the lists: what was known before must be gone when they come.
                if news.send(Observed::Expired).await.is_err() {
                    return;
                }
                rounds.send_modify(|round| *round += 1);
            }
            Err(error) => tracing::warn!(what, %error, "watch broken; trying again"),
        }
    }
}

/// True when the server does not know any more what came after what we have.
fn is_expired(error: &watcher::Error) -> bool {
    let code = match error {
        watcher::Error::WatchError(status)
        | watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code,
        _ => return false,
    };
    code == 410
}

async fn list_leases(connection: Connection, clock: Clock, lost_after: Duration, news: mpsc::Sender<Observed>) {
    let mut ticks = tokio::time::interval((lost_after / 5).clamp(LEASES_EVERY_MIN, LEASES_EVERY_MAX));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let api: Api<Lease> = Api::namespaced(connection.current(), well_known::NODE_LEASE_NAMESPACE);
        let parameters = ListParams::default();
        let answer = tokio::time::timeout(lost_after / 2, api.list(&parameters)).await;
        let observed = match answer {
            Ok(Ok(leases)) => Observed::Leases(clock.now(), leases.items.into_iter().filter_map(renewal).collect()),
            Ok(Err(error)) => {
                tracing::debug!(%error, "leases cannot be listed; trying again");
                Observed::NoLeases
            }
            Err(_) => Observed::NoLeases,
        };
        if news.send(observed).await.is_err() {
            return;
        }
    }
}

/// Name and renewTime of a lease. The time is compared for equality only.
fn renewal(lease: Lease) -> Option<(String, String)> {
    let renewed = serde_json::to_value(lease.spec?.renew_time).unwrap_or(Value::Null);
    Some((lease.metadata.name?, renewed.to_string()))
}

/// Delays between attempts at a broken watch, with jitter; back to the first after a success.
struct Delays(backon::ExponentialBackoff);

impl Delays {
    fn new() -> Self {
        let (first, longest) = RETRY_DELAYS;
        let delays = ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest).with_jitter();
        Self(delays.without_max_times().build())
    }
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

impl Backoff for Delays {
    fn reset(&mut self) {
        *self = Self::new();
    }
}
