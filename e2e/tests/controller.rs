//! A kube-rs `Controller` with `owns`: it converges, goes quiet, and mends what somebody breaks.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use e2e::{Scenario, deadline};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
    runtime::{Controller, controller::Action, watcher},
};
use schemas::Job;

const JOBS: usize = 3;
/// Silence that counts as quiet: longer than any watch takes to bring a change.
const QUIET: Duration = Duration::from_secs(3);
/// A controller that answers its own writes would pass this within the quiet time.
const RECONCILES_MAX: usize = 100;

struct Context {
    client: Client,
    reconciles: AtomicUsize,
}

/// Keeps a ConfigMap for each Job.
async fn reconcile(job: Arc<Job>, context: Arc<Context>) -> Result<Action, kube::Error> {
    context.reconciles.fetch_add(1, Ordering::Relaxed);
    let maps: Api<ConfigMap> = Api::default_namespaced(context.client.clone());
    let name = map_of(&job.name_any());
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            owner_references: job.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("job".to_owned(), job.name_any())])),
        ..ConfigMap::default()
    };
    maps.patch(&name, &PatchParams::apply("test-controller").force(), &Patch::Apply(&map)).await?;
    Ok(Action::await_change())
}

fn map_of(job: &str) -> String {
    format!("of-{job}")
}

/// Waits until nothing has been reconciled for a while; answers how much was by then.
async fn until_quiet(context: &Context) -> Result<usize> {
    let mut last = (context.reconciles.load(Ordering::Relaxed), Instant::now());
    deadline::until("the controller to go quiet", Duration::from_mins(1), async || {
        let now = context.reconciles.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
        Ok((last.1.elapsed() >= QUIET).then_some(now))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_converges_and_goes_quiet() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    let client = scenario.client();
    let (jobs, maps): (Api<Job>, Api<ConfigMap>) =
        (Api::default_namespaced(client.clone()), Api::default_namespaced(client.clone()));
    let context = Arc::new(Context { client, reconciles: AtomicUsize::new(0) });
    let controller = Controller::new(jobs.clone(), watcher::Config::default())
        .owns(maps.clone(), watcher::Config::default())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_secs(1)), Arc::clone(&context));
    let running = tokio::spawn(controller.for_each(|_| std::future::ready(())));

    for number in 0..JOBS {
        let job = serde_json::json!({
            "apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": {"name": format!("j{number}")},
            "spec": {"task": {"name": "noop", "params": {"count": 2}}},
        });
        jobs.create(&PostParams::default(), &serde_json::from_value(job)?).await?;
    }
    for number in 0..JOBS {
        scenario.until_complete(&format!("j{number}"), Duration::from_mins(1)).await?;
    }
    let reconciles = until_quiet(&context).await?;
    ensure!((JOBS..RECONCILES_MAX).contains(&reconciles), "{reconciles} reconciles of {JOBS} jobs");

    let (name, old) = (map_of("j0"), maps.get(&map_of("j0")).await?);
    maps.delete(&name, &DeleteParams::default()).await?;
    deadline::until("the ConfigMap to come back", Duration::from_secs(20), async || {
        Ok(maps.get_opt(&name).await?.filter(|map| map.uid() != old.uid()))
    })
    .await?;
    jobs.delete("j0", &DeleteParams::default()).await?;
    deadline::until("the ConfigMap to follow its Job", Duration::from_secs(20), async || {
        Ok(maps.get_opt(&name).await?.is_none().then_some(()))
    })
    .await?;
    until_quiet(&context).await?;
    running.abort();
    Ok(())
}
