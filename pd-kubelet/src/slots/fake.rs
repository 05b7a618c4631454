//! An executor in this process that speaks the protocol and does what a script says.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use executor_protocol::{Blob, Call, Checked, Ended, EndedRun, Layout, Outcome, Reply, Request};

use super::{
    Spawner,
    within::{self, Pipe},
};

/// What the script makes of one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Succeed,
    Fail,
    /// The process ends at once; what was not flushed is lost.
    Die,
    /// It says that the time is up and ends.
    TimeOut,
    /// It neither ends nor speaks, and does not look whether it was cancelled.
    Hang,
    /// It goes on until it is cancelled.
    UntilCancelled,
}

/// What the fake has been asked, and how often it was started.
#[derive(Default)]
pub(crate) struct Log {
    pub starts: AtomicU32,
    pub prepares: AtomicU32,
    /// Indexes that were computed, whatever came of it.
    pub runs: AtomicU32,
}

/// How many ended indexes a batch holds.
const BATCH: u64 = 4;

pub(crate) fn spawner(script: impl Fn(u64, u32) -> Act + Send + Sync + 'static) -> (Spawner, Arc<Log>) {
    let log = Arc::new(Log::default());
    let script = Arc::new(script);
    let shared = Arc::clone(&log);
    let spawner = move || {
        let life = shared.starts.fetch_add(1, Ordering::SeqCst) + 1;
        let (script, log) = (Arc::clone(&script), Arc::clone(&shared));
        Ok(within::start(move |pipe| Fake { pipe, log }.serve(move |index| script(index, life))))
    };
    (Arc::new(spawner), log)
}

struct Fake {
    pipe: Pipe,
    log: Arc<Log>,
}

impl Fake {
    async fn serve(mut self, script: impl Fn(u64) -> Act) -> Option<()> {
        loop {
            match self.pipe.hear().await? {
                Request::Prepare(_) | Request::Compile { .. } => {
                    self.log.prepares.fetch_add(1, Ordering::SeqCst);
                    self.pipe.say(&Reply::Prepared).await?;
                }
                Request::Run { first, last, careful } => self.run(first..=last, careful, false, &script).await?,
                Request::Check { first, last, careful } => self.run(first..=last, careful, true, &script).await?,
                Request::Plan => {
                    let layout = Layout { subtasks: 7, media_type: "a/b".into(), goal: None, state: vec![1] };
                    self.pipe.say(&Reply::Planned(call(Outcome::Success(layout)))).await?;
                    self.pipe.say(&Reply::Done).await?;
                }
                Request::Merge { subtasks } => {
                    for index in 0..subtasks {
                        self.pipe.say(&Reply::Read { blob: Blob::Part(index), offset: 0, length: 100 }).await?;
                        let Request::Data(Some(data)) = self.pipe.hear().await? else { return None };
                        self.pipe.say(&Reply::ResultBytes(data.bytes)).await?;
                    }
                    self.pipe.say(&Reply::Merged(call(Outcome::Success(())))).await?;
                    self.pipe.say(&Reply::Done).await?;
                }
                Request::Data(_) | Request::Cancel => {}
            }
        }
    }

    async fn run(
        &mut self,
        indexes: std::ops::RangeInclusive<u64>,
        careful: bool,
        is_check: bool,
        script: &impl Fn(u64) -> Act,
    ) -> Option<()> {
        let mut ended = EndedRun::default();
        for index in indexes {
            let checked = if is_check { self.check(index).await? } else { None };
            if let Some((delivered, Checked::Attested)) = checked {
                let call = call(Outcome::Success(delivered));
                ended.push(Ended { index, call, found: vec![], checked: Some(Checked::Attested) });
                continue;
            }
            self.log.runs.fetch_add(1, Ordering::SeqCst);
            let outcome = match script(index) {
                Act::Succeed => Outcome::Success(index.to_string().into_bytes()),
                Act::Fail => Outcome::Trap("boom".into()),
                Act::TimeOut => Outcome::TimedOut("too slow".into()),
                Act::Die => return None,
                Act::Hang => std::future::pending().await,
                Act::UntilCancelled => {
                    let Request::Cancel = self.pipe.hear().await? else { return None };
                    break;
                }
            };
            let is_last = matches!(outcome, Outcome::TimedOut(_));
            let checked = checked.map(|(_, said)| said);
            ended.push(Ended { index, call: call(outcome), found: vec![], checked });
            if careful || is_last || ended.count == BATCH {
                self.pipe.say(&Reply::Ended(std::mem::take(&mut ended))).await?;
            }
            if is_last {
                return None;
            }
        }
        self.pipe.say(&Reply::Ended(ended)).await?;
        self.pipe.say(&Reply::Done).await
    }
}

impl Fake {
    /// What it is shown, and what it says of it: `right` is attested, under `deadly` it dies.
    async fn check(&mut self, index: u64) -> Option<Option<(Vec<u8>, Checked)>> {
        self.pipe.say(&Reply::Read { blob: Blob::Delivered(index), offset: 0, length: 100 }).await?;
        let Request::Data(data) = self.pipe.hear().await? else { return None };
        Some(match data.map(|data| data.bytes) {
            Some(bytes) if bytes == b"deadly" => return None,
            Some(bytes) if bytes == b"right" => Some((bytes, Checked::Attested)),
            Some(bytes) => Some((bytes, Checked::Refused)),
            None => None,
        })
    }
}

fn call<T>(outcome: Outcome<T>) -> Call<T> {
    Call { outcome, log: String::new(), wall_ns: 1, memory_peak_bytes: 1, limits: vec![] }
}
