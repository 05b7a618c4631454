//! From pixels to the complex plane.
//!
//! In: params. Out: where a pixel is, or why the params name no view.

use task_sdk::Failure;

use crate::Params;

/// Largest width and height in pixels.
const SIDE_MAX: u32 = 1_000_000;
/// Largest tile: its counts take 16 MiB.
const TILE_MAX: u32 = 2048;

/// Where pixels are in the complex plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    left: f64,
    top: f64,
    step_x: f64,
    step_y: f64,
}

impl View {
    /// The view that `params` name, or what is wrong with them.
    pub fn of(params: &Params) -> Result<Self, Failure> {
        in_range("width", params.width, SIDE_MAX)?;
        in_range("height", params.height, SIDE_MAX)?;
        in_range("tileSize", params.tile_size, TILE_MAX)?;
        in_range("maxIterations", params.max_iterations, u32::MAX)?;
        match params.bounds {
            Some(_) if params.center_x.is_some() || params.center_y.is_some() || params.scale.is_some() => {
                Err(Failure::permanent("give either bounds or centerX, centerY and scale, not both"))
            }
            Some(bounds) => Self::between(params, bounds),
            None => Self::around(params),
        }
    }

    fn between(params: &Params, bounds: crate::Bounds) -> Result<Self, Failure> {
        let crate::Bounds { min_x, max_x, min_y, max_y } = bounds;
        let finite = [min_x, max_x, min_y, max_y].iter().all(|bound| bound.is_finite());
        if !finite || min_x >= max_x || min_y >= max_y {
            return Err(Failure::permanent(format!(
                "bounds need minX < maxX and minY < maxY, but are x {min_x} to {max_x}, y {min_y} to {max_y}"
            )));
        }
        let step_x = (max_x - min_x) / f64::from(params.width);
        let step_y = (max_y - min_y) / f64::from(params.height);
        Ok(Self { left: min_x, top: max_y, step_x, step_y })
    }

    fn around(params: &Params) -> Result<Self, Failure> {
        let (centre_x, centre_y) = (params.center_x.unwrap_or(-0.75), params.center_y.unwrap_or(0.0));
        let scale = params.scale.unwrap_or(3.0);
        if !(centre_x.is_finite() && centre_y.is_finite() && scale.is_finite() && scale > 0.0) {
            return Err(Failure::permanent(format!(
                "scale must be above 0 and centerX, centerY finite, but they are {scale}, {centre_x}, {centre_y}"
            )));
        }
        let step = scale / f64::from(params.width);
        let height = step * f64::from(params.height);
        Ok(Self { left: centre_x - scale / 2.0, top: centre_y + height / 2.0, step_x: step, step_y: step })
    }

    /// Real part of the pixels in `column`.
    pub fn x(&self, column: u64) -> f64 {
        self.left + (column as f64 + 0.5) * self.step_x
    }

    /// Imaginary part of the pixels in `row`.
    pub fn y(&self, row: u64) -> f64 {
        self.top - (row as f64 + 0.5) * self.step_y
    }
}

fn in_range(name: &str, value: u32, max: u32) -> Result<(), Failure> {
    if value == 0 || value > max {
        return Err(Failure::permanent(format!("{name} is {value}; it must be 1 to {max}")));
    }
    Ok(())
}
