//! What becomes of the replies to a call: outcomes are passed on, a layout is kept, a result is written.

use std::path::Path;

use executor_protocol::{Layout, Reply};
use schemas::assignment::{CallFailure, FailureOutcome};
use schemas::limits::ARTIFACT_BYTES_MAX;
use sha2::{Digest as _, Sha256};

use super::{Batch, Event, EventKind, Events, ResultFile, call_failure};

/// What takes the replies of a call; answers true when an index has ended.
pub(super) trait Sink: Send {
    fn take(&mut self, reply: Reply) -> Result<bool, String>;
}

/// Forwards outcomes and keeps count.
pub(super) struct RunSink<'a> {
    pub slot: usize,
    pub events: &'a Events,
    pub next: &'a mut u64,
    /// The last index that it was asked for.
    pub until: u64,
    /// The last index that ended took the executor with it, and the executor said so.
    pub excused: bool,
}

impl Sink for RunSink<'_> {
    fn take(&mut self, reply: Reply) -> Result<bool, String> {
        let kind = match reply {
            Reply::Ended(ended) if ended.is_empty() => return Ok(false),
            Reply::Ended(ended) => {
                ended.check().map_err(|error| error.to_string())?;
                if ended.first != *self.next || ended.next() - 1 > self.until {
                    return Err(format!("it reported {} indexes from {} on out of turn", ended.count, ended.first));
                }
                *self.next = ended.next();
                let batch = Batch::of(ended);
                self.excused = batch
                    .failures
                    .last()
                    .is_some_and(|failed| failed.index == batch.last && failed.outcome == FailureOutcome::Timeout);
                EventKind::Batch(batch)
            }
            Reply::Progress { index, done, total } => EventKind::Progress { index, done, total },
            _ => return Err("it spoke out of turn".to_owned()),
        };
        let ended = matches!(kind, EventKind::Batch(_));
        let _ = self.events.send(Event { slot: self.slot, kind });
        Ok(ended)
    }
}

#[derive(Default)]
pub(super) struct PlanSink(pub Option<Result<Layout, CallFailure>>);

impl Sink for PlanSink {
    fn take(&mut self, reply: Reply) -> Result<bool, String> {
        match reply {
            Reply::Planned(call) => self.0 = Some(call_failure(call)),
            Reply::Progress { .. } => {}
            _ => return Err("it spoke out of turn".to_owned()),
        }
        Ok(false)
    }
}

/// Writes a result while hashing it.
pub(super) struct MergeSink {
    file: std::io::BufWriter<tempfile::NamedTempFile>,
    hash: Sha256,
    size: u64,
    pub answer: Option<Result<(), CallFailure>>,
}

impl MergeSink {
    pub(super) fn new(folder: &Path) -> std::io::Result<Self> {
        let file = std::io::BufWriter::with_capacity(256 << 10, tempfile::NamedTempFile::new_in(folder)?);
        Ok(Self { file, hash: Sha256::new(), size: 0, answer: None })
    }

    pub(super) fn finish(self) -> std::io::Result<ResultFile> {
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        let digest = schemas::Digest::from_bytes(self.hash.finalize().into());
        Ok(ResultFile { path: file.into_temp_path(), digest, size: self.size })
    }
}

impl Sink for MergeSink {
    fn take(&mut self, reply: Reply) -> Result<bool, String> {
        match reply {
            Reply::ResultBytes(bytes) => {
                self.size += bytes.len() as u64;
                if self.size > ARTIFACT_BYTES_MAX {
                    let message = format!("the result is larger than the limit of {ARTIFACT_BYTES_MAX} bytes");
                    let failure = CallFailure { outcome: FailureOutcome::InvalidOutput, message, log: String::new() };
                    self.answer = Some(Err(failure));
                    return Err("its result is too large".to_owned());
                }
                self.hash.update(&bytes);
                std::io::Write::write_all(&mut self.file, &bytes).map_err(|error| {
                    let message = format!("the result cannot be written on this node: {error}");
                    let failure = CallFailure { outcome: FailureOutcome::SetupFailed, message, log: String::new() };
                    self.answer = Some(Err(failure));
                    "its result cannot be written".to_owned()
                })?;
            }
            Reply::Merged(call) => self.answer = Some(call_failure(call)),
            Reply::Progress { .. } => {}
            _ => return Err("it spoke out of turn".to_owned()),
        }
        Ok(false)
    }
}
