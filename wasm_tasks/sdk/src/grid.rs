//! A rectangle cut into square tiles, one tile a subtask, and the way back.
//!
//! In: the rectangle's size; in `merge` the tiles' outputs, row-major cells of a fixed size. Out: the rectangle row by
//! row, in bounded memory. It must not know what a cell is.

use crate::{Failure, Host};

/// Memory for the rows that are put together at a time.
const BLOCK_BYTES: u64 = 4 << 20;

/// `width` × `height` cells in tiles of `tile` × `tile`, numbered row by row; those at the edges are smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    width: u64,
    height: u64,
    tile: u64,
}

/// One tile of a [`Grid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Column of its first cell.
    pub left: u64,
    /// Row of its first cell.
    pub top: u64,
    /// Columns.
    pub width: u64,
    /// Rows.
    pub height: u64,
}

impl Grid {
    /// A grid of tiles of `tile` cells each way (taken as at least 1).
    pub fn new(width: u64, height: u64, tile: u64) -> Self {
        Self { width, height, tile: tile.max(1) }
    }

    /// Number of tiles.
    pub fn tiles(&self) -> u64 {
        self.tiles_across() * self.height.div_ceil(self.tile)
    }

    /// The tile of `index`, or a permanent failure when there is none.
    pub fn tile(&self, index: u64) -> Result<Tile, Failure> {
        if index >= self.tiles() {
            return Err(Failure::permanent(format!("index {index} is beyond the {} tiles of this job", self.tiles())));
        }
        let (left, top) = (index % self.tiles_across() * self.tile, index / self.tiles_across() * self.tile);
        Ok(Tile { left, top, width: self.tile.min(self.width - left), height: self.tile.min(self.height - top) })
    }

    /// In `merge`: reads all tiles and gives the rectangle's rows in order, `cell_bytes` a cell.
    pub fn stitch(
        &self,
        host: &dyn Host,
        cell_bytes: u64,
        mut row: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let row_bytes = self.width * cell_bytes;
        let block_rows = (BLOCK_BYTES / row_bytes.max(1)).clamp(1, self.tile);
        let mut block = vec![0; (block_rows * row_bytes) as usize];
        for top in (0..self.height).step_by(self.tile as usize) {
            let band_rows = self.tile.min(self.height - top);
            for skip in (0..band_rows).step_by(block_rows as usize) {
                let rows = block_rows.min(band_rows - skip);
                self.fill(host, &mut block, top, skip..skip + rows, cell_bytes)?;
                block.chunks_exact(row_bytes as usize).take(rows as usize).try_for_each(&mut row)?;
                host.progress(top + skip + rows, self.height);
            }
        }
        Ok(())
    }

    /// Puts `rows` (counted from `top`) of all tiles of one band beside each other.
    fn fill(
        &self,
        host: &dyn Host,
        block: &mut [u8],
        top: u64,
        rows: std::ops::Range<u64>,
        cell_bytes: u64,
    ) -> Result<(), Failure> {
        let row_bytes = (self.width * cell_bytes) as usize;
        let first = top / self.tile * self.tiles_across();
        for index in first..first + self.tiles_across() {
            let tile = self.tile(index)?;
            let part = host.required_part(index)?;
            let expected = tile.width * tile.height * cell_bytes;
            if part.size() != expected {
                let size = part.size();
                return Err(Failure::permanent(format!(
                    "the output of index {index} has {size} bytes, not {expected}"
                )));
            }
            let tile_bytes = tile.width * cell_bytes;
            let bytes = part.read_at(rows.start * tile_bytes, (rows.end - rows.start) * tile_bytes)?;
            let left = (tile.left * cell_bytes) as usize;
            for (number, from) in bytes.chunks_exact(tile_bytes as usize).enumerate() {
                let at = number * row_bytes + left;
                block[at..at + from.len()].copy_from_slice(from);
            }
        }
        Ok(())
    }

    fn tiles_across(&self) -> u64 {
        self.width.div_ceil(self.tile)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::MemoryHost;
    use crate::{Failure, Grid, Host};

    #[test]
    fn tiles_cover_every_cell_once_and_stitch_back() {
        for (width, height, tile) in [(1, 1, 1), (10, 7, 3), (7, 10, 100), (1, 9, 2), (4096, 3, 2)] {
            let grid = Grid::new(width, height, tile);
            let host = MemoryHost::default();
            for index in 0..grid.tiles() {
                let tile = grid.tile(index).unwrap();
                let cells = (tile.top..tile.top + tile.height)
                    .flat_map(|y| (tile.left..tile.left + tile.width).map(move |x| (y * width + x) as u16));
                host.set_part(index, cells.flat_map(u16::to_le_bytes).collect());
            }
            let mut cells = Vec::new();
            let push = |row: &[u8]| {
                cells.extend(row.chunks(2).map(|cell| u16::from_le_bytes([cell[0], cell[1]])));
                Ok(())
            };
            grid.stitch(&host, 2, push).unwrap();
            assert_eq!(cells, (0..width * height).map(|cell| cell as u16).collect::<Vec<_>>());
            assert!(grid.tile(grid.tiles()).is_err());
        }
    }

    #[test]
    fn a_missing_or_wrong_tile_is_named() {
        let grid = Grid::new(4, 4, 2);
        let host = MemoryHost::default();
        host.set_part(0, vec![0; 4]);
        let failure = grid.stitch(&host as &dyn Host, 1, |_| Ok(())).unwrap_err();
        assert_eq!(failure, Failure::permanent("index 1 has no output, so the result would have a hole"));
        host.set_part(1, vec![0; 5]);
        let failure = grid.stitch(&host, 1, |_| Ok(())).unwrap_err();
        assert_eq!(failure, Failure::permanent("the output of index 1 has 5 bytes, not 4"));
    }
}
