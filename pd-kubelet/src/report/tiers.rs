//! Which segments to merge. As in a log-structured store: many of a size become one of the next, so a byte is
//! written once per tier and the number of segments stays bounded.

/// Segments of one tier before they are merged: 4 tiers of 16 are the 64 entries a status should have.
const TIER_SEGMENTS_MAX: usize = 16;
/// Upper bounds of the tiers, in bytes.
const TIERS: [u64; 3] = [64 << 10, 512 << 10, 4 << 20];
/// Largest segment that a merge makes.
pub(super) const SEGMENT_BYTES_MAX: u64 = 32 << 20;

/// Positions (ascending) of segments to merge into one, if a tier is too full.
pub(super) fn overfull(sizes: &[u64]) -> Option<Vec<usize>> {
    (0..=TIERS.len()).find_map(|tier| {
        let mut members: Vec<usize> = (0..sizes.len()).filter(|at| tier_of(sizes[*at]) == tier).collect();
        if members.len() <= TIER_SEGMENTS_MAX {
            return None;
        }
        members.sort_by_key(|at| (sizes[*at], *at));
        let mut total = 0;
        let mut merged: Vec<usize> = members
            .into_iter()
            .take_while(|at| {
                total += sizes[*at];
                total <= SEGMENT_BYTES_MAX
            })
            .collect();
        merged.sort_unstable();
        (merged.len() > 1).then_some(merged)
    })
}

fn tier_of(size: u64) -> usize {
    TIERS.iter().take_while(|bound| size >= **bound).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds segments of `size` one by one, merging as the reporter does.
    fn grow(count: usize, size: u64) -> (Vec<u64>, u64) {
        let (mut sizes, mut written) = (Vec::new(), 0);
        for _ in 0..count {
            sizes.push(size);
            written += size;
            while let Some(positions) = overfull(&sizes) {
                let merged: u64 = positions.iter().rev().map(|at| sizes.remove(*at)).sum();
                assert!(merged <= SEGMENT_BYTES_MAX);
                written += merged;
                sizes.push(merged);
            }
        }
        (sizes, written)
    }

    #[test]
    fn small_segments_stay_few_and_are_rewritten_seldom() {
        for size in [100, 9_000, 300 << 10] {
            let count = 5_000.min((1 << 30) / size as usize);
            let (sizes, written) = grow(count, size);
            let total = size * count as u64;
            let unmergeable = total / (SEGMENT_BYTES_MAX / 2);
            assert!(sizes.len() as u64 <= 64 + unmergeable, "{size}: {} segments", sizes.len());
            assert!(written <= total * 45, "{size}: written {written} of {total}");
        }
    }

    #[test]
    fn segments_that_are_too_large_are_left_alone() {
        assert_eq!(overfull(&[30 << 20; 40]), None);
        assert_eq!(overfull(&[1; 16]), None);
        assert_eq!(overfull(&[1; 17]).map(|merged| merged.len()), Some(17));
    }
}
