//! Assign, steal, acknowledge, report: the protocol alone, over its whole bounded space (stateright).
//!
//! One index that a victim was given and may have started, a thief, a lost node's late report, messages that
//! are delayed for as long as they like, lost and doubled. The fenced protocol gives the thief the index only after
//! the victim has acknowledged without having started it, or was declared lost; and counts the first output of
//! an index alone. The naive one gives it at once and counts reports.

use std::collections::BTreeSet;

use stateright::{Checker, Model, Property};

/// Outputs that a state may hold before it is not looked into any further.
const REPORTS_MAX: u8 = 3;

struct Protocol {
    is_fenced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Node {
    Victim,
    Thief,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Work {
    /// It knows of no grant.
    None,
    Queued,
    Running,
    Done,
}

/// What the reconciler believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Belief {
    Granted(Node),
    /// The victim was told to give it back.
    Recalled,
    /// The victim said that it had started.
    Retained,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    Grant(Node),
    Recall,
    /// The victim observed the recall; with whether it had started.
    Acknowledge {
        has_started: bool,
    },
    Report(Node),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    belief: Belief,
    victim: Work,
    thief: Work,
    /// The victim was silent for too long; it may go on all the same.
    is_lost: bool,
    /// The victim has seen the recall.
    has_recall: bool,
    wire: BTreeSet<Message>,
    /// Outputs that were counted.
    counted: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    Deliver(Message),
    /// As `Deliver`, and the message stays on the wire.
    DeliverDoubled(Message),
    Drop(Message),
    /// The reconciler sends again what its belief implies: level-triggered.
    Repeat,
    Steal,
    Lose,
    Start(Node),
    Finish(Node),
    ReportAgain(Node),
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            belief: Belief::Granted(Node::Victim),
            victim: Work::None,
            thief: Work::None,
            is_lost: false,
            has_recall: false,
            wire: BTreeSet::from([Message::Grant(Node::Victim)]),
            counted: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for message in &state.wire {
            actions.push(Action::Deliver(*message));
            actions.push(Action::DeliverDoubled(*message));
            actions.push(Action::Drop(*message));
        }
        actions.push(Action::Repeat);
        if state.counted == 0 && state.belief == Belief::Granted(Node::Victim) {
            actions.push(Action::Steal);
        }
        if !state.is_lost {
            actions.push(Action::Lose);
        }
        for node in [Node::Victim, Node::Thief] {
            match state.work(node) {
                Work::Queued => actions.push(Action::Start(node)),
                Work::Running => actions.push(Action::Finish(node)),
                Work::Done => actions.push(Action::ReportAgain(node)),
                Work::None => {}
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Deliver(message) => {
                state.wire.remove(&message);
                self.receive(&mut state, message);
            }
            Action::DeliverDoubled(message) => self.receive(&mut state, message),
            Action::Drop(message) => drop(state.wire.remove(&message)),
            Action::Repeat => state.repeat(),
            Action::Steal => {
                state.belief = if self.is_fenced { Belief::Recalled } else { Belief::Granted(Node::Thief) };
                state.repeat();
                state.wire.insert(Message::Recall);
            }
            Action::Lose => {
                state.is_lost = true;
                if state.counted == 0 {
                    state.belief = Belief::Granted(Node::Thief);
                }
                state.repeat();
            }
            Action::Start(node) => *state.work_mut(node) = Work::Running,
            Action::Finish(node) | Action::ReportAgain(node) => {
                *state.work_mut(node) = Work::Done;
                state.wire.insert(Message::Report(node));
            }
        }
        (state != *before).then_some(state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.counted <= REPORTS_MAX
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("an index counts once", |_, state: &State| state.counted <= 1),
            Property::always("two live owners never run it", |_, state: &State| {
                let both = state.victim == Work::Running && state.thief == Work::Running;
                !both || state.is_lost
            }),
            Property::sometimes("the victim's output counts", |_, state: &State| {
                state.counted == 1 && state.victim == Work::Done && state.thief == Work::None
            }),
            Property::sometimes("the thief's output counts", |_, state: &State| {
                state.counted == 1 && state.thief == Work::Done && !state.is_lost
            }),
            Property::sometimes("a late output of a lost node is dropped", |_, state: &State| {
                state.counted == 1 && state.is_lost && state.thief == Work::Done && state.victim == Work::Done
            }),
        ]
    }
}

impl Protocol {
    fn receive(&self, state: &mut State, message: Message) {
        match message {
            Message::Grant(Node::Victim) if state.victim == Work::None && !state.has_recall => {
                state.victim = Work::Queued;
            }
            Message::Grant(Node::Thief) if state.thief == Work::None => state.thief = Work::Queued,
            Message::Grant(_) => {}
            Message::Recall => {
                // The spec is cumulative: an older grant that comes later says nothing any more.
                state.has_recall = true;
                let has_started = matches!(state.victim, Work::Running | Work::Done);
                if state.victim == Work::Queued {
                    state.victim = Work::None;
                }
                state.wire.insert(Message::Acknowledge { has_started });
            }
            Message::Acknowledge { has_started } => {
                if state.belief == Belief::Recalled {
                    state.belief = if has_started { Belief::Retained } else { Belief::Granted(Node::Thief) };
                }
                state.repeat();
            }
            Message::Report(_) if self.is_fenced => state.counted = 1,
            Message::Report(_) => state.counted += 1,
        }
    }
}

impl State {
    /// Sends what the reconciler's belief implies.
    fn repeat(&mut self) {
        if self.counted > 0 {
            return;
        }
        match self.belief {
            Belief::Granted(node) => drop(self.wire.insert(Message::Grant(node))),
            Belief::Recalled => drop(self.wire.insert(Message::Recall)),
            Belief::Retained => {}
        }
    }

    fn work(&self, node: Node) -> Work {
        match node {
            Node::Victim => self.victim,
            Node::Thief => self.thief,
        }
    }

    fn work_mut(&mut self, node: Node) -> &mut Work {
        match node {
            Node::Victim => &mut self.victim,
            Node::Thief => &mut self.thief,
        }
    }
}

#[test]
fn the_fenced_protocol_holds_in_its_whole_space() {
    let checker = Protocol { is_fenced: true }.checker().spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.unique_state_count() > 200, "only {} states", checker.unique_state_count());
}

#[test]
fn without_acknowledgement_and_first_accepted_there_are_counterexamples() {
    let checker = Protocol { is_fenced: false }.checker().spawn_bfs().join();
    checker.assert_any_discovery("an index counts once");
    checker.assert_any_discovery("two live owners never run it");
}
