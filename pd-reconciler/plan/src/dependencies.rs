//! Dependencies: jobs that wait for others, and take their results as inputs. Only a job that has not begun
//! waits; what happens to a dependency later does not touch it any more.

use std::collections::BTreeMap;

use schemas::{
    Digest, Job, condition,
    job::{Waiting, conditions, waiting},
    validation,
};

use crate::{job::Verdict, snapshot::Snapshot};

/// Names told in one message.
const NAMES_TOLD_MAX: usize = 3;

/// The jobs that others may depend on, by namespace and name. Empty when nobody depends on anybody.
pub(crate) struct Known<'a>(BTreeMap<(&'a str, &'a str), &'a Job>);

/// What becomes of a job because of those that it depends on.
pub(crate) enum Outlook {
    /// Nothing stands in its way.
    Clear,
    /// One of them is not Complete.
    Waits(Waiting),
    /// One of them has failed.
    Fails(Verdict),
}

impl<'a> Known<'a> {
    pub(crate) fn of(snapshot: &'a Snapshot) -> Self {
        let depends = |job: &Job| !job.spec.depends_on.is_empty() || !job.spec.task.inputs_from.is_empty();
        if !snapshot.jobs.iter().any(|facts| depends(&facts.job)) {
            return Self(BTreeMap::new());
        }
        let open = snapshot.jobs.iter().map(|facts| &*facts.job);
        let all = snapshot.finished.iter().map(|job| &**job).chain(open);
        Self(all.map(|job| ((namespace(job), name(job)), job)).collect())
    }

    /// The inputs of a job, as far as they are known: what its status says stands, whatever became of the job
    /// that computed it.
    pub(crate) fn inputs(&self, job: &Job) -> BTreeMap<String, Digest> {
        let mut inputs = job.spec.task.inputs.clone();
        let recorded = job.status.as_ref().map(|status| &status.inputs);
        for (input, from) in &job.spec.task.inputs_from {
            let recorded = recorded.and_then(|inputs| inputs.get(input)).copied();
            let computed = || self.0.get(&(namespace(job), from.job.as_str())).and_then(|other| result(other));
            if let Some(digest) = recorded.or_else(computed) {
                inputs.insert(input.clone(), digest);
            }
        }
        inputs
    }

    /// Whether a job that has not begun may.
    pub(crate) fn outlook(&self, job: &Job) -> Outlook {
        let (mut missing, mut unfinished) = (Vec::new(), Vec::new());
        let names = validation::dependencies(&job.spec);
        for other in &names {
            match self.0.get(&(namespace(job), *other)) {
                None if !self.is_taken(job, other) => missing.push(*other),
                None => {}
                Some(other) if is(other, conditions::FAILED) => {
                    let message = format!("job \"{}\", which it depends on, has failed", name(other));
                    return Outlook::Fails(Verdict { reason: "DependencyFailed".into(), message });
                }
                Some(other) if is(other, conditions::COMPLETE) => {}
                Some(_) if self.is_taken(job, other) => {}
                Some(_) => unfinished.push(*other),
            }
        }
        if missing.is_empty() && unfinished.is_empty() {
            return Outlook::Clear;
        }
        let told = [(unfinished, "not complete"), (missing, "not there")];
        let told: Vec<String> =
            told.iter().filter(|(names, _)| !names.is_empty()).map(|(n, what)| tell(n, what)).collect();
        let message = format!("of {} jobs that it depends on {}", names.len(), told.join(" and "));
        Outlook::Waits(Waiting { reason: waiting::DEPENDENCY.into(), message })
    }

    /// True when the other's result is all that is wanted of it, and is known.
    fn is_taken(&self, job: &Job, other: &str) -> bool {
        let known = self.inputs(job);
        let from = job.spec.task.inputs_from.iter().filter(|(_, from)| from.job == other);
        let mut inputs = from.map(|(input, _)| known.contains_key(input)).peekable();
        !job.spec.depends_on.iter().any(|name| name == other) && inputs.peek().is_some() && inputs.all(|known| known)
    }

    /// True when a job that has not begun still needs what `job` came to.
    pub(crate) fn is_awaited(&self, job: &Job) -> bool {
        self.0.values().any(|other| {
            let is_open = !is(other, conditions::COMPLETE) && !is(other, conditions::FAILED);
            let has_begun = other.status.as_ref().is_some_and(|status| status.start_time.is_some());
            is_open
                && !has_begun
                && namespace(other) == namespace(job)
                && validation::dependencies(&other.spec).contains(&name(job))
        })
    }
}

fn tell(names: &[&str], what: &str) -> String {
    let told: Vec<String> = names.iter().take(NAMES_TOLD_MAX).map(|name| format!("\"{name}\"")).collect();
    let more = names.len().saturating_sub(NAMES_TOLD_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb} {what}: {}{more}", names.len(), told.join(", "))
}

fn result(job: &Job) -> Option<Digest> {
    let status = job.status.as_ref().filter(|_| is(job, conditions::COMPLETE))?;
    Some(status.result.as_ref()?.artifact)
}

fn is(job: &Job, type_: &str) -> bool {
    job.status.as_ref().is_some_and(|status| condition::is_true(&status.conditions, type_))
}

fn namespace(job: &Job) -> &str {
    job.metadata.namespace.as_deref().unwrap_or_default()
}

fn name(job: &Job) -> &str {
    job.metadata.name.as_deref().unwrap_or_default()
}
