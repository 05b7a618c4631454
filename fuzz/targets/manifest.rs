//! Manifests: any bytes are read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = schemas::manifest::decode("fuzz.yaml", bytes.to_vec()) {
        let _ = schemas::manifest::parse("fuzz.yaml", &text);
    }
});
