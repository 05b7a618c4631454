//! The cluster, as a source of manifests uses it: which kinds there are, apply, delete, and whose an object is.

use std::collections::BTreeMap;

use kube::{
    Api, Client, Discovery, ResourceExt as _,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
    core::{ApiResource, GroupVersionKind, Status},
    discovery::{ApiGroup, Scope},
};
use schemas::{
    condition,
    job::conditions::{COMPLETE, FAILED},
};
use serde_json::Value;

use crate::desired::ObjectId;

/// Under which the server remembers what a source set.
pub(crate) const FIELD_MANAGER: &str = "processdistro-manifests";
/// Annotation of an object: the UID of the ManifestSource that applies it.
pub(crate) const OWNER: &str = "processdistro.dev/manifest-source";

/// Why a write was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The server said no, and will again.
    #[error("{}", .0.message)]
    Refused(Box<Status>),
    /// Somebody else's object is not touched.
    #[error("{id} belongs to {owner}; take it out of one of the two")]
    Foreign { id: ObjectId, owner: String },
    /// It may work later.
    #[error("{0}")]
    Later(kube::Error),
}

/// What an apply has found or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) uid: String,
    pub(crate) is_new: bool,
    pub(crate) is_finished: bool,
}

/// What a delete came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pruned {
    Deleted,
    Gone,
    /// It is not ours any more.
    Released,
}

/// The API server, and the kinds it serves.
pub(crate) struct Cluster {
    client: Client,
    kinds: BTreeMap<(String, String), (ApiResource, bool)>,
}

impl Cluster {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, kinds: BTreeMap::new() }
    }

    /// Asks the server for its kinds.
    pub(crate) async fn discover(&mut self) -> Result<(), kube::Error> {
        let discovery = Discovery::new(self.client.clone()).run().await?;
        let kinds = discovery.groups().flat_map(ApiGroup::recommended_resources);
        self.kinds = kinds
            .map(|(resource, capabilities)| {
                let is_namespaced = capabilities.scope == Scope::Namespaced;
                ((resource.api_version.clone(), resource.kind.clone()), (resource, is_namespaced))
            })
            .collect();
        Ok(())
    }

    /// Whether the kind lives in a namespace; none for one that is not served.
    pub(crate) fn is_namespaced(&self, api_version: &str, kind: &str) -> Option<bool> {
        self.kinds.get(&(api_version.to_owned(), kind.to_owned())).map(|(_, is_namespaced)| *is_namespaced)
    }

    fn api(&self, id: &ObjectId) -> Api<DynamicObject> {
        let known = self.kinds.get(&(id.api_version.clone(), id.kind.clone())).map(|(resource, _)| resource.clone());
        let resource = known.unwrap_or_else(|| {
            let (group, version) = id.api_version.rsplit_once('/').unwrap_or(("", &id.api_version));
            ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &id.kind))
        });
        match id.namespace.as_str() {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }

    /// Server-side apply in the name of the source with the UID `owner`. With `is_over`, an object that is gone
    /// stays gone.
    pub(crate) async fn apply(
        &self,
        id: &ObjectId,
        object: &Value,
        owner: &str,
        is_over: bool,
    ) -> Result<Option<Applied>, WriteError> {
        let api = self.api(id);
        let live = api.get_opt(&id.name).await.map_err(judge)?;
        if let Some(other) = live.as_ref().and_then(|live| live.annotations().get(OWNER)).filter(|uid| *uid != owner) {
            let owner = format!("another manifest source (UID {other})");
            return Err(WriteError::Foreign { id: id.clone(), owner });
        }
        if live.is_none() && is_over {
            return Ok(None);
        }
        let mut object = object.clone();
        object["metadata"]["annotations"][OWNER] = owner.into();
        let params = PatchParams::apply(FIELD_MANAGER).force().validation_strict();
        let stored = api.patch(&id.name, &params, &Patch::Apply(&object)).await.map_err(judge)?;
        let is_finished = is_finished(&stored.data);
        Ok(Some(Applied { uid: stored.uid().unwrap_or_default(), is_new: live.is_none(), is_finished }))
    }

    /// Deletes the object if it is the one that we applied.
    pub(crate) async fn prune(&self, id: &ObjectId, uid: &str, owner: &str) -> Result<Pruned, WriteError> {
        let api = self.api(id);
        let Some(live) = api.get_opt(&id.name).await.map_err(judge)? else { return Ok(Pruned::Gone) };
        let is_ours = live.annotations().get(OWNER).is_some_and(|live| live == owner);
        if !is_ours || (!uid.is_empty() && live.uid().as_deref() != Some(uid)) {
            return Ok(Pruned::Released);
        }
        let preconditions = Some(Preconditions { uid: live.uid(), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::background() };
        match api.delete(&id.name, &params).await {
            Ok(_) => Ok(Pruned::Deleted),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Pruned::Gone),
            Err(error) => Err(judge(error)),
        }
    }
}

/// True for a Job that is Complete or Failed.
fn is_finished(object: &Value) -> bool {
    let conditions = object.pointer("/status/conditions").cloned().unwrap_or_default();
    let conditions: Vec<schemas::Condition> = serde_json::from_value(conditions).unwrap_or_default();
    [COMPLETE, FAILED].iter().any(|type_| condition::is_true(&conditions, type_))
}

fn judge(error: kube::Error) -> WriteError {
    match error {
        kube::Error::Api(status) if status.code < 500 && !matches!(status.code, 401 | 409 | 429) => {
            WriteError::Refused(status)
        }
        other => WriteError::Later(other),
    }
}
