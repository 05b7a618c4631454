//! Iteration counts.
//!
//! In: points. Out: their counts, equal to those of [`count`] bit by bit: the fast paths do the same operations in the
//! same order, and skip points only where the outcome is proven. A point's first steps are done beside three neighbours,
//! with a look at each step, since most escape early; the others go on in `orbits`.

use task_sdk::Tile;
use task_sdk::simd::{F64x2, Mask64x2, U64x2};

use crate::View;
use crate::orbits::{BLOCK, Orbit, count_all};

/// Steps after which an orbit is taken for a long one.
const FIRST_STEPS: u32 = 64;
/// Rows from one word of progress to the next.
const ROWS: u64 = 64;

/// The definition of a count: the smallest `n` below `max` for which `|z_n|² > 4`, else `max`.
pub fn count(x: f64, y: f64, max: u32) -> u32 {
    count_from((x, y), (0.0, 0.0), 0, max)
}

/// The same of the point `(x, y)`, whose orbit is at `z` after `n` steps.
pub(crate) fn count_from((x, y): (f64, f64), z: (f64, f64), mut n: u32, max: u32) -> u32 {
    let (mut re, mut im) = z;
    while n < max {
        let (re_squared, im_squared) = (re * re, im * im);
        if re_squared + im_squared > 4.0 {
            break;
        }
        im = (re + re) * im + y;
        re = re_squared - im_squared + x;
        n += 1;
    }
    n
}

/// The counts of a tile, row by row; `progress` hears of finished rows now and then.
pub fn tile_counts(view: &View, tile: Tile, max: u32, progress: impl Fn(u64)) -> Vec<u32> {
    let mut counts = Vec::with_capacity((tile.width * tile.height) as usize);
    let first = first_steps(max);
    let mut long = Vec::new();
    for row in 0..tile.height {
        let y = view.y(tile.top + row);
        for column in (0..tile.width).step_by(4) {
            let xs = [0, 1, 2, 3].map(|lane| view.x(tile.left + column + lane));
            let wanted = (tile.width - column).min(4) as usize;
            let inside = xs.map(|x| surely_inside(x, y));
            let active = [0, 1, 2, 3].map(|lane| lane < wanted && !inside[lane]);
            let place = counts.len();
            let escaped = iterate(xs, y, active, first, |lane, re, im| {
                long.push(Orbit { x: xs[lane], y, re, im, place: place + lane });
            });
            let known = [0, 1, 2, 3].map(|lane| if inside[lane] { max } else { escaped[lane] });
            counts.extend_from_slice(&known[..wanted]);
        }
        if row % ROWS == ROWS - 1 || row + 1 == tile.height {
            if first < max {
                count_all(&long, first, max, &mut counts);
            }
            long.clear();
            progress(row + 1);
        }
    }
    counts
}

/// How many steps are looked at one by one: all when they are few, else so many that whole blocks are left.
fn first_steps(max: u32) -> u32 {
    if max < 2 * FIRST_STEPS { max } else { FIRST_STEPS + (max - FIRST_STEPS) % BLOCK }
}

/// [`count`] for the active lanes, of at most `max` steps; `long` hears of those that have not escaped then, and where they
/// are. Two vectors, so that one works while the other waits for its own result.
fn iterate(xs: [f64; 4], y: f64, active: [bool; 4], max: u32, mut long: impl FnMut(usize, f64, f64)) -> [u32; 4] {
    let four = F64x2::splat(4.0);
    let y = F64x2::splat(y);
    let (x_a, x_b) = (F64x2::new(xs[0], xs[1]), F64x2::new(xs[2], xs[3]));
    let (mut re_a, mut im_a) = (F64x2::splat(0.0), F64x2::splat(0.0));
    let (mut re_b, mut im_b) = (re_a, im_a);
    let (mut active_a, mut active_b) = (Mask64x2::new(active[0], active[1]), Mask64x2::new(active[2], active[3]));
    let (mut count_a, mut count_b) = (U64x2::zero(), U64x2::zero());
    for _ in 0..max {
        let (re2_a, im2_a) = (re_a * re_a, im_a * im_a);
        let (re2_b, im2_b) = (re_b * re_b, im_b * im_b);
        // Once out, always out: a lane that has escaped runs on to infinity and NaN and must not count again.
        active_a = active_a & (re2_a + im2_a).le(four);
        active_b = active_b & (re2_b + im2_b).le(four);
        if !(active_a | active_b).any() {
            break;
        }
        count_a = count_a.count(active_a);
        count_b = count_b.count(active_b);
        im_a = (re_a + re_a) * im_a + y;
        im_b = (re_b + re_b) * im_b + y;
        re_a = re2_a - im2_a + x_a;
        re_b = re2_b - im2_b + x_b;
    }
    let ([a, b], [c, d]) = (count_a.to_array(), count_b.to_array());
    let counts = [a, b, c, d].map(|count| count as u32);
    if (active_a | active_b).any() {
        let (re, im) = ([re_a, re_b].map(F64x2::to_array), [im_a, im_b].map(F64x2::to_array));
        for lane in (0..4).filter(|lane| active[*lane] && counts[*lane] == max) {
            long(lane, re[lane / 2][lane % 2], im[lane / 2][lane % 2]);
        }
    }
    counts
}

/// True for points well within the main cardioid or the disc of period 2, whose orbits never escape.
///
/// The margin keeps clear of the boundary, where rounding could decide otherwise than algebra: within it the orbit is
/// attracted to its cycle by a factor below 1 − 10⁻⁷ a round, so errors of 10⁻¹⁶ a step cannot add up to an escape.
fn surely_inside(x: f64, y: f64) -> bool {
    const MARGIN: f64 = 1e-6;
    let y2 = y * y;
    let left = x - 0.25;
    let q = left * left + y2;
    let in_cardioid = q * (q + left) <= 0.25 * y2 - MARGIN;
    let in_disc = (x + 1.0) * (x + 1.0) + y2 <= 0.0625 - MARGIN;
    in_cardioid || in_disc
}
