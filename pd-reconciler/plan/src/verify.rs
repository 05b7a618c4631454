//! Verification: what is believed, who is not, what is to be compared, and what another node computes again.
//!
//! A check is a grant of an index to a node beside the one that has delivered it. The outputs of the two are compared
//! where they are stored, bit by bit; of what is compared only sets of indexes come back. Enough equal outputs verify
//! an index; whoever has another one is a liar: nothing of its counts any more, so what others have not checked is done
//! again. Before a job ends everything is compared once more as it stands then, for nodes repack their segments.
//!
//! O(intervals): neither a digest nor anything else is kept for a single index.

use std::collections::BTreeMap;

use schemas::{
    Digest, IndexSet,
    job::{UntrustedNode, Verification, VerificationStatus, Waiting, waiting},
};

use crate::{
    action::{About, Action, Plan},
    agreement::{Held, climb, ladder},
    fold::Fold,
    job::{Draft, Stage, Work},
    nodes::Nodes,
    quorum, sample,
};

/// Comparisons ordered of one job in one plan: each reads two segments of at most 32 MiB.
const COMPARISONS_MAX: usize = 64;

/// What is known of one job's verification while it is being decided.
pub(crate) struct Verify {
    pub(crate) agree: usize,
    pub(crate) of: usize,
    /// True when an index counts only once it is verified; else it counts unless its outputs differ.
    pub(crate) is_strict: bool,
    /// Indexes that have to be verified before the job may end.
    pub(crate) must: IndexSet,
    /// Indexes whose outputs differ, and no `agree` of them are the same.
    pub(crate) disputed: IndexSet,
    /// What the job's status is to say.
    pub(crate) status: VerificationStatus,
    /// The nodes that this plan caught.
    caught: Vec<Caught>,
    /// Pairs of segments to be compared, and at which indexes.
    wanted: Vec<(Digest, Digest, IndexSet)>,
    /// Indexes that need another output and are not given out.
    pub(crate) due: IndexSet,
}

/// A node that has another output than enough others.
#[derive(Clone)]
struct Caught {
    node: UntrustedNode,
    /// What it lied about: one index of several, or a call.
    what: String,
    /// Indexes that it had delivered.
    delivered: u64,
}

/// Finds out what is verified, and who lied. Whoever is not trusted has no part in the job from here on.
pub(crate) fn weigh(work: &mut Work<'_>) {
    let Some(mut verify) = Verify::begin(work) else { return };
    if work.has_succeeded() {
        // What is merged was verified. Only who lies about the result can still be caught.
        verify.catch_merge_liars(work);
    } else {
        let held = verify.catch_liars(work);
        work.memory.compared.retain(|compared| held.holds(compared.left) && held.holds(compared.right));
    }
    work.verify = Some(verify);
}

impl Verify {
    /// As the job's status has it; none for a job that does not verify, or is not planned.
    fn begin(work: &Work<'_>) -> Option<Self> {
        let (verification, layout) = (work.job.spec.verification.as_ref()?, work.layout?);
        let taken_over = work.cached.as_ref().map(|cached| cached.outputs.indexes()).unwrap_or_default();
        let must = match verification {
            Verification::Quorum(_) => IndexSet::first(layout.subtasks),
            Verification::Sample(sample) => sample::choose(sample, layout.subtasks, work.sample_seed, work.uid()),
        };
        let status = work.job.status.as_ref().and_then(|status| status.verification.clone());
        Some(Self {
            agree: verification.agree() as usize,
            of: verification.of() as usize,
            is_strict: verification.is_quorum(),
            must: &must - &taken_over,
            disputed: IndexSet::new(),
            status: status.unwrap_or_default(),
            caught: Vec::new(),
            wanted: Vec::new(),
            due: IndexSet::new(),
        })
    }

    /// Takes out one liar after the other, since each agreed with others as well; answers what is left.
    fn catch_liars(&mut self, work: &mut Work<'_>) -> Held {
        loop {
            let held = Held::of(work, &self.must);
            let agreed = held.agreed(self.agree);
            let mut liars = held.liars(&agreed);
            liars.extend(quorum::liars(work).into_iter().map(|(at, call)| (at, call.to_owned())));
            if liars.is_empty() {
                self.settle(&held, &agreed);
                return held;
            }
            for (liar, what) in liars {
                self.status.verified -= &held.indexes[liar];
                self.distrust(what, &mut work.drafts[liar]);
            }
        }
    }

    fn distrust(&mut self, what: String, draft: &mut Draft<'_>) {
        self.catch(what, draft);
        draft.distrust();
    }

    fn catch(&mut self, what: String, draft: &Draft<'_>) {
        let node = UntrustedNode { name: draft.spec.node_name.to_owned(), uid: draft.spec.node_uid.to_owned() };
        if self.status.untrusted.contains(&node) {
            return;
        }
        let delivered = draft.status().map_or(0, |status| status.succeeded);
        self.status.untrusted.push(node.clone());
        self.caught.push(Caught { node, what, delivered });
    }

    fn catch_merge_liars(&mut self, work: &Work<'_>) {
        for (at, call) in quorum::liars(work) {
            self.catch(call.to_owned(), &work.drafts[at]);
        }
    }

    /// Writes down what is verified, disputed and to be compared.
    fn settle(&mut self, held: &Held, agreed: &[IndexSet]) {
        let agreed = agreed.iter().flat_map(IndexSet::ranges).collect();
        self.disputed = &held.differing() - &agreed;
        self.status.verified -= &self.disputed;
        self.status.verified |= &agreed;
        // Once all is verified, all of it is compared again as it is stored now.
        let open = &self.must - &self.status.verified;
        let goal = if open.is_empty() { &self.must } else { &open };
        self.wanted = held.uncompared(&(goal - &agreed), &self.disputed);
        let waiting: IndexSet = self.wanted.iter().flat_map(|(_, _, indexes)| indexes.ranges()).collect();
        self.status.unresolved |= &(&(&self.disputed & &held.at_least(self.of)) - &waiting);
        self.status.unresolved -= &agreed;
        self.status.verified -= &self.status.unresolved;
    }

    /// True when everything is verified that has to be, as it is stored now.
    pub(crate) fn is_settled(&self) -> bool {
        self.wanted.is_empty() && self.status.verified.is_superset(&self.must)
    }

    /// True when no index that was delivered waits to be verified.
    pub(crate) fn is_through(&self, fold: &Fold) -> bool {
        let open = &(&(&fold.delivered & &self.must) - &self.status.verified) - &self.status.unresolved;
        open.is_empty()
    }

    /// What of the delivered indexes counts as done.
    pub(crate) fn counts(&self, delivered: &IndexSet) -> IndexSet {
        if self.is_strict {
            delivered - &(&self.must - &self.status.verified)
        } else {
            &(delivered - &self.disputed) - &self.status.unresolved
        }
    }
}

/// Finds out which delivered indexes need another output that nobody is at.
pub(crate) fn demand(work: &mut Work<'_>) {
    let Some(verify) = &work.verify else { return };
    let open = &(&(&work.fold.delivered & &verify.must) - &verify.status.verified) - &verify.status.unresolved;
    let mut levels = ladder(work.fold.delivered.clone(), verify.of);
    for draft in work.drafts.iter().filter(|draft| !draft.is_distrusted) {
        climb(&mut levels, &draft.checks_held());
    }
    let plain = &(&open - &verify.disputed) - &levels[verify.agree - 1];
    let disputed = &(&open & &verify.disputed) - &levels[verify.of - 1];
    if let Some(verify) = &mut work.verify {
        verify.due = &plain | &disputed;
    }
}

/// Which of the indexes that need another output this node may compute, by the attempt that it would be here.
pub(crate) fn suited(work: &Work<'_>, node_uid: &str, with_failed: bool) -> BTreeMap<u32, IndexSet> {
    let Some(verify) = &work.verify else { return BTreeMap::new() };
    let Some(draft) = work.draft(node_uid) else { return BTreeMap::from([(1, verify.due.clone())]) };
    let mut left = &verify.due - &draft.completed;
    draft.grants.values().for_each(|granted| left -= granted);
    let mut by_attempt = BTreeMap::new();
    for (attempt, failed) in draft.failed.iter().rev() {
        let again = &left & failed;
        left -= &again;
        if with_failed && *attempt <= work.job.spec.backoff_limit_per_index && !again.is_empty() {
            by_attempt.insert(attempt + 1, again);
        }
    }
    by_attempt.insert(1, left);
    by_attempt
}

/// Says so when outputs have to be verified and no node may do it.
pub(crate) fn hold_up(work: &mut Work<'_>, nodes: &Nodes<'_>, plan: &mut Plan) {
    let Some(verify) = work.verify.as_ref().filter(|verify| !verify.due.is_empty()) else { return };
    let is_at_work = work.drafts.iter().any(|draft| draft.is_live && draft.outstanding_count() > 0);
    if is_at_work || !verify.wanted.is_empty() {
        return;
    }
    let (fitting, least) = (work.eligible(nodes).count(), verify.agree);
    let message = format!(
        "{} outputs have to be verified by nodes that have not computed them; {fitting} nodes can take the job, and the \
         outputs of {least} have to agree",
        verify.due.count()
    );
    work.hold_up(Waiting { reason: waiting::NO_NODE.into(), message }, plan);
}

/// Orders the comparisons, and tells of the nodes that were caught.
pub(crate) fn order(work: &Work<'_>, plan: &mut Plan) {
    let Some(verify) = &work.verify else { return };
    verify.caught.iter().for_each(|caught| tell(work, caught, verify.agree, plan));
    if work.stage != Stage::Running {
        return;
    }
    for (left, right, indexes) in verify.wanted.iter().take(COMPARISONS_MAX) {
        plan.counts.compared_indexes += indexes.count();
        plan.actions.push(Action::CompareOutputs {
            job_uid: work.uid().to_owned(),
            left: *left,
            right: *right,
            indexes: indexes.clone(),
        });
    }
}

fn tell(work: &Work<'_>, caught: &Caught, agree: usize, plan: &mut Plan) {
    let Caught { node: UntrustedNode { name: node, uid }, what, delivered } = caught.clone();
    let message = format!(
        "{what} of {} by node {node} differs from what {agree} other nodes agree on; what it did of \
         the job, {delivered} subtasks, does not count",
        work.about()
    );
    plan.counts.nodes_distrusted += 1;
    plan.actions.push(Action::DistrustNode { node: node.clone(), uid: uid.clone(), job_uid: work.uid().to_owned() });
    plan.event(work.about(), true, "OutputsDiffer", message.clone());
    plan.event(About::Node { name: node, uid }, true, "Untrusted", message);
}
