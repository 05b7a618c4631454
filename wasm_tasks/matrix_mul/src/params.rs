//! The params of `matrix-mul`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Dtype;

/// The params of `matrix-mul`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(description = "Params of the task `matrix-mul`.")]
pub struct Params {
    /// Rows and columns of two generated matrices; leave it out to multiply the inputs a and b.
    #[serde(alias = "matrixSize", alias = "matrix_size")]
    #[schemars(range(min = 1, max = 1_000_000), extend("x-aliases" = ["matrixSize", "matrix_size"]))]
    pub size: Option<u64>,
    /// Seed of the generated matrices.
    pub seed: u64,
    /// Element type of the generated matrices.
    pub dtype: Dtype,
    /// Rows and columns of the tile of the result that one subtask computes.
    #[serde(alias = "tile_size")]
    #[schemars(range(min = 1, max = 1024))]
    pub tile_size: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self { size: None, seed: 0, dtype: Dtype::F64, tile_size: 128 }
    }
}
