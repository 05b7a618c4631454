//! Bodies as JSON and YAML, against the schema of every kind.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| pd_apiserver::hostile::document(bytes));
