//! The exports of a task: what `export_task!` writes into its crate.
//!
//! In: the contract's calls with their own types. Out: the task's answers. On the way a panic's message and place go to
//! the log, because the trap that follows carries neither.

/// Exports a type that implements [`Task`](crate::Task) as the crate's task, with the crate's `task.json` as metadata.
///
/// In native builds nothing is exported; with tests, one that compares `task.json` with the code is added.
#[macro_export]
macro_rules! export_task {
    ($task:ty) => {
        #[cfg(target_arch = "wasm32")]
        type ExportedTask = $task;

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "exports and custom sections need it")]
        mod task_export {
            use $crate::bindings::exports::processdistro::task::contract::{Failure, Guest, Layout};

            struct Export;

            impl Guest for Export {
                fn plan(params: String) -> Result<Layout, Failure> {
                    $crate::export::plan::<super::ExportedTask>(&params)
                }

                fn run(params: String, index: u64) -> Result<Vec<u8>, Failure> {
                    $crate::export::run::<super::ExportedTask>(&params, index)
                }

                fn merge(params: String, subtasks: u64) -> Result<(), Failure> {
                    $crate::export::merge::<super::ExportedTask>(&params, subtasks)
                }
            }

            $crate::bindings::export_component!(Export with_types_in $crate::bindings);

            const BYTES: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/task.json"));

            #[used]
            #[unsafe(link_section = "processdistro:task")]
            static METADATA: [u8; BYTES.len()] = *include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/task.json"));
        }

        #[cfg(all(test, not(target_arch = "wasm32")))]
        #[test]
        fn task_json_says_what_the_code_accepts() {
            $crate::testing::assert_metadata_is_fresh::<$task>(env!("CARGO_MANIFEST_DIR"));
        }
    };
}

/// Exports the `verify` of a type that implements [`Verify`](crate::Verify), beside [`export_task!`](crate::export_task).
///
/// In native builds nothing is exported.
#[macro_export]
macro_rules! export_verify {
    ($task:ty) => {
        #[cfg(target_arch = "wasm32")]
        type VerifyingTask = $task;

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "exports need it")]
        mod verify_export {
            use $crate::bindings::checks::exports::processdistro::task::checks::{Failure, Guest};

            struct Export;

            impl Guest for Export {
                fn verify(params: String, index: u64, output: Vec<u8>, seed: u64) -> Result<bool, Failure> {
                    $crate::export::verify::<super::VerifyingTask>(&params, index, &output, seed)
                }
            }

            $crate::bindings::checks::export_checks!(Export with_types_in $crate::bindings::checks);
        }
    };
}

#[cfg(target_arch = "wasm32")]
pub use guest::{merge, plan, run, verify};

#[cfg(target_arch = "wasm32")]
mod guest {
    use std::sync::Once;

    use crate::bindings::exports::processdistro::task::contract as wire;
    use crate::bindings::processdistro::task::host as imports;
    use crate::{Failure, Host, Layout, Level, Task, Verify, call};

    pub fn plan<T: Task>(params: &str) -> Result<wire::Layout, wire::Failure> {
        log_panics();
        Ok(call::plan::<T>(params, &Imports)?.into())
    }

    pub fn run<T: Task>(params: &str, index: u64) -> Result<Vec<u8>, wire::Failure> {
        log_panics();
        Ok(call::run::<T>(params, index, &Imports)?)
    }

    pub fn merge<T: Task>(params: &str, subtasks: u64) -> Result<(), wire::Failure> {
        log_panics();
        Ok(call::merge::<T>(params, subtasks, &Imports)?)
    }

    pub fn verify<T: Verify>(params: &str, index: u64, output: &[u8], seed: u64) -> Result<bool, wire::Failure> {
        log_panics();
        Ok(call::verify::<T>(params, index, output, seed, &Imports)?)
    }

    fn log_panics() {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            std::panic::set_hook(Box::new(|panic| imports::log(imports::Level::Error, &panic.to_string())));
        });
    }

    impl From<Layout> for wire::Layout {
        fn from(layout: Layout) -> Self {
            let Layout { subtasks, media_type, goal, state } = layout;
            Self { subtasks, media_type, goal, state }
        }
    }

    impl From<Failure> for wire::Failure {
        fn from(failure: Failure) -> Self {
            match failure {
                Failure::Retryable(text) => Self::Retryable(text),
                Failure::Permanent(text) => Self::Permanent(text),
            }
        }
    }

    /// The real host, behind the module's imports.
    struct Imports;

    impl Host for Imports {
        fn log(&self, level: Level, text: &str) {
            let level = match level {
                Level::Debug => imports::Level::Debug,
                Level::Info => imports::Level::Info,
                Level::Warn => imports::Level::Warn,
                Level::Error => imports::Level::Error,
            };
            imports::log(level, text);
        }

        fn progress(&self, done: u64, total: u64) {
            imports::progress(done, total);
        }

        fn cancelled(&self) -> bool {
            imports::cancelled()
        }

        fn found(&self, target: u64) {
            imports::found(target);
        }

        fn input_size(&self, name: &str) -> Option<u64> {
            imports::input_size(name)
        }

        fn read_input(&self, name: &str, offset: u64, length: u32) -> Vec<u8> {
            imports::read_input(name, offset, length)
        }

        fn state_size(&self) -> u64 {
            imports::state_size()
        }

        fn read_state(&self, offset: u64, length: u32) -> Vec<u8> {
            imports::read_state(offset, length)
        }

        fn part_size(&self, index: u64) -> Option<u64> {
            imports::part_size(index)
        }

        fn read_part(&self, index: u64, offset: u64, length: u32) -> Vec<u8> {
            imports::read_part(index, offset, length)
        }

        fn write_result(&self, bytes: &[u8]) {
            imports::write_result(bytes);
        }
    }
}
