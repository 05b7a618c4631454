//! Iteration counts against a plain native loop, pixel for pixel, and the picture as a picture.

use std::{fs::File, io::BufReader};

use anyhow::{Result, ensure};
use e2e::Scenario;

/// Not multiples of the tile, so that the last tiles are cut.
const WIDTH: usize = 411;
const HEIGHT: usize = 283;
const ITERATIONS_MAX: u32 = 700;

/// The definition: how many steps of z² + c keep |z| at most 2, from z = 0, the pixel's middle as c.
fn counts() -> Vec<u32> {
    let step = 3.0 / WIDTH as f64;
    let (left, top) = (-0.75 - 1.5, step * HEIGHT as f64 / 2.0);
    let mut counts = Vec::with_capacity(WIDTH * HEIGHT);
    for row in 0..HEIGHT {
        for column in 0..WIDTH {
            let (x, y) = (left + (column as f64 + 0.5) * step, top - (row as f64 + 0.5) * step);
            let (mut re, mut im, mut count) = (0.0_f64, 0.0_f64, 0);
            while count < ITERATIONS_MAX && re * re + im * im <= 4.0 {
                (re, im) = (re * re - im * im + x, 2.0 * re * im + y);
                count += 1;
            }
            counts.push(count);
        }
    }
    counts
}

fn params(output: &str) -> String {
    format!(
        r#"{{"width":{WIDTH},"height":{HEIGHT},"maxIterations":{ITERATIONS_MAX},"tileSize":50,"output":"{output}"}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_equal_a_plain_loops_and_the_picture_shows_them() -> Result<()> {
    let scenario = Scenario::start(2, 1).await?;
    scenario.pdctl(&["run", "mandelbrot", "--params", &params("counts"), "-o", "counts.bin"])?;
    let bytes = std::fs::read(scenario.path("counts.bin"))?;
    let ours: Vec<u32> = bytes.chunks_exact(4).map(|le| u32::from_le_bytes([le[0], le[1], le[2], le[3]])).collect();
    let plain = counts();
    ensure!(ours.len() == plain.len() && bytes.len() == 4 * plain.len(), "{} bytes", bytes.len());
    let different = ours.iter().zip(&plain).filter(|(ours, plain)| ours != plain).count();
    ensure!(different == 0, "{different} of {} pixels differ", plain.len());

    scenario.pdctl(&["run", "mandelbrot", "--params", &params("png"), "-o", "picture.png"])?;
    let mut picture = png::Decoder::new(BufReader::new(File::open(scenario.path("picture.png"))?)).read_info()?;
    let mut pixels = vec![0; picture.output_buffer_size().unwrap_or_default()];
    let frame = picture.next_frame(&mut pixels)?;
    ensure!((frame.width as usize, frame.height as usize) == (WIDTH, HEIGHT));
    // The set is black and nothing else is.
    let wrong =
        pixels.chunks_exact(3).zip(&plain).filter(|(rgb, count)| (**rgb == [0; 3]) != (**count == ITERATIONS_MAX));
    let wrong = wrong.count();
    ensure!(wrong == 0, "{wrong} pixels are black outside the set, or not black inside");
    Ok(())
}
