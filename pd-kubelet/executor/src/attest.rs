//! A check by the task's own word: whether the output that another node has delivered is the one that `run` answers.
//!
//! In: an index and, from the kubelet, that output. Out: what ended, either way. An output that is attested becomes this
//! node's; in every other case (`verify` is not exported, says no, fails, traps or runs out of something, or the output
//! cannot be had) the index is computed as any other.

use std::hash::{BuildHasher as _, RandomState};

use executor_protocol::{Blob, Call, Checked, Ended, Outcome};
use wasmtime::{Result, component::ComponentExportIndex};

use crate::call::{Caller, Live};
use crate::host::bindings::exports::processdistro::task::contract::Failure;
use crate::local::told;
use crate::watchdog::What;

impl Caller<'_> {
    /// Checks an index, or computes it.
    pub(crate) fn check(&mut self, index: u64) -> Ended {
        let Some(verify) = self.prepared.verify else { return self.run(index) };
        let Some(delivered) = self.delivered(index) else { return self.run(index) };
        let (call, found) = self.call(What::Verify(index), |live| {
            answer(live, verify, (&self.prepared.context.params, index, &delivered, seed(index)))
        });
        let checked = match &call.outcome {
            Outcome::Success(true) => {
                let (call, found) = (call.map(|_| delivered), found.into_iter().collect());
                return Ended { index, call, found, checked: Some(Checked::Attested) };
            }
            Outcome::Success(false) => Checked::Refused,
            failed => {
                *self.kept = None;
                Checked::Failed(format!("{}: {}", told(failed).0, told(failed).1.unwrap_or_default()))
            }
        };
        let Call { wall_ns, limits, .. } = call;
        let mut ended = self.run(index);
        ended.call.wall_ns = ended.call.wall_ns.saturating_add(wall_ns);
        ended.call.limits.extend(limits);
        Ended { checked: Some(checked), ..ended }
    }

    /// The output that is to be looked at, unless it cannot be had or is longer than one may be.
    fn delivered(&self, index: u64) -> Option<Vec<u8>> {
        let limit = self.output_bytes_max();
        match self.outside.blobs().read_once(&Blob::Delivered(index), limit) {
            Ok(delivered) => delivered,
            Err(error) => {
                eprintln!("pd-executor: index {index} is computed, for its delivered output cannot be read: {error}");
                None
            }
        }
    }
}

/// Params, index, output, seed.
type Arguments<'a> = (&'a str, u64, &'a [u8], u64);

fn answer(live: &mut Live, verify: ComponentExportIndex, given: Arguments<'_>) -> Result<Result<bool, Failure>> {
    let function = live.instance.get_typed_func::<Arguments<'_>, (Result<bool, Failure>,)>(&mut live.store, verify)?;
    let (answer,) = function.call(&mut live.store, given)?;
    Ok(answer)
}

/// A number that nobody knew when the output was computed: its key is the system's random bytes, which never leave us.
fn seed(index: u64) -> u64 {
    RandomState::new().hash_one(index)
}
