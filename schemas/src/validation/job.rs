//! Defaults and rules of a Job.

use serde_json::Value;

use super::{
    FieldError, FieldPath,
    names::{label_problem, subdomain_problem, validate_labels},
    structural,
};
use crate::{
    Duration, JobSpec,
    job::JobTask,
    limits::{
        BACKOFF_LIMIT_MAX, DURATION_MAX, INPUTS_MAX, MEMORY_BYTES_MAX, MEMORY_BYTES_MIN, PARAMS_BYTES_MAX, SUBTASKS_MAX,
    },
};

/// Makes the defaults of a Job explicit in its `spec`, so that what is stored says what will happen. A
/// null counts as absent, as it does in Kubernetes. Works on the untyped object: fields of the wrong type
/// stay as they are and are reported by `structural::type_errors`.
pub fn default_job(job: &mut Value) {
    structural::apply_defaults("Job", job);
}

/// What a new version of a Job keeps of the old one without saying so: the component its Task had.
pub fn default_job_update(old: &JobSpec, new: &mut JobSpec) {
    if new.task.module.is_none() && new.task.name == old.task.name {
        new.task.module = old.task.module;
    }
}

/// All that is wrong with a Job's spec as it is stored. `name` and `module` may both be there: admission
/// fills the module in from the Task. `validate_job_create` is stricter.
pub fn validate_job(spec: &JobSpec) -> Vec<FieldError> {
    let path = FieldPath::new("spec");
    let mut errors = validate_task(&spec.task, &path.child("task"));
    errors.extend(validate_durations(spec, &path));
    errors.extend(validate_counts(spec, &path));
    let memory = path.child("resources").child("memory");
    if spec.resources.memory < MEMORY_BYTES_MIN || spec.resources.memory > MEMORY_BYTES_MAX {
        let rule = format!("must be between {MEMORY_BYTES_MIN} and {MEMORY_BYTES_MAX}");
        errors.push(FieldError::invalid(memory, spec.resources.memory, rule));
    }
    if let Some(placement) = &spec.placement {
        let selector = path.child("placement").child("nodeSelector");
        errors.extend(validate_labels(&placement.node_selector, &selector));
    }
    errors
}

/// All that is wrong with a Job's spec as a user sends it for creation: exactly one of `spec.task.name`
/// and `spec.task.module`.
pub fn validate_job_create(spec: &JobSpec) -> Vec<FieldError> {
    let mut errors = validate_job(spec);
    if let (Some(name), Some(_)) = (&spec.task.name, &spec.task.module) {
        let detail = format!(
            "give either the name of a Task or a module, not both: leave the module out to run Task {name:?} as it \
             is now"
        );
        errors.push(FieldError::forbidden("spec.task.module", detail));
    }
    errors
}

/// What must not change about a Job. Both specs with their defaults; `new` after `default_job_update`.
pub fn validate_job_update(old: &JobSpec, new: &JobSpec) -> Vec<FieldError> {
    let path = FieldPath::new("spec").child("task");
    let changed = [
        ("name", old.task.name != new.task.name),
        ("module", old.task.module != new.task.module),
        ("params", old.task.params != new.task.params),
        ("inputs", old.task.inputs != new.task.inputs),
    ];
    let errors = changed.into_iter().filter(|(_, is_changed)| *is_changed);
    errors
        .map(|(field, _)| {
            let detail = "field is immutable, a Job computes one thing: delete the Job and apply it again, or give \
                          this one another metadata.name";
            FieldError::forbidden(path.child(field), detail)
        })
        .collect()
}

/// What is wrong with a Job's name beyond its being a DNS subdomain: Subtasks are named `<job>-<index>`.
pub fn validate_job_name(name: &str) -> Vec<FieldError> {
    let longest_subtask = format!("{name}-{}", SUBTASKS_MAX - 1);
    let problem = subdomain_problem(&longest_subtask);
    problem.map(|problem| FieldError::invalid("metadata.name", name, problem)).into_iter().collect()
}

fn validate_task(task: &JobTask, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match (&task.name, &task.module) {
        (None, None) => {
            let detail = "name a Task, or give the digest of a component as spec.task.module";
            errors.push(FieldError::required(path.child("name"), detail));
        }
        (Some(name), _) => {
            let problem = subdomain_problem(name);
            errors.extend(problem.map(|problem| FieldError::invalid(path.child("name"), name, problem)));
        }
        (None, Some(_)) => {}
    }
    let params_bytes = serde_json::to_vec(&task.params).map_or(0, |json| json.len());
    if params_bytes > PARAMS_BYTES_MAX {
        errors.push(FieldError::too_long(path.child("params"), PARAMS_BYTES_MAX));
    }
    let inputs = path.child("inputs");
    if task.inputs.len() > INPUTS_MAX {
        let detail = format!("must have at most {INPUTS_MAX} entries");
        errors.push(FieldError::invalid(&inputs, task.inputs.len(), detail));
    }
    let problems = task.inputs.keys().filter_map(|name| Some((name, label_problem(name)?)));
    errors.extend(problems.map(|(name, problem)| FieldError::invalid(&inputs, name, problem)));
    errors
}

fn validate_durations(spec: &JobSpec, path: &FieldPath) -> Vec<FieldError> {
    let durations = [
        ("timeout", spec.timeout),
        ("subtaskTimeout", Some(spec.subtask_timeout)),
        ("retryDelay", Some(spec.retry_delay)),
    ];
    let given = durations.into_iter().filter_map(|(field, duration)| Some((field, duration?)));
    given.filter_map(|(field, duration)| duration_error(&path.child(field), duration)).collect()
}

/// What is wrong with a duration in a spec.
pub(super) fn duration_error(path: &FieldPath, duration: Duration) -> Option<FieldError> {
    let is_legal = !duration.0.is_zero() && duration <= DURATION_MAX;
    let rule = format!("must be greater than 0 and at most {DURATION_MAX}");
    (!is_legal).then(|| FieldError::invalid(path, duration, rule))
}

fn validate_counts(spec: &JobSpec, path: &FieldPath) -> Vec<FieldError> {
    let wanted = spec.success_policy.as_ref().and_then(|policy| policy.succeeded_count);
    let counts = [
        (path.child("parallelism"), spec.parallelism.map(u64::from), 1, u64::from(u32::MAX)),
        (
            path.child("backoffLimitPerIndex"),
            Some(u64::from(spec.backoff_limit_per_index)),
            0,
            u64::from(BACKOFF_LIMIT_MAX),
        ),
        (path.child("maxFailedIndexes"), spec.max_failed_indexes, 0, SUBTASKS_MAX),
        (path.child("successPolicy").child("succeededCount"), wanted, 1, SUBTASKS_MAX),
    ];
    let given = counts.into_iter().filter_map(|(field, count, min, max)| Some((field, count?, min, max)));
    given
        .filter_map(|(field, count, min, max)| match count {
            _ if count < min => {
                Some(FieldError::invalid(field, count, format!("must be greater than or equal to {min}")))
            }
            _ if count > max => Some(FieldError::invalid(field, count, format!("must be less than or equal to {max}"))),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(spec: Value) -> JobSpec {
        serde_json::from_value(spec).expect("a spec")
    }

    fn fields(errors: &[FieldError]) -> Vec<&str> {
        errors.iter().map(|error| error.field.as_str()).collect()
    }

    #[test]
    fn defaults_become_explicit() {
        let mut job = json!({"spec": {"task": {"name": "noop", "params": null}, "timeout": null, "resources": {}}});
        default_job(&mut job);
        assert_eq!(
            job["spec"],
            json!({
                "task": {"name": "noop", "params": {}},
                "resources": {"memory": "64Mi"},
                "backoffLimitPerIndex": 3,
                "retryDelay": "100ms",
                "subtaskTimeout": "5m",
            })
        );
        let once = job.clone();
        default_job(&mut job);
        assert_eq!(job, once, "defaulting twice changes nothing");
        assert_eq!(spec(job["spec"].clone()), spec(json!({"task": {"name": "noop"}})), "as the types default");
        assert!(validate_job(&spec(job["spec"].take())).is_empty());
    }

    #[test]
    fn defaulting_survives_anything() {
        for mut job in [json!(null), json!(3), json!({"spec": []}), json!({"spec": {"resources": 3, "task": null}})] {
            default_job(&mut job);
        }
    }

    #[test]
    fn every_error_is_reported_at_once() {
        let errors = validate_job(&spec(json!({
            "task": {"inputs": {"A b": format!("sha256:{}", "0".repeat(64))}},
            "parallelism": 0,
            "timeout": "0s",
            "subtaskTimeout": "31days",
            "backoffLimitPerIndex": 100_000,
            "successPolicy": {"succeededCount": 0},
            "placement": {"nodeSelector": {"bad key": "v", "ok": "bad value!"}},
            "resources": {"memory": "2Gi"},
        })));
        let expected = [
            "spec.task.name",
            "spec.task.inputs",
            "spec.timeout",
            "spec.subtaskTimeout",
            "spec.parallelism",
            "spec.backoffLimitPerIndex",
            "spec.successPolicy.succeededCount",
            "spec.resources.memory",
            "spec.placement.nodeSelector",
            "spec.placement.nodeSelector[ok]",
        ];
        assert_eq!(fields(&errors), expected, "{errors:#?}");
        assert!(errors[7].message.contains("must be between 1Mi and 1Gi"), "{}", errors[7]);
    }

    #[test]
    fn a_new_job_has_a_task_or_a_module_but_not_both() {
        let both = spec(json!({"task": {"name": "noop", "module": format!("sha256:{}", "0".repeat(64))}}));
        assert!(validate_job(&both).is_empty(), "the stored form has both");
        assert_eq!(fields(&validate_job_create(&both)), ["spec.task.module"]);
    }

    #[test]
    fn enormous_params_are_refused() {
        let errors = validate_job(&spec(json!({"task": {"name": "a", "params": {"x": "y".repeat(PARAMS_BYTES_MAX)}}})));
        assert_eq!(fields(&errors), ["spec.task.params"]);
    }

    #[test]
    fn what_a_job_computes_is_immutable() {
        let digest = |c: &str| format!("sha256:{}", c.repeat(64));
        let old = spec(json!({"task": {"name": "a", "module": digest("0"), "params": {"x": 1}}}));
        let mut same = spec(json!({"task": {"name": "a", "params": {"x": 1}}, "parallelism": 4}));
        default_job_update(&old, &mut same);
        assert!(validate_job_update(&old, &same).is_empty());
        let mut other = spec(json!({"task": {"name": "b", "params": {"x": 2}, "inputs": {"i": digest("1")}}}));
        default_job_update(&old, &mut other);
        let errors = validate_job_update(&old, &other);
        assert_eq!(fields(&errors), ["spec.task.name", "spec.task.module", "spec.task.params", "spec.task.inputs"]);
        assert!(errors[0].message.contains("delete the Job"), "{}", errors[0]);
    }

    #[test]
    fn the_longest_subtask_name_must_fit() {
        assert!(validate_job_name("mandelbrot").is_empty());
        assert_eq!(validate_job_name(&"x".repeat(250)).len(), 1);
    }
}
