//! The node's Lease: renewed every second or so, so that silence means something.
//!
//! It carries no work, but what the machine uses: a renewal is written anyway. When the server answers again after a
//! silence, the clients are rebuilt: connections that were open through a partition may never say that they are dead.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{ObjectMeta, Patch, PostParams},
};
use schemas::well_known::{ANNOTATION_USAGE, NODE_LEASE_NAMESPACE};
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    client::{self, ClientError, Connection},
    metrics::Metrics,
    usage,
};

/// One renewal, if they do not come more seldom: two of them fit into the few seconds after which a node counts as lost.
const RENEW_TIMEOUT: Duration = Duration::from_secs(2);
/// Missed renewals after which the Lease says of itself that it has expired.
const MISSED_MAX: u32 = 5;
/// Missed renewals after which the connections are not trusted any more.
const SUSPECT_AFTER: u32 = 4;

/// Renews for ever.
pub(crate) async fn keep(connection: Connection, name: String, every: Duration, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut held: Option<Lease> = None;
    let mut heard = Instant::now();
    let mut failing = false;
    loop {
        ticks.tick().await;
        let api: Api<Lease> = Api::namespaced(connection.current().api.clone(), NODE_LEASE_NAMESPACE);
        match renew(&api, &name, every, held.take()).await {
            Ok(lease) => {
                held = lease;
                if failing {
                    tracing::info!(silent_ms = heard.elapsed().as_millis() as u64, "lease renewed again");
                }
                if heard.elapsed() > every * SUSPECT_AFTER {
                    connection.reconnect();
                }
                failing = false;
                heard = Instant::now();
            }
            Err(error) => {
                metrics.lease_failures.inc();
                if !failing {
                    tracing::warn!(error = crate::chain(&error), "lease not renewed");
                }
                failing = true;
            }
        }
    }
}

/// One renewal; answers the Lease to renew next time, or none when it has to be read again.
async fn renew(
    api: &Api<Lease>,
    name: &str,
    every: Duration,
    held: Option<Lease>,
) -> Result<Option<Lease>, ClientError> {
    let seconds = i32::try_from((every * MISSED_MAX).as_secs().max(1)).unwrap_or(i32::MAX);
    let timeout = RENEW_TIMEOUT.max(every);
    let now = MicroTime(Timestamp::now());
    let held = match held {
        Some(lease) => Some(lease),
        None => client::timed_within(timeout, "read the Lease", async { api.get_opt(name).await }).await?,
    };
    let (params, apply) = (PostParams::default(), client::apply());
    let renewed = match held {
        None => {
            let lease = new_lease(name, seconds, now);
            // Applied and not posted, because the address of an apply says whose Lease it is.
            let applied = async { api.patch(name, &apply, &Patch::Apply(&lease)).await };
            client::timed_within(timeout, "create the Lease", applied).await
        }
        Some(mut lease) => {
            let spec = lease.spec.get_or_insert_default();
            spec.renew_time = Some(now);
            spec.holder_identity = Some(name.to_owned());
            spec.lease_duration_seconds = Some(seconds);
            if let Ok(usage) = tokio::task::spawn_blocking(usage::text).await {
                lease.metadata.annotations.get_or_insert_default().insert(ANNOTATION_USAGE.to_owned(), usage);
            }
            client::timed_within(timeout, "renew the Lease", async { api.replace(name, &params, &lease).await }).await
        }
    };
    match renewed {
        Ok(lease) => Ok(Some(lease)),
        // Somebody wrote or deleted it: the next renewal reads it first.
        Err(error) if matches!(error.code(), Some(404 | 409)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn new_lease(name: &str, seconds: i32, now: MicroTime) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NODE_LEASE_NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(seconds),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    }
}
