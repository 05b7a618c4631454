//! Index sets: what is read is printed so that it is read as the same.
#![no_main]

use schemas::IndexSet;

fuzz::target!(|bytes| {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    if let Ok(set) = text.parse::<IndexSet>() {
        let again: IndexSet = set.to_string().parse().expect("what was printed");
        assert_eq!(again, set);
    }
});
