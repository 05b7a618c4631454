//! `pdctl init TASK`: a manifest to begin with, every param with its meaning, from what the task says of itself.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use schemas::{Task, generated, task::TaskInput};
use serde_json::{Value, json};

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    output, params, text,
    verbs::{push, run},
};

const EXAMPLES: &str = "\
With -o it also writes the schema that editors complete and check the manifest by, with the task's params in it.

Examples:
  pdctl init mandelbrot                          # prints a manifest
  pdctl init mandelbrot -o picture.yaml          # and picture.schema.json beside it
  pdctl init --file my_task.wasm                 # of a component that is not registered yet";

/// Of which task.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Name of a Task (`pdctl get tasks`)
    #[arg(value_name = "TASK", required_unless_present = "file", add = crate::complete::tasks())]
    task: Option<String>,
    /// Read the component in this file instead; asks no server
    #[arg(long, value_name = "FILE", conflicts_with = "task")]
    pub(crate) file: Option<PathBuf>,
    /// Name of the Job; default: the task's
    #[arg(long)]
    name: Option<String>,
    /// Write it to this file, and its schema beside it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a file that exists
    #[arg(long, requires = "output")]
    force: bool,
}

/// What a manifest is made of.
struct Contract {
    name: String,
    description: Option<String>,
    inputs: Vec<TaskInput>,
    params: Value,
}

/// Of a component in a file.
pub(crate) fn offline(args: &Args) -> Result<()> {
    let Some(file) = &args.file else { return Err(Error::usage("name a task, or a component with --file")) };
    let (_, inspection) = push::read(file)?;
    let metadata = inspection.metadata;
    let inputs = metadata.inputs.into_iter().map(|input| TaskInput {
        name: input.name,
        description: input.description,
        required: input.required,
    });
    let contract = Contract {
        name: metadata.name,
        description: Some(metadata.description),
        inputs: inputs.collect(),
        params: metadata.params_schema,
    };
    finish(args, &contract)
}

/// Of a Task that the server knows.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let name = args.task.clone().unwrap_or_default();
    let cluster = Cluster::connect(global).await?;
    run::check_task(&cluster, &name).await?;
    let api: kube::Api<Task> = cluster.api(&cluster.namespace);
    let task = api.get(&name).await.map_err(cluster.failed("cannot get the task"))?;
    let status = task.status.unwrap_or_default();
    let contract = Contract {
        name,
        description: status.description,
        inputs: status.inputs,
        params: status.params_schema.unwrap_or_else(|| json!({})),
    };
    finish(&args, &contract)
}

fn finish(args: &Args, contract: &Contract) -> Result<()> {
    let name = args.name.as_deref().unwrap_or(&contract.name);
    let Some(path) = &args.output else {
        return output::print(&manifest(contract, name, "job.schema.json"));
    };
    let schema_path = path.with_extension("schema.json");
    let schema_name = schema_path.file_name().and_then(|name| name.to_str()).unwrap_or("job.schema.json").to_owned();
    write(path, &manifest(contract, name, &schema_name), args.force)?;
    write(&schema_path, &editor_schema(&contract.params), true)?;
    output::print_line(&path.display().to_string())?;
    output::note(&format!("next: edit it, then `pdctl apply -f {} --wait`", path.display()));
    Ok(())
}

/// A file of a person's is not written over by accident.
fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let opened = fs::OpenOptions::new().write(true).create(true).truncate(true).create_new(!force).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let hint = Some("choose another -o, or say --force".to_owned());
            return Err(Error::Invalid { message: format!("`{}` exists", path.display()), hint });
        }
        opened => opened.map_err(Error::file("write", path))?,
    };
    file.write_all(text.as_bytes()).map_err(Error::file("write", path))
}

/// The Job's schema with the task's params in it.
fn editor_schema(params: &Value) -> String {
    let files = generated::files();
    let job = files.iter().find(|(name, _)| name == "job.schema.json").map_or("{}", |(_, text)| text.as_str());
    let mut schema: Value = serde_json::from_str(job).unwrap_or_default();
    if let Some(place) = schema.pointer_mut("/properties/spec/properties/task/properties/params")
        && params.is_object()
    {
        *place = params.clone();
    }
    output::json_text(&schema) + "\n"
}

/// The manifest: what must be said is said, what may be said stands in comments.
fn manifest(contract: &Contract, name: &str, schema: &str) -> String {
    let mut out = format!("# yaml-language-server: $schema={schema}\n");
    if let Some(description) = &contract.description {
        let _ = writeln!(out, "# {}: {}", contract.name, text::one_line(description));
    }
    let _ = write!(
        out,
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata:\n  name: {name}\nspec:\n  task:\n    name: {}\n",
        contract.name
    );
    out.push_str(&params_of(&contract.params));
    out.push_str(&inputs(&contract.inputs));
    out.push_str(
        "  # parallelism: 8                # most subtasks at once; absent: every free slot\n  \
         # timeout: 1h                   # of the whole job; absent: none\n  \
         # subtaskTimeout: 300s          # of one attempt at one index\n  \
         # backoffLimitPerIndex: 3       # retries of one index\n  \
         # resources: {memory: 64Mi}     # the sandbox of one subtask\n",
    );
    out
}

fn params_of(schema: &Value) -> String {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut lines = String::new();
    let mut is_written = false;
    for (name, param) in
        schema["properties"].as_object().into_iter().flatten().filter(|(name, _)| !params::is_alias(name, schema))
    {
        let meaning = text::one_line(param["description"].as_str().unwrap_or_default()).into_owned();
        if !meaning.is_empty() {
            let _ = writeln!(lines, "      # {meaning}");
        }
        let default = param.get("default").filter(|value| !value.is_null());
        let value = default.cloned().or_else(|| params::choices(param).first().cloned());
        if required.contains(&name.as_str()) {
            is_written = true;
            let _ = writeln!(lines, "      {name}: {}", value.unwrap_or_else(|| example(param)));
        } else {
            let _ = writeln!(lines, "      # {name}: {}", value.unwrap_or_else(|| example(param)));
        }
    }
    match (lines.is_empty(), is_written) {
        (true, _) => "    params: {}\n".to_owned(),
        // A mapping of nothing but comments would be null.
        (false, false) => format!("    # params:\n{lines}"),
        (false, true) => format!("    params:\n{lines}"),
    }
}

/// A value of the right type, where the task says none.
fn example(param: &Value) -> Value {
    match param["type"].as_str() {
        Some("integer" | "number") => param.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("…"),
    }
}

fn inputs(inputs: &[TaskInput]) -> String {
    if inputs.is_empty() {
        return String::new();
    }
    let has_required = inputs.iter().any(|input| input.required);
    let mut out = if has_required { "    inputs:\n".to_owned() } else { "    # inputs:\n".to_owned() };
    for input in inputs {
        let mark = if input.required { "" } else { "# " };
        let _ = writeln!(
            out,
            "      # {}; a local file, which pdctl uploads, or sha256:…",
            text::one_line(&input.description)
        );
        let _ = writeln!(out, "      {mark}{}: ./{}", input.name, input.name);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract() -> Contract {
        Contract {
            name: "count-words".to_owned(),
            description: Some("Counts words.".to_owned()),
            inputs: vec![TaskInput { name: "text".to_owned(), description: "a text".to_owned(), required: true }],
            params: json!({"type": "object", "required": ["minLength"], "properties": {
                "minLength": {"type": "integer", "minimum": 2, "description": "Shortest word."},
                "min_length": {"type": "integer"},
                "sort": {"enum": ["count", "word"], "default": "count"}}}),
        }
    }

    #[test]
    fn a_manifest_says_what_must_be_said_and_comments_the_rest() {
        let text = manifest(&contract(), "x", "x.schema.json");
        let expected = "\
# yaml-language-server: $schema=x.schema.json
# count-words: Counts words.
apiVersion: processdistro.dev/v1
kind: Job
metadata:
  name: x
spec:
  task:
    name: count-words
    params:
      # Shortest word.
      minLength: 2
      # sort: \"count\"
    inputs:
      # a text; a local file, which pdctl uploads, or sha256:…
      text: ./text
";
        assert!(text.starts_with(expected), "{text}");
        assert!(schemas::manifest::parse("x.yaml", &text).is_ok(), "{text}");
    }

    #[test]
    fn a_task_that_needs_nothing_gives_a_manifest_that_can_be_applied() {
        let contract = Contract {
            inputs: Vec::new(),
            params: json!({"properties": {"count": {"type": "integer", "default": 100}}}),
            ..contract()
        };
        let text = manifest(&contract, "x", "x.schema.json");
        assert!(text.contains("    # params:\n      # count: 100\n"), "{text}");
        assert!(schemas::manifest::parse("x.yaml", &text).is_ok(), "{text}");
    }

    #[test]
    fn the_editors_schema_knows_the_params() {
        let schema: Value = serde_json::from_str(&editor_schema(&contract().params)).expect("JSON");
        let params = &schema["properties"]["spec"]["properties"]["task"]["properties"]["params"];
        assert_eq!(params["properties"]["minLength"]["minimum"], 2);
        assert_eq!(schema["properties"]["kind"]["const"], "Job");
    }
}
