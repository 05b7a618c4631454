//! `pdctl rerun job/x`: the same work again, as a new Job.

use serde_json::{Map, Value, json};

use crate::{
    cli::Global,
    client::Cluster,
    errors::Result,
    follow::{self, Goal, Subject},
    kinds::{self, Kind},
    output::{self, Format},
    progress::JobBar,
    verbs::{get, wait},
    writes::{self, How},
};

const EXAMPLES: &str = "\
Examples:
  pdctl rerun job/mandelbrot                     # a new job, mandelbrot-xxxxx
  pdctl rerun job/mandelbrot --name again --wait
  pdctl rerun job/mandelbrot --same-module       # though the Task names a newer component by now";

/// Which job, and how.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// job/NAME or NAME
    #[arg(value_name = "JOB", add = crate::complete::jobs())]
    job: String,
    /// Name of the new Job; default: the old one's and some letters
    #[arg(long)]
    name: Option<String>,
    /// Run the component that the old job ran, whatever its Task names by now
    #[arg(long)]
    same_module: bool,
    /// Wait until the new job ends
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this long (exit code 7)
    #[arg(long, value_name = "DURATION", requires = "wait")]
    timeout: Option<schemas::Duration>,
    /// Print the new job: json, yaml, name, jsonpath=…
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// Labels and annotations under this are bookkeeping of the old job.
const OURS: &str = "processdistro.dev/";
const RERUN_OF: &str = "processdistro.dev/rerun-of";
/// What was said to the old job while it ran.
const ORDERS: [&str; 3] = ["suspend", "cancel", "retry"];
/// What the server may add to a generated name.
const SUFFIX_LENGTH: usize = 5;

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let name = kinds::job_name(&args.job)?;
    let cluster = Cluster::connect(global).await?;
    let kind = Kind::job();
    let old = get::one(&cluster, &kind, name).await?;
    let new = again(&old, args.name.as_deref(), args.same_module);
    let created = writes::create(&cluster, &kind, &cluster.namespace, &new, How::default()).await;
    let created = created.map_err(cluster.failed(format!("cannot run job/{name} again")))?;
    let new = created["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let uid = created["metadata"]["uid"].as_str().map(str::to_owned);
    let full = format!("{}/{new}", kind.full_name());
    match &args.output {
        None => output::print_line(&format!("{full} created"))?,
        Some(format) => output::objects(format, vec![output::without_managed_fields(created)], false)?,
    }
    if !args.wait {
        return Ok(());
    }
    let mut bar = JobBar::new(&full);
    let subject = Subject { kind: &kind, namespace: &cluster.namespace, name: &new, uid };
    let end = follow::follow(&cluster, subject, &Goal::Terminal, follow::deadline(args.timeout), &mut bar).await;
    bar.clear();
    wait::tell(&full, &Goal::Terminal, end?)
}

/// The new Job: what the user wrote into the old one.
fn again(old: &Value, name: Option<&str>, same_module: bool) -> Value {
    let old_name = old["metadata"]["name"].as_str().unwrap_or_default();
    let mut spec = old["spec"].clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|field, _| !ORDERS.contains(&field.as_str()));
    }
    // Admission has filled in the component of a named Task; it takes one or the other.
    if let Some(task) = spec.get_mut("task").and_then(Value::as_object_mut).filter(|task| task.contains_key("name")) {
        task.shift_remove(if same_module { "name" } else { "module" });
    }
    let kept = |part: &str| -> Map<String, Value> {
        let all = old["metadata"][part].as_object().into_iter().flatten();
        all.filter(|(key, _)| !key.starts_with(OURS) && !key.starts_with("kubectl.kubernetes.io/"))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let mut annotations = kept("annotations");
    annotations.insert(RERUN_OF.to_owned(), json!(old_name));
    let mut metadata = match name {
        Some(name) => json!({"name": name}),
        None => json!({"generateName": format!("{}-", stem(old_name))}),
    };
    metadata["annotations"] = Value::Object(annotations);
    let labels = kept("labels");
    if !labels.is_empty() {
        metadata["labels"] = Value::Object(labels);
    }
    json!({"apiVersion": old["apiVersion"], "kind": old["kind"], "metadata": metadata, "spec": spec})
}

/// Without the letters of an earlier rerun, so that names do not grow.
fn stem(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((stem, suffix))
            if !stem.is_empty()
                && suffix.len() == SUFFIX_LENGTH
                && suffix.bytes().any(|byte| byte.is_ascii_digit())
                && suffix.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) =>
        {
            stem
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old() -> Value {
        json!({"apiVersion": "processdistro.dev/v1", "kind": "Job",
            "metadata": {"name": "x", "uid": "u", "labels": {"team": "a", "processdistro.dev/x": "y"}},
            "spec": {"task": {"name": "noop", "module": "sha256:1", "params": {"count": 3}}, "suspend": true, "cancel": true,
                "parallelism": 4},
            "status": {"state": "Failed"}})
    }

    #[test]
    fn the_work_is_kept_and_the_orders_are_not() {
        let expected = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job",
            "metadata": {"generateName": "x-", "annotations": {RERUN_OF: "x"}, "labels": {"team": "a"}},
            "spec": {"task": {"name": "noop", "params": {"count": 3}}, "parallelism": 4}});
        assert_eq!(again(&old(), None, false), expected);
        let same = again(&old(), Some("y"), true);
        assert_eq!(same["metadata"]["name"], "y");
        assert_eq!(same["spec"]["task"], json!({"module": "sha256:1", "params": {"count": 3}}));
    }

    #[test]
    fn names_do_not_grow() {
        assert_eq!(stem("mandelbrot-7x2k9"), "mandelbrot");
        assert_eq!(stem("matrix-mul"), "matrix-mul");
        assert_eq!(stem("a-large"), "a-large");
        assert_eq!(stem("-7x2k9"), "-7x2k9");
    }
}
