//! Work that the machine does at its own speed for a guest: the host side of `interface kernels`.
//!
//! In: calls from the guest. Out: sums and digests, the same bits that the guest's own code would give. What the guest
//! says of sizes is checked against what it handed over and what it may have, before anything is allocated.

mod gemm;
mod sha256;

use gemm::{Element, Shape, add_product_f32, add_product_f64};
use wasmtime::Result;

use crate::host::{Breach, Host, bindings::processdistro::task::kernels::Host as KernelCalls};
use crate::limits::OutOfMemory;
use crate::watchdog::Halted;

/// Adds A · B to C.
type AddProduct<T> = fn(Shape, &[T], &[T], &mut [T], &dyn Fn() -> bool) -> bool;

impl KernelCalls for Host {
    fn offered(&mut self) -> Result<bool> {
        Ok(self.offers_kernels())
    }

    fn gemm_f32(
        &mut self,
        rows: u32,
        columns: u32,
        depth: u32,
        a: Vec<f32>,
        b: Vec<f32>,
        c: Vec<f32>,
    ) -> Result<Vec<f32>> {
        self.gemm((rows, columns, depth), &a, &b, c, add_product_f32)
    }

    fn gemm_f64(
        &mut self,
        rows: u32,
        columns: u32,
        depth: u32,
        a: Vec<f64>,
        b: Vec<f64>,
        c: Vec<f64>,
    ) -> Result<Vec<f64>> {
        self.gemm((rows, columns, depth), &a, &b, c, add_product_f64)
    }

    fn sha256(&mut self, salt: Vec<u8>, bytes: Vec<u8>, ends: Vec<u32>, gap: u32) -> Result<Vec<u8>> {
        self.check_offered()?;
        self.check_fits((ends.len() * sha256::DIGEST_BYTES) as u64)?;
        let spans = sha256::spans(bytes.len(), &ends, gap);
        let spans = spans.map_err(|wrong| Breach::Contract(format!("`kernels.sha256`: {wrong}")))?;
        sha256::digests(&salt, &bytes, &spans, &|| self.is_halted()).ok_or_else(|| Halted.into())
    }
}

impl Host {
    fn gemm<T: Element>(
        &self,
        sizes: (u32, u32, u32),
        a: &[T],
        b: &[T],
        c: Vec<T>,
        add_product: AddProduct<T>,
    ) -> Result<Vec<T>> {
        self.check_offered()?;
        let shape = shape(sizes, a.len(), b.len(), c.len()).map_err(Breach::Contract)?;
        let elements = shape.rows as u64 * shape.columns as u64;
        self.check_fits(elements.saturating_mul(size_of::<T>() as u64))?;
        let mut sums = if c.is_empty() { vec![T::default(); elements as usize] } else { c };
        if add_product(shape, a, b, &mut sums, &|| self.is_halted()) { Ok(sums) } else { Err(Halted.into()) }
    }

    fn check_offered(&self) -> Result<()> {
        if self.offers_kernels() {
            return Ok(());
        }
        let breach = "a host kernel was called that is not offered to this job (spec.sandbox.hostKernels); a task asks \
                      `kernels.offered` first";
        Err(Breach::Contract(breach.to_owned()).into())
    }

    /// The answer goes into the guest's memory, so it can be no larger.
    fn check_fits(&self, wanted: u64) -> Result<()> {
        let limit = self.memory_bytes_max();
        if wanted <= limit { Ok(()) } else { Err(OutOfMemory { wanted, limit }.into()) }
    }
}

/// The sizes as one shape, if the matrices have them.
fn shape((rows, columns, depth): (u32, u32, u32), a: usize, b: usize, c: usize) -> Result<Shape, String> {
    let product = |x: u32, y: u32| u64::from(x) * u64::from(y);
    let wrong = |name: &str, has: usize, x: u32, y: u32| {
        Err(format!("`kernels.gemm`: {name} has {has} elements where {x} × {y} were announced"))
    };
    if a as u64 != product(rows, depth) {
        return wrong("a", a, rows, depth);
    }
    if b as u64 != product(depth, columns) {
        return wrong("b", b, depth, columns);
    }
    if c != 0 && c as u64 != product(rows, columns) {
        return wrong("c", c, rows, columns);
    }
    Ok(Shape { rows: rows as usize, columns: columns as usize, depth: depth as usize })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_lie_are_told() {
        let good = shape((2, 3, 4), 8, 12, 6).expect("fits");
        assert_eq!(good, Shape { rows: 2, columns: 3, depth: 4 });
        assert!(shape((2, 3, 4), 8, 12, 0).is_ok() && shape((0, 0, 0), 0, 0, 0).is_ok());
        type Case = ((u32, u32, u32), [usize; 3], &'static str);
        let cases: [Case; 5] = [
            ((2, 3, 4), [7, 12, 6], "a has 7 elements where 2 × 4"),
            ((2, 3, 4), [8, 11, 6], "b has 11 elements where 4 × 3"),
            ((2, 3, 4), [8, 12, 5], "c has 5 elements where 2 × 3"),
            ((u32::MAX, u32::MAX, u32::MAX), [1, 1, 0], "where 4294967295 × 4294967295"),
            ((1 << 16, 1 << 16, 1 << 16), [0, 0, 0], "a has 0 elements where 65536 × 65536"),
        ];
        for (sizes, [a, b, c], said) in cases {
            let told = shape(sizes, a, b, c).expect_err(said);
            assert!(told.contains(said), "{told}");
        }
    }
}
