//! The agent: the thin shell around `sync`. One task owns all Assignments and all slots.
//!
//! In: changes of Assignments, events of slots, ends of set-ups. Out: orders to slots, messages to reporters.
//! Everything it does is per event, per run or per batch, never per index. What to do is decided in `sync`.

mod dispatch;
mod outcome;
mod setup;
mod work;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use schemas::Assignment;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    assignments::Change,
    cache::Modules,
    report::{self, Ledger, Lost, Message, Reporter},
    slots::{self, Order, Spawner},
    spool::Spool,
    sync::{self, Step},
};
use work::{SetupState, Work};

/// Housekeeping: what runs is shown, failed set-ups are tried again, a drained backlog is noticed.
const TICK: Duration = Duration::from_millis(500);
/// What a job has open is closed when nothing of it was asked for during this time: Assignments stay for days.
const RELEASE_AFTER: Duration = Duration::from_secs(10);
/// A set-up that failed is tried again after this, if nobody asks sooner.
const SETUP_RETRY: Duration = Duration::from_secs(5);
/// What the reporters get to bring everything to disk at the end.
const FAREWELL: Duration = Duration::from_secs(3);

/// What the agent works with.
pub(crate) struct Means {
    pub setting: report::Setting,
    pub modules: Arc<Modules>,
    pub spool: Spool,
    pub spawner: Spawner,
    pub slots: usize,
}

/// Where the agent hears from.
pub(crate) struct Inbox {
    pub changes: mpsc::Receiver<Change>,
    pub node_uid: watch::Receiver<String>,
    pub lost: mpsc::UnboundedReceiver<Lost>,
}

/// What the agent's own tasks tell it.
enum Told {
    SetUp { uid: String, with_layout: bool, result: Result<slots::Job, setup::SetupError> },
    Parts { uid: String, attempt: u32, result: Result<slots::Parts, setup::SetupError> },
}

/// A slot as the agent sees it.
struct SlotView {
    orders: mpsc::UnboundedSender<Order>,
    busy: Option<dispatch::Busy>,
}

/// The agent.
pub(crate) struct Agent {
    means: Means,
    node_uid: String,
    slots: Vec<SlotView>,
    works: BTreeMap<String, Work>,
    /// Ledgers of an earlier start whose Assignment was not seen yet.
    spooled: BTreeMap<String, Ledger>,
    /// Assignments for another registration of this node; it may turn out to be a newer one.
    ignored: HashMap<String, Box<Assignment>>,
    tell: mpsc::UnboundedSender<Told>,
    told: mpsc::UnboundedReceiver<Told>,
    slot_events: mpsc::UnboundedReceiver<slots::Event>,
    slot_tasks: JoinSet<()>,
    reporters: JoinSet<()>,
    hand_outs: u64,
}

impl Agent {
    /// Starts the slots; `spooled` is what earlier starts left.
    pub(crate) fn new(means: Means, node_uid: String, spooled: BTreeMap<String, Ledger>) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        let (events, slot_events) = mpsc::unbounded_channel();
        let mut slot_tasks = JoinSet::new();
        let slots = (0..means.slots).map(|number| {
            let (orders, inbox) = mpsc::unbounded_channel();
            slot_tasks.spawn(slots::Slot::new(number, Arc::clone(&means.spawner), inbox, events.clone()).serve());
            SlotView { orders, busy: None }
        });
        let slots = slots.collect();
        means.setting.metrics.slots.set(means.slots as i64);
        Self {
            means,
            node_uid,
            slots,
            works: BTreeMap::new(),
            spooled,
            ignored: HashMap::new(),
            tell,
            told,
            slot_events,
            slot_tasks,
            reporters: JoinSet::new(),
            hand_outs: 0,
        }
    }

    /// Works until `shutdown`; then everything that has ended is on disk.
    pub(crate) async fn serve(mut self, mut inbox: Inbox, shutdown: impl Future<Output = ()>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(event) = self.slot_events.recv() => self.on_slot(event),
                Some(change) = inbox.changes.recv() => self.on_change(change),
                Some(told) = self.told.recv() => self.on_told(told),
                Some(lost) = inbox.lost.recv() => self.on_lost(&lost),
                Ok(()) = inbox.node_uid.changed() => {
                    let uid = inbox.node_uid.borrow_and_update().clone();
                    self.on_node_uid(uid);
                }
                _ = ticks.tick() => self.on_tick(),
            }
            self.dispatch();
        }
        self.farewell().await;
    }

    async fn farewell(mut self) {
        self.slot_tasks.abort_all();
        // What slots said last still counts.
        while let Ok(event) = self.slot_events.try_recv() {
            self.on_slot(event);
        }
        self.works.clear();
        let all = async { while self.reporters.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, all).await.is_err() {
            tracing::warn!("some outcomes did not reach the disk in time; they will be computed again");
        }
    }

    fn on_change(&mut self, change: Change) {
        match change {
            Change::Set(object) => self.on_set(object),
            Change::Gone(uid) => self.drop_work(&uid),
            Change::Listed(uids) => {
                let gone: Vec<String> =
                    self.works.keys().chain(self.spooled.keys()).filter(|uid| !uids.contains(uid)).cloned().collect();
                for uid in gone {
                    self.drop_work(&uid);
                }
                self.ignored.retain(|uid, _| uids.contains(uid));
            }
        }
        self.means.setting.metrics.assignments.set(self.works.len() as i64);
    }

    fn on_set(&mut self, object: Box<Assignment>) {
        let uid = object.metadata.uid.clone().unwrap_or_default();
        if object.spec.node_uid != self.node_uid || object.metadata.deletion_timestamp.is_some() {
            self.drop_work(&uid);
            self.ignored.insert(uid, object);
            return;
        }
        let Some(work) = self.works.get_mut(&uid) else { return self.adopt(uid, object) };
        let is_same = work.object.metadata.generation == object.metadata.generation && work.object.spec == object.spec;
        work.send(Message::Object(object.clone()));
        if is_same {
            return;
        }
        let was_shrunk = !object.spec.granted().is_superset(&work.object.spec.granted());
        if work.object.spec.work != object.spec.work {
            // The job's limits changed under way: what starts from now on is held to the new ones.
            work.setup = SetupState::Missing;
        }
        work.set(object);
        work.setup.forgive();
        self.sync(&uid);
        if was_shrunk && let Some(work) = self.works.get(&uid) {
            work.send(Message::Flush);
        }
    }

    /// Takes up a new Assignment, where an earlier start or the server's status left it.
    fn adopt(&mut self, uid: String, object: Box<Assignment>) {
        let node_uid = &self.node_uid;
        let mut ledger = self
            .spooled
            .remove(&uid)
            .filter(|ledger| ledger.node_uid == *node_uid)
            .unwrap_or_else(|| Ledger::new(node_uid.clone()));
        if let Some(status) = &object.status {
            ledger.adopt(status);
        }
        let job = object.spec.job.name.clone();
        tracing::info!(assignment = object.metadata.name, job, "assignment taken up");
        let (messages, inbox) = mpsc::unbounded_channel();
        let work = Work::new(object.clone(), &ledger, messages);
        let dir = self.means.spool.dir(&uid);
        self.reporters.spawn(Reporter::new(self.means.setting.clone(), dir, object, ledger).serve(inbox));
        self.works.insert(uid.clone(), work);
        self.sync(&uid);
    }

    /// Forgets an Assignment: what runs of it is interrupted, what is spooled is deleted.
    fn drop_work(&mut self, uid: &str) {
        self.ignored.remove(uid);
        if self.spooled.remove(uid).is_some() {
            self.means.spool.dir(uid).remove();
        }
        let Some(work) = self.works.remove(uid) else { return };
        tracing::info!(assignment = work.object.metadata.name, "assignment dropped");
        work.send(Message::Discard);
        self.interrupt(uid, |_| true);
    }

    fn on_node_uid(&mut self, uid: String) {
        if self.node_uid == uid {
            return;
        }
        self.node_uid = uid;
        let foreign = |work: &Work| work.object.spec.node_uid != self.node_uid;
        let gone: Vec<String> = self.works.iter().filter(|(_, w)| foreign(w)).map(|(uid, _)| uid.clone()).collect();
        for uid in gone {
            self.drop_work(&uid);
        }
        for (_, object) in std::mem::take(&mut self.ignored) {
            self.on_set(object);
        }
    }

    fn on_lost(&mut self, lost: &Lost) {
        if let Some(work) = self.works.get_mut(&lost.uid) {
            tracing::warn!(indexes = %lost.indexes, "outputs were lost and are computed again");
            work.completed -= &lost.indexes;
            self.sync(&lost.uid);
        }
    }

    fn on_told(&mut self, told: Told) {
        match told {
            Told::SetUp { uid, with_layout, result } => {
                let Some(work) = self.works.get_mut(&uid) else { return };
                match result {
                    Ok(job) => work.setup = SetupState::Ready { job: Arc::new(job), with_layout },
                    Err(error) => return self.setup_failed(&uid, &crate::chain(&error)),
                }
                self.sync(&uid);
            }
            Told::Parts { uid, attempt, result } => {
                let is_due = |work: &&mut Work| work.merge == Some((attempt, sync::Stage::Underway));
                let Some(work) = self.works.get_mut(&uid).filter(is_due) else { return };
                match result {
                    Ok(parts) => work.calls.push_back(work::Call::Merge { attempt, parts: Arc::new(parts) }),
                    Err(error) => work.end_merge(attempt, Err(setup::failure(crate::chain(&error)))),
                }
            }
        }
    }

    fn on_tick(&mut self) {
        let uids: Vec<String> = self.works.keys().cloned().collect();
        for uid in uids {
            let busy = self.busy_slots(&uid) > 0;
            let Some(work) = self.works.get_mut(&uid) else { continue };
            if work.setup.failed_at().is_some_and(|at| at.elapsed() >= SETUP_RETRY) {
                work.setup.forgive();
                self.sync(&uid);
            } else if busy {
                work.touched = Instant::now();
                self.show(&uid);
            } else if work.is_idle() && work.touched.elapsed() >= RELEASE_AFTER {
                work.setup.release();
            }
        }
    }

    /// Decides about one Assignment and does it.
    fn sync(&mut self, uid: &str) {
        let started = self.started(uid);
        let Some(work) = self.works.get_mut(uid) else { return };
        let next = sync::sync(&work.object.spec, &work.have(started));
        work.queued = next.queue.iter().map(sync::Stretch::count).sum();
        work.queue = next.queue;
        work.retained = next.retained;
        for step in next.steps {
            self.take_step(uid, step);
        }
        if !next.stop.is_empty() {
            self.interrupt(uid, |doing| match doing {
                dispatch::Doing::Run { next: at, .. } => next.stop.contains(*at),
                dispatch::Doing::Plan | dispatch::Doing::Merge { .. } => false,
            });
        }
        self.show(uid);
    }

    fn take_step(&mut self, uid: &str, step: Step) {
        let Some(work) = self.works.get_mut(uid) else { return };
        match step {
            Step::SetUp { with_layout } => {
                let (spec, tell, uid) = (work.object.spec.clone(), self.tell.clone(), uid.to_owned());
                let (cache, modules) = (Arc::clone(&self.means.setting.cache), Arc::clone(&self.means.modules));
                let task = tokio::spawn(async move {
                    let result = setup::job(&cache, &modules, &spec).await;
                    let _ = tell.send(Told::SetUp { uid, with_layout, result });
                });
                work.setup = SetupState::Underway(work::Task::new(task));
            }
            Step::Plan => {
                work.plan = sync::Stage::Underway;
                work.plan_attempt = work.object.spec.plan_attempt;
                work.calls.push_back(work::Call::Plan);
            }
            Step::StopPlan => self.stop_call(uid, false),
            Step::StopMerge => self.stop_call(uid, true),
            Step::Merge { attempt } => {
                work.merge = Some((attempt, sync::Stage::Underway));
                let Some(order) = work.object.spec.merge.clone() else { return };
                let (cache, tell, uid) = (Arc::clone(&self.means.setting.cache), self.tell.clone(), uid.to_owned());
                let task = tokio::spawn(async move {
                    let result = setup::parts(&cache, &order).await;
                    let _ = tell.send(Told::Parts { uid, attempt, result });
                });
                work.fetching_parts = Some(work::Task::new(task));
            }
            Step::Interrupt => {
                self.interrupt(uid, |doing| matches!(doing, dispatch::Doing::Run { .. }));
            }
        }
    }
}
