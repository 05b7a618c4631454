//! Faults, and the ends of faults.

use pd_plan::Effect;

use super::{Event, World, people};
use crate::{
    bug::Bug,
    events::{Micros, SECOND},
    kubelet::{Key, Run},
    world::Client,
};

/// How long a kubelet takes to start and list.
const START: Micros = SECOND / 4;

/// Whose set-up fails on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// Every job's: its disk is full, or its cache unreadable.
    All,
    /// That job's: its component does not compile there.
    Job(u64),
}

/// What strikes, or ends. Numbers are those of `World::add_node` and `World::add_reconciler`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// A kubelet starts: for the first time, after it was killed, or anew on a machine that lost its disk.
    Start(usize),
    /// `kill -9`: what was not spooled is lost.
    Kill(usize),
    /// The disk is lost with everything on it; the next start joins anew, under another UID.
    Wipe(usize),
    /// The machine dies for good.
    Die(usize),
    /// SIGSTOP.
    Freeze(usize),
    /// SIGCONT.
    Thaw(usize),
    /// The node's line is cut: what it sends, what it is sent.
    Cut(usize, bool, bool),
    /// The node's line is whole again.
    Mend(usize),
    /// The node works at that share of its nominal speed.
    Throttle(usize, f64),
    /// All lines lose and double that many messages in a thousand.
    Weather(u64, u64),
    /// The API server goes away.
    StopServer,
    /// It is back.
    StartServer,
    /// A reconciler starts.
    StartReconciler(usize),
    /// A reconciler is killed; what it had sent may arrive.
    KillReconciler(usize),
    /// A reconciler's line is cut.
    CutReconciler(usize),
    /// A reconciler's line is whole again.
    MendReconciler(usize),
    /// An administrator cordons a node; or drains it.
    Cordon(usize, bool),
    /// It takes work again.
    Uncordon(usize),
    /// An administrator taints a node.
    Taint(usize, Effect),
    /// That taint is gone.
    Untaint(usize),
    /// An administrator makes a node fit for every job.
    Furnish(usize),
    /// A user suspends that job, or lets it go on.
    Suspend(u64, bool),
    /// A user lets that job use so many slots.
    Parallelism(u64, Option<u32>),
    /// A user deletes that job.
    Delete(u64),
    /// Users delete the jobs that wait for one that is not there any more.
    Abandon,
    /// All executors of a node die at once, as if memory had run out.
    KillExecutors(usize),
    /// A node cannot set jobs up, nor load what it has set up.
    SpoilSetUp(usize, Whose),
    /// It can again.
    MendSetUp(usize, Whose),
}

impl World {
    pub(super) fn apply_fault(&mut self, fault: Fault) {
        self.trace.tell(self.now, || format!("fault {fault:?}"));
        self.stats.faults += 1;
        match fault {
            Fault::Cordon(..)
            | Fault::Uncordon(_)
            | Fault::Taint(..)
            | Fault::Untaint(_)
            | Fault::Furnish(_)
            | Fault::Suspend(..)
            | Fault::Parallelism(..) => self.edit(fault),
            Fault::Delete(job) => self.delete(&people::uid(job)),
            Fault::Abandon => self.abandon(),
            Fault::KillExecutors(node) => self.kill_executors(node),
            Fault::SpoilSetUp(node, whose) => {
                self.kubelets[node].spoilt.insert(whose);
            }
            Fault::MendSetUp(node, whose) => {
                self.kubelets[node].spoilt.remove(&whose);
            }
            Fault::Start(node) => self.start_kubelet(node),
            Fault::Kill(node) => self.stop_kubelet(node),
            Fault::Wipe(node) => self.wipe(node),
            Fault::Die(node) => {
                self.stop_kubelet(node);
                self.kubelets[node].is_dead = true;
            }
            Fault::Freeze(node) => self.freeze(node),
            Fault::Thaw(node) => self.thaw(node),
            Fault::Cut(node, out, inward) => {
                let line = &mut self.kubelets[node].line;
                line.out_is_cut |= out;
                line.in_is_cut |= inward;
            }
            Fault::Mend(node) => {
                let line = &mut self.kubelets[node].line;
                (line.out_is_cut, line.in_is_cut) = (false, false);
            }
            Fault::Throttle(node, share) => {
                let speed = self.kubelets[node].nominal * share;
                self.set_speed(node, speed);
            }
            Fault::Weather(loss, doubled) => {
                let lines = self.kubelets.iter_mut().map(|kubelet| &mut kubelet.line);
                for line in lines.chain(self.reconcilers.iter_mut().map(|reconciler| &mut reconciler.line)) {
                    (line.loss, line.doubled) = (loss, doubled);
                }
            }
            Fault::StopServer | Fault::StartServer => self.switch_server(fault == Fault::StartServer),
            Fault::StartReconciler(number) => self.start_reconciler(number),
            Fault::KillReconciler(number) => self.kill_reconciler(number),
            Fault::CutReconciler(number) | Fault::MendReconciler(number) => {
                let is_cut = matches!(fault, Fault::CutReconciler(_));
                let reconciler = &mut self.reconcilers[number];
                (reconciler.line.out_is_cut, reconciler.line.in_is_cut) = (is_cut, is_cut);
                reconciler.listening_since = (!is_cut && reconciler.is_synced).then_some(self.now);
                self.events.file(self.now, Event::LeaseNews);
                // By then each node that is well has renewed its lease since we listen.
                self.events.file(self.now + SECOND, Event::LeaseNews);
            }
        }
        self.listen();
    }

    /// Keeps track of whose lease is renewed.
    fn listen(&mut self) {
        let patience = self.policy.lost_after.as_micros() as Micros;
        for kubelet in &mut self.kubelets {
            let is_heard = self.server_is_up && kubelet.is_alive && !kubelet.is_frozen && !kubelet.line.out_is_cut;
            match kubelet.silent_since {
                None if !is_heard => kubelet.silent_since = Some(self.now),
                Some(since) if is_heard => {
                    kubelet.silent_since = None;
                    if self.now - since + 2 * SECOND >= patience {
                        kubelet.lost_until = Some(self.now);
                    }
                    self.events.file(self.now + SECOND, Event::LeaseNews);
                }
                _ => {}
            }
        }
    }

    fn start_kubelet(&mut self, number: usize) {
        let kubelet = &mut self.kubelets[number];
        if kubelet.is_alive || kubelet.is_dead {
            return;
        }
        kubelet.is_alive = true;
        kubelet.line.incarnation += 1;
        if !kubelet.has_joined {
            kubelet.has_joined = true;
            let object = self.server.join(number, kubelet);
            self.announce(&object);
        }
        let kubelet = &mut self.kubelets[number];
        kubelet.line.hang_up();
        let incarnation = kubelet.line.incarnation;
        self.events.file(self.now + START, Event::List { to: Client::Kubelet(number), incarnation });
    }

    fn stop_kubelet(&mut self, number: usize) {
        let kubelet = &mut self.kubelets[number];
        kubelet.is_alive = false;
        kubelet.is_frozen = false;
        kubelet.held.clear();
        kubelet.line.incarnation += 1;
        kubelet.line.hang_up();
        kubelet.works.clear();
        kubelet.slots.iter_mut().for_each(|slot| *slot = None);
        if self.bug == Some(Bug::AdoptionForgotten) {
            kubelet.spool.clear();
        }
    }

    fn wipe(&mut self, number: usize) {
        self.stop_kubelet(number);
        let kubelet = &mut self.kubelets[number];
        kubelet.spool.clear();
        kubelet.joins += 1;
        kubelet.uid = format!("{}-{}", kubelet.name, kubelet.joins);
        kubelet.has_joined = false;
    }

    fn freeze(&mut self, number: usize) {
        if !self.kubelets[number].is_alive || self.kubelets[number].is_frozen {
            return;
        }
        let speed = self.kubelets[number].speed;
        self.set_speed(number, 0.0);
        let kubelet = &mut self.kubelets[number];
        kubelet.is_frozen = true;
        kubelet.thawed_speed = speed;
    }

    fn thaw(&mut self, number: usize) {
        let kubelet = &mut self.kubelets[number];
        if !kubelet.is_frozen {
            return;
        }
        kubelet.is_frozen = false;
        let (held, speed) = (std::mem::take(&mut kubelet.held), kubelet.thawed_speed);
        self.set_speed(number, speed);
        for event in held {
            self.events.file(self.now, event);
        }
        self.dispatch(number);
    }

    /// From now on the node works at `speed`; what runs goes on from where it is.
    fn set_speed(&mut self, number: usize, speed: f64) {
        let now = self.now;
        if self.kubelets[number].is_frozen {
            self.kubelets[number].thawed_speed = speed;
            return;
        }
        let keys: Vec<Key> = self.kubelets[number].works.keys().copied().collect();
        for key in keys {
            self.settle(number, key);
        }
        let kubelet = &mut self.kubelets[number];
        let old = kubelet.speed;
        for run in kubelet.slots.iter_mut().flatten() {
            let Run { paid, since, number, .. } = run;
            *paid += (now - *since) as f64 * old;
            *since = now;
            kubelet.runs += 1;
            *number = kubelet.runs;
        }
        kubelet.speed = speed;
        (0..self.kubelets[number].slots.len()).for_each(|slot| self.await_end(number, slot));
    }

    fn switch_server(&mut self, is_up: bool) {
        if self.server_is_up == is_up {
            return;
        }
        self.server_is_up = is_up;
        for number in 0..self.kubelets.len() {
            if !is_up && self.kubelets[number].line.is_watching {
                self.break_watch(Client::Kubelet(number));
            }
        }
        for number in 0..self.reconcilers.len() {
            if !is_up && self.reconcilers[number].line.is_watching {
                self.break_watch(Client::Reconciler(number));
            }
            let reconciler = &mut self.reconcilers[number];
            reconciler.listening_since = (is_up && reconciler.is_synced).then_some(self.now);
        }
    }

    fn start_reconciler(&mut self, number: usize) {
        let reconciler = &mut self.reconcilers[number];
        if reconciler.is_alive {
            return;
        }
        reconciler.is_alive = true;
        reconciler.line.incarnation += 1;
        reconciler.line.hang_up();
        let incarnation = reconciler.line.incarnation;
        self.checks.another_reconciler();
        self.events.file(self.now, Event::List { to: Client::Reconciler(number), incarnation });
    }

    /// A killed reconciler forgets everything.
    fn kill_reconciler(&mut self, number: usize) {
        let old = &self.reconcilers[number];
        let mut line = old.line.clone();
        line.incarnation += 1;
        line.hang_up();
        self.reconcilers[number] = crate::reconciler::Reconciler::new(line);
    }
}
