//! `pdctl describe`: an object in words, and the events that speak of it.

use std::fmt::Write as _;

use jiff::Timestamp;
use kube::api::ListParams;
use serde_json::{Map, Value};

use crate::{
    age,
    cli::Global,
    client::{Cluster, name_of},
    errors::{Error, Result},
    events::{self, About},
    follow,
    kinds::{self, Kind, Kinds},
    output,
    table::Table,
    text,
    verbs::get,
};

/// Bookkeeping that says nothing to a person.
const HIDDEN_METADATA: [&str; 7] =
    ["managedFields", "uid", "resourceVersion", "generation", "name", "namespace", "selfLink"];

const EXAMPLES: &str = "\
Examples:
  pdctl describe job/mandelbrot
  pdctl describe nodes";

/// What to describe.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// KIND [NAME…] or KIND/NAME…
    #[arg(required = true, value_name = "KIND | KIND/NAME", add = crate::complete::objects())]
    words: Vec<String>,
    /// Only objects with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    let kinds = Kinds::for_words(&cluster, &args.words).await?;
    let mut printed = 0;
    for target in kinds::targets(&kinds, &args.words)? {
        let mut names = target.names.clone();
        if names.is_empty() {
            let params = ListParams { label_selector: args.selector.clone(), ..ListParams::default() };
            let api = target.kind.api(&cluster, Some(&cluster.namespace));
            let doing = format!("cannot list {}", target.kind.resource.plural);
            let listed = follow::list_all(&api, params).await.map_err(cluster.failed(doing))?;
            names = listed.iter().map(|object| name_of(object).to_owned()).collect();
        } else if args.selector.is_some() {
            return Err(Error::usage("a name does not go with a selector"));
        }
        for name in names {
            let object = get::one(&cluster, target.kind, &name).await?;
            let separator = if printed > 0 { "\n\n" } else { "" };
            let events = events_of(&cluster, target.kind, &object).await?;
            output::print(&format!("{separator}{}{events}", describe(&object)))?;
            printed += 1;
        }
    }
    if printed == 0 {
        output::note("nothing found");
    }
    Ok(())
}

/// The object in words.
fn describe(object: &Value) -> String {
    let mut out = String::new();
    let metadata = &object["metadata"];
    for (title, value) in
        [("Name", &metadata["name"]), ("Namespace", &metadata["namespace"]), ("Kind", &object["kind"])]
    {
        if let Some(value) = value.as_str() {
            let _ = writeln!(out, "{:<14}{}", format!("{title}:"), text::one_line(value));
        }
    }
    let rest: Map<String, Value> = metadata
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(field, _)| !HIDDEN_METADATA.contains(&field.as_str()))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    fields(&mut out, &rest, 0);
    let others = object.as_object().into_iter().flatten();
    for (field, value) in others.filter(|(field, _)| !["apiVersion", "kind", "metadata"].contains(&field.as_str())) {
        field_of(&mut out, field, value, 0);
    }
    out
}

fn fields(out: &mut String, map: &Map<String, Value>, depth: usize) {
    for (field, value) in map {
        field_of(out, field, value, depth);
    }
}

/// One field, by the shape of its value.
fn field_of(out: &mut String, field: &str, value: &Value, depth: usize) {
    let indent = " ".repeat(depth * 2);
    let title = if depth == 0 { title(field) } else { text::one_line(field).into_owned() };
    match value {
        Value::Object(map) if map.is_empty() => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Object(map) => {
            let _ = writeln!(out, "{indent}{title}:");
            fields(out, map, depth + 1);
        }
        Value::Array(items) if field == "conditions" => {
            let _ = writeln!(out, "{indent}{title}:");
            out.push_str(&indented(&conditions(items), depth + 1));
        }
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let list: Vec<String> = items.iter().map(plain).collect();
            let _ = writeln!(out, "{indent}{title}:  {}", list.join(", "));
        }
        Value::Array(items) => {
            let _ = writeln!(out, "{indent}{title}:");
            for item in items {
                match item {
                    Value::Object(map) => {
                        let mut entry = String::new();
                        fields(&mut entry, map, depth + 2);
                        // The first field of an entry carries its dash.
                        let dash = depth * 2 + 2;
                        if entry.len() > dash + 2 {
                            entry.replace_range(dash..dash + 2, "- ");
                            out.push_str(&entry);
                        }
                    }
                    other => {
                        let _ = writeln!(out, "{indent}  - {}", plain(other));
                    }
                }
            }
        }
        other => {
            let _ = writeln!(out, "{indent}{title}:  {}", plain(other));
        }
    }
}

/// `completionTime` as `Completion Time`.
fn title(field: &str) -> String {
    let mut title = String::new();
    for (position, c) in text::one_line(field).chars().enumerate() {
        match (position, c) {
            (0, c) => title.extend(c.to_uppercase()),
            (_, c) if c.is_uppercase() => {
                title.push(' ');
                title.push(c);
            }
            (_, c) => title.push(c),
        }
    }
    title
}

/// A scalar on one line; a time with its age.
fn plain(value: &Value) -> String {
    match value {
        Value::String(shown) => match shown.parse::<Timestamp>() {
            Ok(then) => {
                let age = age::since(then, Timestamp::now());
                if age.starts_with("in ") { format!("{shown} ({age})") } else { format!("{shown} ({age} ago)") }
            }
            Err(_) => text::one_line(shown).into_owned(),
        },
        other => other.to_string(),
    }
}

fn conditions(items: &[Value]) -> String {
    let mut table = Table::new(["type", "status", "reason", "age", "message"]);
    let now = Timestamp::now();
    for item in items {
        let field = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        let age = age::of_text(&field("lastTransitionTime"), now);
        table.push([field("type"), field("status"), field("reason"), age, field("message")]);
    }
    table.render()
}

fn indented(block: &str, depth: usize) -> String {
    let indent = " ".repeat(depth * 2);
    block.lines().flat_map(|line| [indent.as_str(), line, "\n"]).collect()
}

/// The events that speak of the object, the oldest first.
async fn events_of(cluster: &Cluster, kind: &Kind, object: &Value) -> Result<String> {
    let field = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    let about = About { kind: &kind.resource.kind, name: field("name"), uid: Some(field("uid")) };
    let Some(events) = events::fetch_if_allowed(cluster, Some(field("namespace")), &about).await? else {
        return Ok(String::new());
    };
    if events.is_empty() {
        return Ok("Events: none\n".to_owned());
    }
    let now = Timestamp::now();
    let mut table = events::table(false);
    for event in &events {
        table.push(events::cells(event, false, now));
    }
    Ok(format!("Events:\n{}", indented(&table.render(), 1)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_reads_as_prose_without_bookkeeping() {
        let object = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job",
            "metadata": {"name": "x", "namespace": "default", "uid": "u", "labels": {"a/b": "c"}},
            "spec": {"task": {"name": "noop", "params": {"count": 3}}, "parallelism": 4, "list": [{"k": 1, "v": 2}, {"k": 3}]},
            "status": {"completedIndexes": "0-2", "imports": ["one", "two\u{1b}"], "conditions": [
                {"type": "Complete", "status": "True", "reason": "Done", "message": "all", "lastTransitionTime": "x"}]}});
        let expected = "\
Name:         x
Namespace:    default
Kind:         Job
Labels:
  a/b:  c
Spec:
  task:
    name:  noop
    params:
      count:  3
  parallelism:  4
  list:
    - k:  1
      v:  2
    - k:  3
Status:
  completedIndexes:  0-2
  imports:  one, two
  conditions:
    TYPE       STATUS   REASON   AGE   MESSAGE
    Complete   True     Done     x     all
";
        assert_eq!(describe(&object), expected);
    }
}
