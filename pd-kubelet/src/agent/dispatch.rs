//! Free slots get work; what runs is known.

use std::sync::{Arc, atomic::Ordering};

use jiff::Timestamp;
use schemas::assignment::{Progress, Running};

use super::{Agent, work::Call};
use crate::{
    report::{Message, View},
    slots::Order,
    sync::{Stretch, choose},
};

/// Bytes of outcomes in memory beyond which nothing is started: the disk does not keep up, or is full.
const BACKLOG_BYTES_MAX: u64 = 256 << 20;

/// What a slot does.
pub(super) struct Busy {
    pub uid: String,
    pub doing: Doing,
    pub started_at: Timestamp,
    pub progress: Option<Progress>,
    /// It was told to stop.
    pub interrupted: bool,
}

/// The order that a slot has.
pub(super) enum Doing {
    /// `next` is the first index without an outcome; `ended` counts those with one.
    Run {
        attempt: u32,
        next: u64,
        last: u64,
        ended: u64,
    },
    Plan,
    Merge {
        attempt: u32,
    },
}

impl Agent {
    /// Gives every free slot something to do, if there is anything.
    pub(super) fn dispatch(&mut self) {
        while let Some(slot) = self.slots.iter().position(|slot| slot.busy.is_none()) {
            if self.means.setting.backlog.load(Ordering::Relaxed) > BACKLOG_BYTES_MAX {
                break;
            }
            let mut busy = vec![0_u32; self.works.len()];
            for (position, uid) in self.works.keys().enumerate() {
                busy[position] = self.busy_slots(uid);
            }
            let candidates = self.works.values().zip(busy).map(|(work, busy)| work.candidate(busy));
            let Some(chosen) = choose(candidates) else { break };
            let Some(uid) = self.works.keys().nth(chosen).cloned() else { break };
            if !self.start(slot, uid) {
                break;
            }
        }
        let busy = self.slots.iter().filter(|slot| slot.busy.is_some()).count();
        let queued: u64 = self.works.values().map(|work| work.queued).sum();
        self.means.setting.metrics.slots_busy.set(busy as i64);
        self.means.setting.metrics.queued.set(queued as i64);
    }

    fn start(&mut self, slot: usize, uid: String) -> bool {
        let slots = self.slots.len() as u64;
        let Some(work) = self.works.get_mut(&uid) else { return false };
        let Some(job) = work.setup.job().map(Arc::clone) else { return false };
        self.hand_outs += 1;
        work.served = self.hand_outs;
        let (order, doing) = match work.calls.pop_front() {
            Some(Call::Plan) => (Order::Plan { job }, Doing::Plan),
            Some(Call::Merge { attempt, parts }) => {
                let folder = match self.means.spool.dir(&uid).scratch() {
                    Ok(folder) => folder,
                    Err(error) => {
                        let text = format!("the result cannot be written on this node: {error}");
                        work.end_merge(attempt, Err(super::setup::failure(text)));
                        return true;
                    }
                };
                let subtasks = work.object.spec.layout.as_ref().map_or(0, |layout| layout.subtasks);
                (Order::Merge { job, parts, subtasks, folder }, Doing::Merge { attempt })
            }
            None => {
                let slots = work.object.spec.slots.map_or(slots, |cap| slots.min(u64::from(cap)));
                let Some((Stretch { attempt, first, last }, is_check)) = work.next_run(slots) else { return false };
                let delivered = is_check.then(|| work.delivered(&self.means.setting.cache));
                (Order::Run { job, first, last, delivered }, Doing::Run { attempt, next: first, last, ended: 0 })
            }
        };
        let busy = Busy { uid, doing, started_at: Timestamp::now(), progress: None, interrupted: false };
        let view = &mut self.slots[slot];
        view.busy = Some(busy);
        view.orders.send(order).is_ok()
    }

    /// Stops what runs of an Assignment, as far as it is meant; answers whether anything was.
    pub(super) fn interrupt(&mut self, uid: &str, is_meant: impl Fn(&Doing) -> bool) -> bool {
        let mut any = false;
        for slot in &mut self.slots {
            let Some(busy) = slot.busy.as_mut().filter(|busy| busy.uid == uid && is_meant(&busy.doing)) else {
                continue;
            };
            any = true;
            if !busy.interrupted {
                busy.interrupted = true;
                let _ = slot.orders.send(Order::Cancel);
            }
        }
        any
    }

    /// Stops a plan or merge call, wherever it stands; when it runs, its end is filed like any other.
    pub(super) fn stop_call(&mut self, uid: &str, is_merge: bool) {
        let runs = self.interrupt(uid, |doing| match doing {
            Doing::Plan => !is_merge,
            Doing::Merge { .. } => is_merge,
            Doing::Run { .. } => false,
        });
        let Some(work) = self.works.get_mut(uid).filter(|_| !runs) else { return };
        work.calls.retain(|call| matches!(call, Call::Merge { .. }) != is_merge);
        if is_merge {
            work.fetching_parts = None;
            work.merge = None;
        } else {
            work.plan = crate::sync::Stage::Idle;
        }
    }

    /// Slots that an Assignment uses.
    pub(super) fn busy_slots(&self, uid: &str) -> u32 {
        self.slots.iter().filter(|slot| slot.busy.as_ref().is_some_and(|busy| busy.uid == uid)).count() as u32
    }

    /// What runs of an Assignment, without what of it has ended.
    pub(super) fn started(&self, uid: &str) -> Vec<Stretch> {
        let runs = self.slots.iter().filter_map(|slot| slot.busy.as_ref()).filter(|busy| busy.uid == uid);
        runs.filter_map(|busy| match busy.doing {
            Doing::Run { attempt, next, last, .. } if next <= last => Some(Stretch { attempt, first: next, last }),
            _ => None,
        })
        .collect()
    }

    /// Tells the reporter what runs and what is retained.
    pub(super) fn show(&self, uid: &str) {
        let Some(work) = self.works.get(uid) else { return };
        let mine = self.slots.iter().filter_map(|slot| slot.busy.as_ref()).filter(|busy| busy.uid == uid);
        let running = mine.filter_map(|busy| match busy.doing {
            Doing::Run { attempt, next, last, .. } if next <= last => {
                Some(Running { index: next, attempt, started_at: busy.started_at, progress: busy.progress })
            }
            _ => None,
        });
        work.send(Message::View(View {
            generation: work.object.metadata.generation.unwrap_or_default(),
            retained: work.retained.clone(),
            running: running.collect(),
        }));
    }
}
