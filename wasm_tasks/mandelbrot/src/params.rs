//! The params of `mandelbrot`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The params of `mandelbrot`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(description = "Params of the task `mandelbrot`.")]
pub struct Params {
    /// Width of the image in pixels.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub width: u32,
    /// Height of the image in pixels.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub height: u32,
    /// Part of the complex plane to show; instead of centerX, centerY and scale.
    pub bounds: Option<Bounds>,
    /// Real part of the view's centre; -0.75 if absent.
    #[serde(alias = "center_x")]
    pub center_x: Option<f64>,
    /// Imaginary part of the view's centre; 0 if absent.
    #[serde(alias = "center_y")]
    pub center_y: Option<f64>,
    /// Width of the view in the complex plane; 3 if absent, which shows the whole set.
    pub scale: Option<f64>,
    /// Count at which a pixel is taken to belong to the set.
    #[serde(alias = "max_iterations")]
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub max_iterations: u32,
    /// Width and height in pixels of the tile that one subtask computes.
    #[serde(alias = "tile_size")]
    #[schemars(range(min = 1, max = 2048))]
    pub tile_size: u32,
    /// Colours of the PNG.
    pub palette: Palette,
    /// What the result is.
    pub output: Output,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            width: 1024,
            height: 1024,
            bounds: None,
            center_x: None,
            center_y: None,
            scale: None,
            max_iterations: 1000,
            tile_size: 128,
            palette: Palette::Classic,
            output: Output::Png,
        }
    }
}

/// A rectangle of the complex plane.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bounds {
    /// Real part at the left edge.
    #[serde(alias = "min_x")]
    pub min_x: f64,
    /// Real part at the right edge.
    #[serde(alias = "max_x")]
    pub max_x: f64,
    /// Imaginary part at the lower edge.
    #[serde(alias = "min_y")]
    pub min_y: f64,
    /// Imaginary part at the upper edge.
    #[serde(alias = "max_y")]
    pub max_y: f64,
}

/// Colours of the PNG; the set itself is black in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Palette {
    /// Blue, white, orange and back, every 256 counts.
    Classic,
    /// Black over red and yellow to white as the count grows.
    Fire,
    /// Black to white as the count grows.
    Gray,
}

/// What the result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Output {
    /// An RGB image.
    Png,
    /// The iteration counts: u32, little-endian, row by row.
    Counts,
}
