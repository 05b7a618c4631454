//! Invariants: what every plan keeps, checked from the objects alone and not from the plan's own notions.
//! Run in tests, and on each plan in debug builds.

use std::collections::BTreeSet;

use schemas::{Assignment, IndexSet, JobStatus, condition, job::conditions};

use crate::{
    action::{Action, Plan},
    agreement, applied, grants,
    policy::Policy,
    rates::History,
    snapshot::{JobFacts, NodeFacts, Readiness, Snapshot},
    taints,
};

/// Everything that `plan` breaks, in words; nothing for a sound plan.
pub fn check(snapshot: &Snapshot, plan: &Plan, policy: &Policy) -> Vec<String> {
    let after = applied::apply(snapshot, plan);
    let mut broken = Vec::new();
    for job in &after.jobs {
        let before = snapshot.jobs.iter().find(|facts| facts.job.metadata.uid == job.job.metadata.uid);
        let Some(before) = before else { continue };
        let checked = Checked { before, after: job, nodes: &after.nodes, history: &snapshot.history, policy };
        checked.grants(&mut broken);
        checked.owners(&mut broken);
        checked.recalled(&mut broken);
        checked.checks(&mut broken);
        checked.merges(&mut broken);
    }
    for action in &plan.actions {
        if let Action::WriteJobStatus { status, .. } = action {
            check_status(status, &mut broken);
        }
    }
    broken
}

/// One job before and after the plan.
struct Checked<'a> {
    before: &'a JobFacts,
    after: &'a JobFacts,
    nodes: &'a [NodeFacts],
    history: &'a History,
    policy: &'a Policy,
}

impl Checked<'_> {
    fn node(&self, assignment: &Assignment) -> Option<&NodeFacts> {
        self.nodes.iter().find(|node| node.uid == assignment.spec.node_uid)
    }

    /// The indexes whose output some node has delivered, or that were taken over.
    fn done(&self) -> IndexSet {
        let cached = self.after.job.status.iter().filter_map(|status| status.cached.as_ref());
        let taken_over = cached.fold(IndexSet::new(), |all, cached| &all | &cached.outputs.indexes());
        self.before
            .assignments
            .iter()
            .filter(|assignment| self.is_trusted(assignment))
            .filter_map(|a| a.status.as_ref())
            .fold(taken_over, |done, status| &done | &status.completed())
    }

    /// What is given out is neither done nor beyond the job, goes to nodes that take work, and fits them.
    fn grants(&self, broken: &mut Vec<String>) {
        let done = self.done();
        let mut slots_given: u64 = 0;
        for assignment in &self.after.assignments {
            let new = self.newly_granted(assignment);
            if new.is_empty() {
                continue;
            }
            let name = assignment.metadata.name.as_deref().unwrap_or_default();
            let new = &new - &assignment.spec.checks;
            if !new.is_disjoint(&done) {
                broken.push(format!("{name}: [{}] is done and given out again", &new & &done));
            }
            let total = assignment.spec.layout.as_ref().map_or(0, |layout| layout.subtasks);
            if new.max().is_some_and(|last| last >= total) {
                broken.push(format!("{name}: [{new}] is not within {total} subtasks"));
            }
            let takes_work = |node: &&NodeFacts| {
                let is_open = node.ready == Readiness::True && node.schedulable && !node.draining;
                is_open && taints::admits(node, &self.after.job)
            };
            let Some(node) = self.node(assignment).filter(takes_work) else {
                broken.push(format!("{name}: [{new}] is given to a node that takes no work"));
                continue;
            };
            let slots = assignment.spec.slots.unwrap_or(node.slots);
            slots_given += u64::from(slots);
            self.window(assignment, slots, total, broken);
        }
        let parallelism = self.after.job.spec.parallelism.map_or(u64::MAX, u64::from);
        if slots_given > parallelism {
            broken.push(format!("{slots_given} slots are given work, {parallelism} may be"));
        }
    }

    /// A node that is given more holds no more than its window, unless the job is given out whole.
    fn window(&self, assignment: &Assignment, slots: u32, total: u64, broken: &mut Vec<String>) {
        let rate = assignment.status.as_ref().map(|status| status.rate).filter(|rate| *rate > 0.0);
        let module = self.after.job.spec.task.module;
        let rate = rate.or_else(|| self.history.rate(module?, &assignment.spec.node_uid));
        let open = (&(&open(assignment, &IndexSet::new()) - &assignment.spec.copies) - &assignment.spec.checks).count();
        let most = grants::window_max(f64::from(slots), rate, self.policy);
        let all_slots: u64 = self.nodes.iter().map(|node| u64::from(node.slots)).sum();
        let whole = self.policy.whole_min.max(all_slots * u64::from(self.policy.whole_per_slot));
        if open > most && total > whole {
            let name = assignment.metadata.name.as_deref().unwrap_or_default();
            broken.push(format!("{name}: {open} indexes are outstanding, the window is {most}"));
        }
    }

    /// What the plan adds to an assignment, but for what the node has delivered already.
    fn newly_granted(&self, assignment: &Assignment) -> IndexSet {
        let mut others = self.before.assignments.iter();
        let before = others.find(|before| before.metadata.name == assignment.metadata.name);
        let mut new = IndexSet::new();
        for grant in &assignment.spec.grants {
            let mut added = grant.indexes.clone();
            for old in before.iter().flat_map(|before| &before.spec.grants) {
                if old.attempt == grant.attempt {
                    added -= &old.indexes;
                }
            }
            new |= &added;
        }
        if let Some(status) = &assignment.status {
            new -= &status.completed();
        }
        new
    }

    fn is_live(&self, assignment: &Assignment) -> bool {
        self.node(assignment).is_some_and(|node| node.ready != Readiness::Unknown)
    }

    /// An index is checked by a job that verifies alone, beside a node that holds it as its own, by no more nodes
    /// than may compute it, and never by one that was caught lying. Only of what is checked an output is shown.
    fn checks(&self, broken: &mut Vec<String>) {
        let verification = self.after.job.spec.verification.as_ref();
        let most = verification.map_or(0, |verification| verification.of() as usize);
        let mut held = agreement::ladder(self.all(), most + 2);
        for assignment in self.after.assignments.iter().filter(|assignment| self.is_trusted(assignment)) {
            let given = &open(assignment, &IndexSet::new()) & &assignment.spec.checks;
            let name = assignment.metadata.name.as_deref().unwrap_or_default();
            let alone = &given - &self.done();
            if !alone.is_empty() {
                broken.push(format!("{name}: [{alone}] is checked before anybody has delivered it"));
            }
            let shown = IndexSet::join(assignment.spec.check_parts.iter().map(|part| &part.indexes));
            if !assignment.spec.checks.is_superset(&shown) {
                broken.push(format!(
                    "{name}: outputs of [{}] are to be looked at, not checked",
                    &shown - &assignment.spec.checks
                ));
            }
            agreement::climb(&mut held, &(&assignment.spec.granted() & &self.checked()));
        }
        if let Some(too_many) = held.pop().filter(|indexes| !indexes.is_empty()) {
            broken.push(format!("[{too_many}] is held by more than {most} nodes"));
        }
    }

    /// False when a job that verifies has caught the node, or another one has.
    fn is_trusted(&self, assignment: &Assignment) -> bool {
        let job = &self.after.job;
        let known = job.status.iter().filter_map(|status| status.verification.as_ref());
        let is_caught = known.flat_map(|known| &known.untrusted).any(|node| node.uid == assignment.spec.node_uid);
        let is_tainted = self.node(assignment).is_some_and(taints::is_untrusted);
        job.spec.verification.is_none() || !(is_caught || is_tainted)
    }

    /// The job's indexes.
    fn all(&self) -> IndexSet {
        let layout = self.after.job.status.as_ref().and_then(|status| status.layout.as_ref());
        IndexSet::first(layout.map_or(0, |layout| layout.subtasks))
    }

    /// What some node checks.
    fn checked(&self) -> IndexSet {
        self.after.assignments.iter().flat_map(|assignment| assignment.spec.checks.ranges()).collect()
    }

    /// No two nodes that may be alive are expected to deliver the same index, but for one copy and for checks.
    fn owners(&self, broken: &mut Vec<String>) {
        let done = self.done();
        let (mut owned, mut copied) = (IndexSet::new(), IndexSet::new());
        for assignment in self.after.assignments.iter().filter(|assignment| self.is_live(assignment)) {
            let open = open(assignment, &done);
            let copies = &open & &assignment.spec.copies;
            let own = &(&open - &copies) - &assignment.spec.checks;
            let name = assignment.metadata.name.as_deref().unwrap_or_default();
            if !own.is_disjoint(&owned) {
                broken.push(format!("{name}: [{}] has two live owners", &own & &owned));
            }
            if !copies.is_disjoint(&copied) {
                broken.push(format!("{name}: [{}] is copied twice", &copies & &copied));
            }
            owned |= &own;
            copied |= &copies;
        }
    }

    /// What a living node has not yet said of what was recalled from it is given to nobody, but as a copy.
    fn recalled(&self, broken: &mut Vec<String>) {
        for assignment in self.after.assignments.iter().filter(|assignment| self.is_live(assignment)) {
            let observed = assignment.status.as_ref().map_or(0, |status| status.observed_generation);
            if !assignment.spec.recalled.is_disjoint(&assignment.spec.granted()) {
                broken.push(format!("{:?}: granted and recalled at once", assignment.metadata.name));
            }
            if observed >= assignment.metadata.generation.unwrap_or_default() {
                continue;
            }
            let others = self.after.assignments.iter().filter(|other| other.metadata.name != assignment.metadata.name);
            for other in others {
                let given = &self.newly_granted(other) - &other.spec.copies;
                if !given.is_disjoint(&assignment.spec.recalled) {
                    let name = other.metadata.name.as_deref().unwrap_or_default();
                    let both = &given & &assignment.spec.recalled;
                    broken.push(format!("{name}: [{both}] is given out before its node has let go of it"));
                }
            }
        }
    }

    /// One merge at a time; its parts are disjoint.
    fn merges(&self, broken: &mut Vec<String>) {
        let mut open = 0;
        for assignment in &self.after.assignments {
            let Some(merge) = &assignment.spec.merge else { continue };
            let mut taken = IndexSet::new();
            for part in &merge.parts {
                if !taken.is_disjoint(&part.indexes) {
                    broken.push(format!("merge {}: [{}] is in two parts", merge.attempt, &taken & &part.indexes));
                }
                taken |= &part.indexes;
            }
            let answered = assignment.status.as_ref().and_then(|s| s.merge.as_ref()).map_or(0, |m| m.attempt);
            open += u32::from(self.is_live(assignment) && merge.attempt > answered);
        }
        if open > 1 {
            broken.push(format!("{open} nodes merge at once"));
        }
    }
}

/// What an assignment still asks of its node.
fn open(assignment: &Assignment, done: &IndexSet) -> IndexSet {
    let mut open = IndexSet::new();
    for grant in &assignment.spec.grants {
        let mut left = &grant.indexes - done;
        if let Some(status) = &assignment.status {
            left -= &status.completed();
            for failure in status.failures.iter().filter(|failure| failure.attempt >= grant.attempt) {
                left -= &failure.indexes;
            }
        }
        open |= &left;
    }
    open
}

/// The counts add up, no index is both done and failed, and at most one terminal condition stands.
fn check_status(status: &JobStatus, broken: &mut Vec<String>) {
    let counts = status.subtasks;
    if counts.total != counts.succeeded + counts.failed + counts.running + counts.pending {
        broken.push(format!("the counts of a status do not add up: {counts:?}"));
    }
    if !status.completed_indexes.is_disjoint(&status.failed_indexes) {
        broken.push("an index is both completed and failed".into());
    }
    let is = |type_: &str| condition::is_true(&status.conditions, type_);
    if is(conditions::COMPLETE) && is(conditions::FAILED) {
        broken.push("a job is both Complete and Failed".into());
    }
    let types: BTreeSet<&str> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    if types.len() != status.conditions.len() {
        broken.push("a condition stands twice".into());
    }
}
