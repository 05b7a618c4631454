//! The hollow executor: it pretends to run the task `noop`, at a speed that it is told, and computes nothing.
//!
//! In: the same requests that a real executor gets. Out: the replies that `noop` would give, byte for byte: the layout
//! of its params, outputs that depend on the index only, the merged summary. So segments, uploads and merges around
//! it are real while a node costs kilobytes. A job of any other task is refused for good: a pretended result of real
//! work would be a lie. It sleeps where a real one computes.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use executor_protocol::{Blob, Call, Ended, Layout, Outcome, Reply, Request};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::{
    Spawner,
    within::{self, Pipe},
};
use crate::metrics::Metrics;

/// Pretended work between two looks at the clock: timers are good to a millisecond.
const STRIDE: Duration = Duration::from_millis(20);
/// Indexes reported at once at most, so that a batch of small outputs fits into the pipe.
const BATCH_MAX: usize = 4096;
/// Bytes of outputs reported at once, about.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// Parts asked for before the first answer is awaited.
const READS_MAX: u64 = 64;
/// Media type of `noop`'s result.
const MEDIA_TYPE: &str = "application/json";
/// Subtasks of a `noop` job that names no count.
const COUNT_DEFAULT: u64 = 100;

/// What of `noop`'s params is pretended. One that is not here (`failIndexes`) or is another task's is refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    count: u64,
    #[serde(alias = "output_bytes")]
    output_bytes: u64,
    #[serde(alias = "spin_micros")]
    spin_micros: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self { count: COUNT_DEFAULT, output_bytes: 0, spin_micros: 0 }
    }
}

/// Starts hollow executors. `pace` is what one subtask takes; absent: what the job's `spinMicros` says. With `lie_every`
/// the output of every index that it divides is wrong.
pub(crate) fn hollow_spawner(pace: Option<Duration>, lie_every: Option<u64>, metrics: Arc<Metrics>) -> Spawner {
    Arc::new(move || {
        metrics.executor_starts.inc();
        Ok(within::start(move |pipe| Hollow { pipe, pace, lie_every, params: Err(String::new()) }.serve()))
    })
}

struct Hollow {
    pipe: Pipe,
    pace: Option<Duration>,
    /// Wrong is the output of every index that this divides.
    lie_every: Option<u64>,
    /// Of the job that is prepared, or why it is refused.
    params: Result<Params, String>,
}

impl Hollow {
    /// Serves until the kubelet drops its end.
    async fn serve(mut self) -> Option<()> {
        loop {
            match self.pipe.hear().await? {
                Request::Compile { compiled, .. } => {
                    let made = tokio::fs::write(&compiled, []).await;
                    let failed = |error| Reply::Broken(format!("cannot write {compiled}: {error}"));
                    self.pipe.say(&made.map_or_else(failed, |()| Reply::Prepared)).await?;
                }
                Request::Prepare(context) => {
                    self.params = serde_json::from_str(&context.params).map_err(|error| {
                        format!("this is a hollow node, which only pretends to run the task `noop`: {error}")
                    });
                    self.pipe.say(&Reply::Prepared).await?;
                }
                Request::Plan => {
                    let answer = self.params.clone().map(|params| layout(&params));
                    self.pipe.say(&Reply::Planned(call(answer))).await?;
                    self.pipe.say(&Reply::Done).await?;
                }
                // It pretends a check like any other index: its outputs cost nothing to compute.
                Request::Run { first, last, careful } | Request::Check { first, last, careful } => {
                    self.run(first..=last, careful).await?;
                }
                Request::Merge { subtasks } => {
                    let merged = match self.params.clone() {
                        Ok(params) => self.merge(&params, subtasks).await?,
                        Err(refusal) => Err(refusal),
                    };
                    self.pipe.say(&Reply::Merged(call(merged))).await?;
                    self.pipe.say(&Reply::Done).await?;
                }
                Request::Data(_) | Request::Cancel => {}
            }
        }
    }

    async fn run(&mut self, indexes: RangeInclusive<u64>, careful: bool) -> Option<()> {
        let params = self.params.clone();
        let spin = params.as_ref().map_or(0, |params| params.spin_micros);
        let pace = self.pace.unwrap_or(Duration::from_micros(spin));
        let output_bytes = params.as_ref().map_or(0, |params| params.output_bytes as usize);
        let stride = stride(pace, output_bytes, careful);
        let (mut next, last) = indexes.into_inner();
        let mut due = Instant::now();
        while next <= last {
            let until = last.min(next.saturating_add(stride - 1));
            // Reckoned from the run's start, so that a late timer is made up for.
            due += pace.saturating_mul((until - next + 1) as u32);
            if pace > Duration::ZERO && self.is_cancelled_before(due).await? {
                break;
            }
            let ended = (next..=until).map(|index| {
                let answer = params.as_ref().map(|_| self.output(index, output_bytes)).map_err(Clone::clone);
                let wall_ns = u64::try_from(pace.as_nanos()).unwrap_or(u64::MAX);
                Ended { index, call: Call { wall_ns, ..call(answer) }, found: vec![], checked: None }
            });
            self.pipe.say(&Reply::Ended(ended.collect())).await?;
            next = until + 1;
        }
        self.pipe.say(&Reply::Done).await
    }

    /// What it answers for an index.
    fn output(&self, index: u64, length: usize) -> Vec<u8> {
        let is_lie = self.lie_every.is_some_and(|every| index.is_multiple_of(every));
        let mut output = output(index, length);
        if let Some(last) = output.last_mut().filter(|_| is_lie) {
            *last ^= 1;
        }
        output
    }

    /// Sleeps until `due`, or until what runs is no longer wanted.
    async fn is_cancelled_before(&mut self, due: Instant) -> Option<bool> {
        tokio::select! {
            biased;
            request = self.pipe.hear() => Some(matches!(request?, Request::Cancel)),
            () = sleep_until(due) => Some(false),
        }
    }

    /// `noop`'s summary, over the real sizes of the real parts. None when the kubelet has gone.
    async fn merge(&mut self, params: &Params, subtasks: u64) -> Option<Result<(), String>> {
        let mut bytes = 0;
        let asked = if params.output_bytes == 0 { 0 } else { subtasks };
        let mut next = 0;
        while next < asked {
            let until = asked.min(next + READS_MAX);
            for index in next..until {
                self.pipe.say(&Reply::Read { blob: Blob::Part(index), offset: 0, length: 0 }).await?;
            }
            for _ in next..until {
                match self.pipe.hear().await? {
                    Request::Data(data) => bytes += data.map_or(0, |data| data.size),
                    _ => return Some(Err("cancelled".to_owned())),
                }
            }
            next = until;
        }
        let summary = format!("{{\"subtasks\":{subtasks},\"bytes\":{bytes}}}\n");
        self.pipe.say(&Reply::ResultBytes(summary.into_bytes())).await?;
        Some(Ok(()))
    }
}

fn layout(params: &Params) -> Layout {
    Layout { subtasks: params.count, media_type: MEDIA_TYPE.to_owned(), goal: None, state: vec![] }
}

/// The index in little-endian, over and over, as `noop` answers.
fn output(index: u64, length: usize) -> Vec<u8> {
    index.to_le_bytes().into_iter().cycle().take(length).collect()
}

/// How many indexes end between two looks at the clock.
fn stride(pace: Duration, output_bytes: usize, careful: bool) -> u64 {
    if careful {
        return 1;
    }
    let in_time = STRIDE.as_nanos().checked_div(pace.as_nanos()).map_or(BATCH_MAX, |n| n.min(1 << 20) as usize);
    let in_bytes = BATCH_BYTES_MAX / output_bytes.max(1);
    in_time.min(in_bytes).clamp(1, BATCH_MAX) as u64
}

fn call<T>(answer: Result<T, String>) -> Call<T> {
    let outcome = answer.map_or_else(Outcome::Permanent, Outcome::Success);
    Call { outcome, log: String::new(), wall_ns: 0, memory_peak_bytes: 0, limits: vec![] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::{Executor, tests::context};

    async fn prepared(pace: Option<Duration>, params: &str) -> Executor {
        let mut executor = hollow_spawner(pace, None, Metrics::new())().expect("starts");
        let context = executor_protocol::Context { params: params.to_owned(), ..context() };
        executor.send(&Request::Prepare(context)).await.expect("sends");
        assert_eq!(executor.next().await.expect("reads"), Some(Reply::Prepared));
        executor
    }

    /// Everything up to `Done`.
    async fn replies(executor: &mut Executor, request: Request) -> Vec<Reply> {
        executor.send(&request).await.expect("sends");
        let mut replies = Vec::new();
        loop {
            match executor.next().await.expect("reads").expect("lives") {
                Reply::Done => return replies,
                reply => replies.push(reply),
            }
        }
    }

    #[tokio::test]
    async fn it_answers_what_noop_would() {
        let mut executor = prepared(None, r#"{"count": 5, "outputBytes": 10}"#).await;
        let planned = replies(&mut executor, Request::Plan).await;
        assert!(
            matches!(&planned[..], [Reply::Planned(call)] if matches!(&call.outcome, Outcome::Success(l) if l.subtasks == 5))
        );
        let ran = replies(&mut executor, Request::Run { first: 3, last: 3, careful: false }).await;
        let [Reply::Ended(ended)] = &ran[..] else { panic!("{ran:?}") };
        assert_eq!((ended.first, ended.outputs.as_slice()), (3, &[3, 0, 0, 0, 0, 0, 0, 0, 3, 0][..]));
    }

    #[tokio::test]
    async fn a_liar_s_output_is_wrong_in_one_bit_now_and_then() {
        let mut executor = hollow_spawner(None, Some(3), Metrics::new())().expect("starts");
        let context = executor_protocol::Context { params: r#"{"outputBytes": 8}"#.to_owned(), ..context() };
        executor.send(&Request::Prepare(context)).await.expect("sends");
        assert_eq!(executor.next().await.expect("reads"), Some(Reply::Prepared));
        let ran = replies(&mut executor, Request::Run { first: 2, last: 3, careful: false }).await;
        let [Reply::Ended(ended)] = &ran[..] else { panic!("{ran:?}") };
        assert_eq!(ended.outputs, [output(2, 8), vec![3, 0, 0, 0, 0, 0, 0, 1]].concat());
    }

    #[tokio::test]
    async fn another_tasks_job_is_refused_for_good() {
        for params in [r#"{"width": 4096}"#, r#"{"failIndexes": "1"}"#, "7"] {
            let mut executor = prepared(None, params).await;
            let planned = replies(&mut executor, Request::Plan).await;
            let [Reply::Planned(call)] = &planned[..] else { panic!("{planned:?}") };
            assert!(matches!(&call.outcome, Outcome::Permanent(text) if text.contains("hollow node")), "{params}");
        }
    }

    #[tokio::test]
    async fn a_run_takes_its_time_and_every_index_ends_once() {
        let mut executor = prepared(Some(Duration::from_millis(1)), "{}").await;
        let started = Instant::now();
        let ran = replies(&mut executor, Request::Run { first: 10, last: 59, careful: false }).await;
        assert!(started.elapsed() >= Duration::from_millis(50), "{:?}", started.elapsed());
        let indexes = ran.iter().flat_map(|reply| match reply {
            Reply::Ended(ended) => ended.first..ended.next(),
            _ => 0..0,
        });
        assert!(indexes.eq(10..=59));
    }

    #[tokio::test]
    async fn a_cancelled_run_ends_at_once() {
        let mut executor = prepared(Some(Duration::from_hours(1)), "{}").await;
        executor.send(&Request::Run { first: 0, last: 9, careful: false }).await.expect("sends");
        assert!(replies(&mut executor, Request::Cancel).await.is_empty());
    }

    #[tokio::test]
    async fn a_merge_adds_the_sizes_of_its_parts_up() {
        let mut executor = prepared(None, r#"{"outputBytes": 7}"#).await;
        executor.send(&Request::Merge { subtasks: 100 }).await.expect("sends");
        let mut result = Vec::new();
        loop {
            match executor.next().await.expect("reads").expect("lives") {
                Reply::Read { blob: Blob::Part(_), length: 0, .. } => {
                    let answer = executor_protocol::ReadAnswer { size: 7, bytes: vec![] };
                    executor.send(&Request::Data(Some(answer))).await.expect("sends");
                }
                Reply::ResultBytes(bytes) => result.extend(bytes),
                Reply::Done => break,
                _ => {}
            }
        }
        assert_eq!(String::from_utf8(result).expect("text"), "{\"subtasks\":100,\"bytes\":700}\n");
    }

    #[test]
    fn a_stride_is_bounded_by_time_by_bytes_and_by_care() {
        assert_eq!(stride(Duration::from_millis(10), 8, false), 2);
        assert_eq!(stride(Duration::from_secs(1), 8, false), 1);
        assert_eq!(stride(Duration::ZERO, 0, false), BATCH_MAX as u64);
        assert_eq!(stride(Duration::ZERO, 1 << 30, false), 1);
        assert_eq!(stride(Duration::ZERO, 0, true), 1);
    }
}
