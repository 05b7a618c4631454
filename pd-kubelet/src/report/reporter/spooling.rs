//! The reporter's way to the disk: outcomes become segments and groups of failures, segments are merged where
//! there are too many, and the ledger says so.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use schemas::{
    Digest, IndexSet,
    assignment::{FailureOutcome, Segment},
};
use tokio::time::Instant;

use super::{Pending, Reporter, SPOOL_DELAY};
use crate::{
    report::{pack, tiers},
    slots::Failed,
    spool::SpoolDir,
};

/// Packing fewer bytes than this is not worth a thread of its own.
const INLINE_PACK_BYTES_MAX: u64 = 256 << 10;

impl Reporter {
    /// Moves what is in memory to the disk, and merges segments where there are too many.
    pub(super) async fn spool(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let bytes = pending.bytes;
        let is_small = bytes < INLINE_PACK_BYTES_MAX;
        match self.pack(pending, is_small).await {
            Ok(()) => self.disk_retry_at = None,
            Err((error, pending)) => {
                tracing::error!(assignment = self.name(), %error, "outcomes cannot be spooled; the disk may be full");
                self.pending = *pending;
                self.disk_retry_at = Some(Instant::now() + SPOOL_DELAY);
                return;
            }
        }
        self.setting.backlog.fetch_sub(bytes, Ordering::Relaxed);
        self.compact().await;
        if let Err(error) = self.dir.store(&self.ledger) {
            tracing::error!(assignment = self.name(), %error, "the ledger cannot be written; the disk may be full");
        }
    }

    async fn pack(&mut self, mut pending: Pending, is_small: bool) -> Result<(), (std::io::Error, Box<Pending>)> {
        if !pending.outputs.is_empty() {
            let (packed, back) = pack_outputs(self.dir.clone(), pending, self.completed.clone(), is_small).await;
            pending = back;
            match packed {
                Ok(packed) => {
                    (pending.outputs, pending.logs) = (Vec::new(), Vec::new());
                    for packed in packed {
                        self.completed |= &packed.segment.indexes;
                        self.ledger.add(packed);
                    }
                }
                Err(error) => return Err((error, Box::new(pending))),
            }
        }
        self.file_failures(std::mem::take(&mut pending.failures)).map_err(|(error, failures)| {
            pending.failures = failures;
            (error, Box::new(pending))
        })
    }

    /// Files failures under their groups.
    fn file_failures(&mut self, failures: Vec<(u32, Failed)>) -> Result<(), (std::io::Error, Vec<(u32, Failed)>)> {
        let logs = match self.pack_failure_logs(&failures) {
            Ok(logs) => logs,
            Err(error) => return Err((error, failures)),
        };
        for (attempt, failed) in &failures {
            let key = (*attempt, failed.outcome, failed.message.clone());
            let digest = logs.get(&key).copied().filter(|_| !failed.log.is_empty());
            self.ledger.fail(*attempt, failed, digest);
            // The view is older than the failure: nothing of it runs any more.
            self.view.retained.remove(failed.index);
        }
        Ok(())
    }

    /// The logs of failures of one kind become one artifact.
    fn pack_failure_logs(
        &mut self,
        failures: &[(u32, Failed)],
    ) -> std::io::Result<BTreeMap<(u32, FailureOutcome, String), Digest>> {
        let mut logs: BTreeMap<_, Vec<(u64, &str)>> = BTreeMap::new();
        for (attempt, failed) in failures.iter().filter(|(_, failed)| !failed.log.is_empty()) {
            let key = (*attempt, failed.outcome, failed.message.clone());
            logs.entry(key).or_default().push((failed.index, &failed.log));
        }
        let mut packed = BTreeMap::new();
        for (key, mut logs) in logs {
            pack::order(&mut logs);
            let (digest, size) = pack::pack_logs(&self.dir, &logs)?;
            self.ledger.blob(digest, size);
            packed.insert(key, digest);
        }
        Ok(packed)
    }

    /// Merges segments until no tier is too full.
    async fn compact(&mut self) {
        loop {
            let sizes: Vec<u64> = self.ledger.segments.iter().map(|segment| self.weight(segment)).collect();
            let Some(positions) = tiers::overfull(&sizes) else { return };
            let segments: Vec<_> = positions.iter().map(|at| self.ledger.segments[*at].clone()).collect();
            let dir = self.dir.clone();
            let merged = tokio::task::spawn_blocking(move || pack::merge(&dir, &segments)).await;
            match merged.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
                Ok(merged) => self.trash.extend(self.ledger.replace(&positions, merged)),
                Err(error) => {
                    tracing::warn!(assignment = self.name(), %error, "segments not merged");
                    return;
                }
            }
            self.version += 1;
        }
    }

    /// Bytes that a merge would have to move; a segment without a file here cannot be moved.
    fn weight(&self, segment: &Segment) -> u64 {
        let size_of =
            |digest: &Digest| self.ledger.blobs.get(digest).map_or(tiers::SEGMENT_BYTES_MAX, |blob| blob.size);
        size_of(&segment.digest) + segment.logs.as_ref().map_or(0, size_of)
    }
}

/// Packs off the runtime's threads when there is much of it; gives the outcomes back.
async fn pack_outputs(
    dir: SpoolDir,
    mut pending: Pending,
    completed: IndexSet,
    is_small: bool,
) -> (std::io::Result<Vec<pack::Packed>>, Pending) {
    let packing = move || {
        pack::order(&mut pending.logs);
        let outputs = pack::gather(&pending.outputs, &completed);
        (pack::pack(&dir, &outputs, &pending.logs), pending)
    };
    if is_small {
        return packing();
    }
    match tokio::task::spawn_blocking(packing).await {
        Ok(packed) => packed,
        // The runtime is shutting down: what was in memory will be computed again.
        Err(error) => (Err(std::io::Error::other(error)), Pending::default()),
    }
}
