//! Dependencies: what a job waits for, judged when something of it is first given out, and when it fails because of one.

use schemas::{Assignment, Digest, Job, condition, job::conditions, validation};

use super::Invariant;
use crate::world::World;

impl World {
    /// Keeps what a job that is over came to.
    pub(super) fn keep_end(&mut self, job: &Job) {
        let (Some(name), Some(status)) = (&job.metadata.name, &job.status) else { return };
        let result = status.result.as_ref().map(|result| result.artifact);
        let result = result.filter(|_| condition::is_true(&status.conditions, conditions::COMPLETE));
        self.checks.ends.insert(name.clone(), result);
    }

    /// An Assignment was created: all that its job depends on is Complete, and what it takes over is what that came to.
    pub(super) fn check_dependencies(&mut self, created: &Assignment) {
        let Some(job) = self.server.jobs.get(&created.spec.job.uid) else { return };
        let result = |name: &str| self.checks.ends.get(name).copied().flatten();
        let early = validation::dependencies(&job.spec).into_iter().find(|name| result(name).is_none());
        let is_foreign = |(input, digest): (&String, Option<Digest>)| {
            digest.is_some() && created.spec.work.inputs.get(input).copied() != digest
        };
        let mut inputs = job.spec.task.inputs_from.iter().map(|(input, from)| (input, result(&from.job)));
        let broken = match early {
            Some(name) => Some(format!("begins before {name} is complete")),
            None => inputs.any(is_foreign).then(|| "begins with another input than its job came to".to_owned()),
        };
        if let Some(text) = broken {
            let name = job.metadata.name.clone().unwrap_or_default();
            self.checks.break_(self.now, Invariant::DependenciesKept, || format!("{name} {text}"));
        }
    }

    /// True when one of the jobs that it depends on has failed, and nothing of it was given out.
    pub(super) fn dependency_failed(&self, job: &Job) -> bool {
        let names = validation::dependencies(&job.spec);
        let has_failed = names.into_iter().any(|name| self.checks.ends.get(name).is_some_and(Option::is_none));
        let is_it = |assignment: &Assignment| Some(&assignment.spec.job.uid) == job.metadata.uid.as_ref();
        has_failed && !self.server.assignments.values().any(|assignment| is_it(assignment))
    }
}
