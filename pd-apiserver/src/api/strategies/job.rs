//! Jobs: a Job is admitted with the component it will run, its params checked against that component's
//! schema and its inputs there.

use schemas::{Digest, JobSpec, TaskStatus, job::JobTask, limits::MODULE_BYTES_MAX, task::TaskInput, validation};
use serde_json::{Map, Value};

use super::{
    super::{
        call::{Call, text},
        error::{ApiError, Cause, reasons},
        kinds::{self, Rules},
        registry,
        schema::nearest,
    },
    causes, dependencies, params, settings, task, typed,
};

/// Task names offered when one is not found.
const NAMES_SHOWN_MAX: usize = 10;

pub(super) fn default_update(old: &Value, new: &mut Value) {
    let is_rerun = new["spec"]["updatePolicy"] == "Rerun";
    let (old, new) = (&old["spec"]["task"], &mut new["spec"]["task"]);
    if new.is_object() && new.get("module").is_none() && old["name"] == new["name"] && old["module"].is_string() {
        new["module"] = old["module"].clone();
    }
    // Another Task by name brings its own component; the one that was filled in for the old name goes.
    if is_rerun && new["name"].is_string() && old["name"] != new["name"] && old["module"] == new["module"] {
        super::remove(new, "module");
    }
}

pub(super) fn validate_create(object: &Value) -> Vec<Cause> {
    let mut found = causes(validation::validate_job_name(text(&object["metadata"]["name"])));
    if let Some(spec) = typed::<JobSpec>(object, "spec") {
        found.extend(causes(validation::validate_job(&spec)));
    }
    found
}

pub(super) fn validate_update(old: &Value, new: &Value) -> Vec<Cause> {
    let (Some(old), Some(new)) = (typed::<JobSpec>(old, "spec"), typed::<JobSpec>(new, "spec")) else {
        return Vec::new();
    };
    let mut found = causes(validation::validate_job(&new));
    found.extend(causes(validation::validate_job_update(&old, &new)));
    found
}

/// What a job needs to know of the component it runs.
struct Contract {
    module: Digest,
    params_schema: Option<Value>,
    inputs: Vec<TaskInput>,
}

pub(super) async fn admit(call: &Call, object: &mut Value, old: Option<&Value>) -> Result<Vec<Cause>, ApiError> {
    let Some(spec) = typed::<JobSpec>(object, "spec") else { return Ok(Vec::new()) };
    let old = old.and_then(|old| typed::<JobSpec>(old, "spec"));
    if old.is_none() {
        settings::admit_to_queue(call)?;
    }
    let mut found = Vec::new();
    if old.as_ref().is_none_or(|old| old.resources != spec.resources) {
        found.extend(settings::check_memory(&call.state.settings.current(), &spec));
    }
    if old.as_ref().is_none_or(|old| validation::dependencies(old) != validation::dependencies(&spec)) {
        found.extend(dependencies::check(call, text(&object["metadata"]["name"]), &spec)?);
    }
    if old.as_ref().is_some_and(|old| old.task == spec.task) {
        return Ok(found);
    }
    let contract = match contract(call, &spec, old.as_ref()).await? {
        Ok(Some(contract)) => contract,
        Ok(None) => return Ok(found),
        Err(cause) => {
            found.push(*cause);
            return Ok(found);
        }
    };
    if let Some(schema) = &contract.params_schema {
        found.extend(params::check(schema, &spec.task.params));
    }
    found.extend(check_inputs(call, &contract.inputs, &spec.task).await?);
    object["spec"]["task"]["module"] = contract.module.to_string().into();
    Ok(found)
}

/// What the job's component asks for; none when the job names none, which validation has said.
async fn contract(
    call: &Call,
    spec: &JobSpec,
    old: Option<&JobSpec>,
) -> Result<Result<Option<Contract>, Box<Cause>>, ApiError> {
    let kept = old.filter(|old| old.task.name == spec.task.name && old.task.module == spec.task.module);
    let found = match (&spec.task.name, spec.task.module) {
        // A job keeps to the component it was admitted with, whatever became of the Task since.
        (_, Some(module)) if kept.is_some() || spec.task.name.is_none() => inspected(call, module).await?,
        (Some(name), module) => match named_task(call, name)? {
            Ok(contract) if module.is_some_and(|module| module != contract.module) => {
                let message = format!(
                    "give either the name of a Task or a module, not both: Task `{name}` is now {}",
                    contract.module
                );
                Err(Box::new(Cause::forbidden("spec.task.module", &message)))
            }
            found => found,
        },
        (None, _) => return Ok(Ok(None)),
    };
    Ok(found.map(Some))
}

/// The Task of that name in the job's namespace.
fn named_task(call: &Call, name: &str) -> Result<Result<Contract, Box<Cause>>, ApiError> {
    let kind = kinds::by_rules(Rules::Task);
    let namespace = &call.target.namespace;
    let Some(task) = registry::find(&*call.state.store, kind, namespace, name)? else {
        return Ok(Err(Box::new(unknown_task(call, name)?)));
    };
    let module = text(&task.object["spec"]["module"]).parse().map_err(|error| {
        ApiError::Internal(format!("Task `{namespace}/{name}` is stored without a module: {error}"))
    })?;
    let status = typed::<TaskStatus>(&task.object, "status").unwrap_or_default();
    Ok(Ok(Contract { module, params_schema: status.params_schema, inputs: status.inputs }))
}

fn unknown_task(call: &Call, name: &str) -> Result<Cause, ApiError> {
    let kind = kinds::by_rules(Rules::Task);
    let namespace = &call.target.namespace;
    let prefix = kind.prefix(namespace);
    let listing = call.state.store.list(&prefix, &crate::store::Page::default())?;
    let names: Vec<&str> = listing.records.iter().filter_map(|record| record.key.strip_prefix(&prefix)).collect();
    let help = match nearest(name, names.iter().copied()) {
        Some(nearest) => format!("did you mean \"{nearest}\"?"),
        None if names.is_empty() => format!("namespace \"{namespace}\" has no Tasks; register one with `pdctl push`"),
        None => {
            let shown = names.iter().take(NAMES_SHOWN_MAX).copied().collect::<Vec<_>>().join(", ");
            format!("Tasks in namespace \"{namespace}\": {shown}")
        }
    };
    Ok(Cause::new(reasons::NOT_FOUND, "spec.task.name", format!("Not found: \"{name}\": {help}")))
}

/// A component named by its digest.
async fn inspected(call: &Call, module: Digest) -> Result<Result<Contract, Box<Cause>>, ApiError> {
    let inspection = match task::inspect(call, &module, "spec.task.module").await? {
        Ok((inspection, _)) => inspection,
        Err(cause) => return Ok(Err(cause)),
    };
    let inputs = inspection.metadata.inputs.into_iter().map(task::input).collect();
    Ok(Ok(Contract { module, params_schema: Some(inspection.metadata.params_schema), inputs }))
}

async fn check_inputs(call: &Call, wanted: &[TaskInput], task: &JobTask) -> Result<Vec<Cause>, ApiError> {
    let mut found = Vec::new();
    let is_given = |name: &String| task.inputs.contains_key(name) || task.inputs_from.contains_key(name);
    for input in wanted.iter().filter(|input| input.required && !is_given(&input.name)) {
        found.push(Cause::required(format!("spec.task.inputs[{}]", input.name), &input.description));
    }
    let is_known = |name: &String| wanted.iter().any(|input| input.name == *name);
    for name in task.inputs_from.keys().filter(|name| !is_known(name)) {
        found.push(unknown_input(wanted, name, format!("spec.task.inputsFrom[{name}]")));
    }
    for (name, digest) in &task.inputs {
        let field = format!("spec.task.inputs[{name}]");
        if !is_known(name) {
            found.push(unknown_input(wanted, name, field));
        } else if call.state.artifacts.head(digest).await?.is_none() {
            let message =
                format!("Not found: \"{digest}\": upload the file first (pdctl does, with --input {name}=FILE)");
            found.push(Cause::new(reasons::NOT_FOUND, field, message));
        }
    }
    Ok(found)
}

fn unknown_input(wanted: &[TaskInput], name: &str, field: String) -> Cause {
    let names: Vec<&str> = wanted.iter().map(|input| input.name.as_str()).collect();
    let help = match nearest(name, names.iter().copied()) {
        Some(nearest) => format!("did you mean \"{nearest}\"?"),
        None if names.is_empty() => "the task reads no inputs".to_owned(),
        None => format!("the task reads {}", names.join(", ")),
    };
    Cause::new(reasons::NOT_SUPPORTED, field, format!("Unsupported value: \"{name}\": {help}"))
}

/// So that the limit of a component is the same wherever one is read.
pub(super) const COMPONENT_BYTES_MAX: u64 = MODULE_BYTES_MAX;

/// `params` as the validator wants them.
pub(super) fn as_value(params: &Map<String, Value>) -> Value {
    Value::Object(params.clone())
}
