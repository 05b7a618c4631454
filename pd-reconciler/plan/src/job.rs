//! Bucket the jobs: each unfinished job becomes `Work`, with one `Draft` per node that has an assignment of it.
//! The steps of the plan change drafts; what then differs from the stored spec becomes a write.

mod draft;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemas::{
    Assignment, Digest, Job,
    assignment::Work as WorkSpec,
    condition,
    job::{CacheUse, JobResult, Layout, Waiting, conditions},
};

pub(crate) use self::draft::Draft;
use crate::{
    action::{About, Plan},
    dependencies::Known,
    fold::Fold,
    nodes::{Node, Nodes},
    queues, quorum,
    rates::Rates,
    rerun, retry,
    snapshot::{JobFacts, Memory, QueueFacts, Snapshot},
    taints,
    verify::Verify,
};

/// One job while it is being decided.
pub(crate) struct Work<'a> {
    pub(crate) job: &'a Job,
    pub(crate) facts: &'a JobFacts,
    /// In the order of creation: earlier ones keep what two claim.
    pub(crate) drafts: Vec<Draft<'a>>,
    pub(crate) layout: Option<&'a Layout>,
    /// What a node needs to run it; none when nothing of it is given out any more.
    pub(crate) runs: Option<WorkSpec>,
    /// What was taken over from an earlier job, as its status says or as this plan has it.
    pub(crate) cached: Option<CacheUse>,
    pub(crate) fold: Fold,
    pub(crate) stage: Stage,
    pub(crate) memory: Memory,
    /// How fast the nodes are on it.
    pub(crate) rates: Rates<'a>,
    /// Positions of the drafts, by node UID.
    by_node: BTreeMap<&'a str, usize>,
    /// Why nothing could be placed.
    pub(crate) held_up: Option<Waiting>,
    /// Its queue; none: there is none of that name.
    pub(crate) queue: Option<&'a QueueFacts>,
    /// Its inputs, as far as they are known.
    pub(crate) inputs: BTreeMap<String, Digest>,
    /// What is known of its verification; none: its outputs are believed, or it is not planned.
    pub(crate) verify: Option<Verify>,
    /// What decides which of its indexes are sampled.
    pub(crate) sample_seed: u64,
    /// True when it may use only some of the slots, because of others or of its queue's quota.
    pub(crate) is_rationed: bool,
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stage {
    /// The number of subtasks is not known yet.
    Planning,
    /// Nothing of it may run for now.
    Held(Waiting),
    /// Subtasks are to be run.
    Running,
    /// Enough has succeeded; the merge is to be run.
    Merging(Verdict),
    /// The merge has answered.
    Complete(Verdict, JobResult),
    /// It fails.
    Failing(Verdict),
    /// Complete or Failed before this plan.
    Finished,
}

/// Why a job ends, as a condition says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl<'a> Work<'a> {
    pub(crate) fn uid(&self) -> &'a str {
        self.job.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn about(&self) -> About {
        About::Job {
            namespace: self.job.metadata.namespace.clone().unwrap_or_default(),
            name: self.job.metadata.name.clone().unwrap_or_default(),
            uid: self.uid().to_owned(),
        }
    }

    /// True when the job's labels of nodes match.
    pub(crate) fn selects(&self, node: &Node<'_>) -> bool {
        let selector = self.job.spec.placement.iter().flat_map(|placement| &placement.node_selector);
        selector.into_iter().all(|(key, value)| node.facts.labels.get(key) == Some(value))
    }

    /// True when the node takes work, and this job's.
    pub(crate) fn fits(&self, node: &Node<'_>) -> bool {
        // Only what is verified can find a node out. With a hundred jobs on a thousand nodes this is asked often.
        let is_verified = self.job.spec.verification.is_some();
        let is_trusted = || !is_verified || self.draft(&node.facts.uid).is_none_or(|draft| !draft.is_distrusted);
        node.takes_work() && self.selects(node) && taints::admits(node.facts, self.job) && is_trusted()
    }

    /// The nodes that may be given something new of this job.
    pub(crate) fn eligible<'n>(&self, nodes: &'n Nodes<'a>) -> impl Iterator<Item = &'n Node<'a>> {
        nodes.values().filter(|node| self.fits(node))
    }

    /// True once something of it was given to a node: from then on it does not wait for others any more.
    pub(crate) fn has_begun(&self) -> bool {
        let started = self.job.status.as_ref().and_then(|status| status.start_time);
        started.is_some() || self.layout.is_some() || !self.drafts.is_empty()
    }

    /// True when only its merge is left.
    pub(crate) fn has_succeeded(&self) -> bool {
        has_succeeded(self.job)
    }

    /// How many delivered indexes need another output that nobody is at.
    pub(crate) fn checks_due(&self) -> u64 {
        self.verify.as_ref().map_or(0, |verify| verify.due.count())
    }

    /// True when it is about to be Failed.
    pub(crate) fn is_failing(&self) -> bool {
        matches!(self.stage, Stage::Failing(_))
    }

    /// Notes why nothing of it can be placed.
    pub(crate) fn hold_up(&mut self, why: Waiting, plan: &mut Plan) {
        plan.note(self.about().to_string(), reason(&why), why.message.clone());
        self.held_up = Some(why);
    }

    pub(crate) fn draft(&self, node_uid: &str) -> Option<&Draft<'a>> {
        self.drafts.get(*self.by_node.get(node_uid)?)
    }

    /// The drafts of the nodes that are there, in the order of their UIDs.
    pub(crate) fn drafts_by_node(&self) -> impl Iterator<Item = &Draft<'a>> {
        self.by_node.values().map(|position| &self.drafts[*position]).filter(|draft| draft.node.is_some())
    }

    /// The draft for `node`, a new one if need be.
    pub(crate) fn draft_for(&mut self, node: &Node<'a>) -> Option<&mut Draft<'a>> {
        if let Some(position) = self.by_node.get(node.facts.uid.as_str()) {
            return self.drafts.get_mut(*position);
        }
        self.runs.as_ref()?;
        self.by_node.insert(&node.facts.uid, self.drafts.len());
        self.drafts.push(Draft::new(node));
        self.drafts.last_mut()
    }
}

/// Sorts out the jobs that nothing is to be done for, and drafts the others.
pub(crate) fn bucket<'a>(snapshot: &'a Snapshot, nodes: &Nodes<'a>, now: Timestamp, plan: &mut Plan) -> Vec<Work<'a>> {
    let known = Known::of(snapshot);
    let queues = queues::by_name(snapshot);
    let open = snapshot.jobs.iter().filter(|facts| facts.job.metadata.deletion_timestamp.is_none());
    let mut jobs = Vec::new();
    for facts in open {
        let inputs = known.inputs(&facts.job);
        if rerun::start_over(facts, &inputs, plan) || retry::take_up(facts, now, plan) {
            continue;
        }
        let Some(mut work) = bucket_one(facts, inputs, nodes, plan) else { continue };
        work.sample_seed = snapshot.sample_seed;
        work.queue = queues.get(facts.job.spec.queue.as_str()).copied();
        jobs.push(work);
    }
    jobs.sort_by(|a, b| order(a.job).cmp(&order(b.job)));
    jobs
}

/// The highest priority first, the oldest among equals.
fn order(job: &Job) -> impl Ord + '_ {
    (std::cmp::Reverse(job.spec.priority), age_order(job))
}

/// As a note's reason.
fn reason(waiting: &Waiting) -> &'static str {
    use schemas::job::waiting::{BACK_OFF, DEPENDENCY, NO_NODE, NO_SLOT, QUEUE_NOT_FOUND, QUOTA, SUSPENDED};
    let known = [BACK_OFF, DEPENDENCY, NO_NODE, NO_SLOT, QUEUE_NOT_FOUND, QUOTA, SUSPENDED];
    known.into_iter().find(|known| *known == waiting.reason).unwrap_or("Waiting")
}

/// Oldest first; the name settles ties.
fn age(assignment: &Assignment) -> (Option<Timestamp>, Option<&str>) {
    let meta = &assignment.metadata;
    (meta.creation_timestamp.as_ref().map(|time| time.0), meta.name.as_deref())
}

/// Oldest first; the UID settles ties.
fn age_order(job: &Job) -> (Option<Timestamp>, Option<&str>) {
    (job.metadata.creation_timestamp.as_ref().map(|time| time.0), job.metadata.uid.as_deref())
}

fn bucket_one<'a>(
    facts: &'a JobFacts,
    inputs: BTreeMap<String, Digest>,
    nodes: &Nodes<'a>,
    plan: &mut Plan,
) -> Option<Work<'a>> {
    let job = &*facts.job;
    let mut assignments: Vec<&'a Assignment> = facts.assignments.iter().map(|assignment| &**assignment).collect();
    assignments.sort_by(|a, b| age(a).cmp(&age(b)));
    let draft = |assignment: &'a Assignment| Draft::of(assignment, nodes.get(&*assignment.spec.node_uid).copied());
    let mut by_node = BTreeMap::new();
    for (position, assignment) in assignments.iter().enumerate() {
        by_node.entry(assignment.spec.node_uid.as_str()).or_insert(position);
    }
    let mut work = Work {
        job,
        facts,
        by_node,
        drafts: assignments.into_iter().map(draft).collect(),
        layout: None,
        runs: None,
        cached: job.status.as_ref().and_then(|status| status.cached.clone()),
        fold: Fold::default(),
        stage: Stage::Planning,
        memory: facts.memory.clone(),
        rates: Rates::default(),
        held_up: None,
        queue: None,
        inputs,
        verify: None,
        sample_seed: 0,
        is_rationed: false,
    };
    work.drafts.iter_mut().for_each(|draft| taints::evict(draft, job));
    work.drafts.iter_mut().for_each(|draft| taints::distrust(draft, job));
    if is_over(job) {
        work.stage = Stage::Finished;
    } else {
        work.runs = work_spec(job, &work.inputs);
        if work.runs.is_none() {
            let message = "spec.task.module is not filled in; admission does that when the Task exists";
            plan.note(work.about().to_string(), "TaskNotResolved", message);
            return None;
        }
    }
    work.layout = layout(job, &work.drafts);
    Some(work)
}

/// True when the job is Complete or Failed.
pub(crate) fn is_over(job: &Job) -> bool {
    job.status.as_ref().is_some_and(|status| {
        condition::is_true(&status.conditions, conditions::COMPLETE)
            || condition::is_true(&status.conditions, conditions::FAILED)
    })
}

/// True when enough of it has succeeded, as an earlier plan wrote down: only the merge is left.
pub(crate) fn has_succeeded(job: &Job) -> bool {
    job.status.as_ref().is_some_and(|status| condition::is_true(&status.conditions, conditions::SUCCESS_CRITERIA_MET))
}

/// What the plan call answered, as it was recorded first: in the job, else in what was already handed out,
/// else in the first report, or in as many as have to agree.
fn layout<'a>(job: &'a Job, drafts: &[Draft<'a>]) -> Option<&'a Layout> {
    let recorded = job.status.as_ref().and_then(|status| status.layout.as_ref());
    let handed_out = || drafts.iter().find_map(|draft| draft.spec.layout);
    let reported = || match quorum::of(&job.spec) {
        Some(quorum) => quorum::layout(drafts, quorum),
        None => quorum::layouts(drafts).next(),
    };
    recorded.or_else(handed_out).or_else(reported)
}

/// What a node needs to run the job, with the inputs that are known; none while the task is not resolved.
pub(crate) fn work_spec(job: &Job, inputs: &BTreeMap<String, Digest>) -> Option<WorkSpec> {
    let spec = &job.spec;
    Some(WorkSpec {
        module: spec.task.module?,
        params: spec.task.params.clone(),
        inputs: inputs.clone(),
        memory: spec.resources.memory,
        subtask_timeout: spec.subtask_timeout,
        cpu_time: spec.resources.cpu_time,
        isolation: spec.sandbox.isolation,
        bitwise: spec.verification.is_some(),
        // Compared outputs stand for the task's own code alone.
        host_kernels: spec.sandbox.host_kernels && spec.verification.is_none(),
    })
}
