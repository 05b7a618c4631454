//! One source: read, decide, apply, prune, tell; again when something has changed, and again without that.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use kube::Client;
use schemas::manifest_source::{FileProblem, InventoryEntry};
use tokio::time::Instant;

use crate::{
    Error, Options,
    cluster::{Cluster, Pruned, WriteError},
    desired::{self, Desired, Memory, ObjectId, problem},
    folder::{self, Folder},
    inputs::{InputFile, Inputs},
    notices::Notices,
    record::{INVENTORY_MAX, Outcome, Record},
    steps::{self, Missing, Step},
    upload::Uploads,
};

/// First pause after a server that did not answer; doubled up to `RETRY_MAX`.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// A change that was made, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An object was created or changed.
    Applied(ObjectId),
    /// An object was deleted.
    Pruned(ObjectId),
    /// Something is wrong with a file.
    Problem(FileProblem),
    /// Nothing can be done for now.
    Obstacle(String),
    /// All of the folder is applied.
    Settled(usize),
}

pub(crate) struct Source<'a> {
    options: &'a Options,
    tell: &'a (dyn Fn(Change) + Sync),
    cluster: Cluster,
    uploads: Uploads,
    record: Record,
    memory: Memory,
    missing: Missing,
    inputs: Inputs,
    /// When everything was last applied, changed or not.
    resynced: Option<Instant>,
    told: Option<Outcome>,
}

impl<'a> Source<'a> {
    pub(crate) async fn open(
        client: Client,
        uploads: Uploads,
        options: &'a Options,
        tell: &'a (dyn Fn(Change) + Sync),
    ) -> Result<Self, Error> {
        let mut cluster = Cluster::new(client.clone());
        cluster.discover().await.map_err(Error::Discovery)?;
        let record = Record::open(client, options).await.map_err(Error::Record)?;
        Ok(Self {
            options,
            tell,
            cluster,
            uploads,
            record,
            memory: Memory::default(),
            missing: Missing::new(),
            inputs: Inputs::default(),
            resynced: None,
            told: None,
        })
    }

    /// Follows the folder until the future is dropped.
    pub(crate) async fn run(mut self) {
        let mut notices = Notices::new(&self.options.folder);
        let mut retry = RETRY_MIN;
        loop {
            notices.renew();
            let until = match self.cycle(notices.why_not()).await {
                Ok(wake_at) => {
                    retry = RETRY_MIN;
                    wake_at.map_or(self.options.rescan, |at| at.min(self.options.rescan))
                }
                Err(error) => {
                    tracing::warn!(error = %error, "the API server does not answer; trying again");
                    (self.tell)(Change::Obstacle(format!("the API server does not answer: {error}")));
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                    continue;
                }
            };
            notices.wait(Instant::now() + until).await;
        }
    }

    /// One pass. Answers how long at most may pass until the next one.
    pub(crate) async fn cycle(&mut self, not_notified: Option<&str>) -> Result<Option<Duration>, kube::Error> {
        let now = Timestamp::now();
        let mut outcome = Outcome { not_notified: not_notified.map(str::to_owned), ..Outcome::default() };
        let root = self.options.folder.clone();
        let read = tokio::task::spawn_blocking(move || folder::read(&root)).await;
        let folder = match read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(folder) => folder,
            Err(error) => {
                outcome.obstacle = Some(("FolderUnreadable", error.to_string()));
                self.finish(outcome, now).await?;
                return Ok(None);
            }
        };
        let (mut desired, files) = self.desired(&folder).await?;
        let is_resync = self.resynced.is_none_or(|at| at.elapsed() >= self.options.resync);
        let decided =
            steps::decide(&desired, &self.record.inventory, &mut self.missing, self.options.rules, is_resync, now);
        if decided.is_empty_refused {
            let message = "no file holds an object any more; with --allow-empty everything would be deleted";
            outcome.obstacle = Some(("Empty", message.to_owned()));
        }
        self.announce(&desired).await?;
        let mut is_whole = outcome.obstacle.is_none();
        for step in decided.steps {
            is_whole &= self.perform(&step, &mut desired, &files).await?;
        }
        if is_resync {
            self.resynced = Some(Instant::now());
        }
        desired.problems.sort();
        outcome.applied = (is_whole && desired.problems.is_empty()).then(|| folder.digest());
        outcome.problems = desired.problems;
        self.finish(outcome, now).await?;
        Ok(decided.wake_at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default()))
    }

    /// What the folder asks for; asks the server for its kinds anew when it does not know one.
    async fn desired(&mut self, folder: &Folder) -> Result<(Desired, BTreeMap<ObjectId, Vec<InputFile>>), kube::Error> {
        let mut desired = self.decide(folder);
        if !desired.problems.is_empty() {
            self.cluster.discover().await?;
            desired = self.decide(folder);
        }
        if desired.objects.len() > INVENTORY_MAX {
            let message = format!("the folder holds more than {INVENTORY_MAX} objects; nothing was applied");
            let problem = FileProblem { file: String::new(), line: None, column: None, message };
            let held = std::mem::take(&mut desired.objects).into_keys();
            desired.held.extend(held);
            desired.problems.push(problem);
        }
        let files = self.inputs.resolve(&self.options.folder, &mut desired).await;
        Ok((desired, files))
    }

    fn decide(&mut self, folder: &Folder) -> Desired {
        let scope = |api_version: &str, kind: &str| self.cluster.is_namespaced(api_version, kind);
        desired::decide(&mut self.memory, folder, &self.options.namespace, &scope)
    }

    /// Puts what is about to be applied into the inventory.
    async fn announce(&mut self, desired: &Desired) -> Result<(), kube::Error> {
        let mut is_new = false;
        for (id, wanted) in &desired.objects {
            if let Some(entry) = self.record.inventory.get_mut(id) {
                entry.file.clone_from(&wanted.file);
                continue;
            }
            is_new = true;
            self.record.inventory.insert(id.clone(), entry(id, &wanted.file));
        }
        if is_new { self.record.write_inventory().await } else { Ok(()) }
    }

    /// True when it is done; what the server refuses is a problem of the file.
    async fn perform(
        &mut self,
        step: &Step,
        desired: &mut Desired,
        files: &BTreeMap<ObjectId, Vec<InputFile>>,
    ) -> Result<bool, kube::Error> {
        match step {
            Step::Apply(id) => {
                let inputs = files.get(id).map(Vec::as_slice).unwrap_or_default();
                self.apply(id, desired, inputs).await
            }
            Step::Prune(id) => self.prune(id, desired).await,
        }
    }

    async fn apply(&mut self, id: &ObjectId, desired: &mut Desired, inputs: &[InputFile]) -> Result<bool, kube::Error> {
        let Some(wanted) = desired.objects.get(id) else { return Ok(true) };
        let known = self.record.inventory.get(id).cloned().unwrap_or_else(|| entry(id, &wanted.file));
        for input in inputs {
            if let Err(error) = self.uploads.ensure_file(&input.path, input.hashed, |_| {}).await {
                let error = wanted.document.error("spec.task.inputs", error.to_string());
                desired.problems.push(problem(&wanted.file, &error));
                return Ok(false);
            }
        }
        let is_changed = known.digest != Some(wanted.digest);
        let is_over = known.finished && !is_changed;
        let applied = match self.cluster.apply(id, &wanted.document.object, &self.record.uid(), is_over).await {
            Ok(Some(applied)) => applied,
            Ok(None) => return Ok(true),
            Err(error) => return self.refused(id, desired, error),
        };
        if applied.is_new || is_changed || applied.uid != known.uid {
            tracing::info!(object = %id, file = wanted.file, "applied");
            (self.tell)(Change::Applied(id.clone()));
            let note = format!("{id} is as {} says", wanted.file);
            self.record.tell(false, "Applied", note).await;
        }
        let entry = InventoryEntry {
            uid: applied.uid,
            digest: Some(wanted.digest),
            finished: applied.is_finished,
            file: wanted.file.clone(),
            ..known
        };
        self.record.inventory.insert(id.clone(), entry);
        Ok(true)
    }

    async fn prune(&mut self, id: &ObjectId, desired: &mut Desired) -> Result<bool, kube::Error> {
        let uid = self.record.inventory.get(id).map(|entry| entry.uid.clone()).unwrap_or_default();
        match self.cluster.prune(id, &uid, &self.record.uid()).await {
            Ok(pruned) => {
                self.record.inventory.remove(id);
                self.missing.remove(id);
                if pruned == Pruned::Deleted {
                    tracing::info!(object = %id, "pruned");
                    (self.tell)(Change::Pruned(id.clone()));
                    self.record.tell(false, "Pruned", format!("{id} stands in no file any more")).await;
                }
                Ok(true)
            }
            Err(error) => self.refused(id, desired, error),
        }
    }

    fn refused(&self, id: &ObjectId, desired: &mut Desired, error: WriteError) -> Result<bool, kube::Error> {
        let file = self.record.inventory.get(id).map(|entry| entry.file.clone()).unwrap_or_default();
        let Some(wanted) = desired.objects.get(id) else {
            let message = format!("{id}: {error}");
            if let WriteError::Later(error) = error {
                return Err(error);
            }
            desired.problems.push(FileProblem { file, line: None, column: None, message });
            return Ok(false);
        };
        let found = match error {
            WriteError::Later(error) => return Err(error),
            WriteError::Foreign { .. } => vec![wanted.document.error("metadata.name", error.to_string())],
            WriteError::Refused(status) => {
                let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
                let of_fields: Vec<_> = causes
                    .iter()
                    .filter(|cause| !cause.field.is_empty())
                    .map(|cause| wanted.document.error(&cause.field, cause.message.clone()))
                    .collect();
                if of_fields.is_empty() { vec![wanted.document.error("", status.message)] } else { of_fields }
            }
        };
        let found: Vec<_> = found.iter().map(|error| problem(&wanted.file, error)).collect();
        desired.problems.extend(found);
        Ok(false)
    }

    /// Tells of what is new, and writes it down.
    async fn finish(&mut self, outcome: Outcome, now: Timestamp) -> Result<(), kube::Error> {
        let before = self.told.take().unwrap_or_default();
        for problem in outcome.problems.iter().filter(|problem| !before.problems.contains(problem)) {
            tracing::warn!(problem = %problem, "a manifest is not applied");
            (self.tell)(Change::Problem(problem.clone()));
            self.record.tell(true, "Problem", problem.to_string()).await;
        }
        if let Some((reason, message)) = outcome.obstacle.as_ref().filter(|it| before.obstacle.as_ref() != Some(*it)) {
            (self.tell)(Change::Obstacle(message.clone()));
            self.record.tell(true, reason, message.clone()).await;
        }
        if outcome.applied.is_some() && outcome.applied != before.applied {
            (self.tell)(Change::Settled(self.record.inventory.len()));
        }
        self.told = Some(outcome.clone());
        self.record.write_outcome(outcome, now).await
    }
}

fn entry(id: &ObjectId, file: &str) -> InventoryEntry {
    InventoryEntry {
        api_version: id.api_version.clone(),
        kind: id.kind.clone(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        uid: String::new(),
        file: file.to_owned(),
        digest: None,
        finished: false,
    }
}
