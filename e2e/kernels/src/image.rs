//! Tiles of the image that the task `mandelbrot` renders, in its own form: counts of two bytes, or of four where those do
//! not hold them.

use mandelbrot::{Params, View};
use task_sdk::{Failure, Grid};

use crate::points;

pub(crate) struct Image {
    view: View,
    grid: Grid,
    iterations: u32,
}

impl Image {
    pub(crate) fn of(params: &Params) -> Result<Self, Failure> {
        let grid = Grid::new(params.width.into(), params.height.into(), params.tile_size.into());
        Ok(Self { view: View::of(params)?, grid, iterations: params.max_iterations })
    }

    pub(crate) fn tiles(&self) -> u64 {
        self.grid.tiles()
    }

    pub(crate) fn tile(&self, index: u64) -> Result<Vec<u8>, Failure> {
        let tile = self.grid.tile(index)?;
        let mut counts = Vec::with_capacity((tile.width * tile.height) as usize);
        for row in 0..tile.height {
            let y = self.view.y(tile.top + row);
            for column in (0..tile.width).step_by(4) {
                let xs = [0, 1, 2, 3].map(|lane| self.view.x(tile.left + column + lane));
                let wanted = (tile.width - column).min(4) as usize;
                counts.extend_from_slice(&points::counts(xs, y, self.iterations)[..wanted]);
            }
        }
        Ok(match u16::try_from(self.iterations) {
            Ok(_) => counts.iter().flat_map(|count| (*count as u16).to_le_bytes()).collect(),
            Err(_) => counts.iter().flat_map(|count| count.to_le_bytes()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use mandelbrot::Mandelbrot;
    use task_sdk::{Task as _, testing::MemoryHost};

    use super::*;

    #[test]
    fn tiles_have_the_bytes_of_the_task() {
        for max_iterations in [300, 70_000] {
            let params = Params { width: 61, height: 40, tile_size: 18, max_iterations, ..Params::default() };
            let image = Image::of(&params).expect("a view");
            for index in 0..image.tiles() {
                let expected = Mandelbrot::run(&params, index, &MemoryHost::default()).expect("runs");
                assert_eq!(image.tile(index).expect("runs"), expected, "tile {index}");
            }
        }
    }
}
