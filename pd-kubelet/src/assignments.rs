//! The watch of the Assignments that name this node.
//!
//! Out: `Change`s in the order the server made them. A new watch begins with the whole list, so that whoever
//! applies the changes converges after any gap. What the Assignments mean is not known here.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures::StreamExt as _;
use kube::{
    Api,
    runtime::watcher::{self, Event},
};
use schemas::Assignment;
use tokio::sync::mpsc;

use crate::client::Connection;

/// How long the server keeps one watch open, in renewals of the node's lease: 20 s. kube gives a watch up a little after
/// this, so it is also what a connection that died in silence costs.
const WATCH_RENEWALS: u32 = 20;
/// The same at most; kube asks for no more.
const WATCH_SECONDS_MAX: u64 = 290;
/// Between two tries while the server is away; with jitter.
const RETRY_MIN: Duration = Duration::from_millis(50);
/// As above, at most: one second, because a returned server should have its nodes back soon.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// What became of the Assignments of this node.
#[derive(Debug)]
pub(crate) enum Change {
    /// This one is new or was changed.
    Set(Box<Assignment>),
    /// This one was deleted.
    Gone(String),
    /// These are all there are, by UID.
    Listed(Vec<String>),
}

/// Watches for ever; ends when nobody listens any more. The node's lease is renewed `every` so often.
pub(crate) async fn watch(connection: Connection, node: String, every: Duration, to: mpsc::Sender<Change>) {
    let mut clients = connection.subscribe();
    let seconds = every.saturating_mul(WATCH_RENEWALS).as_secs().clamp(1, WATCH_SECONDS_MAX) as u32;
    loop {
        let api: Api<Assignment> = Api::all(clients.borrow_and_update().api.clone());
        let config =
            watcher::Config::default().fields(&format!("spec.nodeName={node}")).any_semantic().timeout(seconds);
        tokio::select! {
            () = follow(api, config, &to) => return,
            changed = clients.changed() => if changed.is_err() { return },
        }
    }
}

/// Ends only when nobody listens.
async fn follow(api: Api<Assignment>, config: watcher::Config, to: &mpsc::Sender<Change>) {
    let mut events = Box::pin(watcher::watcher(api, config));
    let backoff = ExponentialBuilder::default()
        .with_min_delay(RETRY_MIN)
        .with_max_delay(RETRY_MAX)
        .without_max_times()
        .with_jitter();
    let mut delays = backoff.build();
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        let change = match event {
            Err(error) => {
                tracing::warn!(error = crate::chain(&error), "watch of the assignments interrupted");
                tokio::time::sleep(delays.next().unwrap_or(RETRY_MAX)).await;
                continue;
            }
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(assignment)) => {
                listed.push(uid(&assignment));
                Change::Set(Box::new(assignment))
            }
            Ok(Event::InitDone) => Change::Listed(std::mem::take(&mut listed)),
            Ok(Event::Apply(assignment)) => Change::Set(Box::new(assignment)),
            Ok(Event::Delete(assignment)) => Change::Gone(uid(&assignment)),
        };
        delays = backoff.build();
        if to.send(change).await.is_err() {
            return;
        }
    }
}

fn uid(assignment: &Assignment) -> String {
    assignment.metadata.uid.clone().unwrap_or_default()
}
