//! Orbits that are long: eight at a time in four vectors, as many as it takes to have one work while another waits.
//!
//! In: points that have not escaped in their first steps, and where they are. Out: their counts. They go in blocks of
//! steps that only remember the farthest point of each orbit; one that has been out is gone through once more from where
//! the block began. A lane whose orbit has ended takes the next one, so no lane waits for its neighbours.

use task_sdk::simd::F64x2;

use crate::kernel::count_from;

/// Steps from one look to the next.
pub(crate) const BLOCK: u32 = 16;
const VECTORS: usize = 4;
const LANES: usize = 2 * VECTORS;

/// A point on its way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Orbit {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) re: f64,
    pub(crate) im: f64,
    /// Where its count belongs.
    pub(crate) place: usize,
}

/// Which orbit a lane has, and the numbers of the blocks before its first and after its last; none: it idles.
#[derive(Clone, Copy, Debug, Default)]
struct Tenant {
    place: usize,
    began: u32,
    ends: Option<u32>,
}

/// A number for each lane.
type Lanes = [f64; LANES];

/// All orbits in the lanes.
#[derive(Debug, Default)]
struct State {
    x: Lanes,
    y: Lanes,
    re: Lanes,
    im: Lanes,
}

/// Counts `orbits`, each of which has done `from` steps; what is left to `max` is a multiple of the block.
pub(crate) fn count_all(orbits: &[Orbit], from: u32, max: u32, counts: &mut [u32]) {
    let blocks = (max - from) / BLOCK;
    let mut waiting = orbits.iter();
    let (mut state, mut tenants) = (State::default(), [Tenant::default(); LANES]);
    let mut now = 0;
    for (lane, tenant) in tenants.iter_mut().enumerate() {
        *tenant = state.take(lane, waiting.next(), now, blocks);
    }
    while let Some(end) = tenants.iter().filter_map(|tenant| tenant.ends).min() {
        let (re, im, farthest);
        (now, re, im, farthest) = state.go(now, end);
        for (lane, tenant) in tenants.iter_mut().enumerate() {
            let Tenant { place, began, ends: Some(ends) } = *tenant else { continue };
            // As in the definition; an orbit far out becomes NaN, which its farthest point does not.
            if farthest[lane] > 4.0 {
                let done = from + (now - 1 - began) * BLOCK;
                counts[place] = count_from((state.x[lane], state.y[lane]), (re[lane], im[lane]), done, max);
            } else if ends == now {
                counts[place] = max;
            } else {
                continue;
            }
            *tenant = state.take(lane, waiting.next(), now, blocks);
        }
    }
}

impl State {
    /// Gives a lane to an orbit. A lane without one stays at the origin.
    fn take(&mut self, lane: usize, orbit: Option<&Orbit>, now: u32, blocks: u32) -> Tenant {
        let Orbit { x, y, re, im, place } = orbit.copied().unwrap_or_default();
        (self.x[lane], self.y[lane], self.re[lane], self.im[lane]) = (x, y, re, im);
        Tenant { place, began: now, ends: orbit.map(|_| now + blocks) }
    }

    /// Goes on from block `now` until an orbit has been out or block `end` is done. Answers the number of blocks that are
    /// done, where the orbits were before the last of them, and the farthest square in it.
    fn go(&mut self, mut now: u32, end: u32) -> (u32, Lanes, Lanes, Lanes) {
        let bound = F64x2::splat(4.0);
        let (x, y) = (vectors(&self.x), vectors(&self.y));
        let (mut re, mut im) = (vectors(&self.re), vectors(&self.im));
        loop {
            let before = (re, im);
            let mut farthest = [F64x2::splat(0.0); VECTORS];
            for _ in 0..BLOCK {
                for at in 0..VECTORS {
                    let (re_squared, im_squared) = (re[at] * re[at], im[at] * im[at]);
                    farthest[at] = farthest[at].max(re_squared + im_squared);
                    im[at] = (re[at] + re[at]) * im[at] + y[at];
                    re[at] = re_squared - im_squared + x[at];
                }
            }
            now += 1;
            let [a, b, c, d] = farthest.map(|squares| squares.le(bound));
            if now == end || !(a & b & c & d).all() {
                (self.re, self.im) = (lanes(re), lanes(im));
                return (now, lanes(before.0), lanes(before.1), lanes(farthest));
            }
        }
    }
}

fn vectors(lanes: &Lanes) -> [F64x2; VECTORS] {
    std::array::from_fn(|at| F64x2::new(lanes[2 * at], lanes[2 * at + 1]))
}

fn lanes(vectors: [F64x2; VECTORS]) -> Lanes {
    let arrays = vectors.map(F64x2::to_array);
    std::array::from_fn(|lane| arrays[lane / 2][lane % 2])
}
