//! Leader: which of several reconcilers plans. One holds a Lease and renews it; the others watch it fall silent.
//!
//! In: the Lease as the API server has it, and our own monotonic clock. Out: `Seat`, which says whether we lead now,
//! and who does. Nobody's safety rests on it: every write of a reconciler is conditional on what it has seen, so a
//! second leader only wastes calls. As in Kubernetes, no two machines' clocks are compared: a Lease has expired when we
//! have watched it unchanged for its duration.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use schemas::well_known::SYSTEM_NAMESPACE;
use tokio::sync::watch;

use crate::{connection::Connection, metrics::Metrics};

/// The Lease of all reconcilers of a cluster.
const LEASE_NAME: &str = "pd-reconciler";
/// Between two looks at the Lease, and two renewals of it.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// One read or write of it. An API server that takes two seconds for a write, because it is overloaded, must not cost
/// the leader its office: nobody else would fare better.
const CALL_TIME_MAX: Duration = Duration::from_secs(3);
/// Silence after which another may take over: four renewals were missed, or two slow ones. With the looks in between a
/// dead leader is followed after four to five seconds.
const LEASE_SECONDS: i32 = 4;
/// How long one renewal lets us lead: less than it keeps the others waiting, so that two seldom lead at once.
const LEAD_FOR: Duration = Duration::from_millis(3900);
/// For giving the Lease back when we stop.
const RELEASE_TIME_MAX: Duration = Duration::from_secs(2);

/// Who leads, as this reconciler knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seat {
    /// The leader's identity; none while nobody is known to lead.
    pub(crate) holder: Option<String>,
    /// Until when we may plan.
    until: Option<Instant>,
}

impl Seat {
    /// True while we may plan. After a pause of this process it is false until the Lease was renewed.
    pub(crate) fn leads(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// The Lease as one observer sees it.
struct Election {
    me: String,
    /// Holder and version of the Lease, and since when it has not changed.
    seen: Option<(String, String, Instant)>,
}

/// What to do about the Lease.
#[derive(Debug, PartialEq)]
enum Move {
    /// Write this, if nobody else has written before.
    Write(Box<Lease>),
    /// Another leads.
    Wait,
}

impl Election {
    fn new(me: String) -> Self {
        Self { me, seen: None }
    }

    /// Decides by what was just read; `wall` is only shown to people.
    fn decide(&mut self, lease: Option<Lease>, now: Instant, wall: Timestamp) -> Move {
        let Some(lease) = lease else { return Move::Write(Box::new(self.claim(new_lease(), wall))) };
        let holder = holder(&lease).cloned().unwrap_or_default();
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let since = match &self.seen {
            Some((_, seen, since)) if *seen == version => *since,
            _ => now,
        };
        let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(LEASE_SECONDS);
        let life = Duration::from_secs(seconds.max(1).unsigned_abs().into());
        let is_expired = now.duration_since(since) >= life;
        self.seen = Some((holder.clone(), version, since));
        if holder.is_empty() || holder == self.me || is_expired {
            Move::Write(Box::new(self.claim(lease, wall)))
        } else {
            Move::Wait
        }
    }

    /// The Lease as ours.
    fn claim(&self, mut lease: Lease, wall: Timestamp) -> Lease {
        let is_ours = holder(&lease) == Some(&self.me);
        let spec = lease.spec.get_or_insert_default();
        if !is_ours {
            spec.acquire_time = Some(MicroTime(wall));
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
        }
        spec.holder_identity = Some(self.me.clone());
        spec.lease_duration_seconds = Some(LEASE_SECONDS);
        spec.renew_time = Some(MicroTime(wall));
        lease
    }

    /// The holder as last read.
    fn holder(&self) -> Option<String> {
        self.seen.as_ref().map(|(holder, ..)| holder.clone()).filter(|holder| !holder.is_empty())
    }
}

/// A name for this process that no other has: `NAME_UNIQUE`.
pub(crate) fn identity(name: Option<&str>) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let unique = uuid::Uuid::new_v4().simple().to_string();
    format!("{}_{}", name.unwrap_or(&host), &unique[..8])
}

/// Runs for the office until `stop`, then gives the Lease back if it is ours.
pub(crate) async fn campaign(
    connection: Connection,
    me: String,
    seat: watch::Sender<Seat>,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()>,
) {
    let mut stop = std::pin::pin!(stop);
    let mut election = Election::new(me);
    let mut held: Option<Lease> = None;
    loop {
        let asked = Instant::now();
        match step(&connection, &mut election, held.take()).await {
            Ok(lease) => {
                held = lease;
                let until = held.is_some().then(|| asked + LEAD_FOR);
                let holder = if held.is_some() { Some(election.me.clone()) } else { election.holder() };
                publish(&seat, Seat { holder, until }, &metrics);
            }
            Err(error) => {
                tracing::debug!(%error, "the leader's Lease could not be read or written; trying again");
                let is_over = !seat.borrow().leads(Instant::now());
                if is_over && seat.borrow().until.is_some() {
                    publish(&seat, Seat::default(), &metrics);
                }
            }
        }
        // A renewal is due a second after the last one was sent, however long its answer took.
        tokio::select! {
            () = tokio::time::sleep_until((asked + RENEW_EVERY).into()) => {}
            () = &mut stop => break,
        }
    }
    if let Some(lease) = held {
        publish(&seat, Seat::default(), &metrics);
        release(&connection, lease).await;
    }
}

/// Tells the loop and the metrics; says in the log when the office changed hands.
fn publish(seat: &watch::Sender<Seat>, new: Seat, metrics: &Metrics) {
    let now = Instant::now();
    let (led, leads) = (seat.borrow().leads(now), new.leads(now));
    if seat.borrow().holder != new.holder || led != leads {
        let holder = new.holder.as_deref().unwrap_or("nobody");
        tracing::info!(holder, leads, "who leads has changed");
    }
    metrics.set_leader(new.holder.as_deref(), leads);
    seat.send_replace(new);
}

/// One look and, where it is due, one write; the Lease if it is ours now.
async fn step(connection: &Connection, election: &mut Election, held: Option<Lease>) -> kube::Result<Option<Lease>> {
    let api = leases(connection);
    let lease = match held {
        // Nobody writes a Lease that is kept; if somebody did, the write conflicts.
        Some(lease) => Some(lease),
        None => timed(api.get_opt(LEASE_NAME)).await?,
    };
    let Move::Write(lease) = election.decide(lease, Instant::now(), Timestamp::now()) else { return Ok(None) };
    let parameters = PostParams::default();
    let written = if lease.metadata.resource_version.is_some() {
        timed(api.replace(LEASE_NAME, &parameters, &lease)).await
    } else {
        timed(api.create(&parameters, &lease)).await
    };
    match written {
        Ok(lease) => Ok(Some(lease)),
        // Somebody was faster, or it was deleted: the next look tells who leads.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lets another take over at once.
async fn release(connection: &Connection, mut lease: Lease) {
    if let Some(spec) = &mut lease.spec {
        spec.holder_identity = Some(String::new());
    }
    let api = leases(connection);
    let parameters = PostParams::default();
    let write = api.replace(LEASE_NAME, &parameters, &lease);
    match tokio::time::timeout(RELEASE_TIME_MAX, write).await {
        Ok(Ok(_)) => tracing::info!("gave the leader's Lease back"),
        Ok(Err(error)) => tracing::debug!(%error, "the leader's Lease was not given back; it expires"),
        Err(_) => tracing::debug!("the leader's Lease was not given back in time; it expires"),
    }
}

fn leases(connection: &Connection) -> Api<Lease> {
    Api::namespaced(connection.current(), SYSTEM_NAMESPACE)
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref()
}

fn new_lease() -> Lease {
    let metadata = ObjectMeta {
        name: Some(LEASE_NAME.to_owned()),
        namespace: Some(SYSTEM_NAMESPACE.to_owned()),
        ..ObjectMeta::default()
    };
    Lease { metadata, spec: Some(LeaseSpec::default()) }
}

/// A call that is answered in time, or not at all.
async fn timed<T>(call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(CALL_TIME_MAX, call).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, version: u64) -> Lease {
        let mut lease = Election::new(holder.into()).claim(new_lease(), Timestamp::UNIX_EPOCH);
        lease.metadata.resource_version = Some(version.to_string());
        lease
    }

    fn written(step: Move) -> LeaseSpec {
        let Move::Write(lease) = step else { panic!("it waits") };
        lease.spec.unwrap()
    }

    #[test]
    fn a_free_lease_is_taken_and_ones_own_renewed() {
        let (mut election, now) = (Election::new("me".into()), Instant::now());
        for lease in [None, Some(lease("", 3)), Some(lease("me", 4))] {
            let spec = written(election.decide(lease, now, Timestamp::UNIX_EPOCH));
            assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        }
    }

    #[test]
    fn a_lease_of_another_is_taken_only_after_it_was_seen_unchanged_for_its_life() {
        let (mut election, start) = (Election::new("me".into()), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut decide = |second, version| election.decide(Some(lease("other", version)), at(second), Timestamp::MAX);
        assert_eq!(decide(0, 7), Move::Wait);
        assert_eq!(decide(3, 7), Move::Wait);
        assert_eq!(decide(4, 8), Move::Wait, "it was renewed");
        assert_eq!(decide(7, 8), Move::Wait);
        let spec = written(decide(8, 8));
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("me"), Some(1)));
    }

    #[test]
    fn the_time_in_the_lease_decides_nothing() {
        let (mut election, now) = (Election::new("me".into()), Instant::now());
        let mut old = lease("other", 7);
        old.spec.as_mut().unwrap().renew_time = Some(MicroTime(Timestamp::UNIX_EPOCH));
        assert_eq!(election.decide(Some(old), now, Timestamp::MAX), Move::Wait);
    }

    #[test]
    fn after_a_pause_one_does_not_lead_until_the_next_renewal() {
        let start = Instant::now();
        let seat = Seat { holder: Some("me".into()), until: Some(start + LEAD_FOR) };
        assert!(seat.leads(start + Duration::from_secs(1)));
        assert!(!seat.leads(start + Duration::from_secs(LEASE_SECONDS.unsigned_abs().into())));
    }

    #[test]
    fn two_processes_of_one_name_have_two_identities() {
        assert_ne!(identity(Some("a")), identity(Some("a")));
        assert!(identity(Some("a")).starts_with("a_"));
    }
}
