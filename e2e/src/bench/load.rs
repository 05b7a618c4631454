//! Clients that send as fast as they are answered, and what that comes to.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Part of the time during which answers do not count yet: caches fill and batches form.
const WARM_UP: f64 = 0.2;

/// Something that sends one request after the other.
pub(super) trait Caller: Send + 'static {
    /// One request and its answer.
    fn call(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// What callers achieved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Answers a second.
    pub(super) per_second: f64,
    /// Half of the answers took at most this long.
    pub(super) p50: Duration,
    /// 99 of 100.
    pub(super) p99: Duration,
}

/// Lets every caller call for `time`.
pub(super) async fn run<C: Caller>(callers: Vec<C>, time: Duration) -> Result<Rate> {
    let counted_from = Instant::now() + time.mul_f64(WARM_UP);
    let until = counted_from + time.mul_f64(1.0 - WARM_UP);
    let tasks: Vec<_> = callers.into_iter().map(|caller| tokio::spawn(calls(caller, counted_from, until))).collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.context("a caller panicked")??);
    }
    ensure!(!times.is_empty(), "no answer within {time:?}");
    let per_second = times.len() as f64 / (until - counted_from).as_secs_f64();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Ok(Rate { per_second, p50: at(0.5), p99: at(0.99) })
}

async fn calls<C: Caller>(mut caller: C, counted_from: Instant, until: Instant) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    loop {
        let sent = Instant::now();
        if sent >= until {
            return Ok(times);
        }
        caller.call().await?;
        let answered = Instant::now();
        if sent >= counted_from && answered <= until {
            times.push(answered - sent);
        }
    }
}

/// The rate in the middle of several.
pub(super) fn middle(mut rates: Vec<Rate>) -> Result<Rate> {
    rates.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    rates.get(rates.len() / 2).copied().context("no rate was measured")
}
