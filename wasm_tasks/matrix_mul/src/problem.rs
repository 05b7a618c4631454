//! What is multiplied: worked out once by `plan`, kept in the layout's state.
//!
//! In: params and the inputs' headers. Out: shapes and where the elements are, or why they cannot be multiplied.

use serde::{Deserialize, Serialize};
use task_sdk::{Failure, Grid, Host};

use crate::{Dtype, Header, Params};

/// Largest tile: 8 MiB of f64.
const TILE_MAX: u64 = 1024;
/// Largest generated matrix.
const SIZE_MAX: u64 = 1_000_000;

/// One multiplication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    tile_size: u64,
    pub(crate) factors: Factors,
}

/// Where A and B come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Factors {
    /// From the inputs.
    Files { a: Header, b: Header },
    /// From a seed.
    Generated { size: u64, seed: u64, dtype: Dtype },
}

impl Problem {
    /// The problem that `params` and the job's inputs pose.
    pub fn of(params: &Params, host: &dyn Host) -> Result<Self, Failure> {
        let tile_size = params.tile_size;
        if tile_size == 0 || tile_size > TILE_MAX {
            return Err(Failure::permanent(format!("tileSize is {tile_size}; it must be 1 to {TILE_MAX}")));
        }
        let factors = match (params.size, host.input("a"), host.input("b")) {
            (None, Some(a), Some(b)) => files(Header::read("a", &a)?, Header::read("b", &b)?)?,
            (Some(size), None, None) if size > 0 && size <= SIZE_MAX => {
                Factors::Generated { size, seed: params.seed, dtype: params.dtype }
            }
            (Some(size), None, None) => {
                return Err(Failure::permanent(format!("size is {size}; it must be 1 to {SIZE_MAX}")));
            }
            (Some(_), _, _) => return Err(Failure::permanent("give either size or the inputs a and b, not both")),
            (None, None, None) => return Err(Failure::permanent("give the inputs a and b, or size to generate them")),
            (None, None, Some(_)) => return Err(Failure::permanent("input `b` is there, but not `a`")),
            (None, Some(_), None) => return Err(Failure::permanent("input `a` is there, but not `b`")),
        };
        Ok(Self { tile_size, factors })
    }

    /// Rows of the result.
    pub fn rows(&self) -> u64 {
        match self.factors {
            Factors::Files { a, .. } => a.rows,
            Factors::Generated { size, .. } => size,
        }
    }

    /// Columns of the result.
    pub fn columns(&self) -> u64 {
        match self.factors {
            Factors::Files { b, .. } => b.columns,
            Factors::Generated { size, .. } => size,
        }
    }

    /// Products in each sum.
    pub fn inner(&self) -> u64 {
        match self.factors {
            Factors::Files { a, .. } => a.columns,
            Factors::Generated { size, .. } => size,
        }
    }

    /// Element type of the result.
    pub fn result_dtype(&self) -> Dtype {
        match self.factors {
            Factors::Files { a, b } if a.dtype == b.dtype => a.dtype,
            Factors::Files { .. } => Dtype::F64,
            Factors::Generated { dtype, .. } => dtype,
        }
    }

    /// The result's tiles.
    pub fn grid(&self) -> Grid {
        Grid::new(self.columns(), self.rows(), self.tile_size)
    }

    pub(crate) fn to_state(&self) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec(self).map_err(|error| Failure::permanent(format!("writing the plan's state: {error}")))
    }

    pub(crate) fn from_state(state: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(state).map_err(|error| Failure::permanent(format!("reading the plan's state: {error}")))
    }
}

fn files(a: Header, b: Header) -> Result<Factors, Failure> {
    let shapes = format!("a is {} × {}, b is {} × {}", a.rows, a.columns, b.rows, b.columns);
    if a.columns != b.rows {
        return Err(Failure::permanent(format!("a has as many columns as b must have rows, but {shapes}")));
    }
    if [a.rows, a.columns, b.columns].contains(&0) {
        return Err(Failure::permanent(format!("there is nothing to multiply: {shapes}")));
    }
    Ok(Factors::Files { a, b })
}
