//! The plan call: one node is asked to cut the job into subtasks; another one when it is lost or cannot.

use crate::{
    action::Plan,
    job::{Draft, Stage, Verdict, Work},
    nodes::{Node, Nodes},
    placement, verdict,
};

/// Hands the plan call of every job that needs one to a node.
pub(crate) fn place<'a>(jobs: &mut [Work<'a>], nodes: &Nodes<'a>, plan: &mut Plan) {
    for at in 0..jobs.len() {
        if jobs[at].stage == Stage::Planning {
            let load = |node: &Node<'_>| open_calls(jobs, node);
            let choice = choose(&jobs[at], nodes, load).copied();
            hand_out(&mut jobs[at], choice, nodes, plan);
        } else {
            withdraw(&mut jobs[at]);
        }
    }
}

fn hand_out<'a>(work: &mut Work<'a>, choice: Option<Node<'a>>, nodes: &Nodes<'a>, plan: &mut Plan) {
    for draft in work.drafts.iter_mut().filter(|draft| !draft.is_live && draft.plan_report().is_none()) {
        draft.spec.plan = false;
    }
    if work.drafts.iter().any(is_open) {
        return;
    }
    let Some(node) = choice else {
        let failure = verdict::plan_failures(work).last();
        if let Some(failure) = failure {
            let message = format!("the plan call failed on every node that may run it: {}", failure.message);
            work.stage = Stage::Failing(Verdict { reason: "PlanFailed".into(), message });
            return;
        }
        let why = placement::why_none(work, nodes);
        plan.note(work.about().to_string(), "NoNode", why.clone());
        work.held_up = Some(why);
        return;
    };
    if let Some(draft) = work.draft_for(&node) {
        draft.spec.plan = true;
    }
}

/// True when a node is at it.
fn is_open(draft: &Draft<'_>) -> bool {
    draft.is_live && draft.spec.plan && draft.plan_report().is_none()
}

/// Takes a plan call back that nobody waits for any more.
fn withdraw(work: &mut Work<'_>) {
    for draft in work.drafts.iter_mut().filter(|draft| draft.plan_report().is_none()) {
        draft.spec.plan = false;
    }
}

/// The node with the fewest plan calls per slot that has not tried yet; the name settles ties.
fn choose<'n, 'a>(work: &Work<'a>, nodes: &'n Nodes<'a>, load: impl Fn(&Node<'a>) -> u64) -> Option<&'n Node<'a>> {
    let has_tried = |node: &Node<'_>| work.draft(&node.facts.uid).is_some_and(|draft| draft.plan_report().is_some());
    let untried = work.eligible(nodes).filter(|node| !has_tried(node));
    untried.min_by_key(|node| (load(node) / u64::from(node.facts.slots.max(1)), &node.facts.name))
}

/// Calls and subtasks that the node has to do already.
fn open_calls(jobs: &[Work<'_>], node: &Node<'_>) -> u64 {
    let drafts = jobs.iter().filter_map(|work| work.draft(&node.facts.uid));
    drafts.map(|draft| u64::from(is_open(draft)) + draft.outstanding_count()).sum()
}
