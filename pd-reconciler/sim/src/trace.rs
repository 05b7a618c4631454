//! What happened, in words: printed as it happens, kept as a hash for comparing two runs, or neither.

/// What becomes of the words.
#[derive(Debug, Default)]
pub struct Trace {
    prints: bool,
    /// Of all lines so far, each folded into the one of those before it.
    hash: Option<u64>,
}

impl Trace {
    /// Prints every line.
    pub fn printed() -> Self {
        Self { prints: true, hash: None }
    }

    /// Keeps a hash of all lines.
    pub fn hashed() -> Self {
        Self { prints: false, hash: Some(0) }
    }

    /// The hash, if one is kept.
    pub fn digest(&self) -> Option<u64> {
        self.hash
    }

    /// One line; `line` is not called when nobody wants it.
    pub(crate) fn tell(&mut self, at: u64, line: impl FnOnce() -> String) {
        if !self.prints && self.hash.is_none() {
            return;
        }
        let line = format!("{:>12.6} {}\n", at as f64 / 1e6, line());
        if self.prints {
            print!("{line}");
        }
        if let Some(hash) = &mut self.hash {
            *hash = xxhash_rust::xxh3::xxh3_64_with_seed(line.as_bytes(), *hash);
        }
    }
}
