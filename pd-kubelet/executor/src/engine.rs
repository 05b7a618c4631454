//! The engine: how every guest is compiled and where its memory comes from.
//!
//! In: nothing but this machine. Out: an `Engine`, and the fingerprint that a cache of compiled modules needs
//! in its key. Must not know any task.

use std::hash::{DefaultHasher, Hash, Hasher};

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Result,
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

/// What a person may ask for who measures or debugs; of it, kubelets ask for canonical NaNs alone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Variant {
    /// Give every NaN the same bits, which costs a comparison for each operation on numbers with a point.
    pub(crate) canonical_nans: bool,
    /// Ask the system for each instance anew.
    pub(crate) without_pool: bool,
    /// Put a check into every loop, as a time limit inside the process would need.
    pub(crate) with_epochs: bool,
    /// Tell a debugger about compiled code, and leave it as it was written.
    pub(crate) for_debugger: bool,
}

/// The engine with a pool for one instance; where that much address space cannot be had, one that asks the
/// system for each instance anew.
pub(crate) fn engine() -> Result<Engine> {
    variant(Variant::default())
}

/// The same, changed.
pub(crate) fn variant(variant: Variant) -> Result<Engine> {
    let mut plain = config();
    plain.epoch_interruption(variant.with_epochs);
    plain.cranelift_nan_canonicalization(variant.canonical_nans);
    if variant.for_debugger {
        plain.debug_info(true).cranelift_opt_level(OptLevel::None);
    }
    if variant.without_pool {
        return Engine::new(&plain);
    }
    let mut pooled = plain.clone();
    pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    Engine::new(&pooled).or_else(|error| {
        eprintln!("pd-executor: no pool of instances, every call will take longer: {error:#}");
        Engine::new(&plain)
    })
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

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(1)
        .total_core_instances(CORE_INSTANCES_MAX)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .total_memories(MEMORIES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_memory_size(MEMORY_BYTES_MAX)
        .total_tables(CORE_INSTANCES_MAX)
        .max_tables_per_component(CORE_INSTANCES_MAX)
        .max_tables_per_module(TABLES_PER_MODULE_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(1 << 16)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(MEMORIES_MAX);
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
