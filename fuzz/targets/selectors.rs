//! Label and field selectors: read or refused, and then asked of objects.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| pd_apiserver::hostile::selectors(bytes));
