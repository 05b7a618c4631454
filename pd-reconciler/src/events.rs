//! Events: what the user should see in `describe`. One Event object per object and reason, counted up; a burst
//! of the same becomes one write.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event as CoreEvent, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use pd_plan::{About, Event};
use schemas::{Digest, well_known};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{connection::Connection, metrics::Metrics};

/// Events that wait to be written; beyond it new ones are dropped, since they only repeat conditions.
const QUEUE_LENGTH_MAX: usize = 1024;
/// Event objects whose count we know; beyond it all are forgotten and their counts read again when needed.
const KNOWN_MAX: usize = 4096;
/// Time for one write.
const CALL_TIME_MAX: Duration = Duration::from_secs(5);
/// Hexadecimal digits of the hash in an event's name.
const HASH_DIGITS: usize = 16;
/// Who reports.
const COMPONENT: &str = "pd-reconciler";

/// Takes events in.
#[derive(Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<(Timestamp, Event)>,
    metrics: Arc<Metrics>,
}

impl Recorder {
    /// A recorder and the future that writes what it takes.
    pub(crate) fn new(connection: Connection, metrics: Arc<Metrics>) -> (Self, impl Future<Output = ()>) {
        let (queue, receiver) = mpsc::channel(QUEUE_LENGTH_MAX);
        (Self { queue, metrics }, write_all(connection, receiver))
    }

    /// Queues an event; drops it when the queue is full.
    pub(crate) fn record(&self, now: Timestamp, event: Event) {
        if self.queue.try_send((now, event)).is_err() {
            self.metrics.dropped_event();
            tracing::debug!("event dropped: too many wait to be written");
        }
    }
}

/// Several events of one object and reason.
struct Group {
    namespace: String,
    name: String,
    event: Event,
    count: i32,
    first: Timestamp,
    last: Timestamp,
}

async fn write_all(connection: Connection, mut queue: mpsc::Receiver<(Timestamp, Event)>) {
    let mut known: BTreeMap<String, i32> = BTreeMap::new();
    while let Some(first) = queue.recv().await {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        add(&mut groups, first);
        while let Ok(next) = queue.try_recv() {
            add(&mut groups, next);
        }
        for group in groups.into_values() {
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            let client = connection.current();
            match tokio::time::timeout(CALL_TIME_MAX, write(&client, &group, &mut known)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(event = group.name, %error, "event not written"),
                Err(_) => tracing::debug!(event = group.name, "event not written in time"),
            }
        }
    }
}

fn add(groups: &mut BTreeMap<String, Group>, (now, event): (Timestamp, Event)) {
    let (namespace, name) = place(&event);
    let new = Group { namespace, name: name.clone(), event: event.clone(), count: 0, first: now, last: now };
    let group = groups.entry(name).or_insert(new);
    group.count += 1;
    group.last = now;
    group.event = event;
}

/// Namespace and name of the Event object: the same for the same object and reason.
fn place(event: &Event) -> (String, String) {
    let (namespace, name, uid) = match &event.about {
        About::Job { namespace, name, uid } => (namespace.clone(), name, uid),
        About::Node { name, uid } => ("default".to_owned(), name, uid),
    };
    let hash = Digest::of(format!("{uid}/{}", event.reason).as_bytes()).hex();
    (namespace, format!("{name}.{}", &hash[..HASH_DIGITS]))
}

async fn write(client: &Client, group: &Group, known: &mut BTreeMap<String, i32>) -> kube::Result<()> {
    let api: Api<CoreEvent> = Api::namespaced(client.clone(), &group.namespace);
    if !known.contains_key(&group.name) {
        match api.create(&PostParams::default(), &object(group)).await {
            Ok(_) => {
                known.insert(group.name.clone(), group.count);
                return Ok(());
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let count = api.get(&group.name).await?.count.unwrap_or(1);
                known.insert(group.name.clone(), count);
            }
            Err(error) => return Err(error),
        }
    }
    let count = known.get(&group.name).copied().unwrap_or(0).saturating_add(group.count);
    let patch = json!({"count": count, "message": group.event.message, "lastTimestamp": Time(group.last)});
    match api.patch(&group.name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => known.insert(group.name.clone(), count),
        // Deleted under us: it is created anew the next time.
        Err(_) => known.remove(&group.name),
    };
    Ok(())
}

fn object(group: &Group) -> CoreEvent {
    CoreEvent {
        metadata: ObjectMeta {
            name: Some(group.name.clone()),
            namespace: Some(group.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: reference(&group.event.about),
        type_: Some(if group.event.is_warning { "Warning" } else { "Normal" }.into()),
        reason: Some(group.event.reason.into()),
        message: Some(group.event.message.clone()),
        count: Some(group.count),
        first_timestamp: Some(Time(group.first)),
        last_timestamp: Some(Time(group.last)),
        source: Some(EventSource { component: Some(COMPONENT.into()), host: None }),
        reporting_component: Some(COMPONENT.into()),
        ..CoreEvent::default()
    }
}

fn reference(about: &About) -> ObjectReference {
    let (api_version, kind, namespace, name, uid) = match about {
        About::Job { namespace, name, uid } => {
            (format!("{}/{}", well_known::GROUP, well_known::VERSION), "Job", Some(namespace.clone()), name, uid)
        }
        About::Node { name, uid } => ("v1".to_owned(), "Node", None, name, uid),
    };
    ObjectReference {
        api_version: Some(api_version),
        kind: Some(kind.into()),
        namespace,
        name: Some(name.clone()),
        uid: Some(uid.clone()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_the_same_becomes_one_with_a_count() {
        let event = |reason, message: &str| Event {
            about: About::Job { namespace: "n".into(), name: "j".into(), uid: "u".into() },
            is_warning: true,
            reason,
            message: message.into(),
        };
        let mut groups = BTreeMap::new();
        for (second, event) in [(1, event("A", "1")), (2, event("B", "2")), (3, event("A", "3"))] {
            add(&mut groups, (Timestamp::from_second(second).unwrap(), event));
        }
        assert_eq!(groups.len(), 2);
        let burst = groups.values().find(|group| group.event.reason == "A").unwrap();
        let written = object(burst);
        assert_eq!((written.count, written.message.as_deref()), (Some(2), Some("3")));
        assert_ne!(written.first_timestamp, written.last_timestamp);
    }
}
