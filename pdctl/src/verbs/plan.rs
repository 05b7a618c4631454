//! `pdctl plan -f`: what `apply` would do, and what would come of it: changes, uploads, nodes, and a forecast from
//! the rates that nodes have shown at the same component.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, api::ListParams};
use schemas::{Assignment, CachedResult, Digest, Job, JobSpec, cached_result};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::{
    age,
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    follow,
    kinds::{Kind, Kinds},
    manifests, output, progress, text,
    verbs::{
        apply::{self, Change, Item},
        why,
    },
    writes::How,
};

const EXAMPLES: &str = "\
Nothing is stored and nothing is uploaded. How many subtasks a job has is the answer of its task's plan call: it is \
known here when a job with the same component, params and inputs was planned before.

Examples:
  pdctl plan -f mandelbrot.yaml
  pdctl plan -f manifests/ -o json";

/// What to plan.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files, folders (searched for *.yaml, *.yml, *.json), or `-` for stdin
    #[arg(short, long, value_name = "FILE", required = true)]
    filename: Vec<String>,
    /// json, yaml, jsonpath=…
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<output::Format>,
}

/// What the cluster is like now.
struct State {
    nodes: Vec<Value>,
    jobs: Vec<Job>,
    assignments: Vec<Assignment>,
}

/// What would come of one job.
#[derive(Debug, Default, PartialEq)]
struct Forecast {
    subtasks: Option<u64>,
    /// Nodes that could take it, and their slots.
    nodes: Vec<String>,
    slots: u64,
    /// Subtasks a second, all slots together.
    rate: Option<f64>,
    /// What it would take over from an earlier job.
    cached: Option<Cached>,
}

/// What is kept of the same work.
#[derive(Debug, PartialEq)]
struct Cached {
    /// The job that computed it.
    job: String,
    count: u64,
    total: u64,
    /// True when not even the merge would run.
    is_whole: bool,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let mut documents = manifests::load(&args.filename)?;
    documents.sort_by_key(|document| apply::rank(document.type_()));
    apply::check_names(&documents, global.namespace.as_deref())?;
    let (uploads, with_uploads) = apply::hash_inputs(&mut documents).await?;
    let cluster = Cluster::connect(global).await?;
    let kinds = Kinds::discover(&cluster).await?;
    let items = apply::place(&cluster, &kinds, documents, &with_uploads, global)?;
    let known = known(&cluster).await?;
    let to_upload = uploads.missing(&cluster).await?;
    let (mut wrong, mut planned) = (Vec::new(), Vec::new());
    for item in &items {
        match of_item(&cluster, item, &known).await {
            Ok(one) => planned.push(one),
            Err(Error::Manifests(found)) => wrong.extend(found),
            Err(error) => return Err(error),
        }
    }
    if !wrong.is_empty() {
        return Err(Error::Manifests(wrong));
    }
    if let Some(format) = &args.output {
        return output::objects(format, planned.iter().map(Planned::as_object).collect(), true);
    }
    let files = to_upload.iter().map(|(path, size)| format!("upload {} ({size} bytes)\n", path.display()));
    output::print(&files.chain(planned.iter().map(Planned::render)).collect::<String>())
}

/// One object of the plan.
struct Planned {
    name: String,
    change: String,
    forecast: Option<Forecast>,
    obstacles: Vec<String>,
}

async fn of_item(cluster: &Cluster, item: &Item<'_>, known: &State) -> Result<Planned> {
    let name = item.document.full_name();
    let how = How { dry_run: true, force: false };
    let (change, after) = match apply::attempt(cluster, item, how).await {
        Ok((change, after)) => (change.to_string(), after),
        Err(kube::Error::Api(status)) if item.has_uploads && super::run::only_inputs(&status) => {
            (Change::Created.to_string(), item.document.object().clone())
        }
        Err(kube::Error::Api(status)) => {
            return Err(match item.document.refusal(&status) {
                Some(found) => Error::Manifests(found),
                None => apply::refused(item, status),
            });
        }
        Err(error) => return Err(cluster.failed(format!("cannot check {name}"))(error)),
    };
    if !item.kind.is_job() {
        return Ok(Planned { name, change, forecast: None, obstacles: Vec::new() });
    }
    let cached = cached(cluster, &after).await?;
    let forecast = Forecast { cached, ..forecast(&after, known) };
    let obstacles = if forecast.nodes.is_empty() { why::obstacles(&after, &known.nodes) } else { Vec::new() };
    Ok(Planned { name, change, forecast: Some(forecast), obstacles })
}

/// What an earlier job left of the same work; none for somebody who may not read it.
async fn cached(cluster: &Cluster, job: &Value) -> Result<Option<Cached>> {
    let spec = JobSpec::deserialize(&job["spec"]).ok().filter(|spec| spec.cache);
    let Some(key) = spec.and_then(|spec| cached_result::key(&spec, &spec.task.inputs)) else { return Ok(None) };
    let namespace = job.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or(&cluster.namespace);
    let entries: Api<CachedResult> = cluster.api(namespace);
    match entries.get_opt(&key.hex()).await {
        Ok(entry) => Ok(entry.map(|entry| Cached::of(&entry))),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(error) => Err(cluster.failed("cannot look for cached results")(error)),
    }
}

impl Cached {
    fn of(entry: &CachedResult) -> Self {
        let (spec, total) = (&entry.spec, entry.spec.layout.subtasks);
        let merged = spec.outputs.merged.as_ref();
        let is_whole = merged.is_some_and(|merged| merged.indexes.count() == total);
        Self { job: spec.job.clone(), count: spec.count, total, is_whole }
    }

    fn render(&self) -> String {
        let Self { job, count, total, is_whole } = self;
        let what = if *is_whole { ", and the result: nothing would run" } else { "" };
        format!("  cache hits: {count} of {total} subtasks, computed by job {job}{what}")
    }
}

async fn known(cluster: &Cluster) -> Result<State> {
    let nodes = Kind::of::<Node>(false).api(cluster, None);
    let nodes = match follow::list_all(&nodes, ListParams::default()).await {
        Ok(nodes) => nodes.into_iter().map(|node| serde_json::to_value(node).unwrap_or_default()).collect(),
        Err(kube::Error::Api(status)) if status.code == 403 => Vec::new(),
        Err(error) => return Err(cluster.failed("cannot list nodes")(error)),
    };
    let jobs: Api<Job> = cluster.api(&cluster.namespace);
    let jobs = jobs.list(&ListParams::default()).await.map_err(cluster.failed("cannot list jobs"))?.items;
    let listed = follow::assignments(cluster, &cluster.namespace).await;
    let assignments = listed.map_err(cluster.failed("cannot list assignments"))?;
    Ok(State { nodes, jobs, assignments })
}

/// What would come of a job as admission has made it.
fn forecast(job: &Value, known: &State) -> Forecast {
    let open: Vec<&Value> = known.nodes.iter().filter(|node| why::can_take(job, node)).collect();
    let module: Option<Digest> =
        job.pointer("/spec/task/module").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let slots_of = |node: &Value| why::slots(node);
    let all: u64 = open.iter().map(|node| slots_of(node)).sum();
    let parallelism = job.pointer("/spec/parallelism").and_then(Value::as_u64).unwrap_or(u64::MAX);
    let per_slot = module.map(|module| rates(&known.assignments, &module)).unwrap_or_default();
    Forecast {
        subtasks: module.and_then(|module| subtasks(job, &module, &known.jobs)),
        nodes: open.iter().map(|node| why::name(node).to_owned()).collect(),
        slots: all.min(parallelism),
        rate: rate(&open, &per_slot, all, parallelism),
        cached: None,
    }
}

/// Subtasks a second and slot that each node has shown at a component.
fn rates(assignments: &[Assignment], module: &Digest) -> BTreeMap<String, f64> {
    let mut rates = BTreeMap::new();
    for assignment in assignments.iter().filter(|assignment| assignment.spec.work.module == *module) {
        let rate = assignment.status.as_ref().map_or(0.0, |status| status.rate);
        if rate > 0.0 {
            rates.insert(assignment.spec.node_name.clone(), rate);
        }
    }
    rates
}

/// All slots together; a node that has shown nothing is taken to be as fast as the others are on average.
fn rate(open: &[&Value], per_slot: &BTreeMap<String, f64>, all: u64, parallelism: u64) -> Option<f64> {
    let known: Vec<f64> = open.iter().filter_map(|node| per_slot.get(why::name(node)).copied()).collect();
    if known.is_empty() || all == 0 {
        return None;
    }
    let average = known.iter().sum::<f64>() / known.len() as f64;
    let whole: f64 = open
        .iter()
        .map(|node| per_slot.get(why::name(node)).copied().unwrap_or(average) * why::slots(node) as f64)
        .sum();
    Some(whole * all.min(parallelism) as f64 / all as f64)
}

/// What the plan call of the same work has answered before.
fn subtasks(job: &Value, module: &Digest, jobs: &[Job]) -> Option<u64> {
    let task = &job["spec"]["task"];
    let same = jobs.iter().find(|known| {
        let known = &known.spec.task;
        let inputs = serde_json::to_value(&known.inputs).unwrap_or_default();
        let wanted = if task["inputs"].is_object() { task["inputs"].clone() } else { json!({}) };
        known.module.as_ref() == Some(module)
            && Value::Object(known.params.clone()) == *task.get("params").unwrap_or(&json!({}))
            && inputs == wanted
    });
    let total = same?.status.as_ref()?.subtasks.total;
    (total > 0).then_some(total)
}

impl Planned {
    fn render(&self) -> String {
        let mut lines = vec![format!("{} would be {}", self.name, self.change)];
        if let Some(forecast) = &self.forecast {
            lines.push(match forecast.subtasks {
                Some(subtasks) => format!("  {}, as a job with the same work had", text::counted(subtasks, "subtask")),
                None => "  how many subtasks it has is known once its plan call has run".to_owned(),
            });
            lines.extend(forecast.cached.iter().map(Cached::render));
            if forecast.nodes.is_empty() {
                lines.push("  no node can take it now".to_owned());
                lines.extend(self.obstacles.iter().map(|reason| format!("    {reason}")));
            } else {
                let nodes = text::counted(forecast.nodes.len() as u64, "node");
                let slots = text::counted(forecast.slots, "slot");
                lines.push(format!("  {slots} on {nodes}: {}", forecast.nodes.join(", ")));
            }
            lines.push(match (forecast.rate, forecast.subtasks) {
                (Some(rate), Some(subtasks)) => {
                    let seconds = (subtasks as f64 / rate).ceil() as i64;
                    let shown = age::human(seconds);
                    format!("  about {shown} at {}, if it had all of them", progress::rate(rate))
                }
                (Some(rate), None) => {
                    format!("  about {} at the rates that the nodes have shown", progress::rate(rate))
                }
                (None, _) => "  no forecast: no node has run this component yet".to_owned(),
            });
        }
        lines.iter().map(|line| text::plain(line).replace('\n', " ") + "\n").collect()
    }

    fn as_object(&self) -> Value {
        let forecast = self.forecast.as_ref().map(|forecast| {
            let seconds = forecast.rate.zip(forecast.subtasks).map(|(rate, subtasks)| subtasks as f64 / rate);
            let cached = forecast.cached.as_ref();
            json!({"cacheHits": cached.map_or(0, |cached| cached.count), "subtasks": forecast.subtasks, "nodes": forecast.nodes, "slots": forecast.slots,
                "throughput": forecast.rate, "seconds": seconds})
        });
        json!({"kind": "Plan", "metadata": {"name": self.name}, "change": self.change, "forecast": forecast,
            "obstacles": self.obstacles})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, slots: u64) -> Value {
        json!({"metadata": {"name": name}, "spec": {}, "status": {"capacity": {"processdistro.dev/slots": slots.to_string()},
            "conditions": [{"type": "Ready", "status": "True"}]}})
    }

    fn assignment(node: &str, module: &Digest, rate: f64) -> Assignment {
        serde_json::from_value(
            json!({"apiVersion": "processdistro.dev/v1", "kind": "Assignment", "metadata": {"name": node},
            "spec": {"job": {"name": "old", "uid": "u"}, "nodeName": node, "nodeUid": "nu",
                "work": {"module": module, "memory": "64Mi", "subtaskTimeout": "5m"}}, "status": {"rate": rate}}),
        )
        .expect("an assignment")
    }

    fn known(module: &Digest) -> State {
        let old = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": {"name": "old"},
            "spec": {"task": {"name": "noop", "module": module, "params": {"count": 100}}},
            "status": {"subtasks": {"total": 100, "succeeded": 100, "failed": 0, "running": 0, "pending": 0}}});
        State {
            nodes: vec![node("a", 2), node("b", 2)],
            jobs: vec![serde_json::from_value(old).expect("a job")],
            assignments: vec![assignment("a", module, 5.0)],
        }
    }

    #[test]
    fn the_same_work_has_the_same_subtasks_and_known_rates() {
        let module = Digest::of(b"m");
        let job = json!({"spec": {"task": {"name": "noop", "module": module, "params": {"count": 100}}}});
        let found = forecast(&job, &known(&module));
        assert_eq!((found.subtasks, found.slots, found.rate), (Some(100), 4, Some(20.0)));
        let job = json!({"spec": {"parallelism": 1, "task": {"module": module, "params": {"count": 7}}}});
        let found = forecast(&job, &known(&module));
        assert_eq!((found.subtasks, found.slots, found.rate), (None, 1, Some(5.0)));
    }

    #[test]
    fn hits_are_told_with_the_job_they_come_from() {
        let cached = |is_whole| Cached { job: "old".to_owned(), count: 7, total: 9, is_whole };
        assert_eq!(cached(false).render(), "  cache hits: 7 of 9 subtasks, computed by job old");
        assert!(cached(true).render().ends_with("and the result: nothing would run"));
    }

    #[test]
    fn another_component_has_no_forecast() {
        let module = Digest::of(b"m");
        let job = json!({"spec": {"task": {"module": Digest::of(b"other"), "params": {"count": 100}}}});
        let found = forecast(&job, &known(&module));
        assert_eq!((found.subtasks, found.rate), (None, None));
        let planned = Planned {
            name: "job/x".to_owned(),
            change: "created".to_owned(),
            forecast: Some(found),
            obstacles: Vec::new(),
        };
        let text = planned.render();
        assert!(text.starts_with("job/x would be created\n") && text.contains("4 slots on 2 nodes: a, b"), "{text}");
    }
}
