//! `pdctl diff -f`: what `apply` would change, as a unified diff. The server says it, by a dry run.

use std::fmt::Write as _;

use serde_json::Value;
use similar::TextDiff;

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    kinds::Kinds,
    manifests, output, text,
    verbs::apply::{self, Item},
    writes::How,
};

const EXAMPLES: &str = "\
Exit codes: 0 no differences, 1 differences, more than 1 an error.

Examples:
  pdctl diff -f mandelbrot.yaml
  pdctl diff -f manifests/ && echo up to date";

/// Lines around a change.
const CONTEXT: usize = 3;

/// What to compare.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files, folders (searched for *.yaml, *.yml, *.json), or `-` for stdin
    #[arg(short, long, value_name = "FILE", required = true)]
    filename: Vec<String>,
    /// As if `apply --force-conflicts` took over fields that somebody else has set
    #[arg(long)]
    force_conflicts: bool,
    /// Compare the status and the server's bookkeeping too
    #[arg(long)]
    show_managed_fields: bool,
}

/// Runs the verb. Its exit code 1 means differences, so no error may be 1.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    match compare(&args, global).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(Error::Differing),
        Err(error @ Error::OutputClosed) => Err(error),
        Err(error) => Err(Error::Elevated(Box::new(error))),
    }
}

/// Prints the differences; true when there are any.
async fn compare(args: &Args, global: &Global) -> Result<bool> {
    let mut documents = manifests::load(&args.filename)?;
    apply::check_names(&documents, global.namespace.as_deref())?;
    let (_, with_uploads) = apply::hash_inputs(&mut documents).await?;
    let cluster = Cluster::connect(global).await?;
    let kinds = Kinds::discover(&cluster).await?;
    let items = apply::place(&cluster, &kinds, documents, &with_uploads, global)?;
    let how = How { dry_run: true, force: args.force_conflicts };
    let (mut differs, mut wrong) = (false, Vec::new());
    for item in &items {
        let (before, after) = match states(&cluster, item, how).await {
            Ok(states) => states,
            Err(Error::Manifests(found)) => {
                wrong.extend(found);
                continue;
            }
            Err(error) => return Err(error),
        };
        let text = |object: Option<Value>| match object {
            None => Ok(String::new()),
            Some(object) if args.show_managed_fields => output::yaml_text(&object),
            Some(object) => output::yaml_text(&comparable(object)),
        };
        let (before, after) = (text(before)?, text(after)?);
        if before != after {
            differs = true;
            let shown = unified(&item.document.full_name(), &before, &after, output::stdout_has_colour());
            output::print(&shown)?;
        }
    }
    if wrong.is_empty() { Ok(differs) } else { Err(Error::Manifests(wrong)) }
}

/// The object as it is and as it would be.
async fn states(cluster: &Cluster, item: &Item<'_>, how: How) -> Result<(Option<Value>, Option<Value>)> {
    let name = item.document.name();
    let full = item.document.full_name();
    let api = item.kind.api(cluster, Some(&item.namespace));
    let before = api.get_opt(name).await.map_err(cluster.failed(format!("cannot get {full}")))?;
    let before = before.map(|object| serde_json::to_value(object).unwrap_or_default());
    match apply::attempt(cluster, item, how).await {
        Ok((_, after)) => Ok((before, Some(after))),
        // Inputs that are uploaded with the apply are not there yet: the manifest itself is what it would be.
        Err(kube::Error::Api(status)) if item.has_uploads && super::run::only_inputs(&status) => {
            Ok((before, Some(item.document.object().clone())))
        }
        Err(kube::Error::Api(status)) => Err(match item.document.refusal(&status) {
            Some(found) => Error::Manifests(found),
            None => apply::refused(item, status),
        }),
        Err(error) => Err(cluster.failed(format!("cannot check {full}"))(error)),
    }
}

/// What a user sets, apiVersion and kind first.
fn comparable(object: Value) -> Value {
    let mut object = output::identity_first(object);
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"] {
            metadata.shift_remove(field);
        }
    }
    sorted(object)
}

/// Fields in one order: two servers' answers are compared, not their habits.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: std::collections::BTreeMap<String, Value> =
                fields.into_iter().map(|(field, value)| (field, sorted(value))).collect();
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

/// A unified diff, safe for a terminal.
fn unified(name: &str, before: &str, after: &str, colour: bool) -> String {
    let diff = TextDiff::from_lines(before, after);
    let plain = diff
        .unified_diff()
        .context_radius(CONTEXT)
        .header(&format!("live/{name}"), &format!("applied/{name}"))
        .to_string();
    let plain = text::plain(&plain);
    if !colour {
        return plain.into_owned();
    }
    let mut coloured = String::new();
    for line in plain.lines() {
        let code = match line.as_bytes().first() {
            Some(b'+') => "32",
            Some(b'-') => "31",
            Some(b'@') => "36",
            _ => "0",
        };
        let _ = writeln!(coloured, "\u{1b}[{code}m{line}\u{1b}[0m");
    }
    coloured
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_a_hunk_with_its_context() {
        let expected =
            "--- live/job/x\n+++ applied/job/x\n@@ -1,2 +1,2 @@\n kind: Job\n-parallelism: 1\n+parallelism: 2\n";
        assert_eq!(unified("job/x", "kind: Job\nparallelism: 1\n", "kind: Job\nparallelism: 2\n", false), expected);
        let coloured = unified("job/x", "a: 1\n", "a: 2\n", true);
        assert!(coloured.contains("\u{1b}[31m-a: 1\u{1b}[0m"), "{coloured:?}");
    }

    #[test]
    fn order_and_bookkeeping_are_no_difference() {
        let one = json!({"kind": "Job", "apiVersion": "v1", "spec": {"a": 1, "b": 2}, "status": {"x": 1}});
        let other = json!({"apiVersion": "v1", "kind": "Job", "metadata": {}, "spec": {"b": 2, "a": 1}});
        let text = |object: &Value| {
            output::yaml_text(&comparable(object.clone())).expect("YAML").replace("metadata: {}\n", "")
        };
        assert_eq!(text(&one), text(&other));
    }
}
