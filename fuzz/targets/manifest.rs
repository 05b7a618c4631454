//! Manifests: any bytes are read or refused.
#![no_main]

fuzz::target!(|bytes| {
    if let Ok(text) = schemas::manifest::decode("fuzz.yaml", bytes.to_vec()) {
        let _ = schemas::manifest::parse("fuzz.yaml", &text);
    }
});
