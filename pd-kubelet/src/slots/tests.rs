use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use executor_protocol::Context;
use futures::FutureExt as _;
use schemas::{
    AssignmentSpec, ByteSize, Digest, IndexSet,
    assignment::{FailureOutcome, JobRef, Work},
    segment,
};
use tokio::sync::mpsc;

use super::{
    collect::Checks,
    fake::{Act, Log, spawner},
    *,
};

/// Longest wait for anything in these tests.
const DEADLINE: Duration = Duration::from_mins(1);

pub(crate) fn context() -> Context {
    Context {
        compiled: "c".into(),
        params: "{}".into(),
        memory_bytes_max: 1,
        call_ms_max: 100,
        output_bytes_max: 1,
        log_bytes_max: 1,
        goal: None,
        cpu_ms_max: None,
        isolation: executor_protocol::Isolation::Subtask,
        canonical_nans: false,
        host_kernels: true,
    }
}

pub(crate) fn spec() -> AssignmentSpec {
    AssignmentSpec {
        job: JobRef { name: "j".into(), uid: "u".into() },
        node_name: "n".into(),
        node_uid: "nu".into(),
        work: Work {
            module: Digest::of(b"module"),
            params: serde_json::Map::new(),
            inputs: BTreeMap::new(),
            memory: ByteSize(1 << 20),
            subtask_timeout: schemas::Duration::from_millis(1000),
            cpu_time: None,
            isolation: schemas::job::Isolation::Subtask,
            bitwise: false,
            host_kernels: true,
        },
        plan: false,
        plan_attempt: 0,
        layout: None,
        grants: vec![],
        recalled: IndexSet::new(),
        copies: IndexSet::new(),
        checks: IndexSet::new(),
        check_parts: vec![],
        slots: None,
        merge: None,
    }
}

struct Rig {
    orders: mpsc::UnboundedSender<Order>,
    events: mpsc::UnboundedReceiver<Event>,
    log: Arc<Log>,
    job: Arc<Job>,
}

/// What came of an order.
#[derive(Default)]
struct Ran {
    succeeded: IndexSet,
    failed: BTreeMap<u64, FailureOutcome>,
    outputs: BTreeMap<u64, Vec<u8>>,
    checks: Checks,
}

impl Rig {
    fn new(script: impl Fn(u64, u32) -> Act + Send + Sync + 'static) -> Self {
        let (spawner, log) = spawner(script);
        let (orders, inbox) = mpsc::unbounded_channel();
        let (sender, events) = mpsc::unbounded_channel();
        tokio::spawn(Slot::new(0, spawner, inbox, sender).serve());
        let job = Arc::new(Job { context: context(), inputs: BTreeMap::new(), state: None });
        Self { orders, events, log, job }
    }

    fn order(&self, first: u64, last: u64) {
        self.order_check(first, last, None);
    }

    fn order_check(&self, first: u64, last: u64, delivered: Option<Delivered>) {
        let order = Order::Run { job: Arc::clone(&self.job), first, last, delivered };
        assert!(self.orders.send(order).is_ok(), "the slot serves");
    }

    async fn end(&mut self, ran: &mut Ran) -> End {
        loop {
            let event = tokio::time::timeout(DEADLINE, self.events.recv()).await.expect("in time").expect("an event");
            match event.kind {
                EventKind::Batch(batch) => {
                    ran.checks.attested += batch.checks.attested;
                    ran.checks.refused += batch.checks.refused;
                    ran.checks.failed += batch.checks.failed;
                    for range in batch.outputs.ranges() {
                        for index in range {
                            assert!(ran.succeeded.insert(index), "{index} ended twice");
                        }
                    }
                    ran.outputs.extend(batch.outputs.iter().map(|(index, output)| (index, output.to_vec())));
                    for failed in batch.failures {
                        assert!(ran.failed.insert(failed.index, failed.outcome).is_none(), "ended twice");
                    }
                }
                EventKind::Progress { .. } => {}
                EventKind::Finished { end, .. } => return end,
            }
        }
    }

    async fn run(&mut self, first: u64, last: u64) -> Ran {
        self.order(first, last);
        let mut ran = Ran::default();
        assert!(matches!(self.end(&mut ran).await, End::Run));
        ran
    }

    fn starts(&self) -> u32 {
        self.log.starts.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn runs_end_and_the_executor_stays_warm() {
    let mut rig = Rig::new(|index, _| if index == 3 { Act::Fail } else { Act::Succeed });
    let ran = rig.run(0, 9).await;
    assert_eq!(ran.succeeded.to_string(), "0-2,4-9");
    assert_eq!(ran.failed, BTreeMap::from([(3, FailureOutcome::Trap)]));
    assert_eq!(ran.outputs[&7], b"7");
    rig.run(10, 12).await;
    assert_eq!((rig.starts(), rig.log.prepares.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn an_index_that_kills_its_executor_is_found_and_alone_blamed() {
    let mut rig = Rig::new(|index, _| if index == 6 { Act::Die } else { Act::Succeed });
    let ran = rig.run(0, 20).await;
    assert_eq!(ran.failed, BTreeMap::from([(6, FailureOutcome::ExecutorLost)]));
    assert_eq!(ran.succeeded.to_string(), "0-5,7-20");
    assert_eq!(rig.starts(), 3, "one died in the run, one under the guilty index, one went on");
}

#[tokio::test]
async fn an_executor_that_was_killed_from_outside_blames_nobody() {
    let mut rig = Rig::new(|index, life| if index == 6 && life == 1 { Act::Die } else { Act::Succeed });
    let ran = rig.run(0, 20).await;
    assert!(ran.failed.is_empty());
    assert_eq!(ran.succeeded.to_string(), "0-20");
}

#[tokio::test]
async fn a_time_limit_costs_one_index_and_one_executor() {
    let mut rig = Rig::new(|index, _| if index == 2 { Act::TimeOut } else { Act::Succeed });
    let ran = rig.run(0, 9).await;
    assert_eq!(ran.failed, BTreeMap::from([(2, FailureOutcome::Timeout)]));
    assert_eq!(ran.succeeded.count(), 9);
    assert_eq!(rig.starts(), 2);
}

#[tokio::test]
async fn an_executor_that_ignores_its_time_limit_is_killed() {
    let mut rig = Rig::new(|index, _| if index == 5 { Act::Hang } else { Act::Succeed });
    let ran = rig.run(0, 9).await;
    assert_eq!(ran.failed, BTreeMap::from([(5, FailureOutcome::Timeout)]));
    assert_eq!(ran.succeeded.count(), 9);
}

#[tokio::test]
async fn a_cancelled_run_ends_soon_and_the_slot_goes_on() {
    for (act, starts) in [(Act::UntilCancelled, 1), (Act::Hang, 2)] {
        let mut rig = Rig::new(move |index, _| if index == 0 { act } else { Act::Succeed });
        rig.order(0, 9);
        rig.orders.send(Order::Cancel).expect("serves");
        let started = tokio::time::Instant::now();
        assert!(matches!(rig.end(&mut Ran::default()).await, End::Cancelled));
        assert!(started.elapsed() < Duration::from_secs(1));
        // A cancel that comes too late is for nobody.
        rig.orders.send(Order::Cancel).expect("serves");
        assert_eq!(rig.run(1, 3).await.succeeded.to_string(), "1-3");
        assert_eq!(rig.starts(), starts);
    }
}

/// What another node is said to have delivered of 0 to 5.
fn delivered() -> Delivered {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let outputs = [(0, "right"), (1, "wrong"), (2, "right"), (3, "deadly"), (4, "right"), (5, "right")];
    std::fs::write(file.path(), segment::encode(&outputs)).expect("writes");
    let mut parts = Parts::default();
    parts.add(file.path(), &IndexSet::first(6)).expect("opens");
    let parts = Arc::new(parts);
    async move { parts }.boxed().shared()
}

#[tokio::test]
async fn an_output_that_is_attested_is_taken_over_and_any_other_is_computed() {
    let mut rig = Rig::new(|_, _| Act::Succeed);
    rig.order_check(0, 2, Some(delivered()));
    let mut ran = Ran::default();
    assert!(matches!(rig.end(&mut ran).await, End::Run));
    assert_eq!(ran.outputs, BTreeMap::from([(0, b"right".to_vec()), (1, b"1".to_vec()), (2, b"right".to_vec())]));
    assert_eq!((rig.log.runs.load(Ordering::SeqCst), rig.starts()), (1, 1));
    assert_eq!(ran.checks, Checks { attested: 2, refused: 1, failed: 0 });
}

#[tokio::test]
async fn a_check_that_kills_its_executor_costs_no_index() {
    let mut rig = Rig::new(|_, _| Act::Succeed);
    rig.order_check(2, 6, Some(delivered()));
    let mut ran = Ran::default();
    assert!(matches!(rig.end(&mut ran).await, End::Run));
    assert!(ran.failed.is_empty(), "{:?}", ran.failed);
    let computed: Vec<&[u8]> = ran.outputs.values().map(Vec::as_slice).collect();
    assert_eq!(computed[1..], [b"3", b"4", b"5", b"6"], "what comes after it is not checked any more");
    assert_eq!(rig.starts(), 2);
}

#[tokio::test]
async fn outputs_that_do_not_come_are_not_waited_for() {
    let mut rig = Rig::new(|_, _| Act::Succeed);
    let never: Delivered = std::future::pending().boxed().shared();
    rig.order_check(0, 1, Some(never.clone()));
    let mut ran = Ran::default();
    assert!(matches!(rig.end(&mut ran).await, End::Run));
    assert_eq!(ran.succeeded.to_string(), "0-1");
    rig.order_check(0, 1, Some(never));
    rig.orders.send(Order::Cancel).expect("serves");
    assert!(matches!(rig.end(&mut Ran::default()).await, End::Cancelled));
}

#[tokio::test]
async fn plan_and_merge_answer() {
    let mut rig = Rig::new(|_, _| Act::Succeed);
    rig.orders.send(Order::Plan { job: Arc::clone(&rig.job) }).expect("serves");
    let End::Planned(Ok(layout)) = rig.end(&mut Ran::default()).await else { panic!("no plan") };
    assert_eq!((layout.subtasks, layout.state), (7, vec![1]));

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("segment");
    std::fs::write(&path, segment::encode(&[(0, "ab"), (1, ""), (2, "c")])).expect("writes");
    let mut parts = Parts::default();
    parts.add(&path, &IndexSet::first(3)).expect("opens");
    let folder = folder.path().to_owned();
    let order = Order::Merge { job: Arc::clone(&rig.job), parts: Arc::new(parts), subtasks: 3, folder };
    rig.orders.send(order).expect("serves");
    let End::Merged(Ok(result)) = rig.end(&mut Ran::default()).await else { panic!("no merge") };
    assert_eq!((result.digest, result.size), (Digest::of(b"abc"), 3));
    assert_eq!(std::fs::read(&result.path).expect("is there"), b"abc");
}
