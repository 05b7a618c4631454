//! Continue tokens.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| pd_apiserver::hostile::token(bytes));
