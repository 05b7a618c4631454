//! The `.npy` format, as numpy's `numpy.lib.format` describes it.
//!
//! In: the first bytes of a file. Out: what the array looks like, or which part of the header this task cannot use. It
//! must not know what is done with the array.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use task_sdk::{Failure, Reader};

const MAGIC: &[u8] = b"\x93NUMPY";
/// A longer header than this describes no plain matrix.
const HEADER_MAX: u64 = 64 << 10;

/// Element types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE single.
    F32,
    /// IEEE double.
    F64,
}

impl Dtype {
    /// Bytes of an element.
    pub fn size(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// numpy's name for it, little-endian.
    pub fn descr(self) -> &'static str {
        match self {
            Self::F32 => "<f4",
            Self::F64 => "<f8",
        }
    }

    pub(crate) fn encode(self, values: &[f64]) -> Vec<u8> {
        let mut bytes = vec![0; values.len() * self.size() as usize];
        match self {
            Self::F32 => {
                let elements = bytes.as_chunks_mut::<4>().0.iter_mut().zip(values);
                elements.for_each(|(element, value)| *element = (*value as f32).to_le_bytes());
            }
            Self::F64 => {
                let elements = bytes.as_chunks_mut::<8>().0.iter_mut().zip(values);
                elements.for_each(|(element, value)| *element = value.to_le_bytes());
            }
        }
        bytes
    }

    /// Gives each element its place in `to`.
    pub(crate) fn decode<'t>(self, bytes: &[u8], to: impl Iterator<Item = &'t mut f64>) {
        match self {
            Self::F32 => {
                let elements = bytes.as_chunks::<4>().0.iter().zip(to);
                elements.for_each(|(element, to)| *to = f32::from_le_bytes(*element).into());
            }
            Self::F64 => {
                let elements = bytes.as_chunks::<8>().0.iter().zip(to);
                elements.for_each(|(element, to)| *to = f64::from_le_bytes(*element));
            }
        }
    }
}

/// Which index runs fastest in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The column: rows are contiguous.
    C,
    /// The row: columns are contiguous.
    Fortran,
}

/// What a `.npy` file says of its matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Element type.
    pub dtype: Dtype,
    /// Order of the elements.
    pub order: Order,
    /// Rows.
    pub rows: u64,
    /// Columns.
    pub columns: u64,
    /// Offset of the first element in the file.
    pub data: u64,
}

impl Header {
    /// Reads the header of input `name` and checks the file's size against it.
    pub fn read(name: &str, file: &Reader<'_>) -> Result<Self, Failure> {
        let refuse = |why: String| Failure::permanent(format!("input `{name}`: {why}"));
        let start = file.read_at(0, file.size().min(12))?;
        let (text_at, text_bytes) = extent(&start).map_err(refuse)?;
        if text_at + text_bytes > file.size() || text_bytes > HEADER_MAX {
            return Err(refuse(format!("its header claims {text_bytes} bytes; the file has {}", file.size())));
        }
        let text = String::from_utf8(file.read_at(text_at, text_bytes)?);
        let text = text.map_err(|_| refuse("its header is not text".to_owned()))?;
        let header = Self::parse(&text, text_at + text_bytes).map_err(refuse)?;
        let elements = header.rows.checked_mul(header.columns).and_then(|count| count.checked_mul(header.dtype.size()));
        let expected = elements.and_then(|bytes| bytes.checked_add(header.data));
        if expected != Some(file.size()) {
            let (rows, columns, size) = (header.rows, header.columns, file.size());
            let expected = expected.map_or("more than 2^64".to_owned(), |bytes| bytes.to_string());
            return Err(refuse(format!("its shape ({rows}, {columns}) means {expected} bytes; the file has {size}")));
        }
        Ok(header)
    }

    fn parse(text: &str, data: u64) -> Result<Self, String> {
        let dtype = match value_of(text, "descr")? {
            "'<f4'" => Dtype::F32,
            "'<f8'" => Dtype::F64,
            big @ ("'>f4'" | "'>f8'") => {
                return Err(format!("its elements are big-endian ({big}); save a.astype('<f8') or '<f4' instead"));
            }
            other => return Err(format!("its elements are {other}; this task takes '<f4' and '<f8'")),
        };
        let order = match value_of(text, "fortran_order")? {
            "False" => Order::C,
            "True" => Order::Fortran,
            other => return Err(format!("its header says fortran_order: {other}")),
        };
        let shape = value_of(text, "shape")?;
        let sides = shape.trim_matches(['(', ')']).split(',').map(str::trim).filter(|side| !side.is_empty());
        let sides: Result<Vec<u64>, _> = sides.map(|side| side.trim_end_matches('L').parse()).collect();
        match sides.as_deref() {
            Ok(&[rows, columns]) => Ok(Self { dtype, order, rows, columns, data }),
            _ => Err(format!("its shape is {shape}; this task takes matrices, with two dimensions")),
        }
    }
}

/// Where the header's text is: offset and bytes.
fn extent(start: &[u8]) -> Result<(u64, u64), String> {
    match start {
        [magic @ .., major, _, a, b, _, _] if magic == MAGIC && *major == 1 => {
            Ok((10, u16::from_le_bytes([*a, *b]).into()))
        }
        [magic @ .., major, _, a, b, c, d] if magic == MAGIC && matches!(major, 2 | 3) => {
            Ok((12, u32::from_le_bytes([*a, *b, *c, *d]).into()))
        }
        [magic @ .., major, minor, _, _, _, _] if magic == MAGIC => {
            Err(format!("it is .npy version {major}.{minor}; this task reads 1 to 3"))
        }
        _ => Err("it is not a .npy file (numpy.save makes one)".to_owned()),
    }
}

/// The text of one value in the header, which is a Python dict with three known keys.
fn value_of<'t>(text: &'t str, key: &str) -> Result<&'t str, String> {
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let after = quoted.iter().find_map(|quoted| text.split_once(quoted.as_str()).map(|(_, after)| after));
    let after = after.and_then(|after| after.trim_start().strip_prefix(':'));
    let value = after.ok_or_else(|| format!("its header has no `{key}`"))?.trim_start();
    let end = match value.as_bytes().first() {
        Some(b'(') => value.find(')').map(|at| at + 1),
        Some(b'[') => value.rfind(']').map(|at| at + 1),
        _ => value.find([',', '}']),
    };
    Ok(value[..end.unwrap_or(value.len())].trim())
}

/// The header of a result in C order: format 1.0, padded so that the elements start at a multiple of 64.
pub(crate) fn header_text(dtype: Dtype, rows: u64, columns: u64) -> Vec<u8> {
    let descr = dtype.descr();
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let prefix = MAGIC.len() + 4;
    let padded = (prefix + text.len() + 1).next_multiple_of(64);
    text.extend(std::iter::repeat_n(' ', padded - prefix - text.len() - 1));
    text.push('\n');
    [MAGIC, &[1, 0], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
}
