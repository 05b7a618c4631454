//! Defaults and rules of a Job.

use serde_json::Value;

use super::{
    FieldError, FieldPath,
    names::{label_name_problem, label_problem, subdomain_problem, validate_labels},
    structural,
};
use crate::{
    Duration, JobSpec,
    job::{FailurePolicy, JobTask, Placement, TolerationOperator, UpdatePolicy, Verification},
    limits::{
        BACKOFF_LIMIT_MAX, DEPENDENCIES_MAX, DURATION_MAX, FAILURE_RULES_MAX, INPUTS_MAX, MEMORY_BYTES_MAX,
        MEMORY_BYTES_MIN, PARAMS_BYTES_MAX, SUBTASKS_MAX, TOLERATIONS_MAX,
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
        errors.extend(validate_placement(placement, &path.child("placement")));
    }
    if let Some(policy) = &spec.failure_policy {
        errors.extend(validate_failure_policy(policy, &path.child("failurePolicy")));
    }
    if let Some(verification) = &spec.verification {
        errors.extend(validate_verification(verification, &path.child("verification")));
    }
    errors.extend(validate_dependencies(&spec.depends_on, &path.child("dependsOn")));
    let problem = subdomain_problem(&spec.queue);
    errors.extend(problem.map(|problem| FieldError::invalid(path.child("queue"), &spec.queue, problem)));
    errors
}

/// Whom a job waits for: the jobs of `dependsOn` and those whose results are its inputs, each once, in order.
pub fn dependencies(spec: &JobSpec) -> Vec<&str> {
    let named = spec.depends_on.iter().map(String::as_str);
    let mut all: Vec<&str> = named.chain(spec.task.inputs_from.values().map(|from| from.job.as_str())).collect();
    all.sort_unstable();
    all.dedup();
    all
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
    let mut errors = Vec::new();
    if old.cancel && !new.cancel {
        let detail = "a cancelled Job does not come back: delete it and apply it again";
        errors.push(FieldError::forbidden("spec.cancel", detail));
    }
    if old.verification != new.verification {
        let detail = "field is immutable, for what was delivered so far was not verified so: delete the Job and apply \
                      it again, or give this one another metadata.name";
        errors.push(FieldError::forbidden("spec.verification", detail));
    }
    if new.cancel && old.retry != new.retry {
        let detail = "a cancelled Job does not come back: `pdctl rerun` runs the same work as a new Job";
        errors.push(FieldError::forbidden("spec.retry", detail));
    }
    if new.update_policy == UpdatePolicy::Rerun {
        return errors;
    }
    let path = FieldPath::new("spec").child("task");
    let changed = [
        ("name", old.task.name != new.task.name),
        ("module", old.task.module != new.task.module),
        ("params", old.task.params != new.task.params),
        ("inputs", old.task.inputs != new.task.inputs),
        ("inputsFrom", old.task.inputs_from != new.task.inputs_from),
    ];
    let changed = changed.into_iter().filter(|(_, is_changed)| *is_changed);
    errors.extend(changed.map(|(field, _)| {
        let detail = "field is immutable while spec.updatePolicy is Reject, for what was computed so far would be lost: \
                      set spec.updatePolicy to Rerun to start over with the new value, delete the Job and apply it \
                      again, or give this one another metadata.name";
        FieldError::forbidden(path.child(field), detail)
    }));
    errors
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
    errors.extend(validate_inputs_from(task, path));
    errors
}

fn validate_inputs_from(task: &JobTask, path: &FieldPath) -> Vec<FieldError> {
    let from = path.child("inputsFrom");
    let mut errors = Vec::new();
    if task.inputs_from.len() > INPUTS_MAX {
        errors.push(FieldError::invalid(
            &from,
            task.inputs_from.len(),
            format!("must have at most {INPUTS_MAX} entries"),
        ));
    }
    for (name, source) in &task.inputs_from {
        let field = from.key(name);
        errors.extend(label_problem(name).map(|problem| FieldError::invalid(&from, name, problem)));
        if task.inputs.contains_key(name) {
            let detail = "an input is either an artifact or another Job's result: take it out of spec.task.inputs or of \
                          spec.task.inputsFrom";
            errors.push(FieldError::forbidden(&field, detail));
        }
        let problem = subdomain_problem(&source.job);
        errors.extend(problem.map(|problem| FieldError::invalid(field.child("job"), &source.job, problem)));
    }
    errors
}

fn validate_dependencies(names: &[String], path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if names.len() > DEPENDENCIES_MAX {
        errors.push(FieldError::invalid(path, names.len(), format!("must have at most {DEPENDENCIES_MAX} entries")));
    }
    for (position, name) in names.iter().enumerate() {
        let field = path.index(position);
        if names[..position].contains(name) {
            errors.push(FieldError::duplicate(&field, name));
        }
        errors.extend(subdomain_problem(name).map(|problem| FieldError::invalid(&field, name, problem)));
    }
    errors
}

fn validate_failure_policy(policy: &FailurePolicy, path: &FieldPath) -> Vec<FieldError> {
    let path = path.child("rules");
    let mut errors = Vec::new();
    if policy.rules.len() > FAILURE_RULES_MAX {
        let detail = format!("must have at most {FAILURE_RULES_MAX} entries");
        errors.push(FieldError::invalid(&path, policy.rules.len(), detail));
    }
    let mut known = std::collections::BTreeMap::new();
    for (position, rule) in policy.rules.iter().enumerate() {
        let field = path.index(position).child("outcomes");
        if rule.outcomes.is_empty() {
            errors.push(FieldError::required(&field, "name at least one outcome that the rule is about"));
        }
        for outcome in &rule.outcomes {
            if let Some(earlier) = known.insert(*outcome, position) {
                let rule = format!("rule {earlier} is about it already, and the first rule that matches holds");
                errors.push(FieldError::invalid(&field, format!("{outcome:?}"), rule));
            }
        }
    }
    errors
}

fn validate_verification(verification: &Verification, path: &FieldPath) -> Vec<FieldError> {
    match verification {
        Verification::Sample(sample) if sample.per_million().is_none() => {
            let rule = "must be a decimal number greater than 0 and at most 1, like \"0.01\"";
            vec![FieldError::invalid(path.child("sample").child("fraction"), &sample.fraction, rule)]
        }
        Verification::Sample(_) => vec![],
        Verification::Quorum(quorum) => {
            let path = path.child("quorum");
            let least = (quorum.agree < 2).then(|| {
                FieldError::invalid(
                    path.child("agree"),
                    quorum.agree,
                    "must be at least 2: one output agrees with itself",
                )
            });
            // Two groups of `agree` would both be right.
            let is_majority = quorum.of >= quorum.agree && quorum.of < 2 * quorum.agree;
            let majority = (!is_majority).then(|| {
                FieldError::invalid(
                    path.child("of"),
                    quorum.of,
                    "must be at least `agree`, and less than twice as many",
                )
            });
            least.into_iter().chain(majority).collect()
        }
    }
}

fn validate_placement(placement: &Placement, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = validate_labels(&placement.node_selector, &path.child("nodeSelector"));
    let path = path.child("tolerations");
    if placement.tolerations.len() > TOLERATIONS_MAX {
        let detail = format!("must have at most {TOLERATIONS_MAX} entries");
        errors.push(FieldError::invalid(&path, placement.tolerations.len(), detail));
    }
    for (position, toleration) in placement.tolerations.iter().enumerate() {
        let field = path.index(position);
        let is_exists = toleration.operator == TolerationOperator::Exists;
        if let Some(problem) = toleration.key.as_deref().and_then(label_name_problem) {
            errors.push(FieldError::invalid(
                field.child("key"),
                toleration.key.as_deref().unwrap_or_default(),
                problem,
            ));
        }
        if toleration.key.is_none() && !is_exists {
            errors.push(FieldError::required(field.child("key"), "without a key the operator must be Exists"));
        }
        if let Some(value) = toleration.value.as_deref().filter(|_| is_exists) {
            let detail = "must be left out when the operator is Exists";
            errors.push(FieldError::invalid(field.child("value"), value, detail));
        }
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if let Some(effect) = toleration.effect.as_deref().filter(|effect| !effects.contains(effect)) {
            errors.push(FieldError::not_supported(field.child("effect"), effect, &effects));
        }
    }
    errors
}

fn validate_durations(spec: &JobSpec, path: &FieldPath) -> Vec<FieldError> {
    let durations = [
        ("timeout", spec.timeout),
        ("subtaskTimeout", Some(spec.subtask_timeout)),
        // Zero means at once where a failed index is tried again, and where the job is over.
        ("retryDelay", Some(spec.retry_delay).filter(|delay| !delay.0.is_zero())),
        ("ttlAfterFinished", spec.ttl_after_finished.filter(|ttl| !ttl.0.is_zero())),
    ];
    let given = durations.into_iter().filter_map(|(field, duration)| Some((path.child(field), duration?)));
    let cpu_time = spec.resources.cpu_time.map(|duration| (path.child("resources").child("cpuTime"), duration));
    given.chain(cpu_time).filter_map(|(field, duration)| duration_error(&field, duration)).collect()
}

/// What is wrong with a duration in a spec.
pub(super) fn duration_error(path: &FieldPath, duration: Duration) -> Option<FieldError> {
    let is_legal = !duration.0.is_zero() && duration <= DURATION_MAX;
    let rule = format!("must be greater than 0 and at most {DURATION_MAX}");
    (!is_legal).then(|| FieldError::invalid(path, duration, rule))
}

fn validate_counts(spec: &JobSpec, path: &FieldPath) -> Vec<FieldError> {
    let wanted = spec.success_policy.as_ref().and_then(|policy| policy.succeeded_count);
    let round = spec.retry.as_ref().map(|retry| u64::from(retry.round));
    let counts = [
        (path.child("parallelism"), spec.parallelism.map(u64::from), 1, u64::from(u32::MAX)),
        (
            path.child("backoffLimitPerIndex"),
            Some(u64::from(spec.backoff_limit_per_index)),
            0,
            u64::from(BACKOFF_LIMIT_MAX),
        ),
        (path.child("backoffLimit"), spec.backoff_limit, 0, SUBTASKS_MAX * u64::from(BACKOFF_LIMIT_MAX)),
        (path.child("retry").child("round"), round, 1, u64::from(u32::MAX)),
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
                "queue": "default",
                "priority": 0,
                "suspend": false,
                "updatePolicy": "Reject",
                "subtaskTimeout": "5m",
                "cache": true,
                "workStealing": true,
                "speculation": {"enabled": true},
                "sandbox": {"isolation": "Subtask", "hostKernels": true},
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
            "resources": {"memory": "2Gi", "cpuTime": "0s"},
        })));
        let expected = [
            "spec.task.name",
            "spec.task.inputs",
            "spec.timeout",
            "spec.subtaskTimeout",
            "spec.resources.cpuTime",
            "spec.parallelism",
            "spec.backoffLimitPerIndex",
            "spec.successPolicy.succeededCount",
            "spec.resources.memory",
            "spec.placement.nodeSelector",
            "spec.placement.nodeSelector[ok]",
        ];
        assert_eq!(fields(&errors), expected, "{errors:#?}");
        assert!(errors[8].message.contains("must be between 1Mi and 1Gi"), "{}", errors[8]);
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
        assert!(errors[0].message.contains("spec.updatePolicy to Rerun"), "{}", errors[0]);
        other.update_policy = UpdatePolicy::Rerun;
        assert!(validate_job_update(&old, &other).is_empty(), "it starts over");
    }

    #[test]
    fn a_cancelled_job_stays_cancelled() {
        let old = spec(json!({"task": {"name": "a"}, "cancel": true}));
        let new = spec(json!({"task": {"name": "a"}, "updatePolicy": "Rerun"}));
        assert_eq!(fields(&validate_job_update(&old, &new)), ["spec.cancel"]);
        assert!(validate_job_update(&new, &old).is_empty());
    }

    #[test]
    fn a_retry_is_a_round_from_one_and_not_for_the_cancelled() {
        let with = |more: Value| {
            let mut given = json!({"task": {"name": "a"}});
            given.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
            spec(given)
        };
        assert_eq!(fields(&validate_job(&with(json!({"retry": {"round": 0}})))), ["spec.retry.round"]);
        assert_eq!(validate_job(&with(json!({"retry": {"round": 2, "indexes": "1-3,7"}}))), []);
        let (old, new) = (with(json!({"cancel": true})), with(json!({"cancel": true, "retry": {"round": 1}})));
        assert_eq!(fields(&validate_job_update(&old, &new)), ["spec.retry"]);
    }

    #[test]
    fn policies_are_checked() {
        let errors = validate_job(&spec(json!({
            "task": {
                "name": "a",
                "inputs": {"x": format!("sha256:{}", "0".repeat(64))},
                "inputsFrom": {"x": {"job": "other"}, "y": {"job": "Bad Name"}},
            },
            "dependsOn": ["one", "one", "No!"],
            "queue": "a/b",
            "failurePolicy": {"rules": [
                {"action": "FailJob", "outcomes": ["Trap"]},
                {"action": "Retry", "outcomes": ["Timeout", "Trap"]},
                {"action": "FailIndex", "outcomes": []},
            ]},
            "placement": {"tolerations": [
                {"value": "v"},
                {"key": "k", "operator": "Exists", "value": "v", "effect": "Sometimes"},
            ]},
        })));
        let expected = [
            "spec.task.inputsFrom[x]",
            "spec.task.inputsFrom[y].job",
            "spec.placement.tolerations[0].key",
            "spec.placement.tolerations[1].value",
            "spec.placement.tolerations[1].effect",
            "spec.failurePolicy.rules[1].outcomes",
            "spec.failurePolicy.rules[2].outcomes",
            "spec.dependsOn[1]",
            "spec.dependsOn[2]",
            "spec.queue",
        ];
        assert_eq!(fields(&errors), expected, "{errors:#?}");
        let zero = spec(json!({"task": {"name": "a"}, "ttlAfterFinished": "0s", "retryDelay": "0s"}));
        assert_eq!(validate_job(&zero), [], "at once");
    }

    #[test]
    fn whom_a_job_waits_for() {
        let spec = spec(json!({
            "task": {"name": "a", "inputsFrom": {"x": {"job": "m"}, "y": {"job": "b"}}},
            "dependsOn": ["z", "b"],
        }));
        assert_eq!(dependencies(&spec), ["b", "m", "z"]);
    }

    #[test]
    fn the_longest_subtask_name_must_fit() {
        assert!(validate_job_name("mandelbrot").is_empty());
        assert_eq!(validate_job_name(&"x".repeat(250)).len(), 1);
    }
}
