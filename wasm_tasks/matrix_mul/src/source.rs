//! Blocks of A and B.
//!
//! In: ranges of rows and columns. Out: their elements as f64, row by row, fetched with few and large reads. It must not
//! know what they are for.

use std::ops::Range;

use task_sdk::{Failure, Host, Reader};

use crate::generate::Generator;
use crate::problem::Factors;
use crate::{Dtype, Header, Order, Problem};

/// A call to the host costs about as much as copying this many bytes that nobody needs.
const GAP_BYTES: u64 = 8 << 10;
/// Bytes of one read where lines are read together.
const READ_BYTES: u64 = 2 << 20;

/// One factor.
pub(crate) enum Source<'h> {
    File { reader: Reader<'h>, header: Header },
    Generated { generator: Generator, dtype: Dtype },
}

impl<'h> Source<'h> {
    pub(crate) fn left(problem: &Problem, host: &'h dyn Host) -> Result<Self, Failure> {
        match problem.factors {
            Factors::Files { a, .. } => Ok(Self::File { reader: host.required_input("a")?, header: a }),
            Factors::Generated { size, seed, dtype } => Ok(Self::generated(seed, 0, size, dtype)),
        }
    }

    pub(crate) fn right(problem: &Problem, host: &'h dyn Host) -> Result<Self, Failure> {
        match problem.factors {
            Factors::Files { b, .. } => Ok(Self::File { reader: host.required_input("b")?, header: b }),
            Factors::Generated { size, seed, dtype } => Ok(Self::generated(seed, 1, size, dtype)),
        }
    }

    fn generated(seed: u64, matrix: u64, size: u64, dtype: Dtype) -> Self {
        Self::Generated { generator: Generator::new(seed, matrix, size), dtype }
    }

    /// The elements of `rows` × `columns`, row by row.
    pub(crate) fn block(&self, rows: Range<u64>, columns: Range<u64>) -> Result<Vec<f64>, Failure> {
        match self {
            Self::File { reader, header } => read(reader, *header, rows, columns),
            Self::Generated { generator, dtype } => {
                let mut block = Vec::with_capacity(((rows.end - rows.start) * (columns.end - columns.start)) as usize);
                for i in rows {
                    let row = generator.row(i, columns.clone());
                    match dtype {
                        Dtype::F32 => block.extend(row.map(|element| f64::from(element as f32))),
                        Dtype::F64 => block.extend(row),
                    }
                }
                Ok(block)
            }
        }
    }
}

/// A line is what is contiguous in the file: a row in C order, a column in Fortran order.
fn read(file: &Reader<'_>, header: Header, rows: Range<u64>, columns: Range<u64>) -> Result<Vec<f64>, Failure> {
    let (height, width) = ((rows.end - rows.start) as usize, (columns.end - columns.start) as usize);
    let mut block = vec![0.0; height * width];
    let (lines, within, line_length) = match header.order {
        Order::C => (rows, columns, header.columns),
        Order::Fortran => (columns, rows, header.rows),
    };
    let size = header.dtype.size();
    let wanted = within.end - within.start;
    let together = lines_together(line_length * size, wanted * size);
    for first in (lines.start..lines.end).step_by(together as usize) {
        let last = lines.end.min(first + together) - 1;
        let start = (first * line_length + within.start) * size;
        let bytes = file.read_at(header.data + start, ((last - first) * line_length + wanted) * size)?;
        for line in first..=last {
            let from = ((line - first) * line_length * size) as usize;
            let elements = &bytes[from..from + (wanted * size) as usize];
            let at = (line - lines.start) as usize;
            match header.order {
                Order::C => header.dtype.decode(elements, block[at * width..][..width].iter_mut()),
                Order::Fortran => header.dtype.decode(elements, block[at..].iter_mut().step_by(width)),
            }
        }
    }
    Ok(block)
}

/// How many lines one read takes, with what lies between their wanted parts.
fn lines_together(line_bytes: u64, wanted_bytes: u64) -> u64 {
    if line_bytes - wanted_bytes > GAP_BYTES { 1 } else { (READ_BYTES / line_bytes.max(1)).max(1) }
}
