//! Comparing outputs where they are stored: two segments, index by index, bit by bit.
//!
//! In: two segments and a set of indexes that both hold. Out: the indexes at which they differ. Bytes are compared, not
//! digests that somebody claims; nothing is kept. A segment is at most 32 MiB where nodes pack them, and one output
//! 64 MiB.

use schemas::{
    Digest, IndexSet,
    limits::OUTPUT_BYTES_MAX,
    segment::{Directory, InvalidSegment},
};

use super::{ArtifactError, ArtifactStore};

/// Largest segment that is compared: one output of the largest size, and its header.
const SEGMENT_BYTES_MAX: u64 = OUTPUT_BYTES_MAX + (1 << 20);

/// Why two segments cannot be compared.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompareError {
    #[error("there is no artifact {0}")]
    Missing(Digest),
    #[error("artifact {digest} is no segment: {source}")]
    Segment { digest: Digest, source: InvalidSegment },
    #[error("segment {digest} does not hold the indexes {lacking}")]
    Lacking { digest: Digest, lacking: IndexSet },
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

/// A segment in memory.
struct Segment {
    bytes: bytes::Bytes,
    directory: Directory,
}

/// The indexes of `indexes` at which two segments hold different outputs.
pub(super) async fn differences(
    artifacts: &ArtifactStore,
    [left, right]: [Digest; 2],
    indexes: &IndexSet,
) -> Result<IndexSet, CompareError> {
    let left = Segment::read(artifacts, left, indexes).await?;
    let right = Segment::read(artifacts, right, indexes).await?;
    Ok(indexes.iter().filter(|index| left.output(*index) != right.output(*index)).collect())
}

impl Segment {
    async fn read(artifacts: &ArtifactStore, digest: Digest, indexes: &IndexSet) -> Result<Self, CompareError> {
        let bytes = artifacts.read_all(&digest, SEGMENT_BYTES_MAX).await?.ok_or(CompareError::Missing(digest))?;
        let directory = Directory::of(&bytes).map_err(|source| CompareError::Segment { digest, source })?;
        let lacking = indexes - directory.indexes();
        if lacking.is_empty() { Ok(Self { bytes, directory }) } else { Err(CompareError::Lacking { digest, lacking }) }
    }

    /// The output of an index that it holds.
    fn output(&self, index: u64) -> Option<&[u8]> {
        let range = self.directory.entry(index)?;
        self.bytes.get(range.start as usize..range.end as usize)
    }
}

#[cfg(test)]
mod tests {
    use schemas::segment::encode;

    use super::*;

    async fn store(artifacts: &ArtifactStore, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let body = futures::stream::iter([Ok::<_, String>(bytes::Bytes::copy_from_slice(bytes))]);
        artifacts.put(digest, body, 1 << 20).await.expect("stores");
        digest
    }

    #[tokio::test]
    async fn only_the_indexes_that_differ_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let artifacts = ArtifactStore::open(folder.path()).await.expect("opens");
        let left = store(&artifacts, &encode(&[(1, "a"), (2, "b"), (3, ""), (9, "x")])).await;
        let right = store(&artifacts, &encode(&[(1, "a"), (2, "B"), (3, "c"), (4, "d")])).await;
        let compare = async |indexes: &str| {
            let indexes = indexes.parse().expect("a set");
            differences(&artifacts, [left, right], &indexes).await.map(|differing| differing.to_string())
        };
        assert_eq!(compare("1-3").await.expect("compares"), "2-3");
        assert_eq!(compare("1").await.expect("compares"), "");
        assert!(matches!(compare("1,9").await, Err(CompareError::Lacking { digest, .. }) if digest == right));
        let nowhere = Digest::of(b"nowhere");
        let missing = differences(&artifacts, [left, nowhere], &IndexSet::new()).await;
        assert!(matches!(missing, Err(CompareError::Missing(digest)) if digest == nowhere));
        let wrong = store(&artifacts, b"no segment").await;
        let damaged = differences(&artifacts, [left, wrong], &IndexSet::new()).await;
        assert!(matches!(damaged, Err(CompareError::Segment { .. })));
    }
}
