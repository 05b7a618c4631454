//! Rates: how fast each node runs the subtasks of a job, per slot.
//!
//! In: what nodes report (a weighted average over their runs, in slot-seconds), what they did of earlier jobs,
//! and how long ago they last came on. Out: a rate for every node that has measured one, an expectation for
//! the others. A node that ends nothing is believed to be slow before its average says so.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use schemas::{Digest, Job};

use crate::{
    job::{Draft, Stage, Work},
    nodes::{Node, Nodes},
    snapshot::Progress,
    time::since,
};

/// Rates that are remembered: a hundred bytes each, so a megabyte in all; a thousand nodes with ten modules.
const HISTORY_MAX: usize = 10_000;
/// Label by which a node says its benchmark score, in any unit that all nodes share.
const LABEL_BENCHMARK: &str = "processdistro.dev/benchmark";
/// Silence of a node that works well: a coalesced report is this late at most.
const REPORT_LATE: Duration = Duration::from_millis(400);

/// Rates of nodes on earlier jobs, by module and node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// By module and node UID. Shared by the snapshots that follow each other: it seldom changes.
    rates: Arc<BTreeMap<Digest, BTreeMap<String, Past>>>,
}

/// What a node did of the last job with a module.
#[derive(Clone, Debug, PartialEq)]
struct Past {
    rate: f64,
    /// Hash of the params and inputs: with the same ones the rate itself is expected again, with others only
    /// its proportion to that of other nodes.
    work: u64,
    seen: Timestamp,
}

/// How fast one node is on one job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    /// Subtasks a second and slot.
    pub(crate) per_slot: f64,
    /// True when it was measured, on this job or on an equal one; else it is a guess.
    pub(crate) is_measured: bool,
}

impl History {
    /// The rate of `node` on an earlier job of `module`.
    pub(crate) fn rate(&self, module: Digest, node: &str) -> Option<f64> {
        self.rates.get(&module)?.get(node).map(|past| past.rate)
    }

    /// Takes in what the nodes measured of jobs that are over. The oldest go first when there are too many.
    pub(crate) fn learn(&mut self, jobs: &[Work<'_>]) {
        for work in jobs.iter().filter(|work| work.stage == Stage::Finished) {
            let ended = work.job.status.as_ref().and_then(|status| status.completion_time);
            let (Some(module), Some(seen)) = (work.job.spec.task.module, ended) else { continue };
            let hash = work_hash(work.job);
            for draft in work.drafts.iter().filter(|draft| draft.node.is_some()) {
                let Some(rate) = draft.rate() else { continue };
                let uid = draft.spec.node_uid;
                let known = self.rates.get(&module).and_then(|nodes| nodes.get(uid));
                if known.is_none_or(|past| past.seen < seen) {
                    let nodes = Arc::make_mut(&mut self.rates).entry(module).or_default();
                    nodes.insert(uid.to_owned(), Past { rate, work: hash, seen });
                }
            }
        }
        while self.rates.values().map(BTreeMap::len).sum::<usize>() > HISTORY_MAX {
            self.forget_oldest();
        }
    }

    /// Forgets the module that was used longest ago.
    fn forget_oldest(&mut self) {
        let newest = |nodes: &BTreeMap<String, Past>| nodes.values().map(|past| past.seen).max();
        let oldest = self.rates.iter().min_by_key(|(_, nodes)| newest(nodes)).map(|(module, _)| *module);
        if let Some(module) = oldest {
            Arc::make_mut(&mut self.rates).remove(&module);
        }
    }
}

/// FNV-1a over what else than the module makes the cost of a subtask.
fn work_hash(job: &Job) -> u64 {
    let text = format!("{:?}{:?}", job.spec.task.params, job.spec.task.inputs);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Sets down the rates of all running jobs.
pub(crate) fn expect<'a>(jobs: &mut [Work<'a>], history: &'a History, now: Timestamp) {
    for work in jobs.iter_mut().filter(|work| work.stage == Stage::Running) {
        watch(work, now);
        work.rates = Rates::new(work, history, now);
    }
}

/// Remembers which nodes of a job came on, and which stand still.
fn watch(work: &mut Work<'_>, now: Timestamp) {
    let mut progress = BTreeMap::new();
    for draft in work.drafts.iter().filter(|draft| draft.is_live && draft.outstanding_count() > 0) {
        let ended = draft.status().map_or(0, |status| status.started);
        let known = work.memory.progress.get(draft.spec.node_uid).filter(|known| known.ended == ended);
        let now = Progress { ended, since: now };
        progress.insert(draft.spec.node_uid.to_owned(), known.copied().unwrap_or(now));
    }
    work.memory.progress = progress;
}

/// For how long a node has something to do of the job and has ended nothing.
pub(crate) fn standstill(work: &Work<'_>, node_uid: &str, now: Timestamp) -> Duration {
    let from = work.memory.progress.get(node_uid).map_or(now, |progress| progress.since);
    since(from, now)
}

/// The rates of one job, worked out for those nodes that are asked for.
#[derive(Default)]
pub(crate) struct Rates<'a> {
    now: Timestamp,
    /// Of what was measured.
    mean: Option<f64>,
    prior: Prior<'a>,
}

impl<'a> Rates<'a> {
    fn new(work: &Work<'a>, history: &'a History, now: Timestamp) -> Self {
        let known: Vec<f64> = work.drafts_by_node().filter_map(Draft::rate).collect();
        let mean = if known.is_empty() { None } else { Some(known.iter().sum::<f64>() / known.len() as f64) };
        Self { now, mean, prior: Prior::of(work, history) }
    }

    /// The rate of a node that may run the job; none when nothing is known of any.
    pub(crate) fn of(&self, work: &Work<'a>, node_uid: &str, nodes: &Nodes<'a>) -> Option<Rate> {
        let rate = if let Some(rate) = work.draft(node_uid).and_then(Draft::rate) {
            Rate { per_slot: rate, is_measured: true }
        } else {
            let expected = self.prior.rate(nodes.get(node_uid)?);
            expected.or(self.mean.map(|mean| Rate { per_slot: mean, is_measured: false }))?
        };
        Some(slowed(rate, standstill(work, node_uid, self.now)))
    }
}

/// A node that ended nothing for a while does not end more than one subtask in that time on each slot.
fn slowed(rate: Rate, standstill: Duration) -> Rate {
    let silent = standstill.saturating_sub(REPORT_LATE).as_secs_f64();
    if silent * rate.per_slot > 1.0 { Rate { per_slot: 1.0 / silent, ..rate } } else { rate }
}

/// What is expected of nodes that have measured nothing of this job.
#[derive(Default)]
struct Prior<'h> {
    /// What nodes did of earlier jobs with the module.
    past: Option<&'h BTreeMap<String, Past>>,
    /// Hash of what the job computes; none while no node has a past.
    work: Option<u64>,
    /// What one unit of score is worth on this job, by earlier rates and by benchmarks.
    by_rate: Option<f64>,
    by_benchmark: Option<f64>,
}

impl<'h> Prior<'h> {
    fn of(work: &Work<'_>, history: &'h History) -> Self {
        let past = work.job.spec.task.module.and_then(|module| history.rates.get(&module));
        let worth = |score: &dyn Fn(&Node<'_>) -> Option<f64>| {
            let both = |draft: &Draft<'_>| Some((draft.rate()?, score(draft.node.as_ref()?)?));
            let (rates, scores) =
                work.drafts_by_node().filter_map(both).fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
            (scores > 0.0).then(|| rates / scores)
        };
        let earlier = |node: &Node<'_>| past?.get(&node.facts.uid).map(|past| past.rate);
        Self {
            past,
            work: past.map(|_| work_hash(work.job)),
            by_rate: worth(&earlier),
            by_benchmark: worth(&benchmark),
        }
    }

    fn rate(&self, node: &Node<'_>) -> Option<Rate> {
        let past = self.past.and_then(|nodes| nodes.get(&node.facts.uid));
        if let Some(past) = past.filter(|past| self.work == Some(past.work)) {
            return Some(Rate { per_slot: past.rate, is_measured: true });
        }
        let guess =
            |score: Option<f64>, worth: Option<f64>| Some(Rate { per_slot: score? * worth?, is_measured: false });
        guess(past.map(|past| past.rate), self.by_rate).or_else(|| guess(benchmark(node), self.by_benchmark))
    }
}

/// The node's own benchmark score, if it says one.
fn benchmark(node: &Node<'_>) -> Option<f64> {
    let score: f64 = node.facts.labels.get(LABEL_BENCHMARK)?.parse().ok()?;
    (score.is_finite() && score > 0.0).then_some(score)
}
