//! The engine: how every guest is compiled and where its memory comes from.
//!
//! In: nothing but this machine. Out: an `Engine`, and the fingerprint that a cache of compiled modules needs
//! in its key. Must not know any task.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, ProfilingStrategy, Result,
    WasmBacktraceDetails,
};

/// Stack of a guest's own calls. Rust guests keep another one, usually 1 MiB, in their linear memory.
pub(crate) const GUEST_STACK_BYTES: usize = 1 << 20;
/// Memory that stays mapped between two instances: first-touch page faults cost 0.57 ms a MiB, and most tasks
/// touch less than this.
const KEEP_RESIDENT_BYTES: usize = 32 << 20;
/// All that a 32-bit memory can have; the job's own limit is enforced by `limits`.
const MEMORY_BYTES_MAX: usize = 4 << 30;
/// Linear memories of one component. The slot's reservation is this times 4 GiB of addresses, not of memory.
pub(crate) const MEMORIES_MAX: u32 = 4;
/// Core instances and tables of one component: a Python task has 38.
pub(crate) const CORE_INSTANCES_MAX: u32 = 64;
/// Tables of one core module: compilers make one, hand-written modules some.
const TABLES_PER_MODULE_MAX: u32 = 16;
/// Elements of one table, an address each.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Elements of all tables of an instance: 8 MiB.
pub(crate) const TABLE_ELEMENTS_SUM_MAX: usize = 1 << 20;

/// What is not as it is for a kubelet that has a process for each slot: what a person may ask for who measures or debugs,
/// what a verified job needs, and what it takes to share a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Variant {
    /// Give every NaN the same bits, which costs a comparison for each operation on numbers with a point.
    pub(crate) canonical_nans: bool,
    /// How many slots share the process; none: it is for one, and its calls are ended by ending it.
    pub(crate) shared_by: Option<u32>,
    /// Ask the system for each instance anew.
    pub(crate) without_pool: bool,
    /// Put a check into every loop, as a time limit inside the process would need.
    pub(crate) with_epochs: bool,
    /// Note what a guest had in memory when it fails.
    pub(crate) with_core_dumps: bool,
    /// Tell a debugger about compiled code, and leave it as it was written.
    pub(crate) for_debugger: bool,
    /// Name compiled functions in `/tmp/perf-PID.map`, where `perf report` looks for them.
    pub(crate) for_profiler: bool,
}

/// The engine with a pool for one instance; where that much address space cannot be had, one that asks the
/// system for each instance anew.
pub(crate) fn engine() -> Result<Engine> {
    variant(Variant::default())
}

/// The same, changed.
pub(crate) fn variant(variant: Variant) -> Result<Engine> {
    let mut plain = config();
    plain.cranelift_nan_canonicalization(variant.canonical_nans);
    plain.epoch_interruption(variant.with_epochs || variant.shared_by.is_some());
    if variant.shared_by.is_some() {
        // One thread for one compilation, whose clock is that of its limit.
        plain.parallel_compilation(false);
    }
    plain.coredump_on_trap(variant.with_core_dumps);
    if variant.for_debugger {
        plain.debug_info(true).cranelift_opt_level(OptLevel::None);
    }
    if variant.for_profiler {
        plain.profiler(ProfilingStrategy::PerfMap);
    }
    if variant.without_pool {
        return Engine::new(&plain);
    }
    let mut pooled = plain.clone();
    pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(places(variant))));
    Engine::new(&pooled).or_else(|error| {
        eprintln!("pd-executor: no pool of instances, every call will take longer: {error:#}");
        Engine::new(&plain)
    })
}

/// The engines of one process: what one of them has compiled is nothing to the other.
pub(crate) struct Engines {
    chosen: Variant,
    plain: Engine,
    /// The one with canonical NaNs, from when it was first asked for.
    canonical: Mutex<Option<Engine>>,
}

impl Engines {
    pub(crate) fn new(chosen: Variant) -> Result<Self> {
        Ok(Self { chosen, plain: variant(chosen)?, canonical: Mutex::default() })
    }

    /// The same, of which one is there.
    pub(crate) fn around(plain: Engine) -> Self {
        Self { chosen: Variant::default(), plain, canonical: Mutex::default() }
    }

    /// The engine for a component.
    pub(crate) fn of(&self, canonical_nans: bool) -> Result<Engine> {
        if !canonical_nans {
            return Ok(self.plain.clone());
        }
        let mut canonical = self.canonical();
        let made = match canonical.take() {
            Some(made) => made,
            None => variant(Variant { canonical_nans, ..self.chosen })?,
        };
        Ok(canonical.insert(made).clone())
    }

    /// Lets the guests of all of them look whether they are to end.
    pub(crate) fn increment_epoch(&self) {
        self.plain.increment_epoch();
        if let Some(canonical) = &*self.canonical() {
            canonical.increment_epoch();
        }
    }

    fn canonical(&self) -> MutexGuard<'_, Option<Engine>> {
        self.canonical.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names everything besides a component's bytes that its compiled form depends on.
pub(crate) fn fingerprint(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // Its results depend on the machine, and an index may run twice on two of them.
        .wasm_relaxed_simd(false)
        // No epochs and no fuel: they cost tight loops up to 3.3x, and killing the process is the limit.
        .epoch_interruption(false)
        .consume_fuel(false)
        .memory_init_cow(true)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .generate_address_map(true)
        .parallel_compilation(true);
    config
}

/// Instances at a time: one a slot. Where slots share a process, one that was given up may take a tick to end while the
/// next one begins.
fn places(variant: Variant) -> u32 {
    variant.shared_by.map_or(1, |slots| slots.saturating_mul(2))
}

fn pool(places: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(places)
        .total_core_instances(places * CORE_INSTANCES_MAX)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .total_memories(places * MEMORIES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_memory_size(MEMORY_BYTES_MAX)
        .total_tables(places * CORE_INSTANCES_MAX)
        .max_tables_per_component(CORE_INSTANCES_MAX)
        .max_tables_per_module(TABLES_PER_MODULE_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(1 << 16)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(places * MEMORIES_MAX);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::component::Component;

    #[test]
    fn the_fingerprint_is_that_of_the_settings_not_of_the_pool() {
        let pooled = engine().expect("an engine");
        let plain = Engine::new(&config()).expect("an engine");
        assert_eq!(fingerprint(&pooled), fingerprint(&plain));
        assert_eq!(fingerprint(&pooled).len(), 16);
    }

    #[test]
    fn relaxed_simd_and_shared_memory_are_refused() {
        let engine = engine().expect("an engine");
        let relaxed = "(component (core module (func (param v128 v128 v128) (result v128)
            local.get 0 local.get 1 local.get 2 f32x4.relaxed_madd)))";
        let shared = "(component (core module (memory 1 1 shared)))";
        for text in [relaxed, shared] {
            let bytes = wat::parse_str(text).expect("parses");
            assert!(Component::new(&engine, bytes).is_err(), "{text}");
        }
    }
}
