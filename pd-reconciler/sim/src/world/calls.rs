//! Calls: requests on their way to the server, answers on their way back, news of watches.

use std::rc::Rc;

use super::{Client, Event, Tag, World};
use crate::{
    events::{MILLI, Micros},
    network::Line,
    server::{Answer, Gone, Object, Request},
};

/// Between two tries of a watch: from 50 ms to a second, as kubelet and reconciler have it.
const RETRY: (Micros, Micros) = (50 * MILLI, 1000 * MILLI);

impl World {
    pub(crate) fn line(&mut self, client: Client) -> &mut Line {
        match client {
            Client::Kubelet(number) => &mut self.kubelets[number].line,
            Client::Reconciler(number) => &mut self.reconcilers[number].line,
        }
    }

    fn is_running(&mut self, client: Client, incarnation: u32) -> bool {
        let is_alive = match client {
            Client::Kubelet(number) => self.kubelets[number].is_alive,
            Client::Reconciler(number) => self.reconcilers[number].is_alive,
        };
        is_alive && self.line(client).incarnation == incarnation
    }

    /// Sends a request, after `delay`.
    pub(crate) fn call(&mut self, from: Client, tag: Tag, request: Request, delay: Micros) {
        let mut chance = self.chance.clone();
        let line = self.line(from);
        let incarnation = line.incarnation;
        let is_lost = line.loses_out(&mut chance);
        let at = line.delay(&mut chance) + delay;
        let double = (!is_lost && chance.permille(line.doubled)).then(|| at + line.delay(&mut chance) * 3);
        self.chance = chance;
        let request = Rc::new(request);
        let (now, commit) = (self.now, self.times.commit);
        if is_lost {
            let silence = Event::Answered { to: from, incarnation, tag, answer: Answer::Silence };
            self.events.file(now + self.times.call_max, silence);
        } else {
            let request = Rc::clone(&request);
            self.events.file(now + at + commit, Event::Arrive { from, incarnation, tag, request, is_doubled: false });
        }
        if let Some(at) = double {
            self.events.file(now + at + commit, Event::Arrive { from, incarnation, tag, request, is_doubled: true });
        }
    }

    pub(super) fn arrive(&mut self, from: Client, incarnation: u32, tag: Tag, request: &Request, is_doubled: bool) {
        let answer = if self.server_is_up {
            let before = self.checks.before(&self.server, request);
            let at = self.time();
            let (answer, is_changed) = self.server.handle(request, at, self.bug);
            if is_changed && let Answer::Written(object) = &answer {
                match from {
                    Client::Kubelet(_) => self.stats.reports += 1,
                    Client::Reconciler(_) => self.stats.writes += 1,
                }
                self.trace.tell(self.now, || format!("{from:?} wrote {}", told(object)));
                self.check_commit(from, before, object);
                self.keep_foretold(object);
                self.announce(object);
                if let Object::Assignment(assignment) = object
                    && !self.server.jobs.contains_key(&assignment.spec.job.uid)
                {
                    self.sweep_later();
                }
            }
            answer
        } else {
            Answer::Silence
        };
        if is_doubled || !self.is_running(from, incarnation) {
            return;
        }
        let mut chance = self.chance.clone();
        let line = self.line(from);
        let (is_lost, delay) = (line.loses_in(&mut chance), line.delay(&mut chance));
        self.chance = chance;
        let (answer, delay) = if is_lost { (Answer::Silence, self.times.call_max) } else { (answer, delay) };
        self.events.file(self.now + delay, Event::Answered { to: from, incarnation, tag, answer });
    }

    pub(super) fn answered(&mut self, to: Client, incarnation: u32, tag: Tag, answer: Answer) {
        if !self.is_running(to, incarnation) {
            return;
        }
        match (to, tag) {
            (Client::Kubelet(number), Tag::Report { key, version }) => self.reported(number, key, version, answer),
            (Client::Reconciler(number), Tag::Write { round, number: write }) => {
                self.written(number, round, write, answer);
            }
            _ => {}
        }
    }

    /// The server collects its garbage.
    pub(super) fn sweep(&mut self) {
        for object in self.server.sweep() {
            self.announce(&object);
        }
    }

    /// Tells everybody who watches it.
    pub(crate) fn announce(&mut self, object: &Object) {
        (0..self.reconcilers.len()).for_each(|number| self.send_news(Client::Reconciler(number), object));
        let name = match object {
            Object::Assignment(assignment) => &assignment.spec.node_name,
            Object::Gone(Gone::Assignment { node, .. }) => node,
            Object::Job(_) | Object::Node(_) | Object::Gone(Gone::Job(_)) => return,
        };
        if let Some(number) = self.kubelets.iter().position(|kubelet| kubelet.name == *name) {
            self.send_news(Client::Kubelet(number), object);
        }
    }

    fn send_news(&mut self, to: Client, object: &Object) {
        let mut chance = self.chance.clone();
        let now = self.now;
        let line = self.line(to);
        if !line.is_watching {
            return;
        }
        if line.loses_in(&mut chance) {
            self.chance = chance;
            self.break_watch(to);
            return;
        }
        let at = line.floor.max(now + line.delay(&mut chance));
        line.floor = at;
        let (session, is_doubled) = (line.session, chance.permille(line.doubled));
        self.chance = chance;
        for _ in 0..=u32::from(is_doubled) {
            self.events.file(at, Event::News { to, session, object: object.clone() });
        }
    }

    /// Ends a watch in the middle; its client lists anew after a while.
    pub(super) fn break_watch(&mut self, client: Client) {
        let line = self.line(client);
        line.hang_up();
        let incarnation = line.incarnation;
        let delay = self.chance.between(RETRY.0, RETRY.1);
        self.events.file(self.now + delay, Event::List { to: client, incarnation });
    }

    /// The server answers a list and opens the watch after it.
    pub(super) fn list(&mut self, to: Client, incarnation: u32) {
        if !self.is_running(to, incarnation) {
            return;
        }
        let mut chance = self.chance.clone();
        let line = self.line(to);
        let is_lost = line.loses_out(&mut chance) || line.loses_in(&mut chance);
        let delay = 2 * line.delay(&mut chance);
        self.chance = chance;
        if is_lost || !self.server_is_up {
            return self.break_watch(to);
        }
        let node = match to {
            Client::Kubelet(number) => Some(self.kubelets[number].name.clone()),
            Client::Reconciler(_) => None,
        };
        let objects = Rc::new(self.server.list(node.as_deref()));
        let at = self.now + delay;
        let line = self.line(to);
        line.session += 1;
        line.is_watching = true;
        line.floor = at;
        let session = line.session;
        self.events.file(at, Event::Listed { to, session, objects, version: self.server.version });
    }

    pub(super) fn listed(&mut self, to: Client, session: u32, objects: &[Object], version: u64) {
        if self.line(to).session != session {
            return;
        }
        match to {
            Client::Kubelet(number) => self.meet_all(number, objects),
            Client::Reconciler(number) => self.observe_all(number, objects, version),
        }
    }

    pub(super) fn news(&mut self, to: Client, session: u32, object: Object) {
        if self.line(to).session != session {
            return;
        }
        match (to, object) {
            (Client::Kubelet(number), Object::Assignment(assignment)) => self.meet(number, assignment),
            (Client::Kubelet(number), Object::Gone(Gone::Assignment { uid, .. })) => self.miss(number, &uid),
            (Client::Kubelet(_), _) => {}
            (Client::Reconciler(number), object) => self.observe(number, object),
        }
    }
}

/// An object in a line of the trace.
fn told(object: &Object) -> String {
    match object {
        Object::Job(job) => {
            let status = job.status.clone().unwrap_or_default();
            let (name, counts) = (job.metadata.name.as_deref().unwrap_or_default(), status.subtasks);
            format!("job {name} {:?} {counts:?}", status.state)
        }
        Object::Node(node) => format!("node {} {:?}", node.uid, node.ready),
        Object::Gone(gone) => format!("{gone:?}"),
        Object::Assignment(assignment) => {
            let meta = &assignment.metadata;
            let status = assignment.status.clone().unwrap_or_default();
            let running: schemas::IndexSet = status.running.iter().map(|running| running.index).collect();
            format!(
                "assignment of {} to {} generation {:?}/{} granted [{}] done [{}] running [{running}] retained [{}]",
                assignment.spec.job.name,
                assignment.spec.node_uid,
                meta.generation.unwrap_or(0),
                status.observed_generation,
                assignment.spec.granted(),
                status.completed(),
                status.retained,
            )
        }
    }
}
