//! Everything that a job's calls need, brought onto this machine and opened.

use std::{io, sync::Arc};

use executor_protocol::{Context, Isolation};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, future, stream};
use schemas::{
    AssignmentSpec, Digest,
    assignment::{CallFailure, FailureOutcome, MergeOrder, Part},
    limits::{LOG_BYTES_MAX, MESSAGE_BYTES_MAX, OUTPUT_BYTES_MAX},
};

use crate::{
    cache::{Cache, ModuleError, Modules},
    client::ArtifactError,
    slots::{Delivered, Job, OpenBlob, Parts, cut},
};

/// Parts fetched at once.
const FETCHES_MAX: usize = 8;

/// Why a job cannot be set up on this node.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    #[error("the component {digest} is not available on this node")]
    Component { digest: Digest, source: ArtifactError },
    #[error("the component {digest} cannot be prepared on this node")]
    Module { digest: Digest, source: ModuleError },
    #[error("{what} ({digest}) is not available on this node")]
    Blob { what: String, digest: Digest, source: ArtifactError },
    #[error("{what} ({digest}) cannot be read on this node")]
    Open { what: String, digest: Digest, source: io::Error },
}

/// Fetches and compiles the component and opens inputs and state.
pub(super) async fn job(cache: &Arc<Cache>, modules: &Modules, spec: &AssignmentSpec) -> Result<Job, SetupError> {
    let work = &spec.work;
    let digest = work.module;
    let compiled = async {
        let component = cache.get(digest).await.map_err(|source| SetupError::Component { digest, source })?;
        modules.get(digest, &component, work.bitwise).await.map_err(|source| SetupError::Module { digest, source })
    };
    let inputs = work.inputs.iter().map(|(name, digest)| async move {
        Ok((name.clone(), open(cache, format!("the input `{name}`"), *digest).await?))
    });
    let state = async {
        match spec.layout.as_ref().and_then(|layout| layout.state) {
            Some(digest) => open(cache, "the plan's state".to_owned(), digest).await.map(Some),
            None => Ok(None),
        }
    };
    let (compiled, inputs, state) = future::try_join3(compiled, future::try_join_all(inputs), state).await?;
    let context = Context {
        compiled: compiled.to_string_lossy().into_owned(),
        params: serde_json::Value::Object(work.params.clone()).to_string(),
        memory_bytes_max: work.memory.0,
        call_ms_max: milliseconds(work.subtask_timeout),
        cpu_ms_max: work.cpu_time.map(milliseconds),
        output_bytes_max: OUTPUT_BYTES_MAX,
        log_bytes_max: LOG_BYTES_MAX as u64,
        goal: spec.layout.as_ref().and_then(|layout| layout.goal),
        isolation: match work.isolation {
            schemas::job::Isolation::Subtask => Isolation::Subtask,
            schemas::job::Isolation::Batch => Isolation::Batch,
        },
        canonical_nans: work.bitwise,
        host_kernels: work.host_kernels,
    };
    Ok(Job { context, inputs: inputs.into_iter().collect(), state })
}

fn milliseconds(limit: schemas::Duration) -> u64 {
    limit.0.as_millis().try_into().unwrap_or(u64::MAX >> 1)
}

/// Fetches and opens the segments that a merge reads.
pub(super) async fn parts(cache: &Arc<Cache>, order: &MergeOrder) -> Result<Parts, SetupError> {
    let fetched = stream::iter(order.parts.clone()).map(|part| fetch(cache, part)).buffer_unordered(FETCHES_MAX);
    fetched.try_fold(Parts::default(), |all, one| future::ok(all.with(one))).await
}

/// The same of the segments whose outputs are to be checked, once somebody waits for it. What cannot be had is left out.
pub(super) fn delivered(cache: &Arc<Cache>, parts: &[Part]) -> Delivered {
    let (cache, parts) = (Arc::clone(cache), parts.to_vec());
    let fetched = async move {
        let fetched = stream::iter(parts).map(|part| fetch(&cache, part)).buffer_unordered(FETCHES_MAX);
        let all = fetched.fold(Parts::default(), |all, one| {
            future::ready(match one {
                Ok(one) => all.with(one),
                Err(error) => {
                    tracing::warn!(error = crate::chain(&error), "outputs that were to be checked are computed");
                    all
                }
            })
        });
        Arc::new(all.await)
    };
    fetched.boxed().shared()
}

async fn fetch(cache: &Arc<Cache>, part: Part) -> Result<Parts, SetupError> {
    let digest = part.segment;
    let what = || format!("the segment with the indexes {}", cut(part.indexes.to_string(), 200));
    let path = cache.get(digest).await.map_err(|source| SetupError::Blob { what: what(), digest, source })?;
    // Opened at once: the cache may evict it when the next ones arrive.
    let mut one = Parts::default();
    one.add(&path, &part.indexes).map_err(|source| SetupError::Open { what: what(), digest, source })?;
    Ok(one)
}

async fn open(cache: &Arc<Cache>, what: String, digest: Digest) -> Result<OpenBlob, SetupError> {
    match cache.get(digest).await {
        Ok(path) => OpenBlob::open(&path).map_err(|source| SetupError::Open { what, digest, source }),
        Err(source) => Err(SetupError::Blob { what, digest, source }),
    }
}

/// As a status says it.
pub(super) fn failure(text: String) -> CallFailure {
    let message = cut(text, MESSAGE_BYTES_MAX);
    CallFailure { outcome: FailureOutcome::SetupFailed, message, log: String::new() }
}
