//! Sample: which indexes of a job are verified. Blocks of indexes, spread evenly over the job so that each node's part
//! has some of them, each at a place within its stretch that depends on a number which no node knows.

use schemas::{Digest, IndexSet, job::Sample};

/// Blocks in a sample: however many subtasks a job has, its sample is so many intervals.
const BLOCKS_MAX: u64 = 1024;

/// The sample of a job with `subtasks` indexes. One that does not parse was refused at admission.
pub(crate) fn choose(sample: &Sample, subtasks: u64, seed: u64, job_uid: &str) -> IndexSet {
    let per_million = u128::from(sample.per_million().unwrap_or_default());
    let wanted = (u128::from(subtasks) * per_million).div_ceil(1_000_000) as u64;
    let wanted = wanted.max(1).min(subtasks);
    let blocks = wanted.min(BLOCKS_MAX);
    (0..blocks).filter_map(|number| block(number, blocks, wanted, subtasks, seed, job_uid)).collect()
}

/// The block within the stretch of that number.
fn block(
    number: u64,
    blocks: u64,
    wanted: u64,
    subtasks: u64,
    seed: u64,
    job_uid: &str,
) -> Option<std::ops::RangeInclusive<u64>> {
    let part = |total: u64, number: u64| (u128::from(total) * u128::from(number) / u128::from(blocks)) as u64;
    let (from, until) = (part(subtasks, number), part(subtasks, number + 1));
    let length = part(wanted, number + 1) - part(wanted, number);
    let slack = (until - from).checked_sub(length)?;
    let first = from + random(seed, job_uid, number) % (slack + 1);
    (length > 0).then(|| first..=first + length - 1)
}

/// A number that nobody can foresee who does not know the seed.
fn random(seed: u64, job_uid: &str, number: u64) -> u64 {
    let digest = Digest::of(format!("{seed}/{job_uid}/{number}").as_bytes());
    digest.as_bytes().iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(fraction: &str, subtasks: u64, seed: u64) -> IndexSet {
        choose(&Sample { fraction: fraction.into() }, subtasks, seed, "uid")
    }

    #[test]
    fn a_sample_has_its_size_and_few_intervals_whatever_the_job_s_size() {
        for (fraction, subtasks, size) in [
            ("0.01", 1000, 10),
            ("0.01", 3, 1),
            ("1", 777, 777),
            ("0.5", 7, 4),
            ("0.01", 100_000_000, 1_000_000),
            ("0.1", 0, 0),
        ] {
            let found = sample(fraction, subtasks, 7);
            assert_eq!(found.count(), size, "{fraction} of {subtasks}");
            assert!(found.intervals() as u64 <= BLOCKS_MAX && found.max().is_none_or(|last| last < subtasks));
        }
    }

    #[test]
    fn every_stretch_has_its_part_and_another_seed_another_one() {
        let found = sample("0.01", 100_000, 1);
        for tenth in 0..10 {
            let stretch = IndexSet::from(tenth * 10_000..=tenth * 10_000 + 9_999);
            assert_eq!((&found & &stretch).count(), 100);
        }
        assert_ne!(found, sample("0.01", 100_000, 2));
        assert_eq!(found, sample("0.01", 100_000, 1));
    }
}
