//! Reports: when a kubelet tells the server what it has, and what it does when that fails. Written after the
//! kubelet's reporter: changes wait for others to join them, the spool comes before the report, one report at a
//! time.

use std::sync::Arc;

use schemas::{Assignment, Digest};

use super::{Client, Event, Tag, World};
use crate::{
    events::{MILLI, Micros},
    kubelet::{Key, Reporting},
    server::{Answer, Object, Request},
};

/// Changes wait this long for others.
const REPORT_DELAY: Micros = 150 * MILLI;
/// First and longest delay after a report that failed.
const RETRY: (Micros, Micros) = (50 * MILLI, 2000 * MILLI);

impl Reporting {
    /// There is something new to tell.
    pub(crate) fn change(&mut self, now: Micros) {
        self.version += 1;
        self.changed_at.get_or_insert(now);
    }

    /// Takes the object as the server has it.
    pub(crate) fn take(&mut self, object: &Arc<Assignment>) {
        let version = |object: &Arc<Assignment>| Object::Assignment(Arc::clone(object)).version();
        if self.base.as_ref().is_none_or(|base| version(base) <= version(object)) {
            self.base = Some(Arc::clone(object));
            self.is_fenced = false;
        }
    }

    /// When the next report is due, if one is.
    fn due(&self, now: Micros) -> Option<Micros> {
        if self.is_fenced || self.under_way.is_some() || self.version == self.acknowledged {
            return None;
        }
        let delay = if self.is_urgent { 0 } else { REPORT_DELAY };
        Some((self.changed_at.unwrap_or(now) + delay).max(self.retry_at.unwrap_or(0)))
    }
}

impl World {
    /// Nothing more will come for now: reports at once.
    pub(super) fn flush(&mut self, kubelet: usize, key: Key) {
        if let Some(work) = self.kubelets[kubelet].works.get_mut(&key) {
            work.report.is_urgent = true;
        }
        self.arm_report(kubelet, key);
    }

    /// Sees to it that the next report is made when it is due.
    pub(super) fn arm_report(&mut self, kubelet: usize, key: Key) {
        let now = self.now;
        let node = &mut self.kubelets[kubelet];
        let incarnation = node.line.incarnation;
        let Some(work) = node.works.get_mut(&key) else { return };
        let Some(at) = work.report.due(now) else { return };
        let at = at.max(now);
        if work.report.armed.is_none_or(|armed| armed > at || armed < now) {
            work.report.armed = Some(at);
            self.events.file(at, Event::Report { kubelet, incarnation, key });
        }
    }

    pub(super) fn report_if_due(&mut self, kubelet: usize, incarnation: u32, key: Key) {
        let now = self.now;
        let node = &mut self.kubelets[kubelet];
        if node.line.incarnation != incarnation || !node.is_alive {
            return;
        }
        let Some(work) = node.works.get_mut(&key) else { return };
        if work.report.armed.is_some_and(|armed| armed <= now) {
            work.report.armed = None;
        }
        match work.report.due(now) {
            Some(at) if at <= now => self.publish(kubelet, key),
            Some(_) => self.arm_report(kubelet, key),
            None => {}
        }
    }

    fn publish(&mut self, kubelet: usize, key: Key) {
        self.settle(kubelet, key);
        self.segments += 1;
        let mut name = [0_u8; 32];
        name[..8].copy_from_slice(&self.segments.to_le_bytes());
        let node = &mut self.kubelets[kubelet];
        let upload = 2 * node.line.latency;
        let Some(work) = node.works.get_mut(&key) else { return };
        let Some(base) = work.report.base.clone() else { return };
        work.report.changed_at = None;
        work.report.is_urgent = false;
        let version = work.report.version;
        work.report.under_way = Some(version);
        let status = work.ledger.status(&work.view, Digest::from_bytes(name));
        let is_new = base.status.as_ref().is_none_or(|known| known.succeeded != status.succeeded);
        // The spool comes before the report.
        node.spool.insert(key, work.ledger.clone());
        let request = Request::Report { assignment: base, status: Box::new(status) };
        let delay = if is_new { upload } else { 0 };
        self.call(Client::Kubelet(kubelet), Tag::Report { key, version }, request, delay);
    }

    pub(super) fn reported(&mut self, kubelet: usize, key: Key, version: u64, answer: Answer) {
        let wait = self.chance.between(RETRY.0, 2 * RETRY.0);
        let now = self.now;
        let Some(work) = self.kubelets[kubelet].works.get_mut(&key) else { return };
        let report = &mut work.report;
        if report.under_way != Some(version) {
            return;
        }
        report.under_way = None;
        match answer {
            Answer::Written(Object::Assignment(object)) => {
                report.acknowledged = version;
                (report.retry_at, report.failures) = (None, 0);
                report.take(&object);
            }
            Answer::Conflict(Some(Object::Assignment(object))) => {
                report.take(&object);
                report.is_urgent = true;
                report.changed_at.get_or_insert(now);
            }
            Answer::Refused => report.is_fenced = true,
            _ => {
                let delay = (wait << report.failures.min(6)).min(RETRY.1);
                report.failures += 1;
                report.retry_at = Some(now + delay);
                report.changed_at.get_or_insert(now);
            }
        }
        self.arm_report(kubelet, key);
    }
}
