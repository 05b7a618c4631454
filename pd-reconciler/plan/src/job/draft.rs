//! Draft: one assignment while it is being decided. The steps of the plan change drafts; what then differs from the
//! stored spec becomes a write. A draft borrows what it does not change, since there is one for every job and node.

use std::{borrow::Cow, collections::BTreeMap};

use schemas::{
    Assignment, AssignmentSpec, IndexSet,
    assignment::{Grant, JobRef, MergeOrder, MergeReport, PlanReport, Work as WorkSpec},
    job::Layout,
};

use crate::{
    action::Action,
    attest,
    job::Work,
    names,
    nodes::{Node, State},
};

/// One assignment while it is being decided: what it asks for, what has come of it.
pub(crate) struct Draft<'a> {
    before: Option<&'a Assignment>,
    /// False when its node is lost or gone, or does not want the job any more.
    pub(crate) is_live: bool,
    /// True when its node has a taint that sends the job away.
    pub(crate) is_evicted: bool,
    /// The node, unless it is gone.
    pub(crate) node: Option<Node<'a>>,
    /// What the spec is to say beside the grants.
    pub(crate) spec: Orders<'a>,
    /// By attempt.
    pub(crate) grants: BTreeMap<u32, IndexSet>,
    /// What the node has completed.
    pub(crate) completed: IndexSet,
    /// What of it counts: the canonical output of these indexes is this node's.
    pub(crate) accepted: IndexSet,
    /// True when some of that was not granted.
    pub(crate) is_late: bool,
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

/// What the spec of an assignment says beside what is granted and what is to be run.
pub(crate) struct Orders<'a> {
    pub(crate) node_name: &'a str,
    pub(crate) node_uid: &'a str,
    pub(crate) plan: bool,
    pub(crate) plan_attempt: u32,
    pub(crate) layout: Option<&'a Layout>,
    pub(crate) slots: Option<u32>,
    pub(crate) merge: Option<Cow<'a, MergeOrder>>,
}

impl<'a> Draft<'a> {
    /// The draft of what is stored; `node` is the one that it names, unless it is gone.
    pub(crate) fn of(assignment: &'a Assignment, node: Option<Node<'a>>) -> Self {
        let spec = &assignment.spec;
        let orders = Orders {
            node_name: &spec.node_name,
            node_uid: &spec.node_uid,
            plan: spec.plan,
            plan_attempt: spec.plan_attempt,
            layout: spec.layout.as_ref(),
            slots: spec.slots,
            merge: spec.merge.as_ref().map(Cow::Borrowed),
        };
        let mut draft = Self::empty(Some(assignment), node, orders);
        for grant in &spec.grants {
            *draft.grants.entry(grant.attempt).or_default() |= &grant.indexes;
        }
        draft.copies.clone_from(&spec.copies);
        draft.checks.clone_from(&spec.checks);
        if draft.is_live && !spec.recalled.is_empty() && !draft.is_acknowledged() {
            draft.recalled.clone_from(&spec.recalled);
        }
        draft
    }

    /// A new one for `node`.
    pub(crate) fn new(node: &Node<'a>) -> Self {
        let orders = Orders {
            node_name: &node.facts.name,
            node_uid: &node.facts.uid,
            plan: false,
            plan_attempt: 0,
            layout: None,
            slots: None,
            merge: None,
        };
        Self::empty(None, Some(*node), orders)
    }

    /// A draft of which nothing is known but what it asks for.
    fn empty(before: Option<&'a Assignment>, node: Option<Node<'a>>, spec: Orders<'a>) -> Self {
        Self {
            before,
            is_live: node.is_some_and(|node| node.state != State::Lost),
            is_evicted: false,
            node,
            spec,
            grants: BTreeMap::new(),
            completed: IndexSet::new(),
            accepted: IndexSet::new(),
            is_late: false,
            failed: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            copying: BTreeMap::new(),
            copies: IndexSet::new(),
            recalled: IndexSet::new(),
            retained: IndexSet::new(),
            checks: IndexSet::new(),
            checking: BTreeMap::new(),
            is_distrusted: false,
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

    /// What the node said it was running.
    pub(crate) fn running(&self) -> IndexSet {
        self.status().iter().flat_map(|status| &status.running).map(|running| running.index).collect()
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
        self.spec.merge.as_deref().filter(|order| order.attempt > answered)
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
    /// is to stop. Until it has said that it did, nobody else may have them: the job may go on at any moment. The plan
    /// call and the merge, when they are not answered, are withdrawn too.
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
        for given in [&mut self.outstanding, &mut self.copying, &mut self.checking] {
            let taken = IndexSet::join(std::mem::take(given).values());
            if self.is_live {
                self.recalled |= &taken;
            }
        }
        if self.open_merge().is_some() {
            self.spec.merge = None;
        }
        if self.plan_report().is_none() {
            self.spec.plan = false;
        }
    }

    /// The write of this assignment, when it differs from what is stored.
    pub(crate) fn finish(&self, work: &Work<'a>) -> Option<Action> {
        let Some(before) = self.before else {
            let job = JobRef {
                name: work.job.metadata.name.clone().unwrap_or_default(),
                uid: work.job.metadata.uid.clone().unwrap_or_default(),
            };
            let name = names::assignment(&job, self.spec.node_uid);
            let spec = self.written(work, job)?;
            let metadata = names::metadata(work.job, &spec, name);
            return Some(Action::CreateAssignment(Box::new(Assignment { metadata, spec, status: None })));
        };
        if self.says(&before.spec, work) {
            return None;
        }
        let spec = self.written(work, before.spec.job.clone())?;
        let withdraws =
            !spec.granted().is_superset(&before.spec.granted()) || before.spec.merge.is_some() && spec.merge.is_none();
        let assignment = Assignment { metadata: before.metadata.clone(), spec, status: before.status.clone() };
        Some(Action::ReplaceAssignment { assignment: Box::new(assignment), withdraws })
    }

    /// True when what is stored says the same. What was recalled, what is still a copy and where outputs lie that are to be
    /// checked follows from reports: it is brought up to date when something else changes.
    fn says(&self, stored: &AssignmentSpec, work: &Work<'a>) -> bool {
        let orders = &self.spec;
        let is_same = (stored.plan, stored.plan_attempt, stored.slots)
            == (orders.plan, orders.plan_attempt, orders.slots)
            && stored.layout.as_ref() == orders.layout
            && stored.merge.as_ref() == orders.merge.as_deref()
            && work.runs.as_ref().is_none_or(|work| is_same_work(&stored.work, work));
        // A lost node that comes back must not hold on to what others have by then.
        let is_let_go = || self.is_live || stored.recalled == &self.recalled | &self.retained;
        // A copy that has become the owner must not look like a copy: another one may be made of it. Nor may what was
        // granted twice and is a copy from now on look like an owner's.
        let is_copy = || {
            let copied = self.copied();
            let has_inherited = self.outstanding.values().any(|outstanding| !outstanding.is_disjoint(&stored.copies));
            stored.copies == copied || !has_inherited && stored.copies.is_superset(&copied)
        };
        let granted = self.granted();
        is_same
            && granted.eq(stored.grants.iter().map(|grant| (grant.attempt, &grant.indexes)))
            && (stored.checks.is_empty() && self.checks.is_empty() || stored.checks == self.checked())
            && is_let_go()
            && is_copy()
    }

    /// What is granted, by attempt.
    fn granted(&self) -> impl Iterator<Item = (u32, &IndexSet)> {
        let granted = self.grants.iter().filter(|(_, indexes)| !indexes.is_empty());
        granted.map(|(attempt, indexes)| (*attempt, indexes))
    }

    /// What runs here as well as elsewhere.
    fn copied(&self) -> IndexSet {
        IndexSet::join(self.copying.values())
    }

    /// What of the grants is to be compared with what another node delivers.
    fn checked(&self) -> IndexSet {
        &self.checks & &IndexSet::join(self.grants.values())
    }

    /// The spec as it is to be; none while the task is not resolved.
    fn written(&self, work: &Work<'a>, job: JobRef) -> Option<AssignmentSpec> {
        let orders = &self.spec;
        let runs = work.runs.clone().or_else(|| self.before.map(|before| before.spec.work.clone()))?;
        Some(AssignmentSpec {
            job,
            node_name: orders.node_name.to_owned(),
            node_uid: orders.node_uid.to_owned(),
            work: runs,
            plan: orders.plan,
            plan_attempt: orders.plan_attempt,
            layout: orders.layout.cloned(),
            grants: self.granted().map(|(attempt, indexes)| Grant { attempt, indexes: indexes.clone() }).collect(),
            recalled: &self.recalled | &self.retained,
            copies: self.copied(),
            checks: self.checked(),
            check_parts: attest::parts(work, self),
            slots: orders.slots,
            merge: orders.merge.as_deref().cloned(),
        })
    }
}

/// Whether two nodes are told to run the same.
fn is_same_work(stored: &WorkSpec, wanted: &WorkSpec) -> bool {
    let WorkSpec { module, params: _, inputs, memory, subtask_timeout, cpu_time, isolation, bitwise, host_kernels } =
        stored;
    (module, memory, subtask_timeout, cpu_time, isolation, bitwise, host_kernels)
        == (
            &wanted.module,
            &wanted.memory,
            &wanted.subtask_timeout,
            &wanted.cpu_time,
            &wanted.isolation,
            &wanted.bitwise,
            &wanted.host_kernels,
        )
        && *inputs == wanted.inputs
        && stored.has_params(&wanted.params)
}
