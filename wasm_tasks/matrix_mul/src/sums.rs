//! A tile of C while its sums grow: by the machine's kernel where that is offered, else by our own. The bits are the same.

use task_sdk::kernels::{self, Shape};

use crate::Product;

/// A tile of C.
pub(crate) enum Sums {
    /// Row by row; nothing before the first products.
    Offered {
        rows: usize,
        columns: usize,
        sums: Vec<f64>,
    },
    Own(Product),
}

impl Sums {
    /// A tile of zeros.
    pub(crate) fn new(rows: usize, columns: usize) -> Self {
        if kernels::offered() {
            Self::Offered { rows, columns, sums: Vec::new() }
        } else {
            Self::Own(Product::new(rows, columns))
        }
    }

    /// Adds the products of `a` (rows × depth) and `b` (depth × columns), both row by row.
    pub(crate) fn add(&mut self, a: &[f64], b: &[f64], depth: usize) {
        match self {
            Self::Own(product) => product.add(a, b, depth),
            Self::Offered { rows, columns, sums } => {
                let shape = Shape { rows: *rows as u32, columns: *columns as u32, depth: depth as u32 };
                match kernels::gemm_f64(shape, a, b, sums) {
                    Some(grown) => *sums = grown,
                    None => unreachable!("invariant: what is offered once in a call is offered to its end"),
                }
            }
        }
    }

    /// The sums, row by row.
    pub(crate) fn into_rows(self) -> Vec<f64> {
        match self {
            Self::Own(product) => product.into_rows(),
            Self::Offered { sums, .. } => sums,
        }
    }
}
