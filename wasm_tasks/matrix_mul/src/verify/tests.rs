//! What is right is attested, whatever the matrices hold; what is wrong by more than rounding is not.

use proptest::prelude::*;
use task_sdk::testing::{MemoryHost, run_parts, verify};

use super::signs;
use crate::{Dtype, MatrixMul, generate::Generator, npy};

/// Side of a tile that is worth a test.
const TILE: u64 = 64;

/// A job of two files, planned and computed.
struct Job {
    params: String,
    host: MemoryHost,
    tiles: Vec<Vec<u8>>,
    dtype: Dtype,
}

impl Job {
    /// `scale` makes the elements' sizes differ by some orders of magnitude from row to row.
    fn new(seed: u64, inner: u64, scale: i32, dtype: Dtype) -> Self {
        let (rows, columns) = (TILE + 80, 2 * TILE);
        let matrix = |number, rows: u64, columns: u64| {
            let generator = Generator::new(seed, number, columns);
            let element = |i, j| generator.element(i, j) * 10.0_f64.powi(scale * (i % 5) as i32);
            let elements: Vec<f64> =
                (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))).map(|(i, j)| element(i, j)).collect();
            [npy::header_text(dtype, rows, columns), dtype.encode(&elements)].concat()
        };
        let (a, b) = (matrix(0, rows, inner), matrix(1, inner, columns));
        Self::of(&a, &b, dtype)
    }

    fn of(a: &[u8], b: &[u8], dtype: Dtype) -> Self {
        let params = format!("{{\"tileSize\": {TILE}}}");
        let (layout, host) = run_parts::<MatrixMul>(&params, &[("a", a), ("b", b)]).expect("runs");
        let part = |index| task_sdk::Host::read_part(&host, index, 0, u32::MAX);
        let tiles = (0..layout.subtasks).map(part).collect();
        Self { params, host, tiles, dtype }
    }

    fn attests(&self, index: usize, output: &[u8], seed: u64) -> bool {
        verify::<MatrixMul>(&self.params, index as u64, output, seed, &self.host).expect("answers")
    }

    /// The tile with an element changed.
    fn with(&self, index: usize, element: usize, change: impl Fn(f64) -> f64) -> Vec<u8> {
        let mut elements = vec![0.0; self.tiles[index].len() / self.dtype.size() as usize];
        self.dtype.decode(&self.tiles[index], elements.iter_mut());
        elements[element] = change(elements[element]);
        self.dtype.encode(&elements)
    }
}

fn dtypes() -> impl Strategy<Value = Dtype> {
    prop_oneof![Just(Dtype::F32), Just(Dtype::F64)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_run_answers_is_attested(
        seed: u64, draw: u64, inner in 1_u64..700, scale in -4_i32..5, dtype in dtypes()
    ) {
        let job = Job::new(seed, inner, scale, dtype);
        // Two bands of full tiles; those of the last band are too small to be worth it.
        for (index, tile) in job.tiles.iter().enumerate() {
            prop_assert_eq!(job.attests(index, tile, draw), index < 4, "tile {}", index);
        }
    }

    #[test]
    fn one_element_that_is_wrong_by_more_than_rounding_is_always_seen(
        seed: u64, draw: u64, inner in 1_u64..300, element in 0..(TILE * TILE) as usize, dtype in dtypes(),
        relative in prop_oneof![Just(1e-2), Just(-1e-2), Just(1.0), Just(-2.0), Just(1e30)],
    ) {
        let job = Job::new(seed, inner, 0, dtype);
        // An element that is nothing by chance is none that a hundredth makes wrong.
        let wrong = job.with(1, element, |value| value + relative * value.abs().max(0.5));
        prop_assert!(!job.attests(1, &wrong, draw));
    }

    #[test]
    fn bytes_of_any_length_are_no_tile(bytes in prop::collection::vec(any::<u8>(), 0..100), draw: u64) {
        let job = Job::new(1, 3, 0, Dtype::F64);
        prop_assert!(!job.attests(0, &bytes, draw));
        let longer = [&job.tiles[0][..], &bytes, &[0]].concat();
        prop_assert!(!job.attests(0, &longer, draw));
        prop_assert!(!job.attests(0, &job.tiles[0][..job.tiles[0].len() - 1 - bytes.len()], draw));
    }
}

#[test]
fn errors_that_cancel_each_other_are_seen() {
    let job = Job::new(1, 100, 0, Dtype::F64);
    for draw in 0..200 {
        let at = |column: usize| (draw as usize % 64) * TILE as usize + column % TILE as usize;
        let mut wrong = vec![0.0; (TILE * TILE) as usize];
        Dtype::F64.decode(&job.tiles[0], wrong.iter_mut());
        wrong[at(draw as usize)] += 1.0;
        wrong[at(draw as usize + 7)] -= 1.0;
        assert!(!job.attests(0, &Dtype::F64.encode(&wrong), draw), "{draw}");
    }
}

#[test]
fn another_tile_of_the_same_job_is_not_the_right_one() {
    let job = Job::new(3, 50, 0, Dtype::F64);
    assert!(job.attests(0, &job.tiles[0], 7));
    assert!(!job.attests(0, &job.tiles[1], 7));
}

#[test]
fn what_is_not_finite_is_computed() {
    let matrix = |special: f64| {
        let mut elements = vec![0.5; (TILE * TILE) as usize];
        elements[77] = special;
        [npy::header_text(Dtype::F64, TILE, TILE), Dtype::F64.encode(&elements)].concat()
    };
    for special in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
        let job = Job::of(&matrix(special), &matrix(4.0), Dtype::F64);
        assert!(!job.attests(0, &job.tiles[0], 1), "{special}: even what `run` answers");
    }
    let job = Job::of(&matrix(1.0), &matrix(4.0), Dtype::F64);
    assert!(job.attests(0, &job.tiles[0], 1));
    for special in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
        assert!(!job.attests(0, &job.with(0, 5, |_| special), 1), "{special}");
    }
}

#[test]
fn what_underflows_is_attested() {
    let matrix = |element: f64| {
        let elements = vec![element; (TILE * TILE) as usize];
        [npy::header_text(Dtype::F64, TILE, TILE), Dtype::F64.encode(&elements)].concat()
    };
    for (left, right) in [(1e-200, 1e-200), (1.3e-162, 1.7e-162), (5e-324, 0.7), (0.0, 1.0)] {
        let job = Job::of(&matrix(left), &matrix(right), Dtype::F64);
        assert!(job.attests(0, &job.tiles[0], 9), "{left} {right}");
        assert!(!job.attests(0, &job.with(0, 9, |value| value + 1e-100), 9), "{left} {right}");
    }
}

#[test]
fn half_of_the_signs_are_minus_and_another_seed_has_others() {
    let (one, other) = (signs(1, 6400), signs(2, 6400));
    let minus = one.iter().filter(|sign| **sign < 0.0).count();
    assert!((3000..3400).contains(&minus), "{minus}");
    let same = one.iter().zip(&other).filter(|(a, b)| a.total_cmp(b).is_eq()).count();
    assert!((3000..3400).contains(&same), "{same}");
    assert!(one.iter().all(|sign| [1.0_f64, -1.0].iter().any(|one| one.total_cmp(sign).is_eq())));
}
