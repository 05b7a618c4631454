//! Bucket the jobs: each unfinished job becomes `Work`, with one `Draft` per node that has an assignment of it.
//! The steps of the plan change drafts; what then differs from the stored spec becomes a write.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemas::{
    Assignment, AssignmentSpec, Digest, IndexSet, Job,
    assignment::{Grant, JobRef, MergeOrder, MergeReport, PlanReport, Work as WorkSpec},
    condition,
    job::{CacheUse, JobResult, Layout, Waiting, conditions},
};

use crate::{
    action::{About, Action, Plan},
    dependencies::Known,
    fold::Fold,
    names,
    nodes::{Node, Nodes, State},
    queues, quorum,
    rates::Rate,
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
    pub(crate) layout: Option<Layout>,
    /// What was taken over from an earlier job, as its status says or as this plan has it.
    pub(crate) cached: Option<CacheUse>,
    pub(crate) fold: Fold,
    pub(crate) stage: Stage,
    pub(crate) memory: Memory,
    /// By node UID, of those that may run it or do.
    pub(crate) rates: BTreeMap<&'a str, Rate>,
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

/// One assignment while it is being decided: what it asks for, what has come of it.
pub(crate) struct Draft<'a> {
    before: Option<&'a Assignment>,
    pub(crate) name: String,
    /// False when its node is lost or gone, or does not want the job any more.
    pub(crate) is_live: bool,
    /// True when its node has a taint that sends the job away.
    pub(crate) is_evicted: bool,
    /// The node, unless it is gone.
    pub(crate) node: Option<Node<'a>>,
    /// The spec to be; its grants stand in `grants`.
    pub(crate) spec: AssignmentSpec,
    /// By attempt.
    pub(crate) grants: BTreeMap<u32, IndexSet>,
    /// What the node has completed.
    pub(crate) completed: IndexSet,
    /// What of it counts: the canonical output of these indexes is this node's.
    pub(crate) accepted: IndexSet,
    /// What failed here, by attempt.
    pub(crate) failed: BTreeMap<u32, IndexSet>,
    /// What is to be expected from this node, by attempt.
    pub(crate) outstanding: BTreeMap<u32, IndexSet>,
    /// What is to be expected from this node although another one is expected to deliver it, by attempt.
    pub(crate) copying: BTreeMap<u32, IndexSet>,
    /// What was granted as a copy, as it was stored or as this plan has it.
    pub(crate) copies: IndexSet,
    /// Recalled, and not known yet whether it had started: nobody may have it.
    pub(crate) recalled: IndexSet,
    /// Recalled after it had started, and not given to another.
    pub(crate) retained: IndexSet,
    /// Granted to be compared with what another node delivers, as it was stored or as this plan has it.
    pub(crate) checks: IndexSet,
    /// What of these is to be expected, by attempt.
    pub(crate) checking: BTreeMap<u32, IndexSet>,
    /// True when the job does not trust the node: nothing that it reports counts.
    pub(crate) is_distrusted: bool,
    /// True when this plan gave it more indexes.
    pub(crate) is_granted: bool,
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
        let is_trusted = || self.draft(&node.facts.uid).is_none_or(|draft| !draft.is_distrusted);
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

    /// The draft for `node`, a new one if need be.
    pub(crate) fn draft_for(&mut self, node: &Node<'a>) -> Option<&mut Draft<'a>> {
        if let Some(position) = self.by_node.get(node.facts.uid.as_str()) {
            return self.drafts.get_mut(*position);
        }
        let work = work_spec(self.job, &self.inputs)?;
        self.by_node.insert(&node.facts.uid, self.drafts.len());
        self.drafts.push(Draft::new(self.job, work, node));
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
    assignments.sort_by_key(|assignment| {
        (assignment.metadata.creation_timestamp.as_ref().map(|time| time.0), assignment.metadata.name.clone())
    });
    let mut by_node = BTreeMap::new();
    for (position, assignment) in assignments.iter().enumerate() {
        by_node.entry(assignment.spec.node_uid.as_str()).or_insert(position);
    }
    let mut work = Work {
        job,
        facts,
        by_node,
        drafts: assignments.into_iter().map(|assignment| Draft::of(assignment, nodes)).collect(),
        layout: None,
        cached: job.status.as_ref().and_then(|status| status.cached.clone()),
        fold: Fold::default(),
        stage: Stage::Planning,
        memory: facts.memory.clone(),
        rates: BTreeMap::new(),
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
    } else if let Some(spec) = work_spec(job, &work.inputs) {
        work.drafts.iter_mut().for_each(|draft| draft.spec.work = spec.clone());
    } else {
        let message = "spec.task.module is not filled in; admission does that when the Task exists";
        plan.note(work.about().to_string(), "TaskNotResolved", message);
        return None;
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
fn layout(job: &Job, drafts: &[Draft<'_>]) -> Option<Layout> {
    let recorded = job.status.as_ref().and_then(|status| status.layout.as_ref());
    let handed_out = || drafts.iter().find_map(|draft| draft.spec.layout.as_ref());
    let reported = || match quorum::of(&job.spec) {
        Some(quorum) => quorum::layout(drafts, quorum),
        None => quorum::layouts(drafts).next(),
    };
    recorded.or_else(handed_out).or_else(reported).cloned()
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

impl<'a> Draft<'a> {
    fn of(assignment: &'a Assignment, nodes: &Nodes<'a>) -> Self {
        let node = nodes.get(assignment.spec.node_uid.as_str()).copied();
        let name = assignment.metadata.name.clone().unwrap_or_default();
        let mut draft = Self::empty(Some(assignment), name, node, assignment.spec.clone());
        for grant in std::mem::take(&mut draft.spec.grants) {
            *draft.grants.entry(grant.attempt).or_default() |= &grant.indexes;
        }
        draft.copies = std::mem::take(&mut draft.spec.copies);
        draft.checks = std::mem::take(&mut draft.spec.checks);
        let recalled = std::mem::take(&mut draft.spec.recalled);
        if draft.is_live && !draft.is_acknowledged() {
            draft.recalled = recalled;
        }
        draft
    }

    fn new(job: &Job, work: WorkSpec, node: &Node<'a>) -> Self {
        let job_ref = JobRef {
            name: job.metadata.name.clone().unwrap_or_default(),
            uid: job.metadata.uid.clone().unwrap_or_default(),
        };
        let name = names::assignment(&job_ref, &node.facts.uid);
        let spec = AssignmentSpec {
            job: job_ref,
            node_name: node.facts.name.clone(),
            node_uid: node.facts.uid.clone(),
            work,
            plan: false,
            plan_attempt: 0,
            layout: None,
            grants: vec![],
            recalled: IndexSet::new(),
            copies: IndexSet::new(),
            checks: IndexSet::new(),
            slots: None,
            merge: None,
        };
        Self::empty(None, name, Some(*node), spec)
    }

    /// A draft of which nothing is known but what it asks for.
    fn empty(before: Option<&'a Assignment>, name: String, node: Option<Node<'a>>, spec: AssignmentSpec) -> Self {
        Self {
            before,
            name,
            is_live: node.is_some_and(|node| node.state != State::Lost),
            is_evicted: false,
            node,
            spec,
            grants: BTreeMap::new(),
            completed: IndexSet::new(),
            accepted: IndexSet::new(),
            failed: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            copying: BTreeMap::new(),
            copies: IndexSet::new(),
            checks: IndexSet::new(),
            checking: BTreeMap::new(),
            is_distrusted: false,
            recalled: IndexSet::new(),
            retained: IndexSet::new(),
            is_granted: false,
        }
    }

    /// True when the node has observed the newest spec, so that its report says what it kept of it.
    fn is_acknowledged(&self) -> bool {
        let written = self.before.and_then(|before| before.metadata.generation).unwrap_or_default();
        self.status().is_some_and(|status| status.observed_generation >= written)
    }

    /// True when nothing is heard of the node: what it has may be stuck.
    pub(crate) fn is_silent(&self) -> bool {
        self.node.is_some_and(|node| matches!(node.state, State::Suspect | State::Away))
    }

    /// The job does not trust the node any more: as if the node were lost and had never reported, but it is told to
    /// stop.
    pub(crate) fn distrust(&mut self) {
        self.is_distrusted = true;
        self.is_evicted = self.node.is_some_and(|node| node.state != State::Lost);
        self.is_live = false;
        if self.is_evicted && !self.grants.is_empty() {
            self.spec.slots = Some(0);
        }
    }

    /// What the node has delivered, or is expected to, of what it was granted as a check.
    pub(crate) fn checks_held(&self) -> IndexSet {
        let mut held = &self.completed & &self.checks;
        self.checking.values().for_each(|expected| held |= expected);
        held
    }

    /// What the node reported, if the report is its own and it is trusted.
    pub(crate) fn status(&self) -> Option<&'a schemas::AssignmentStatus> {
        let before = self.before.filter(|_| !self.is_distrusted)?;
        before.status.as_ref().filter(|status| status.node_uid == before.spec.node_uid)
    }

    /// The answer to the plan call; a failed answer to an earlier try is none.
    pub(crate) fn plan_report(&self) -> Option<&'a PlanReport> {
        let status = self.status()?;
        let is_old = matches!(status.plan, Some(PlanReport::Failed(_))) && status.plan_attempt < self.spec.plan_attempt;
        status.plan.as_ref().filter(|_| !is_old)
    }

    pub(crate) fn merge_report(&self) -> Option<&'a MergeReport> {
        self.status()?.merge.as_ref()
    }

    /// The merge that this node was told to run and has not answered.
    pub(crate) fn open_merge(&self) -> Option<&MergeOrder> {
        let answered = self.merge_report().map_or(0, |report| report.attempt);
        self.spec.merge.as_ref().filter(|order| order.attempt > answered)
    }

    /// Number of indexes that are to be expected from this node. What was recalled is expected to leave it.
    pub(crate) fn outstanding_count(&self) -> u64 {
        let given = self.outstanding.values().chain(self.copying.values()).chain(self.checking.values());
        given.map(IndexSet::count).sum::<u64>() + self.retained.count()
    }

    /// Subtasks a second and slot, once one has ended.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.status().map(|status| status.rate).filter(|rate| rate.is_finite() && *rate > 0.0)
    }

    /// Takes every index out of the grants that is not accepted from here and did not fail here: the node
    /// is to stop. The plan call and the merge, when they are not answered, are withdrawn too.
    pub(crate) fn stop(&mut self) {
        for (attempt, indexes) in &mut self.grants {
            let mut settled = &self.accepted | &(&self.completed & &self.checks);
            self.failed.range(*attempt..).for_each(|(_, failed)| settled |= failed);
            *indexes = &*indexes & &settled;
        }
        if self.is_live && (self.outstanding_count() > 0 || !self.recalled.is_empty()) {
            // No slots: what has started is interrupted. Calls are not bound by it.
            self.spec.slots = Some(0);
        }
        self.outstanding.clear();
        self.copying.clear();
        self.checking.clear();
        self.recalled = IndexSet::new();
        self.retained = IndexSet::new();
        if self.open_merge().is_some() {
            self.spec.merge = None;
        }
        if self.plan_report().is_none() {
            self.spec.plan = false;
        }
    }

    /// The write of this assignment, when it differs from what is stored.
    pub(crate) fn finish(&self, job: &Job) -> Option<Action> {
        let granted = self.grants.iter().filter(|(_, indexes)| !indexes.is_empty());
        let grants = granted.map(|(attempt, indexes)| Grant { attempt: *attempt, indexes: indexes.clone() }).collect();
        let copies = self.copying.values().flat_map(IndexSet::ranges).collect();
        let mut spec =
            AssignmentSpec { grants, copies, recalled: &self.recalled | &self.retained, ..self.spec.clone() };
        spec.checks = &self.checks & &spec.granted();
        let Some(before) = self.before else {
            let metadata = names::metadata(job, &spec, self.name.clone());
            return Some(Action::CreateAssignment(Box::new(Assignment { metadata, spec, status: None })));
        };
        // What was recalled and what is still a copy follows from reports: it is brought up to date when
        // something else changes.
        let mut stale = before.spec.clone();
        // A lost node that comes back must not hold on to what others have by then.
        if self.is_live {
            stale.recalled.clone_from(&spec.recalled);
        }
        // A copy that has become the owner must not look like a copy: another one may be made of it.
        if self.outstanding.values().all(|outstanding| outstanding.is_disjoint(&stale.copies)) {
            stale.copies.clone_from(&spec.copies);
        }
        if stale == spec {
            return None;
        }
        let withdraws =
            !spec.granted().is_superset(&before.spec.granted()) || before.spec.merge.is_some() && spec.merge.is_none();
        let assignment = Assignment { metadata: before.metadata.clone(), spec, status: before.status.clone() };
        Some(Action::ReplaceAssignment { assignment: Box::new(assignment), withdraws })
    }
}
