//! Hollow nodes: many kubelets in one process, each with its own identity, Node, Lease, watch and reports, and with
//! hollow executors behind them. One runtime, one metrics page and one lock serve all of them.
//!
//! In: the flags of a kubelet and a number. Out: nodes NAME-0, NAME-1, ... in folders of the same names. They are
//! labelled, since they only pretend to work: a cluster with hollow nodes is for measuring the control plane.

use std::sync::Arc;

use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{Error, House, Options, Plot, live, node, slots, start};

/// Label of a node that only pretends to run what it is given.
const LABEL_HOLLOW: &str = "processdistro.dev/hollow";
/// Nodes that join at once: keys are drawn and signed on as many processors as there are.
const STARTS_MAX: usize = 8;
/// Connections and files that one node has open: two or three connections, and a segment now and then.
const DESCRIPTORS_PER_NODE: u64 = 8;

/// Runs `count` nodes until `shutdown`, or until one of them fails.
pub(crate) async fn run(
    options: &Options,
    house: &House,
    count: u32,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    ask_for_descriptors(u64::from(count) * DESCRIPTORS_PER_NODE);
    let base = options.name.clone().unwrap_or_else(node::host_name);
    let (gate, stop) = (Arc::new(Semaphore::new(STARTS_MAX)), CancellationToken::new());
    let mut nodes = JoinSet::new();
    for number in 0..count {
        let (options, plot) = (options.clone(), plot(options, house, &base, number));
        let (gate, stop) = (Arc::clone(&gate), stop.clone());
        nodes.spawn(async move {
            let starting = async {
                // The semaphore is never closed.
                let _turn = gate.acquire_owned().await.ok();
                start(&options, plot).await
            };
            match stop.run_until_cancelled(Box::pin(starting)).await {
                Some(started) => live(started?, stop.cancelled()).await,
                None => Ok(()),
            }
        });
    }
    tracing::info!(count, base, "starting hollow nodes");
    let mut shutdown = std::pin::pin!(shutdown);
    let mut result = Ok(());
    loop {
        tokio::select! {
            () = &mut shutdown, if !stop.is_cancelled() => stop.cancel(),
            ended = nodes.join_next() => match ended {
                None => return result,
                Some(Ok(Ok(()))) => {}
                Some(ended) => {
                    // The first failure is the one to tell; the others follow from it.
                    if result.is_ok() {
                        result = ended.unwrap_or(Err(Error::PartEnded));
                    }
                    stop.cancel();
                }
            },
        }
    }
}

/// What the node of that number starts with.
fn plot(options: &Options, house: &House, base: &str, number: u32) -> Plot {
    let name = format!("{base}-{number}");
    let metrics = house.metrics.another();
    let mut labels = options.labels.clone();
    labels.push((LABEL_HOLLOW.to_owned(), "true".to_owned()));
    Plot {
        data_dir: house.data_dir.join(&name),
        name: Some(name),
        token_line: number as usize,
        slots: options.slots.unwrap_or(1),
        labels,
        spawner: slots::hollow_spawner(options.hollow.pace(), options.hollow.lie_every, Arc::clone(&metrics)),
        mode: slots::Mode::Process,
        executor: house.executor.clone(),
        metrics,
    }
}

/// Says so when there are fewer descriptors than the nodes need.
fn ask_for_descriptors(wanted: u64) {
    if let Some(limit) = daemon::descriptors::raise().filter(|limit| *limit < wanted) {
        tracing::warn!(limit, wanted, "this process may run out of file descriptors; raise its limit (ulimit -n)");
    }
}
