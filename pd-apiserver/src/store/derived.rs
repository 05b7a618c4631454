//! A place beside a change for what its readers make of it.
//!
//! Ten thousand watchers of one change must not parse and print it ten thousand times, and the store must not know
//! what JSON is: it keeps the place, the readers fill it.

use std::{any::Any, fmt, sync::OnceLock};

/// Filled by the first reader, read by all others. It is no part of what a change says.
#[derive(Default)]
pub struct Derived(OnceLock<Box<dyn Any + Send + Sync>>);

impl Derived {
    /// What `make` made, now or for an earlier reader; `None`: an earlier reader made something of another type.
    pub fn get_or_make<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.0.get_or_init(|| Box::new(make())).downcast_ref()
    }
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "Derived(made)" } else { "Derived(empty)" })
    }
}

/// A copy starts empty.
impl Clone for Derived {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Derived {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Derived {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once() {
        let derived = Derived::default();
        assert_eq!(derived.get_or_make(|| 7_u32), Some(&7));
        assert_eq!(derived.get_or_make(|| -> u32 { unreachable!("it has been made") }), Some(&7));
        assert_eq!(derived.get_or_make(|| "of another type"), None);
        assert_eq!(derived.clone().get_or_make(|| 8_u32), Some(&8));
    }
}
