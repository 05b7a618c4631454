//! The task `noop`: subtasks that compute nothing, for tests and benches of everything around them.
//!
//! - `count` subtasks (100 by default), each of which
//! - spins for about `spinMicros` microseconds (a task has no clock, see [`SPINS_PER_MICRO`]), or for longer where
//!   `spinDoublings` makes the times heavy-tailed (see [`spin_steps`]),
//! - answers `outputBytes` bytes that depend on its index only, and
//! - fails if `failIndexes` names it (`"3,7-9"` or `[3, 7, 8, 9]`), in the way that `failKind` says: `retryable`
//!   (default), `permanent` or `panic`. It fails at each attempt.
//!
//! The result is `{"subtasks":N,"bytes":M}`: how many subtasks the job has and how many bytes its outputs have together.

mod indexes;
mod params;

pub use indexes::Indexes;
pub use params::{FailKind, Params};

use task_sdk::{Failure, Host, InputSpec, Layout, Task};

/// Steps of the spin loop in a microsecond, as measured in the sandbox on an AMD EPYC. Each step waits for the
/// one before, three shifts and three exclusive ors, so a slower core takes longer in proportion to its clock.
pub const SPINS_PER_MICRO: u64 = 600;
/// Most subtasks of a job.
pub const COUNT_MAX: u64 = 100_000_000;
/// Most doublings of the spin time: a million times as long.
pub const SPIN_DOUBLINGS_MAX: u32 = 20;
/// Largest output of a subtask.
pub const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// The task. See the crate's page.
pub struct Noop;

impl Task for Noop {
    type Params = Params;
    const NAME: &'static str = "noop";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &'static str =
        "Computes nothing, in as many subtasks as wanted; they can spin, answer bytes or fail.";
    const INPUTS: &'static [InputSpec] = &[];

    fn plan(params: &Params, _host: &dyn Host) -> Result<Layout, Failure> {
        if params.count == 0 || params.count > COUNT_MAX {
            return Err(Failure::permanent(format!("count is {}; it must be 1 to {COUNT_MAX}", params.count)));
        }
        if params.output_bytes > OUTPUT_BYTES_MAX {
            let output_bytes = params.output_bytes;
            return Err(Failure::permanent(format!("outputBytes is {output_bytes}; at most {OUTPUT_BYTES_MAX}")));
        }
        if params.spin_doublings > SPIN_DOUBLINGS_MAX {
            let spin_doublings = params.spin_doublings;
            return Err(Failure::permanent(format!("spinDoublings is {spin_doublings}; at most {SPIN_DOUBLINGS_MAX}")));
        }
        Ok(Layout::new(params.count, "application/json"))
    }

    fn run(params: &Params, index: u64, _host: &dyn Host) -> Result<Vec<u8>, Failure> {
        spin(spin_steps(params, index));
        if params.fail_indexes.contains(index) {
            return Err(fail(params.fail_kind, index));
        }
        Ok(output(index, params.output_bytes as usize))
    }

    fn merge(params: &Params, subtasks: u64, host: &dyn Host) -> Result<(), Failure> {
        // A million calls for sizes that are known to be nought would be the slowest part of the job.
        let bytes: u64 = match params.output_bytes {
            0 => 0,
            _ => (0..subtasks).filter_map(|index| host.part_size(index)).sum(),
        };
        host.result().write(format!("{{\"subtasks\":{subtasks},\"bytes\":{bytes}}}\n").as_bytes());
        Ok(())
    }
}

task_sdk::export_task!(Noop);

/// Steps that a subtask spins. With `spinDoublings` one of 2ᵏ subtasks takes at least 2ᵏ times as long as the shortest: a
/// Pareto distribution of shape 1, cut at the last doubling, whose mean is 1 + `spinDoublings` / 2 of the shortest.
pub fn spin_steps(params: &Params, index: u64) -> u64 {
    let doublings = scattered(index).trailing_zeros().min(params.spin_doublings);
    params.spin_micros.saturating_mul(1 << doublings).saturating_mul(SPINS_PER_MICRO)
}

/// SplitMix64's output function: neighbouring indexes become unlike numbers.
fn scattered(index: u64) -> u64 {
    let mut bits = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// `steps` of Marsaglia's xorshift, which the compiler can neither shorten nor leave out.
fn spin(steps: u64) {
    let mut state = std::hint::black_box(1_u64);
    for _ in 0..steps {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    std::hint::black_box(state);
}

#[allow(clippy::panic, reason = "a panic is what this kind of failure is for")]
fn fail(kind: FailKind, index: u64) -> Failure {
    let text = format!("index {index} fails because failIndexes names it");
    match kind {
        FailKind::Retryable => Failure::retryable(text),
        FailKind::Permanent => Failure::permanent(text),
        FailKind::Panic => panic!("{text}"),
    }
}

/// The index in little-endian, over and over.
fn output(index: u64, length: usize) -> Vec<u8> {
    index.to_le_bytes().into_iter().cycle().take(length).collect()
}

#[cfg(test)]
mod tests {
    use task_sdk::testing::{merge, run_parts, run_whole};
    use task_sdk::{Failure, Host};

    use super::{Noop, Params, SPINS_PER_MICRO, spin_steps};

    #[test]
    fn doublings_make_a_heavy_tail_with_a_known_mean() {
        let params = |spin_doublings| Params { spin_micros: 3, spin_doublings, ..Params::default() };
        let units = |doublings, index| spin_steps(&params(doublings), index) / (3 * SPINS_PER_MICRO);
        assert!((0..1000).all(|index| units(0, index) == 1));
        let all: Vec<u64> = (0..100_000).map(|index| units(8, index)).collect();
        assert!(all.iter().all(|unit| unit.is_power_of_two() && *unit <= 256));
        let mean = all.iter().sum::<u64>() as f64 / all.len() as f64;
        assert!((4.7..5.3).contains(&mean), "{mean}");
        let longest = all.iter().filter(|unit| **unit == 256).count();
        assert!((300..500).contains(&longest), "one of 256: {longest}");
    }

    #[test]
    fn the_summary_counts_subtasks_and_bytes() {
        let finished = run_whole::<Noop>(r#"{"count": 5, "outputBytes": 10}"#, &[]).unwrap();
        assert_eq!(finished.result, b"{\"subtasks\":5,\"bytes\":50}\n");
        assert_eq!(finished.layout.media_type, "application/json");
        let host: &dyn Host = &finished.host;
        assert_eq!(host.part(3).unwrap().read_all().unwrap(), [3, 0, 0, 0, 0, 0, 0, 0, 3, 0]);
    }

    #[test]
    fn merging_a_million_empty_outputs_reads_none() {
        let host = task_sdk::testing::MemoryHost::default();
        assert_eq!(merge::<Noop>("{}", 1_000_000, &host).unwrap(), b"{\"subtasks\":1000000,\"bytes\":0}\n");
        assert_eq!(host.part_calls(), 0);
    }

    #[test]
    fn named_indexes_fail_as_asked() {
        let failure = run_parts::<Noop>(r#"{"count": 9, "fail_indexes": "2-3,8"}"#, &[]).err().unwrap();
        assert_eq!(failure, Failure::retryable("index 8 fails because failIndexes names it"));
        let params = r#"{"count": 9, "failIndexes": [3], "failKind": "permanent"}"#;
        let failure = run_parts::<Noop>(params, &[]).err().unwrap();
        assert_eq!(failure, Failure::permanent("index 3 fails because failIndexes names it"));
        let panicking = || run_parts::<Noop>(r#"{"count": 1, "failIndexes": "0", "failKind": "panic"}"#, &[]);
        assert!(std::panic::catch_unwind(|| panicking().is_ok()).is_err());
    }

    #[test]
    fn wrong_params_are_refused_for_good() {
        for (params, message) in [
            (r#"{"count": 0}"#, "count is 0; it must be 1 to 100000000"),
            (r#"{"count": -1}"#, "params of task `noop`: invalid value: integer `-1`, expected u64"),
            (r#"{"cuont": 1}"#, "unknown field `cuont`"),
            (r#"{"outputBytes": 99999999999}"#, "outputBytes is 99999999999; at most 67108864"),
            (r#"{"spinDoublings": 21}"#, "spinDoublings is 21; at most 20"),
            (r#"{"failIndexes": "3-1"}"#, "`3-1` is not a range: its end is before its start"),
            (r#"{"failIndexes": "3,x"}"#, "`x` is not an index"),
        ] {
            let Err(Failure::Permanent(text)) = run_parts::<Noop>(params, &[]).map(|_| ()) else { panic!("{params}") };
            assert!(text.contains(message), "{params}: {text}");
        }
    }

    #[test]
    fn spinning_takes_time() {
        let started = std::time::Instant::now();
        super::spin(100_000 * SPINS_PER_MICRO);
        let micros = started.elapsed().as_micros();
        assert!(micros > 1_000, "100 ms of spinning took {micros} µs");
    }
}
