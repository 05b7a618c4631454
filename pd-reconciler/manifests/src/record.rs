//! The ManifestSource object: what others see of a source, and its memory over restarts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use schemas::{
    Condition, Digest, ManifestSource, condition,
    manifest_source::{AppliedDigest, FileProblem, InventoryEntry, ManifestSourceStatus, conditions},
};
use serde_json::json;

use crate::{Options, cluster::FIELD_MANAGER, desired::ObjectId};

/// Problems that a status holds; a person mends one after the other.
const PROBLEMS_MAX: usize = 64;
/// States of the folder that a status remembers.
const DIGESTS_MAX: usize = 5;
/// Objects of one source: an entry has some 300 bytes, and all of them have to fit into one object of 1 MiB.
pub const INVENTORY_MAX: usize = 2_000;

/// What one cycle came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Digest of the folder, when all of it is applied.
    pub(crate) applied: Option<Digest>,
    pub(crate) problems: Vec<FileProblem>,
    /// What else keeps the source from being ready.
    pub(crate) obstacle: Option<(&'static str, String)>,
    /// Why changes are not told of, if so.
    pub(crate) not_notified: Option<String>,
}

/// The object of one source, as it was last written.
pub(crate) struct Record {
    api: Api<ManifestSource>,
    events: Api<Event>,
    host: String,
    name: String,
    pub(crate) object: ManifestSource,
    pub(crate) inventory: BTreeMap<ObjectId, InventoryEntry>,
}

impl Record {
    /// Creates the object, or finds the one of an earlier run with its inventory.
    pub(crate) async fn open(client: Client, options: &Options) -> Result<Self, kube::Error> {
        let api: Api<ManifestSource> = Api::namespaced(client.clone(), &options.namespace);
        let events = Api::namespaced(client, &options.namespace);
        let spec = json!({
            "apiVersion": "processdistro.dev/v1", "kind": "ManifestSource",
            "metadata": {"name": options.name},
            "spec": {
                "folder": options.folder.display().to_string(), "host": options.host,
                "prune": options.rules.prune, "allowEmpty": options.rules.allow_empty,
            },
        });
        let params = PatchParams::apply(FIELD_MANAGER).force().validation_strict();
        let object = api.patch(&options.name, &params, &Patch::Apply(&spec)).await?;
        let entries = object.status.iter().flat_map(|status| &status.inventory);
        let inventory = entries.map(|entry| (ObjectId::from(entry), entry.clone())).collect();
        Ok(Self { api, events, host: options.host.clone(), name: options.name.clone(), object, inventory })
    }

    /// The UID, by which objects know their source.
    pub(crate) fn uid(&self) -> String {
        self.object.uid().unwrap_or_default()
    }

    /// Writes the inventory before its new objects are applied: after a crash they are known as ours.
    pub(crate) async fn write_inventory(&mut self) -> Result<(), kube::Error> {
        self.write(self.object.status.clone().unwrap_or_default()).await
    }

    /// Writes what a cycle came to.
    pub(crate) async fn write_outcome(&mut self, outcome: Outcome, now: Timestamp) -> Result<(), kube::Error> {
        let mut status = self.object.status.clone().unwrap_or_default();
        let generation = self.object.metadata.generation;
        for condition in [ready(&outcome, self.inventory.len(), now), notified(&outcome, now)] {
            condition::set(&mut status.conditions, Condition { observed_generation: generation, ..condition });
        }
        status.problems = outcome.problems;
        status.problems.truncate(PROBLEMS_MAX);
        if let Some(digest) = outcome.applied
            && status.digests.first().is_none_or(|newest| newest.digest != digest)
        {
            status.digests.insert(0, AppliedDigest { digest, time: now });
            status.digests.truncate(DIGESTS_MAX);
        }
        self.write(status).await
    }

    /// Records an Event about the source. They are for people: one that cannot be written holds nothing up.
    pub(crate) async fn tell(&self, is_warning: bool, reason: &str, message: String) {
        let now = Some(Time(Timestamp::now()));
        let event = Event {
            metadata: ObjectMeta { generate_name: Some(format!("{}.", self.name)), ..ObjectMeta::default() },
            involved_object: self.object.object_ref(&()),
            type_: Some(if is_warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            source: Some(EventSource { component: Some(FIELD_MANAGER.to_owned()), host: Some(self.host.clone()) }),
            reporting_component: Some(FIELD_MANAGER.to_owned()),
            count: Some(1),
            first_timestamp: now.clone(),
            last_timestamp: now,
            ..Event::default()
        };
        if let Err(error) = self.events.create(&PostParams::default(), &event).await {
            tracing::debug!(%error, "an event was not written");
        }
    }

    async fn write(&mut self, mut status: ManifestSourceStatus) -> Result<(), kube::Error> {
        status.inventory = self.inventory.values().cloned().collect();
        status.objects = self.inventory.len() as u64;
        if self.object.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let patch = json!({"metadata": {"uid": self.object.metadata.uid}, "status": status});
        self.object = self.api.patch_status(&self.name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }
}

fn ready(outcome: &Outcome, objects: usize, now: Timestamp) -> Condition {
    let (status, reason, message) = match (&outcome.obstacle, outcome.problems.as_slice()) {
        (Some((reason, message)), _) => ("False", *reason, message.clone()),
        (None, [first, rest @ ..]) => {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            ("False", "Problems", format!("{first}{more}"))
        }
        (None, []) => ("True", "Applied", format!("{objects} objects are as the folder says")),
    };
    condition_of(conditions::READY, status, reason, message, now)
}

fn notified(outcome: &Outcome, now: Timestamp) -> Condition {
    match &outcome.not_notified {
        None => condition_of(conditions::NOTIFIED, "True", "Watching", "changes are seen at once".to_owned(), now),
        Some(why) => {
            let message = format!("the folder is read again and again: {why}");
            condition_of(conditions::NOTIFIED, "False", "Polling", message, now)
        }
    }
}

fn condition_of(type_: &str, status: &str, reason: &str, message: String, now: Timestamp) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: now,
        observed_generation: None,
    }
}
