//! What a guest may have: memory, table space, and the bytes it may hand over in one call.
//!
//! In: the job's limits and each wish of the guest. Out: yes, no, or a typed error that says which limit was
//! met. Must not know what the guest computes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use executor_protocol::{Context, FRAME_BYTES_MAX};
use wasmtime::{ResourceLimiter, Result};

use crate::engine::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLE_ELEMENTS_SUM_MAX};

/// Bytes of a frame that are not output: index, log, found targets.
const FRAME_REST_BYTES: u64 = 16 << 20;
/// A guest may always hand this much to the host in one call: a log line is copied before it is cut.
const HOST_CALL_BYTES_MIN: u64 = 1 << 20;
/// A piece of a merge's result, copied once and sent on.
const RESULT_PIECE_BYTES_MAX: u64 = 64 << 20;

/// The guest asked for more memory than it may have.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the task asked for {wanted} bytes of memory, beyond its limit of {limit}; raise spec.resources.memory or let each subtask do less"
)]
pub(crate) struct OutOfMemory {
    pub(crate) wanted: u64,
    pub(crate) limit: u64,
}

/// The guest asked for more table space than it may have.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the task asked for {wanted} table elements; a table may have {TABLE_ELEMENTS_MAX}, all of them together {TABLE_ELEMENTS_SUM_MAX}"
)]
pub(crate) struct OutOfTables {
    pub(crate) wanted: usize,
}

/// Bytes of output an index may have: the job's limit, and what fits into a frame.
pub(crate) fn output_bytes_max(context: &Context) -> u64 {
    context.output_bytes_max.min(FRAME_BYTES_MAX as u64 - FRAME_REST_BYTES)
}

/// Bytes a guest may hand to the host at once in `plan` and `run`.
pub(crate) fn call_bytes_max(context: &Context) -> usize {
    output_bytes_max(context).max(HOST_CALL_BYTES_MIN) as usize
}

/// The same in `merge`, whose result goes out in pieces.
pub(crate) fn merge_bytes_max(context: &Context) -> usize {
    (call_bytes_max(context) as u64).max(RESULT_PIECE_BYTES_MAX) as usize
}

/// Counts the memory of one instance.
#[derive(Debug)]
pub(crate) struct Meter {
    limit: u64,
    bytes: u64,
    asked: u64,
    elements: usize,
    elements_asked: usize,
    /// Shared with the watchdog, which reports it for a call that never ends.
    peak: Arc<AtomicU64>,
}

impl Meter {
    pub(crate) fn new(limit: u64, peak: Arc<AtomicU64>) -> Self {
        Self { limit, bytes: 0, asked: 0, elements: 0, elements_asked: 0, peak }
    }

    /// Linear memory that the instance has.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let asked = desired.saturating_sub(current) as u64;
        let wanted = self.bytes.saturating_add(asked);
        if wanted > self.limit {
            return Err(OutOfMemory { wanted, limit: self.limit }.into());
        }
        (self.bytes, self.asked) = (wanted, asked);
        self.peak.fetch_max(wanted, Ordering::Relaxed);
        Ok(true)
    }

    /// The memory's own declared maximum was met, or the system had none left: the guest is told -1.
    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.bytes -= std::mem::take(&mut self.asked);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let asked = desired.saturating_sub(current);
        let sum = self.elements.saturating_add(asked);
        if desired > TABLE_ELEMENTS_MAX {
            return Err(OutOfTables { wanted: desired }.into());
        }
        if sum > TABLE_ELEMENTS_SUM_MAX {
            return Err(OutOfTables { wanted: sum }.into());
        }
        (self.elements, self.elements_asked) = (sum, asked);
        Ok(true)
    }

    /// The table's own declared maximum was met: the guest is told -1.
    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.elements -= std::mem::take(&mut self.elements_asked);
        Ok(())
    }

    // The same whether there is a pool or not.
    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_of_one_instance_count_together() {
        let peak = Arc::new(AtomicU64::new(0));
        let mut meter = Meter::new(10 << 16, Arc::clone(&peak));
        assert!(meter.memory_growing(0, 6 << 16, None).expect("fits"));
        assert!(meter.memory_growing(0, 4 << 16, None).expect("fits"));
        let refused = meter.memory_growing(4 << 16, 5 << 16, None).expect_err("does not fit");
        let refused = refused.downcast_ref::<OutOfMemory>().expect("typed");
        assert_eq!((refused.wanted, refused.limit), (11 << 16, 10 << 16));
        assert_eq!(peak.load(Ordering::Relaxed), 10 << 16);
    }

    #[test]
    fn tables_count_each_and_together() {
        let mut meter = Meter::new(0, Arc::default());
        assert!(meter.table_growing(0, TABLE_ELEMENTS_MAX, None).expect("fits"));
        let refused = meter.table_growing(TABLE_ELEMENTS_MAX, TABLE_ELEMENTS_MAX + 1, None).expect_err("too long");
        assert_eq!(refused.downcast_ref::<OutOfTables>().expect("typed").wanted, TABLE_ELEMENTS_MAX + 1);
        let grown = (0..20).map_while(|_| meter.table_growing(0, TABLE_ELEMENTS_MAX, None).ok()).count();
        assert_eq!(grown, TABLE_ELEMENTS_SUM_MAX / TABLE_ELEMENTS_MAX - 1);
        meter.table_grow_failed(wasmtime::Error::msg("its maximum")).expect("noted");
        assert!(meter.table_growing(0, TABLE_ELEMENTS_MAX, None).expect("fits again"));
    }

    #[test]
    fn a_growth_that_failed_is_given_back() {
        let mut meter = Meter::new(2 << 16, Arc::default());
        assert!(meter.memory_growing(0, 2 << 16, None).expect("fits"));
        meter.memory_grow_failed(wasmtime::Error::msg("no memory left")).expect("noted");
        assert!(meter.memory_growing(0, 2 << 16, None).expect("fits again"));
    }
}
