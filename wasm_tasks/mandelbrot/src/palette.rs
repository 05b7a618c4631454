//! Colours.
//!
//! In: a palette and counts. Out: RGB bytes.

use crate::Palette;

/// Corner colours of the classic palette, at equal distances on its circle.
const CLASSIC: [[f64; 3]; 5] =
    [[0.0, 7.0, 100.0], [32.0, 107.0, 203.0], [237.0, 255.0, 255.0], [255.0, 170.0, 0.0], [0.0, 2.0, 0.0]];
/// Corner colours of the fire palette, from the lowest count to the highest.
const FIRE: [[f64; 3]; 5] =
    [[0.0, 0.0, 0.0], [120.0, 0.0, 0.0], [230.0, 70.0, 0.0], [255.0, 200.0, 30.0], [255.0, 255.0, 230.0]];
const BLACK: [u8; 3] = [0; 3];

/// Counts to colours: a table of 256, and how a count finds its place in it.
pub struct Colours {
    table: [[u8; 3]; 256],
    max: u32,
    cyclic: bool,
}

impl Colours {
    /// The colours of `palette` for counts up to `max`, which itself is black.
    pub fn new(palette: Palette, max: u32) -> Self {
        let colour = |place: usize| match palette {
            Palette::Classic => between(&CLASSIC, place as f64 / 256.0 * 5.0),
            Palette::Fire => between(&FIRE, place as f64 / 255.0 * 4.0),
            Palette::Gray => [place as u8; 3],
        };
        Self { table: std::array::from_fn(colour), max, cyclic: palette == Palette::Classic }
    }

    /// The colour of `count`.
    pub fn of(&self, count: u32) -> [u8; 3] {
        if count >= self.max {
            return BLACK;
        }
        let place = if self.cyclic {
            // Low counts fill most of the image: three places a count keep their bands apart.
            (u64::from(count) * 3 % 256) as usize
        } else {
            // The square root spreads the low counts.
            ((f64::from(count) / f64::from(self.max)).sqrt() * 255.0) as usize
        };
        self.table[place]
    }
}

/// The colour at `place` among `corners`, which close to a circle.
fn between(corners: &[[f64; 3]; 5], place: f64) -> [u8; 3] {
    let (corner, weight) = (place as usize, place.fract());
    let (from, to) = (corners[corner % 5], corners[(corner + 1) % 5]);
    std::array::from_fn(|channel| (from[channel] + (to[channel] - from[channel]) * weight).round() as u8)
}
