//! Whether a file is a task that a cluster would take, found out without one.
//!
//! In: a file, params, inputs. Out: a line for each thing that was looked at, the first wrong one with its reason. The
//! plan is called behind the same walls as on a node; and, of a task that exports `verify`, index 0 for that to look at.
//! Nothing else runs.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Result, bail};
use clap::Args;
use executor_protocol::{Blob, Checked, Layout, Outcome};
use serde_json::{Value, json};
use task_abi::{InspectError, Inspection, inspect_within};
use wasmtime::Engine;

use crate::compile::from_bytes;
use crate::engine::engine;
use crate::given::{Given, Limits, component};
use crate::host::{Host, bindings::TaskPre};
use crate::local::{Session, Shared, Source, lock, told};
use crate::{prepare, sandbox};

/// One component in the cluster's store.
const MODULE_BYTES_MAX: u64 = 64 << 20;
/// What is looked at, in this order.
const NAMES: [&str; 8] = ["wasm", "imports", "contract", "metadata", "params schema", "params", "compile", "plan"];
/// Something is wrong.
const FAILED: u8 = 1;

/// Flags of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// A component, or a core module of the contract's world
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    limits: Limits,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// What came of looking.
enum Found {
    Good(String),
    Bad(String),
    Skipped(String),
}

/// Does what the flags say.
pub(crate) fn check(options: &Check) -> Result<ExitCode> {
    drop(sandbox::enter());
    let bytes = component(&options.file)?;
    let sources = options.given.sources()?;
    let params: Value = serde_json::from_str(&options.given.params()?)?;
    drop(sandbox::confine(&[]));
    let mut results: Vec<(&str, Found)> = Vec::new();
    match inspect_within(&bytes, MODULE_BYTES_MAX) {
        Err(error) => {
            let wrong = position(&error);
            results.extend(NAMES[..wrong].iter().map(|name| (*name, Found::Good(String::new()))));
            results.push((NAMES[wrong], Found::Bad(error.to_string())));
        }
        Ok(inspection) => {
            let metadata = &inspection.metadata;
            results.push(("wasm", Found::Good(format!("{} bytes", bytes.len()))));
            results.push(("imports", Found::Good(inspection.imports.join(", "))));
            let with_verify = if inspection.verifies() { ", with `verify`" } else { "" };
            results.push(("contract", Found::Good(format!("{}{with_verify}", inspection.abi))));
            results.push(("metadata", Found::Good(format!("{} {}", metadata.name, metadata.version))));
            results.extend(check_params(&metadata.params_schema, &params));
            if !results.iter().any(|(_, found)| matches!(found, Found::Bad(_))) {
                results.extend(dry_run(options, &bytes, &inspection, &sources));
            }
        }
    }
    print(&results, options.json);
    let is_bad = results.iter().any(|(_, found)| matches!(found, Found::Bad(_)));
    Ok(if is_bad { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// Which of `NAMES` an error belongs to.
fn position(error: &InspectError) -> usize {
    match error {
        InspectError::TooLarge { .. }
        | InspectError::NotWasm { .. }
        | InspectError::CoreModule
        | InspectError::Invalid { .. } => 0,
        InspectError::ForbiddenImports(_) => 1,
        InspectError::NoContract { .. } | InspectError::OtherContract { .. } | InspectError::Mismatch(_) => 2,
        InspectError::NoMetadata | InspectError::MalformedMetadata(_) => 3,
    }
}

fn check_params(schema: &Value, params: &Value) -> Vec<(&'static str, Found)> {
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        Err(error) => return vec![("params schema", Found::Bad(format!("it is not a JSON Schema: {error}")))],
    };
    let errors: Vec<String> = validator
        .iter_errors(params)
        .map(|error| match error.instance_path().to_string() {
            at if at.is_empty() => error.to_string(),
            at => format!("{at}: {error}"),
        })
        .collect();
    let found = if errors.is_empty() { Found::Good(String::new()) } else { Found::Bad(errors.join("; ")) };
    vec![("params schema", Found::Good(String::new())), ("params", found)]
}

fn dry_run(options: &Check, bytes: &[u8], inspection: &Inspection, sources: &Shared) -> Vec<(&'static str, Found)> {
    let compiled = engine().map_err(anyhow::Error::from).and_then(|engine| {
        let task = prepare::check(&engine, &from_bytes(&engine, bytes)?)?;
        Ok((engine, task))
    });
    let (engine, task) = match compiled {
        Ok(compiled) => compiled,
        Err(error) => return vec![("compile", Found::Bad(format!("{error:#}")))],
    };
    let mut results = vec![("compile", Found::Good(String::new()))];
    let given = |name: &str| options.given.inputs.iter().any(|(input, _)| input == name);
    let missing = inspection.metadata.inputs.iter().find(|input| input.required && !given(&input.name));
    if let Some(input) = missing {
        results.push(("plan", Found::Skipped(format!("give its input: --input {}=FILE", input.name))));
        return results;
    }
    let dry = Dry { options, engine, task, sources };
    let planned = dry.plan();
    let told = planned.as_ref().map(|layout| format!("{} subtasks, {}", layout.subtasks, layout.media_type));
    results.push(("plan", told.map_or_else(|error| Found::Bad(format!("{error:#}")), Found::Good)));
    if let Some(layout) = planned.ok().filter(|_| inspection.verifies()) {
        let found = dry.verify(&layout);
        results.push(("verify", found.unwrap_or_else(|error| Found::Bad(format!("{error:#}")))));
    }
    results
}

/// A task that is tried without a cluster.
struct Dry<'a> {
    options: &'a Check,
    engine: Engine,
    task: TaskPre<Host>,
    sources: &'a Shared,
}

impl Dry<'_> {
    fn session(&self, goal: Option<u64>) -> Result<Session> {
        let context = self.options.given.context(&self.options.limits, goal)?;
        Session::start(&self.engine, self.task.clone(), context, self.sources)
    }

    fn plan(&self) -> Result<Layout> {
        match self.session(None)?.plan()?.outcome {
            Outcome::Success(layout) => Ok(layout),
            failed => bail!("{}: {}", told(&failed).0, told(&failed).1.unwrap_or_default()),
        }
    }

    /// Computes index 0 and shows its output to `verify`, then two that `run` would not answer.
    fn verify(&self, layout: &Layout) -> Result<Found> {
        if layout.subtasks == 0 {
            return Ok(Found::Skipped("there is no index whose output it could look at".to_owned()));
        }
        lock(self.sources).blobs.insert(Blob::State, Source::Bytes(layout.state.clone()));
        let mut session = self.session(layout.goal)?;
        let ran = session.run(0)?.call;
        let Outcome::Success(output) = ran.outcome else {
            return Ok(Found::Skipped("index 0 does not succeed with these params: try others".to_owned()));
        };
        let shown = session.check(0, output.clone(), self.sources)?;
        for (what, corrupted) in corruptions(&output) {
            if session.check(0, corrupted, self.sources)?.checked == Some(Checked::Attested) {
                return Ok(Found::Bad(format!("it attests the output of index 0 {what}, which `run` does not answer")));
            }
        }
        Ok(match shown.checked {
            Some(Checked::Attested) => Found::Good(format!(
                "attests what `run` answers for index 0 and no other, in {:.1?}; `run` took {:.1?}",
                Duration::from_nanos(shown.call.wall_ns),
                Duration::from_nanos(ran.wall_ns)
            )),
            Some(Checked::Refused) => {
                Found::Skipped("it does not attest the output of index 0: a node that checks it computes it".to_owned())
            }
            Some(Checked::Failed(why)) => Found::Bad(format!("with the output of index 0: {why}")),
            None => Found::Bad("it was not called: the output of index 0 is longer than one may be".to_owned()),
        })
    }
}

/// What no task should take for the output.
fn corruptions(output: &[u8]) -> [(&'static str, Vec<u8>); 2] {
    let inverted: Vec<u8> = output.iter().map(|byte| !byte).collect();
    let longer = [output, &[0]].concat();
    [("with every bit inverted", if output.is_empty() { vec![0xff] } else { inverted }), ("with a byte more", longer)]
}

fn print(results: &[(&str, Found)], as_json: bool) {
    let told = results.iter().map(|(name, found)| match found {
        Found::Good(text) => (*name, "ok", text),
        Found::Bad(text) => (*name, "fail", text),
        Found::Skipped(text) => (*name, "skip", text),
    });
    if as_json {
        let checks: Vec<Value> =
            told.map(|(name, result, detail)| json!({"name": name, "result": result, "detail": detail})).collect();
        println!("{}", json!({ "checks": checks }));
        return;
    }
    for (name, result, detail) in told {
        let word = if result == "fail" { "FAIL" } else { result };
        let colon = if detail.is_empty() { "" } else { ": " };
        println!("{word:<5}{name}{colon}{detail}");
    }
}
