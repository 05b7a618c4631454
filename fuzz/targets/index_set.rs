//! Index sets: what is read is printed so that it is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::IndexSet;

fuzz_target!(|text: &str| {
    if let Ok(set) = text.parse::<IndexSet>() {
        let again: IndexSet = set.to_string().parse().expect("what was printed");
        assert_eq!(again, set);
    }
});
