//! Idle nodes: why a node has nothing to do, in one sentence with numbers. It is written down when it has held
//! for a while, and taken off when the node is busy again, so that nodes between two jobs cost no writes.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::{
    action::{Action, Plan},
    job::{Draft, Stage, Work},
    nodes::{Node, Nodes, State},
    policy::Policy,
    snapshot::{NodeMemory, Snapshot},
    taints,
    time::after,
};

/// Explains every node that has nothing to do.
pub(crate) fn explain(
    jobs: &[Work<'_>],
    nodes: &Nodes<'_>,
    snapshot: &Snapshot,
    now: Timestamp,
    policy: &Policy,
    plan: &mut Plan,
) {
    let wanting: Vec<&Work<'_>> = jobs.iter().filter(|work| wants_nodes(work)).collect();
    let busy: BTreeSet<&str> = jobs.iter().flat_map(|work| &work.drafts).filter_map(busy_node).collect();
    let explain_after = policy.explain_after.max(policy.explain_after_per_node * nodes.len() as u32);
    for (uid, node) in nodes {
        let idle = (!busy.contains(uid)).then(|| why(&wanting, node));
        if idle.is_none() && node.facts.idle_reason.is_none() {
            continue;
        }
        let known = snapshot.node_memories.get(*uid).filter(|known| known.idle == idle);
        let since = known.map_or(now, |known| known.since);
        if node.facts.idle_reason != idle {
            let due = after(since, explain_after);
            if now < due {
                plan.wake(due);
            } else {
                if let Some(why) = &idle {
                    plan.note(format!("node/{}", node.facts.name), "Idle", why.clone());
                }
                let (node, uid) = (node.facts.name.clone(), node.facts.uid.clone());
                plan.actions.push(Action::ExplainNode { node, uid, reason: idle.clone() });
            }
        }
        plan.node_memories.insert((*uid).to_owned(), NodeMemory { idle, since });
    }
}

/// True when another node could do something for it.
fn wants_nodes(work: &Work<'_>) -> bool {
    matches!(work.stage, Stage::Planning | Stage::Running | Stage::Merging(_))
}

/// The node of an assignment of which something is to be done.
fn busy_node<'a>(draft: &Draft<'a>) -> Option<&'a str> {
    let is_called = draft.open_merge().is_some() || (draft.spec.plan && draft.plan_report().is_none());
    let is_busy = draft.is_live && (draft.outstanding_count() > 0 || is_called);
    draft.node.filter(|_| is_busy).map(|node| node.facts.uid.as_str())
}

fn why(wanting: &[&Work<'_>], node: &Node<'_>) -> String {
    match node.state {
        State::Lost => return "it is lost: its lease is not renewed".into(),
        State::Suspect => return "nothing is heard of it".into(),
        State::Away => return "it is not ready".into(),
        State::Ready if node.facts.draining => return "it is drained".into(),
        State::Ready if !node.facts.schedulable => return "it is cordoned".into(),
        State::Ready if node.facts.slots == 0 => return "it offers no slots".into(),
        State::Ready => {}
    }
    if wanting.is_empty() {
        return "no job has anything to do".into();
    }
    let mut counts = [
        (0, "select other nodes"),
        (0, "do not tolerate its taints"),
        (0, "have given all that is left to other nodes"),
        (0, "wait for a retry"),
        (0, "use as many slots as they may"),
    ];
    for work in wanting {
        let at = match () {
            () if !work.selects(node) => 0,
            () if !taints::admits(node.facts, work.job) => 1,
            () if work.stage != Stage::Running || work.fold.waiting.is_empty() => 2,
            () if !work.fold.waiting.contains_key(&0) => 3,
            () => 4,
        };
        counts[at].0 += 1;
    }
    let told = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    format!("of {} jobs with work left {}", wanting.len(), told.collect::<Vec<_>>().join(", "))
}
