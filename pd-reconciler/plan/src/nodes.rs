//! Bucket the nodes: who can take work, who is silent, who is lost.
//!
//! Suspect and lost are judgements on silence alone, and only on silence that we listened to: a lease whose
//! renewal we saw longer ago than `suspect_after` or `lost_after`, while our own watch worked. No two clocks
//! are compared.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    action::{About, Action, Plan},
    policy::Policy,
    snapshot::{NodeFacts, Readiness, Snapshot},
    time::{after, since},
};

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It takes work.
    Ready,
    /// It missed a renewal or two: it gets nothing new, and what it has may be copied.
    Suspect,
    /// It is not ready, or so silent that it gets nothing new; what it has it keeps.
    Away,
    /// What it has not reported goes to others.
    Lost,
}

/// One node in its bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    pub(crate) facts: &'a NodeFacts,
    pub(crate) state: State,
}

/// The nodes by UID.
pub(crate) type Nodes<'a> = BTreeMap<&'a str, Node<'a>>;

impl Node<'_> {
    /// True when it may be given something new.
    pub(crate) fn takes_work(&self) -> bool {
        self.state == State::Ready && self.facts.schedulable && !self.facts.draining && self.facts.slots > 0
    }
}

/// Sorts the nodes into their buckets and orders the Ready conditions that follow.
pub(crate) fn bucket<'a>(snapshot: &'a Snapshot, now: Timestamp, policy: &Policy, plan: &mut Plan) -> Nodes<'a> {
    let patience = patience(snapshot, now, policy, plan);
    let mut nodes = Nodes::new();
    let mut facts: Vec<&NodeFacts> = snapshot.nodes.iter().collect();
    facts.sort_by(|a, b| a.name.cmp(&b.name));
    for facts in facts {
        let state = judge(facts, snapshot.watching_since, now, policy, patience);
        match (state, facts.ready) {
            (State::Lost, Readiness::Unknown) | (State::Away, _) => {}
            (State::Suspect, _) => {
                let message = format!("no sign of life for {:?}; it gets nothing new", policy.suspect_after);
                plan.note(format!("node/{}", facts.name), "Suspect", message);
            }
            (State::Lost, _) => {
                plan.counts.nodes_lost += 1;
                set_ready(facts, false, plan);
            }
            (State::Ready, Readiness::Unknown) => set_ready(facts, true, plan),
            (State::Ready, _) => {}
        }
        if state != State::Lost {
            wake_when_lost(facts, snapshot.watching_since, now, policy, patience, plan);
        }
        nodes.insert(&facts.uid, Node { facts, state });
    }
    nodes
}

/// Silence after which a node is lost: longer when more than half of those that lived fell silent together,
/// for then the fault is more likely ours.
fn patience(snapshot: &Snapshot, now: Timestamp, policy: &Policy, plan: &mut Plan) -> Duration {
    let living = snapshot.nodes.iter().filter(|node| matches!(node.ready, Readiness::True | Readiness::False));
    let silences: Vec<Duration> = living.map(|node| silence(node, snapshot.watching_since, now)).collect();
    let silent = silences.iter().filter(|silence| **silence >= policy.lost_after).count();
    if silent * 2 <= silences.len() {
        return policy.lost_after;
    }
    let message = format!(
        "{silent} of {} nodes fell silent together; they count as lost only after {:?} of silence",
        silences.len(),
        policy.mass_lost_after
    );
    plan.note("nodes".into(), "SuspectOurselves", message);
    policy.mass_lost_after.max(policy.lost_after)
}

/// How long nothing was heard of a node while we listened.
fn silence(node: &NodeFacts, watching_since: Option<Timestamp>, now: Timestamp) -> Duration {
    watching_since.map_or(Duration::ZERO, |from| since(last_sign(node, from), now))
}

/// The last sign of life, or the moment from which silence counts.
fn last_sign(node: &NodeFacts, watching_since: Timestamp) -> Timestamp {
    node.heard.map_or(node.seen, |heard| heard.max(node.seen)).max(watching_since)
}

/// The bucket of one node.
fn judge(
    node: &NodeFacts,
    watching_since: Option<Timestamp>,
    now: Timestamp,
    policy: &Policy,
    patience: Duration,
) -> State {
    let silence = silence(node, watching_since, now);
    let is_heard = node.heard.is_some_and(|heard| since(heard, now) < policy.lost_after);
    match node.ready {
        _ if silence >= patience => State::Lost,
        _ if silence >= policy.lost_after => {
            if node.ready == Readiness::Unknown {
                State::Lost
            } else {
                State::Away
            }
        }
        Readiness::True if silence >= policy.suspect_after => State::Suspect,
        Readiness::True => State::Ready,
        Readiness::Unknown if is_heard => State::Ready,
        _ => State::Away,
    }
}

/// Orders the Ready condition and the event that tells of it.
fn set_ready(node: &NodeFacts, ready: bool, plan: &mut Plan) {
    plan.actions.push(Action::SetNodeReady { node: node.name.clone(), uid: node.uid.clone(), ready });
    let about = About::Node { name: node.name.clone(), uid: node.uid.clone() };
    if ready {
        plan.event(about, false, "NodeReady", "the node renews its lease again");
    } else {
        let message = "the node stopped renewing its lease; what it had not reported goes to other nodes";
        plan.event(about, true, "NodeNotReady", message);
    }
}

/// Looks again when the node would be lost if it kept silent.
fn wake_when_lost(
    node: &NodeFacts,
    watching_since: Option<Timestamp>,
    now: Timestamp,
    policy: &Policy,
    patience: Duration,
    plan: &mut Plan,
) {
    let Some(from) = watching_since.filter(|_| node.ready != Readiness::Absent) else { return };
    let sign = last_sign(node, from);
    if let Some(limit) = limits(policy, patience).into_iter().find(|limit| since(sign, now) < *limit) {
        plan.wake_unless_heard(after(sign, limit));
    }
}

/// Silence after which a node is judged anew, ascending.
fn limits(policy: &Policy, patience: Duration) -> [Duration; 3] {
    [policy.suspect_after.min(policy.lost_after), policy.lost_after, patience]
}

/// How silent the nodes are. While it stays the same, and nothing else has changed, the plan does: whoever keeps it may
/// sleep until `Plan::wake_at_if_heard`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Silence {
    /// By position of the node: limits that its silence has passed.
    passed: Vec<usize>,
}

impl Silence {
    /// That of the nodes of `snapshot`; and when it will be another one, should none of them be heard until then.
    pub fn of(snapshot: &Snapshot, now: Timestamp, policy: &Policy) -> (Self, Option<Timestamp>) {
        let Some(from) = snapshot.watching_since else { return (Self::default(), None) };
        let limits = limits(policy, policy.mass_lost_after.max(policy.lost_after));
        let is_joined = |node: &&NodeFacts| node.ready != Readiness::Absent;
        let signs: Vec<Timestamp> = snapshot.nodes.iter().filter(is_joined).map(|node| last_sign(node, from)).collect();
        let passed = |sign: &Timestamp| limits.iter().filter(|limit| since(*sign, now) >= **limit).count();
        let passed: Vec<usize> = signs.iter().map(passed).collect();
        let next = signs.iter().zip(&passed).filter_map(|(sign, passed)| Some(after(*sign, *limits.get(*passed)?)));
        let next = next.min();
        (Self { passed }, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn node(name: &str, ready: Readiness, heard: Option<i64>) -> NodeFacts {
        NodeFacts {
            name: name.into(),
            uid: format!("uid-{name}"),
            labels: BTreeMap::new(),
            slots: 2,
            ready,
            schedulable: true,
            draining: false,
            seen: at(0),
            heard: heard.map(at),
            ..NodeFacts::default()
        }
    }

    fn states(nodes: Vec<NodeFacts>, watching_since: Option<i64>, now: i64) -> Vec<State> {
        let snapshot = Snapshot { watching_since: watching_since.map(at), nodes, ..Snapshot::default() };
        let mut plan = Plan::default();
        bucket(&snapshot, at(now), &Policy::default(), &mut plan).values().map(|node| node.state).collect()
    }

    #[test]
    fn silence_counts_only_while_we_watch() {
        use Readiness::True;
        let nodes = || vec![node("a", True, Some(100)), node("b", True, Some(100)), node("c", True, Some(94))];
        assert_eq!(states(nodes(), Some(0), 100), [State::Ready, State::Ready, State::Lost]);
        assert_eq!(states(nodes(), Some(96), 100), [State::Ready, State::Ready, State::Suspect], "watched for 4 s");
        assert_eq!(states(nodes(), Some(98), 100), [State::Ready; 3], "not watched for long enough");
        assert_eq!(states(nodes(), None, 100), [State::Ready; 3], "not watched at all");
    }

    #[test]
    fn a_node_that_misses_renewals_is_suspect_before_it_is_lost() {
        let nodes = |heard| vec![node("a", Readiness::True, Some(heard)), node("b", Readiness::True, Some(100))];
        assert_eq!(states(nodes(98), Some(0), 100), [State::Ready, State::Ready]);
        assert_eq!(states(nodes(97), Some(0), 100), [State::Suspect, State::Ready]);
        assert_eq!(states(nodes(95), Some(0), 100), [State::Lost, State::Ready]);
    }

    #[test]
    fn silence_changes_when_a_limit_is_passed_or_a_node_is_heard_again() {
        let silence = |heard, now| {
            let nodes = vec![node("a", Readiness::True, Some(heard)), node("b", Readiness::Absent, None)];
            let snapshot = Snapshot { watching_since: Some(at(0)), nodes, ..Snapshot::default() };
            Silence::of(&snapshot, at(now), &Policy::default())
        };
        let (heard, next) = silence(100, 101);
        assert_eq!(next, Some(after(at(100), Policy::default().suspect_after)));
        assert_eq!(heard, silence(200, 202).0);
        assert_ne!(heard, silence(100, 103).0);
        assert_eq!(silence(100, 103).1, Some(at(105)));
        assert_eq!(silence(100, 120).1, None, "it is lost already");
    }

    #[test]
    fn a_node_that_was_lost_is_ready_again_only_when_it_is_heard() {
        use Readiness::Unknown;
        assert_eq!(states(vec![node("a", Unknown, None)], Some(99), 100), [State::Away]);
        assert_eq!(states(vec![node("a", Unknown, Some(99))], Some(50), 100), [State::Ready]);
        assert_eq!(states(vec![node("a", Unknown, Some(80))], Some(50), 100), [State::Lost]);
    }

    #[test]
    fn when_most_nodes_vanish_together_we_suspect_ourselves_for_longer() {
        use Readiness::True;
        let nodes = || vec![node("a", True, Some(90)), node("b", True, Some(90)), node("c", True, Some(100))];
        assert_eq!(states(nodes(), Some(0), 100), [State::Away, State::Away, State::Ready]);
        let nodes = || vec![node("a", True, Some(90)), node("b", True, Some(90)), node("c", True, Some(105))];
        assert_eq!(states(nodes(), Some(0), 105), [State::Lost, State::Lost, State::Ready]);
    }
}
