//! Queues: how many of a queue's jobs may have begun. How their jobs share the slots is `share`'s business.

use std::collections::BTreeMap;

use schemas::{
    job::{Waiting, waiting},
    queue,
};

use crate::{
    job::Work,
    snapshot::{QueueFacts, Snapshot},
};

/// The default queue, when nobody has made one.
static IMPLIED: std::sync::LazyLock<QueueFacts> = std::sync::LazyLock::new(QueueFacts::implied);

/// The queues by name; there is always a default one.
pub(crate) fn by_name(snapshot: &Snapshot) -> BTreeMap<&str, &QueueFacts> {
    let implied = (queue::DEFAULT, &*IMPLIED);
    let known = snapshot.queues.iter().map(|queue| (queue.name.as_str(), queue));
    std::iter::once(implied).chain(known).collect()
}

/// By queue: how many of its jobs have begun.
#[derive(Default)]
pub(crate) struct Begun<'a>(BTreeMap<&'a str, u32>);

impl<'a> Begun<'a> {
    /// Counts the jobs that go on; those that are suspended use nothing.
    pub(crate) fn count(jobs: &[Work<'a>]) -> Self {
        let mut begun = Self::default();
        for work in
            jobs.iter().filter(|work| !crate::job::is_over(work.job) && !work.job.spec.suspend && work.has_begun())
        {
            *begun.0.entry(&work.job.spec.queue).or_default() += 1;
        }
        begun
    }

    /// Lets a job begin, or says why it has to wait. Called in the order of priority and age.
    pub(crate) fn admit(&mut self, work: &Work<'a>) -> Option<Waiting> {
        let name = work.job.spec.queue.as_str();
        let Some(queue) = work.queue else {
            let message = format!("there is no Queue \"{name}\"; an administrator can create it");
            return Some(Waiting { reason: waiting::QUEUE_NOT_FOUND.into(), message });
        };
        let begun = self.0.entry(name).or_default();
        match queue.jobs {
            Some(limit) if *begun >= limit => {
                let message = format!("{begun} jobs of queue \"{name}\" run, its quota is {limit}");
                Some(Waiting { reason: waiting::QUOTA.into(), message })
            }
            _ => {
                *begun += 1;
                None
            }
        }
    }
}
