//! `pdctl explain job.spec.task`: what a field means, from the schemas that pdctl carries. Asks no server; only the
//! params of a Task (`explain task/NAME`) are the server's to tell.

use std::fmt::Write as _;

use schemas::{Task, validation::structural};
use serde_json::Value;

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    follow,
    kinds::Kind,
    output, params, suggest, text,
};

const EXAMPLES: &str = "\
Examples:
  pdctl explain job
  pdctl explain job.spec.task
  pdctl explain job --recursive
  pdctl explain task/mandelbrot      # the params that it takes, and its inputs";

/// What to explain.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// KIND[.FIELD…], or task/NAME
    #[arg(value_name = "FIELD")]
    path: String,
    /// The names and types of all fields below, too
    #[arg(long)]
    recursive: bool,
}

/// True when it takes a server to explain.
pub(crate) fn needs_server(args: &Args) -> bool {
    args.path.contains('/')
}

/// Explains a field of a kind.
pub(crate) fn offline(args: &Args) -> Result<()> {
    output::print(&field(&args.path, args.recursive)?)
}

/// Explains the params of a Task.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let Some(("task" | "tasks" | "pdt" | "Task", name)) = args.path.split_once('/') else {
        return Err(Error::usage(format!("`{}`: only tasks are explained by name: task/NAME", args.path)));
    };
    let cluster = Cluster::connect(global).await?;
    let task =
        cluster.api::<Task>(&cluster.namespace).get_opt(name).await.map_err(cluster.failed("cannot get the task"))?;
    let Some(task) = task else {
        return Err(follow::absent(&cluster, &Kind::of::<Task>(true), &cluster.namespace, name).await);
    };
    output::print(&of_task(name, &task, args.recursive))
}

/// The text of `job.spec.task`.
fn field(path: &str, recursive: bool) -> Result<String> {
    let mut parts = path.split('.');
    let kind = kind(parts.next().unwrap_or_default())?;
    let root = structural::schema(kind).expect("invariant: every kind that is listed has a schema");
    let (mut schema, mut walked) = (root, kind.to_lowercase());
    for part in parts.filter(|part| !part.is_empty()) {
        let inner = within(schema);
        schema = match inner["properties"]
            .get(part)
            .or_else(|| inner.get("additionalProperties").filter(|any| any.is_object()))
        {
            Some(found) => found,
            None => return Err(unknown_field(&walked, part, inner)),
        };
        let _ = write!(walked, ".{part}");
    }
    let mut out =
        format!("KIND:     {kind}\nVERSION:  {}/{}\n", schemas::well_known::GROUP, schemas::well_known::VERSION);
    if walked.contains('.') {
        let _ = writeln!(out, "FIELD:    {walked} <{}>", type_of(schema));
    }
    describe(&mut out, schema, recursive);
    Ok(out)
}

fn of_task(name: &str, task: &Task, recursive: bool) -> String {
    let status = task.status.clone().unwrap_or_default();
    let mut out = format!("TASK:     {}\n", text::one_line(name));
    for (title, value) in [("VERSION", &status.version), ("DOES", &status.description)] {
        if let Some(value) = value {
            let _ = writeln!(out, "{:<10}{}", format!("{title}:"), text::one_line(value));
        }
    }
    if !status.inputs.is_empty() {
        out.push_str("\nINPUTS (spec.task.inputs):\n");
        for input in &status.inputs {
            let required = if input.required { " -required-" } else { "" };
            let _ = writeln!(
                out,
                "  {}{required}\n    {}",
                text::one_line(&input.name),
                text::one_line(&input.description)
            );
        }
    }
    match &status.params_schema {
        Some(schema) => {
            out.push_str("\nPARAMS (spec.task.params):");
            describe(&mut out, schema, recursive);
        }
        None => out.push_str("\nThe server has read no schema of its params.\n"),
    }
    out
}

/// The kind that a word means.
fn kind(word: &str) -> Result<&'static str> {
    let short = [("pdj", "Job"), ("pdt", "Task"), ("pda", "Assignment"), ("pds", "Subtask"), ("pdq", "Queue")];
    let wanted = short.iter().find(|(short, _)| *short == word).map_or(word, |(_, kind)| kind);
    let is_it = |kind: &&str| kind.eq_ignore_ascii_case(wanted) || format!("{kind}s").eq_ignore_ascii_case(wanted);
    structural::kinds().find(is_it).ok_or_else(|| {
        let known: Vec<String> = structural::kinds().map(str::to_lowercase).collect();
        let hint = suggest::did_you_mean(word, known.iter().map(String::as_str));
        let hint = hint.unwrap_or_else(|| format!("there are: {}", known.join(", ")));
        Error::not_found(format!("pdctl carries no schema of a kind `{word}`"), Some(hint))
    })
}

fn unknown_field(walked: &str, part: &str, schema: &Value) -> Error {
    let known: Vec<&str> = fields(schema).map(|(name, _)| name.as_str()).collect();
    let hint = suggest::did_you_mean(part, known.iter().copied()).unwrap_or_else(|| match known.as_slice() {
        [] => format!("{walked} has no fields"),
        known => format!("it has: {}", known.join(", ")),
    });
    Error::not_found(format!("{walked} has no field `{part}`"), Some(hint))
}

/// The schema of the elements of a list, or the schema itself.
fn within(schema: &Value) -> &Value {
    schema.get("items").filter(|items| items.is_object()).map_or(schema, within)
}

fn fields(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn describe(out: &mut String, schema: &Value, recursive: bool) {
    if let Some(description) = schema["description"].as_str() {
        let _ = write!(out, "\n{}", paragraph(description, 0));
    }
    for rule in rules(schema) {
        let _ = writeln!(out, "  {rule}");
    }
    let inner = within(schema);
    if fields(inner).next().is_none() {
        return;
    }
    out.push_str("\nFIELDS:\n");
    list(out, inner, recursive, 1);
}

/// The fields of a schema; with what they mean, or only their names and all below them.
fn list(out: &mut String, schema: &Value, recursive: bool, depth: usize) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let indent = "  ".repeat(depth);
    for (name, field) in fields(schema).filter(|(name, _)| !params::is_alias(name, schema)) {
        let mark = if required.contains(&name.as_str()) { " -required-" } else { "" };
        let _ = writeln!(out, "{indent}{} <{}>{mark}", text::one_line(name), type_of(field));
        if recursive {
            list(out, within(field), true, depth + 1);
        } else {
            out.push_str(&paragraph(field["description"].as_str().unwrap_or_default(), depth + 1));
            for rule in rules(field) {
                let _ = writeln!(out, "{indent}  {rule}");
            }
        }
    }
}

/// `integer`, `[]string`, `map[string]string`.
fn type_of(schema: &Value) -> String {
    let plain = match &schema["type"] {
        Value::String(one) => one.clone(),
        Value::Array(several) => {
            let names = several.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            names.collect::<Vec<_>>().join(" or ")
        }
        _ if schema["x-kubernetes-int-or-string"] == true => "integer or string".to_owned(),
        _ if params::choices(schema).iter().any(Value::is_string) => "string".to_owned(),
        _ => "any".to_owned(),
    };
    match plain.as_str() {
        "array" => format!("[]{}", schema.get("items").map_or_else(|| "any".to_owned(), type_of)),
        "object" => match schema.get("additionalProperties").filter(|any| any.is_object()) {
            Some(values) if schema.get("properties").is_none() => format!("map[string]{}", type_of(values)),
            _ => plain,
        },
        _ => plain,
    }
}

/// What bounds a value.
fn rules(schema: &Value) -> Vec<String> {
    let shown = |value: &Value| match value {
        Value::String(text) => text::one_line(text).into_owned(),
        // Schemas write bounds as floats, `1.0`, whatever the field is.
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string()),
        other => other.to_string(),
    };
    let given = |keyword: &str, words: &str| {
        schema.get(keyword).filter(|v| !v.is_null()).map(|v| format!("{words}{}", shown(v)))
    };
    let choices = params::choices(schema);
    let choices =
        (!choices.is_empty()).then(|| format!("one of: {}", choices.iter().map(shown).collect::<Vec<_>>().join(", ")));
    let is_trivial =
        |value: &Value| matches!(value, Value::Object(map) if map.is_empty()) || value == &Value::Bool(false);
    let default = schema.get("default").filter(|value| !value.is_null() && !is_trivial(value));
    [choices, given("minimum", "at least "), given("maximum", "at most "), given("pattern", "pattern: ")]
        .into_iter()
        .flatten()
        .chain(default.map(|value| format!("default: {value}")))
        .collect()
}

/// Text of a schema on lines of its own, indented.
fn paragraph(text: &str, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let lines = text::plain(text);
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.fold(String::new(), |out, line| format!("{out}{indent}{line}\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_explained_with_its_type_and_its_bounds() {
        let text = field("job.spec.parallelism", false).expect("a field");
        for part in ["KIND:     Job", "job.spec.parallelism <integer>", "every free slot", "at least 1"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = field("jobs.spec.task", false).expect("a field");
        assert!(text.contains("inputs <map[string]string>"), "{text}");
        let text = field("pdj.status.conditions.reason", false).expect("a field of a list's elements");
        assert!(text.contains("CamelCase"), "{text}");
        assert!(field("job.spec.task.inputs.a", false).is_ok(), "any name is a field of a map");
    }

    #[test]
    fn all_fields_are_listed_when_asked() {
        let text = field("job", true).expect("a kind");
        assert!(text.contains("  spec <object>") && text.contains("      name <string>"), "{text}");
    }

    #[test]
    fn a_field_that_is_not_there_is_suggested() {
        let Err(Error::NotFound { what, hint }) = field("job.spec.paralelism", false) else { panic!("not found") };
        assert_eq!(
            (what.as_str(), hint.as_deref()),
            ("job.spec has no field `paralelism`", Some("did you mean `parallelism`?"))
        );
        assert_eq!(field("jbo", false).map_err(|error| error.exit_code()), Err(3));
    }

    #[test]
    fn types_read_as_one_says_them() {
        assert_eq!(type_of(&json!({"type": ["string", "null"]})), "string");
        assert_eq!(type_of(&json!({"type": "array", "items": {"type": "integer"}})), "[]integer");
        assert_eq!(type_of(&json!({"x-kubernetes-int-or-string": true})), "integer or string");
    }

    #[test]
    fn a_tasks_params_are_explained() {
        let task = json!({"apiVersion": "processdistro.dev/v1", "kind": "Task", "metadata": {"name": "t"},
            "spec": {"module": schemas::Digest::of(b"")},
            "status": {"description": "counts", "inputs": [{"name": "words", "description": "a line each", "required": true}],
                "paramsSchema": {"type": "object", "properties": {
                    "count": {"type": "integer", "minimum": 1, "default": 10, "description": "How many."}}}}});
        let text = of_task("t", &serde_json::from_value(task).expect("a task"), false);
        let expected = "TASK:     t\nDOES:     counts\n\nINPUTS (spec.task.inputs):\n  words -required-\n    a line each\n\n\
                        PARAMS (spec.task.params):\nFIELDS:\n  count <integer>\n    How many.\n    at least 1\n    default: 10\n";
        assert_eq!(text, expected);
    }
}
