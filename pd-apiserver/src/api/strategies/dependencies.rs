//! Whom a Job waits for: a job that would wait for itself, over whatever others, is refused with the circle
//! spelled out. A job that is named but not there is waited for: manifests arrive in any order.

use std::collections::BTreeSet;

use schemas::{JobSpec, validation};

use super::{
    super::{
        call::Call,
        error::{ApiError, Cause},
        kinds::{self, Rules},
        registry,
    },
    typed,
};

/// Jobs that one admission reads at most: with that many it has taken milliseconds.
const JOBS_READ_MAX: usize = 10_000;

/// What is wrong with the dependencies of the job `name` with `spec`, which may not be stored yet.
pub(super) fn check(call: &Call, name: &str, spec: &JobSpec) -> Result<Vec<Cause>, ApiError> {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    // Depth first; each entry is a path from `name` on.
    let mut open: Vec<Vec<String>> = paths(&[name.to_owned()], spec);
    while let Some(path) = open.pop() {
        let Some(last) = path.last() else { continue };
        if last == name {
            let circle = path.join(" -> ");
            let message = format!("Invalid value: the job would wait for itself: {circle}");
            return Ok(vec![Cause::new(super::super::error::reasons::INVALID, field(spec, &path), message)]);
        }
        if !seen.insert(last.clone()) {
            continue;
        }
        if seen.len() > JOBS_READ_MAX {
            let message = format!("Invalid value: the job would wait for more than {JOBS_READ_MAX} others");
            return Ok(vec![Cause::new(super::super::error::reasons::INVALID, "spec.dependsOn", message)]);
        }
        let kind = kinds::by_rules(Rules::Job);
        let stored = registry::find(&*call.state.store, kind, &call.target.namespace, last)?;
        if let Some(spec) = stored.and_then(|stored| typed::<JobSpec>(&stored.object, "spec")) {
            open.extend(paths(&path, &spec));
        }
    }
    Ok(Vec::new())
}

/// `path`, and a step further to each dependency; the last one in front, so that the first is walked first.
fn paths(path: &[String], spec: &JobSpec) -> Vec<Vec<String>> {
    let further = |other: &str| path.iter().cloned().chain([other.to_owned()]).collect();
    validation::dependencies(spec).into_iter().rev().map(further).collect()
}

/// The field that begins a path.
fn field(spec: &JobSpec, path: &[String]) -> String {
    let first = path.get(1);
    let input = spec.task.inputs_from.iter().find(|(_, from)| Some(&from.job) == first);
    match spec.depends_on.iter().position(|name| Some(name) == first) {
        Some(position) => format!("spec.dependsOn[{position}]"),
        None => input.map_or("spec.dependsOn".into(), |(name, _)| format!("spec.task.inputsFrom[{name}].job")),
    }
}
