//! The plan call: one node is asked to cut the job into subtasks; another one when it is lost or cannot; the
//! same one again, after a back-off, when there is no other.

use jiff::Timestamp;
use schemas::assignment::PlanReport;

use crate::{
    action::Plan,
    backoff,
    job::{Draft, Stage, Work},
    nodes::{Node, Nodes},
    placement,
    policy::Policy,
    time::after,
    verdict,
};

/// Hands the plan call of every job that needs one to a node.
pub(crate) fn place<'a>(jobs: &mut [Work<'a>], nodes: &Nodes<'a>, now: Timestamp, policy: &Policy, plan: &mut Plan) {
    for at in 0..jobs.len() {
        if jobs[at].stage == Stage::Planning {
            let load = |node: &Node<'_>| open_calls(jobs, node);
            let choice = choose(&jobs[at], nodes, load).copied();
            hand_out(&mut jobs[at], choice, nodes, now, policy, plan);
        } else {
            withdraw(&mut jobs[at]);
        }
    }
}

fn hand_out<'a>(
    work: &mut Work<'a>,
    choice: Option<Node<'a>>,
    nodes: &Nodes<'a>,
    now: Timestamp,
    policy: &Policy,
    plan: &mut Plan,
) {
    for draft in work.drafts.iter_mut().filter(|draft| !draft.is_live && draft.plan_report().is_none()) {
        draft.spec.plan = false;
    }
    if work.drafts.iter().any(is_open) {
        return;
    }
    let Some(node) = choice else {
        if let Some(node) = least_tried(work, nodes).copied() {
            return try_again(work, &node, now, policy, plan);
        }
        let why = placement::why_none(work, nodes);
        work.hold_up(why, plan);
        return;
    };
    if let Some(draft) = work.draft_for(&node) {
        draft.spec.plan = true;
    }
}

/// Of the nodes that failed, the one that has tried least often.
fn least_tried<'n, 'a>(work: &Work<'a>, nodes: &'n Nodes<'a>) -> Option<&'n Node<'a>> {
    let tries = |node: &Node<'_>| work.draft(&node.facts.uid).map_or(0, |draft| draft.spec.plan_attempt);
    let has_failed = |draft: &Draft<'_>| matches!(draft.plan_report(), Some(PlanReport::Failed(_)));
    let failed = |node: &&Node<'_>| work.draft(&node.facts.uid).is_some_and(has_failed);
    work.eligible(nodes).filter(failed).min_by_key(|node| (tries(node), &node.facts.name))
}

/// Lets a node that failed try once more, when its time has come. How often is the verdict's business.
fn try_again<'a>(work: &mut Work<'a>, node: &Node<'a>, now: Timestamp, policy: &Policy, plan: &mut Plan) {
    let tries = verdict::plan_tries(work);
    let seen = work.memory.plan_failed.filter(|(known, _)| *known == tries).map_or(now, |(_, seen)| seen);
    work.memory.plan_failed = Some((tries, seen));
    let delay = backoff::delay(work.job.spec.retry_delay.0, tries, work.uid(), 0, policy.retry_delay_max);
    let at = after(seen, delay);
    if now < at {
        plan.wake(at);
    } else if let Some(draft) = work.draft_for(node) {
        draft.spec.plan = true;
        draft.spec.plan_attempt += 1;
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
