//! One report on the wire: the artifacts first, then the status that names them.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{Api, api::PostParams};
use schemas::{Assignment, AssignmentStatus, Digest};

use crate::{
    client::{self, ArtifactError, ClientError, Clients},
    metrics::{DirectionLabel, Metrics},
};

/// Uploads at once; more would only queue at the disk.
const UPLOADS_MAX: usize = 4;
/// Times that a status is put over a concurrent change before a pause.
const CONFLICTS_MAX: usize = 8;

/// Why a report was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    #[error("an artifact of the report could not be uploaded")]
    Artifact(#[from] ArtifactError),
    #[error("the status could not be written")]
    Status(#[from] ClientError),
    #[error("the Assignment does not exist any more")]
    Gone,
    #[error("the Assignment is for another registration of this node")]
    Fenced,
    #[error("the server lacks artifacts that it once had: {reason}")]
    Unknown {
        /// Those that it named; none: it may be any of them.
        missing: BTreeSet<Digest>,
        reason: String,
    },
}

/// An artifact to upload.
pub(super) struct Upload {
    pub digest: Digest,
    pub size: u64,
    pub path: PathBuf,
}

/// One report.
pub(super) struct Report {
    pub clients: Arc<Clients>,
    pub metrics: Arc<Metrics>,
    pub object: Box<Assignment>,
    pub status: AssignmentStatus,
    pub uploads: Vec<Upload>,
}

/// Uploads and writes; answers the object as the server has it now.
pub(super) async fn publish(report: Report) -> Result<Assignment, PublishError> {
    let started = std::time::Instant::now();
    let Report { clients, metrics, mut object, status, uploads } = report;
    let put = |upload: Upload| {
        let (clients, metrics) = (Arc::clone(&clients), Arc::clone(&metrics));
        async move {
            clients.artifacts.put(upload.digest, upload.size, &upload.path).await?;
            metrics.artifact_bytes.get_or_create(&DirectionLabel { direction: "out" }).inc_by(upload.size);
            Ok::<_, PublishError>(())
        }
    };
    stream::iter(uploads).map(put).buffer_unordered(UPLOADS_MAX).try_collect::<Vec<_>>().await?;
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let api: Api<Assignment> = Api::namespaced(clients.api.clone(), &namespace);
    object.status = Some(status);
    let written = write(&api, &mut object).await?;
    metrics.report_seconds.observe(started.elapsed().as_secs_f64());
    Ok(written)
}

async fn write(api: &Api<Assignment>, object: &mut Assignment) -> Result<Assignment, PublishError> {
    let name = object.metadata.name.clone().unwrap_or_default();
    let params = PostParams::default();
    for _ in 0..CONFLICTS_MAX {
        let put = async { api.replace_status(&name, &params, object).await };
        let error = match client::timed("write an Assignment's status", put).await {
            Ok(written) => return Ok(written),
            Err(error) => error,
        };
        match error.code() {
            Some(409) => reread(api, &name, object).await?,
            Some(404) => return Err(PublishError::Gone),
            Some(422) => {
                let reason = crate::chain(&error);
                return Err(PublishError::Unknown { missing: digests_in(&reason), reason });
            }
            _ => return Err(error.into()),
        }
    }
    reread(api, &name, object).await?;
    Err(PublishError::Status(ClientError::Timeout {
        what: "write an Assignment's status over concurrent changes",
        after: std::time::Duration::ZERO,
    }))
}

/// The digests that an error names.
fn digests_in(text: &str) -> BTreeSet<Digest> {
    const DIGEST_CHARS: usize = "sha256:".len() + 64;
    let named = text.match_indices("sha256:").filter_map(|(at, _)| text.get(at..at + DIGEST_CHARS)?.parse().ok());
    named.collect()
}

/// Goes on from what the server has now, if it is still the Assignment that we know.
async fn reread(api: &Api<Assignment>, name: &str, object: &mut Assignment) -> Result<(), PublishError> {
    let found = client::timed("read an Assignment", async { api.get_opt(name).await }).await?;
    let Some(found) = found else { return Err(PublishError::Gone) };
    if found.metadata.uid != object.metadata.uid {
        return Err(PublishError::Gone);
    }
    if Some(&found.spec.node_uid) != object.status.as_ref().map(|status| &status.node_uid) {
        return Err(PublishError::Fenced);
    }
    object.metadata = found.metadata;
    object.spec = found.spec;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digests_that_a_refusal_names_are_found() {
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        let reason = format!("status.segments: Not found: \"{one}\": upload it, Not found: \"{two}\" and sha256:short");
        assert_eq!(digests_in(&reason), BTreeSet::from([one, two]));
        assert!(digests_in("something else is wrong").is_empty());
    }
}
