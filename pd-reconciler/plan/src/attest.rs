//! Where the outputs lie that a node is to check, so that a task which can verify an output need not compute it.
//!
//! Only the first check of an index is cheap. Where two outputs differ, or where more than two have to agree, each is
//! computed: what a task attests may differ in what its own check cannot see (the last bits of a sum), and then the node
//! that attested it would stand there with the wrong one of two outputs.

use schemas::{IndexSet, assignment::Part};

use crate::job::{Draft, Work};

/// Outputs that have to agree where one of them may be attested.
const AGREE: usize = 2;
/// Segments named in one Assignment: each stays open on the node. Of 32 MiB each they hold more than a node is given at once.
const SEGMENTS_MAX: usize = 64;
/// Intervals in all of them: 64 KiB of text.
const INTERVALS_MAX: usize = 4096;

/// For each segment of another node the indexes of it that this draft's node has yet to check.
pub(crate) fn parts(work: &Work<'_>, draft: &Draft<'_>) -> Vec<Part> {
    let Some(verify) = work.verify.as_ref().filter(|verify| verify.agree == AGREE) else { return Vec::new() };
    let mut left = &IndexSet::join(draft.checking.values()) - &draft.completed;
    left -= &verify.disputed;
    let (mut parts, mut intervals) = (Vec::new(), 0);
    let others = work.drafts.iter().filter(|other| other.spec.node_uid != draft.spec.node_uid);
    for other in others.filter(|other| !other.is_distrusted) {
        if left.is_empty() {
            break;
        }
        let wanted = &left & &other.accepted;
        for segment in other.status().filter(|_| !wanted.is_empty()).iter().flat_map(|status| &status.segments) {
            let indexes = &segment.indexes & &wanted;
            intervals += indexes.intervals();
            if parts.len() == SEGMENTS_MAX || intervals > INTERVALS_MAX {
                return parts;
            }
            if !indexes.is_empty() {
                left -= &indexes;
                parts.push(Part { segment: segment.digest, indexes });
            }
        }
    }
    parts
}
