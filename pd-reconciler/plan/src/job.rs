//! Bucket the jobs: each unfinished job becomes `Work`, with one `Draft` per node that has an assignment of it.
//! The steps of the plan change drafts; what then differs from the stored spec becomes a write.

use std::collections::BTreeMap;

use schemas::{
    Assignment, AssignmentSpec, IndexSet, Job,
    assignment::{Grant, JobRef, MergeOrder, MergeReport, PlanReport, Work as WorkSpec},
    condition,
    job::{JobResult, Layout, conditions},
};

use crate::{
    action::{About, Action, Plan},
    fold::Fold,
    names,
    nodes::{Node, Nodes, State},
    snapshot::{JobFacts, Memory, Snapshot},
};

/// One job while it is being decided.
pub(crate) struct Work<'a> {
    pub(crate) job: &'a Job,
    pub(crate) facts: &'a JobFacts,
    /// In the order of creation: earlier ones keep what two claim.
    pub(crate) drafts: Vec<Draft<'a>>,
    pub(crate) layout: Option<Layout>,
    pub(crate) fold: Fold,
    pub(crate) stage: Stage,
    pub(crate) memory: Memory,
    /// Why nothing could be placed.
    pub(crate) held_up: Option<String>,
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stage {
    /// The number of subtasks is not known yet.
    Planning,
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
    /// False when its node is lost or gone.
    pub(crate) is_live: bool,
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
    /// Withdrawn after it had started, and not given to another.
    pub(crate) retained: IndexSet,
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

    /// The nodes that may be given something new of this job.
    pub(crate) fn eligible<'n>(&self, nodes: &'n Nodes<'a>) -> impl Iterator<Item = &'n Node<'a>> {
        nodes.values().filter(|node| node.takes_work() && self.selects(node))
    }

    pub(crate) fn draft(&self, node_uid: &str) -> Option<&Draft<'a>> {
        self.drafts.iter().find(|draft| draft.spec.node_uid == node_uid)
    }

    /// The draft for `node`, a new one if need be.
    pub(crate) fn draft_for(&mut self, node: &Node<'a>) -> Option<&mut Draft<'a>> {
        if let Some(position) = self.drafts.iter().position(|draft| draft.spec.node_uid == node.facts.uid) {
            return self.drafts.get_mut(position);
        }
        let work = work_spec(self.job)?;
        self.drafts.push(Draft::new(self.job, work, node));
        self.drafts.last_mut()
    }
}

/// Sorts out the jobs that nothing is to be done for, and drafts the others.
pub(crate) fn bucket<'a>(snapshot: &'a Snapshot, nodes: &Nodes<'a>, plan: &mut Plan) -> Vec<Work<'a>> {
    let mut jobs: Vec<Work<'a>> = snapshot.jobs.iter().filter_map(|facts| bucket_one(facts, nodes, plan)).collect();
    jobs.sort_by(|a, b| age_order(a.job).cmp(&age_order(b.job)));
    jobs
}

/// Oldest first; the UID settles ties.
fn age_order(job: &Job) -> (Option<jiff::Timestamp>, Option<&str>) {
    (job.metadata.creation_timestamp.as_ref().map(|time| time.0), job.metadata.uid.as_deref())
}

fn bucket_one<'a>(facts: &'a JobFacts, nodes: &Nodes<'a>, plan: &mut Plan) -> Option<Work<'a>> {
    let job = &*facts.job;
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let mut assignments: Vec<&'a Assignment> = facts.assignments.iter().map(|assignment| &**assignment).collect();
    assignments.sort_by_key(|assignment| {
        (assignment.metadata.creation_timestamp.as_ref().map(|time| time.0), assignment.metadata.name.clone())
    });
    let mut work = Work {
        job,
        facts,
        drafts: assignments.into_iter().map(|assignment| Draft::of(assignment, nodes)).collect(),
        layout: None,
        fold: Fold::default(),
        stage: Stage::Planning,
        memory: facts.memory.clone(),
        held_up: None,
    };
    if is_over(job) {
        work.stage = Stage::Finished;
    } else if let Some(spec) = work_spec(job) {
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

/// What the plan call answered, as it was recorded first: in the job, else in what was already handed out,
/// else in the first report.
fn layout(job: &Job, drafts: &[Draft<'_>]) -> Option<Layout> {
    let recorded = job.status.as_ref().and_then(|status| status.layout.as_ref());
    let handed_out = || drafts.iter().find_map(|draft| draft.spec.layout.as_ref());
    let reported = || {
        drafts.iter().find_map(|draft| match draft.plan_report() {
            Some(PlanReport::Layout(layout)) => Some(layout),
            _ => None,
        })
    };
    recorded.or_else(handed_out).or_else(reported).cloned()
}

/// What a node needs to run the job; none while the task is not resolved.
fn work_spec(job: &Job) -> Option<WorkSpec> {
    let spec = &job.spec;
    Some(WorkSpec {
        module: spec.task.module?,
        params: spec.task.params.clone(),
        inputs: spec.task.inputs.clone(),
        memory: spec.resources.memory,
        subtask_timeout: spec.subtask_timeout,
    })
}

impl<'a> Draft<'a> {
    fn of(assignment: &'a Assignment, nodes: &Nodes<'a>) -> Self {
        let node = nodes.get(assignment.spec.node_uid.as_str()).copied();
        let mut spec = assignment.spec.clone();
        let mut grants = BTreeMap::<u32, IndexSet>::new();
        for grant in std::mem::take(&mut spec.grants) {
            *grants.entry(grant.attempt).or_default() |= &grant.indexes;
        }
        Self {
            before: Some(assignment),
            name: assignment.metadata.name.clone().unwrap_or_default(),
            is_live: node.is_some_and(|node| node.state != State::Lost),
            node,
            spec,
            grants,
            completed: IndexSet::new(),
            accepted: IndexSet::new(),
            failed: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            retained: IndexSet::new(),
            is_granted: false,
        }
    }

    fn new(job: &Job, work: WorkSpec, node: &Node<'a>) -> Self {
        let job_ref = JobRef {
            name: job.metadata.name.clone().unwrap_or_default(),
            uid: job.metadata.uid.clone().unwrap_or_default(),
        };
        Self {
            before: None,
            name: names::assignment(&job_ref, &node.facts.uid),
            is_live: true,
            node: Some(*node),
            spec: AssignmentSpec {
                job: job_ref,
                node_name: node.facts.name.clone(),
                node_uid: node.facts.uid.clone(),
                work,
                plan: false,
                layout: None,
                grants: vec![],
                slots: None,
                merge: None,
            },
            grants: BTreeMap::new(),
            completed: IndexSet::new(),
            accepted: IndexSet::new(),
            failed: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            retained: IndexSet::new(),
            is_granted: false,
        }
    }

    /// What the node reported, if the report is its own.
    pub(crate) fn status(&self) -> Option<&'a schemas::AssignmentStatus> {
        let before = self.before?;
        before.status.as_ref().filter(|status| status.node_uid == before.spec.node_uid)
    }

    pub(crate) fn plan_report(&self) -> Option<&'a PlanReport> {
        self.status()?.plan.as_ref()
    }

    pub(crate) fn merge_report(&self) -> Option<&'a MergeReport> {
        self.status()?.merge.as_ref()
    }

    /// The merge that this node was told to run and has not answered.
    pub(crate) fn open_merge(&self) -> Option<&MergeOrder> {
        let answered = self.merge_report().map_or(0, |report| report.attempt);
        self.spec.merge.as_ref().filter(|order| order.attempt > answered)
    }

    /// Number of indexes that are to be expected from this node.
    pub(crate) fn outstanding_count(&self) -> u64 {
        self.outstanding.values().map(IndexSet::count).sum::<u64>() + self.retained.count()
    }

    /// Subtasks a second and slot, once one has ended.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.status().map(|status| status.rate).filter(|rate| rate.is_finite() && *rate > 0.0)
    }

    /// Takes every index out of the grants that is not accepted from here and did not fail here: the node
    /// is to stop. The plan call and the merge, when they are not answered, are withdrawn too.
    pub(crate) fn stop(&mut self) {
        for (attempt, indexes) in &mut self.grants {
            let mut settled = self.accepted.clone();
            self.failed.range(*attempt..).for_each(|(_, failed)| settled |= failed);
            *indexes = &*indexes & &settled;
        }
        if self.is_live && self.outstanding_count() > 0 {
            // No slots: what has started is interrupted. Calls are not bound by it.
            self.spec.slots = Some(0);
        }
        self.outstanding.clear();
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
        let spec = AssignmentSpec { grants, ..self.spec.clone() };
        let Some(before) = self.before else {
            let metadata = names::metadata(job, &spec, self.name.clone());
            return Some(Action::CreateAssignment(Box::new(Assignment { metadata, spec, status: None })));
        };
        if before.spec == spec {
            return None;
        }
        let withdraws =
            !spec.granted().is_superset(&before.spec.granted()) || before.spec.merge.is_some() && spec.merge.is_none();
        let assignment = Assignment { metadata: before.metadata.clone(), spec, status: before.status.clone() };
        Some(Action::ReplaceAssignment { assignment: Box::new(assignment), withdraws })
    }
}
