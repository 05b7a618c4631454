//! The envelope in which kubectl sends built-in kinds.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| pd_apiserver::hostile::protobuf(bytes));
