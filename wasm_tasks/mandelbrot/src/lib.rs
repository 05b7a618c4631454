//! The task `mandelbrot`: renders the Mandelbrot set, a tile a subtask.
//!
//! The count of a pixel at `c` is the smallest `n` for which `|z_n|² > 4`, where `z_0 = 0` and `z_(n+1) = z_n² + c`, and
//! `maxIterations` where there is none below it. All of it is f64 in one fixed order ([`count`] is the definition), so
//! the counts do not depend on the machine or on how the image was cut. Pixel `(column, row)`, counted from the top left,
//! is at `minX + (column + 0.5) · (maxX − minX) / width` and `maxY − (row + 0.5) · (maxY − minY) / height`.
//!
//! The view is given by `bounds`, or by `centerX`, `centerY` and `scale`, the width of the view in the complex plane; its
//! height then follows from the image's shape. The default shows the whole set: centre −0.75 + 0i, scale 3.
//!
//! `output: png` (default) gives an RGB image in one of the palettes; `output: counts` gives the counts as `u32`,
//! little-endian, row by row.

mod kernel;
mod orbits;
mod palette;
mod params;
mod view;

pub use kernel::{count, tile_counts};
pub use palette::Colours;
pub use params::{Bounds, Output, Palette, Params};
pub use view::View;

use std::io::Write;

use task_sdk::{Failure, Grid, Host, InputSpec, Layout, ResultWriter, Task};

/// The task. See the crate's page.
pub struct Mandelbrot;

impl Task for Mandelbrot {
    type Params = Params;
    const NAME: &'static str = "mandelbrot";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &'static str = "Renders the Mandelbrot set as a PNG, or as raw iteration counts.";
    const INPUTS: &'static [InputSpec] = &[];

    fn plan(params: &Params, _host: &dyn Host) -> Result<Layout, Failure> {
        View::of(params)?;
        let media_type = match params.output {
            Output::Png => "image/png",
            Output::Counts => "application/octet-stream",
        };
        Ok(Layout::new(grid(params).tiles(), media_type))
    }

    fn run(params: &Params, index: u64, host: &dyn Host) -> Result<Vec<u8>, Failure> {
        let view = View::of(params)?;
        let tile = grid(params).tile(index)?;
        let counts = tile_counts(&view, tile, params.max_iterations, |done| host.progress(done, tile.height));
        Ok(pack(&counts, cell_bytes(params)))
    }

    fn merge(params: &Params, _subtasks: u64, host: &dyn Host) -> Result<(), Failure> {
        match params.output {
            Output::Png => write_png(params, host),
            Output::Counts => write_counts(params, host),
        }
    }
}

task_sdk::export_task!(Mandelbrot);

fn grid(params: &Params) -> Grid {
    Grid::new(params.width.into(), params.height.into(), params.tile_size.into())
}

/// Bytes of a count in a tile's output: two where they hold every count.
fn cell_bytes(params: &Params) -> usize {
    if params.max_iterations <= u16::MAX.into() { 2 } else { 4 }
}

fn pack(counts: &[u32], cell_bytes: usize) -> Vec<u8> {
    match cell_bytes {
        2 => packed(counts, |count| (count as u16).to_le_bytes()),
        _ => packed(counts, u32::to_le_bytes),
    }
}

/// Cells of a fixed size, which the compiler can lay side by side.
fn packed<const N: usize>(counts: &[u32], cell: impl Fn(u32) -> [u8; N]) -> Vec<u8> {
    let mut bytes = vec![0; N * counts.len()];
    for (out, count) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(counts) {
        *out = cell(*count);
    }
    bytes
}

fn unpack(cell: &[u8]) -> u32 {
    match *cell {
        [a, b] => u16::from_le_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
        _ => 0,
    }
}

fn write_counts(params: &Params, host: &dyn Host) -> Result<(), Failure> {
    let mut result = host.result();
    let cell_bytes = cell_bytes(params);
    let mut bytes = Vec::new();
    grid(params).stitch(host, cell_bytes as u64, |row| {
        bytes.clear();
        bytes.extend(row.chunks_exact(cell_bytes).flat_map(|cell| unpack(cell).to_le_bytes()));
        result.write(&bytes);
        Ok(())
    })
}

/// Streams the image: rows come from the tiles, compressed bytes go to the host, and memory stays bounded.
fn write_png(params: &Params, host: &dyn Host) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::permanent(format!("writing the PNG: {error}"));
    let mut encoder = png::Encoder::new(host.result(), params.width, params.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_deflate_compression(png::DeflateCompression::Level(1));
    encoder.set_filter(png::Filter::Up);
    let mut writer = encoder.write_header().map_err(|error| failed(&error))?;
    let mut stream = writer.stream_writer_with_size(PNG_CHUNK_BYTES).map_err(|error| failed(&error))?;
    write_pixels(params, host, &mut stream)?;
    stream.finish().map_err(|error| failed(&error))?;
    writer.finish().map_err(|error| failed(&error))
}

/// Bytes of an IDAT chunk.
const PNG_CHUNK_BYTES: usize = 128 << 10;

fn write_pixels(
    params: &Params,
    host: &dyn Host,
    stream: &mut png::StreamWriter<'_, ResultWriter<'_>>,
) -> Result<(), Failure> {
    let colours = Colours::new(params.palette, params.max_iterations);
    let cell_bytes = cell_bytes(params);
    let mut pixels = Vec::with_capacity(3 * params.width as usize);
    grid(params).stitch(host, cell_bytes as u64, |row| {
        pixels.clear();
        pixels.extend(row.chunks_exact(cell_bytes).flat_map(|cell| colours.of(unpack(cell))));
        stream.write_all(&pixels).map_err(|error| Failure::permanent(format!("writing the PNG: {error}")))
    })
}

#[cfg(test)]
mod tests;
