//! The audit of `password-hash` with SHA-256, by the `sha2` crate: which lines of a file have one of the wanted digests.

use std::{fs::File, os::unix::fs::FileExt as _, path::PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// A file of candidates and what is looked for in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Description {
    /// A file of lines of equal length.
    candidates: PathBuf,
    /// Bytes of a line, the newline included.
    line_bytes: u64,
    /// Lines of one subtask.
    batch_size: u64,
    /// Digests in hex.
    targets: Vec<String>,
}

pub(crate) struct Audit {
    file: File,
    lines: u64,
    line_bytes: u64,
    batch_size: u64,
    targets: Vec<String>,
    /// The first bytes of each target: nothing else has to be compared but by chance.
    starts: Vec<[u8; 8]>,
}

impl Audit {
    pub(crate) fn open(description: &Description) -> Result<Self> {
        let Description { candidates, line_bytes, batch_size, targets } = description;
        ensure!(*line_bytes > 0 && *batch_size > 0, "lineBytes and batchSize must be at least 1");
        let file = File::open(candidates).with_context(|| format!("opening {}", candidates.display()))?;
        let lines = file.metadata().context("reading the candidates' size")?.len() / line_bytes;
        let starts = targets.iter().map(|target| start_of(target)).collect::<Result<_>>()?;
        let (line_bytes, batch_size, targets) = (*line_bytes, *batch_size, targets.clone());
        Ok(Self { file, lines, line_bytes, batch_size, targets, starts })
    }

    pub(crate) fn batches(&self) -> u64 {
        self.lines.div_ceil(self.batch_size)
    }

    /// A line `target<TAB>candidate` for each find.
    pub(crate) fn run(&self, index: u64) -> Result<Vec<u8>> {
        let first = index * self.batch_size;
        ensure!(first < self.lines, "index {index} is beyond the {} batches of this job", self.batches());
        let lines = self.batch_size.min(self.lines - first);
        let mut bytes = vec![0; (lines * self.line_bytes) as usize];
        self.file.read_exact_at(&mut bytes, first * self.line_bytes).context("reading the candidates")?;
        let mut finds = Vec::new();
        for line in bytes.chunks_exact(self.line_bytes as usize) {
            let candidate = line.strip_suffix(b"\n").unwrap_or(line);
            let digest = Sha256::digest(candidate);
            if let Some(found) = self.starts.iter().position(|start| digest.starts_with(start)) {
                finds.extend_from_slice(&[self.targets[found].as_bytes(), b"\t", line].concat());
            }
        }
        Ok(finds)
    }
}

fn start_of(target: &str) -> Result<[u8; 8]> {
    let start = target.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    Ok(start.with_context(|| format!("`{target}` is not a digest in hex"))?.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_line_is_found_in_its_batch() {
        let path = std::env::temp_dir().join(format!("bench-kernels-{}", std::process::id()));
        std::fs::write(&path, "aaa\nbbb\nccc\n").expect("writes");
        // sha256("ccc")
        let target = "64daa44ad493ff28a96effab6e77f1732a3d97d83241581b37dbd70a7a4900fe";
        let targets = vec![target.to_owned()];
        let audit = Audit::open(&Description { candidates: path.clone(), line_bytes: 4, batch_size: 2, targets });
        let audit = audit.expect("opens");
        std::fs::remove_file(&path).expect("removes");
        assert_eq!(audit.batches(), 2);
        assert_eq!(audit.run(0).expect("runs"), b"");
        assert_eq!(audit.run(1).expect("runs"), format!("{target}\tccc\n").as_bytes());
        assert!(audit.run(2).is_err());
    }
}
