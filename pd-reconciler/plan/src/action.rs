//! Plan: what to do, as final API writes, and why. Execution has no choices left.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::Timestamp;
use schemas::{Assignment, CachedResult, Digest, IndexSet, Job, JobStatus, assignment::Part};

use crate::{
    rates::History,
    snapshot::{Memory, NodeMemory},
};

/// What to do now, why, and when to look again.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Writes, in the order in which they must be made for one job: what takes work away stands before
    /// what gives it out.
    pub actions: Vec<Action>,
    /// Why nothing was done where something could be expected.
    pub notes: Vec<Note>,
    /// When to plan again although nothing has changed.
    pub wake_at: Option<Timestamp>,
    /// The same, should every node be heard of until then: see `Silence`.
    pub wake_at_if_heard: Option<Timestamp>,
    /// By job UID: to be handed back in the next snapshot.
    pub memories: BTreeMap<String, Memory>,
    /// To be handed back in the next snapshot.
    pub history: History,
    /// By node UID: to be handed back in the next snapshot.
    pub node_memories: BTreeMap<String, NodeMemory>,
    /// Numbers for metrics.
    pub counts: Counts,
}

/// What one plan gave out, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Assignments that were given more indexes.
    pub grants: u64,
    /// Indexes given out.
    pub granted_indexes: u64,
    /// Of these, retries.
    pub retries: u64,
    /// Nodes found lost.
    pub nodes_lost: u64,
    /// Times that work was recalled from a busy node for an idle one.
    pub steals: u64,
    /// Indexes recalled so.
    pub stolen_indexes: u64,
    /// Indexes given to a second node so that outputs can be compared.
    pub checked_indexes: u64,
    /// Indexes whose outputs were ordered to be compared.
    pub compared_indexes: u64,
    /// Nodes caught with outputs that differ from what others agree on.
    pub nodes_distrusted: u64,
    /// Indexes taken over from earlier jobs.
    pub cached_indexes: u64,
    /// Indexes given to a second node because the first is stuck with them.
    pub copied_indexes: u64,
}

/// One write. The object's resourceVersion is what the write depends on.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create an assignment.
    CreateAssignment(Box<Assignment>),
    /// Replace an assignment's spec.
    ReplaceAssignment {
        /// With the new spec and the resourceVersion it was decided on.
        assignment: Box<Assignment>,
        /// True when it takes work away: nothing of the job may be given out before this is written.
        withdraws: bool,
    },
    /// Delete an assignment: what runs of it is stopped, what came of it does not count.
    DeleteAssignment(Box<Assignment>),
    /// Delete a job whose time after its end is over, with all that belongs to it.
    DeleteJob(Arc<Job>),
    /// Write down why a node has nothing to do.
    ExplainNode {
        /// The node.
        node: String,
        /// Its UID.
        uid: String,
        /// Why; none: it is busy, and the explanation goes.
        reason: Option<String>,
    },
    /// Find out at which of some indexes two segments hold different outputs.
    CompareOutputs {
        /// UID of the job.
        job_uid: String,
        /// One segment.
        left: Digest,
        /// The other.
        right: Digest,
        /// Indexes that both hold.
        indexes: IndexSet,
    },
    /// Taint a node whose outputs differ from what others agree on. Nothing else of the job may be written before.
    DistrustNode {
        /// The node.
        node: String,
        /// Its UID.
        uid: String,
        /// UID of the job that caught it.
        job_uid: String,
    },
    /// Say that a job takes a CachedResult over. It is refused when an artifact that it names is gone: then nothing
    /// else of the job may be written, and the CachedResult is broken.
    UseCachedResult {
        /// What is taken over.
        entry: Arc<CachedResult>,
        /// When.
        at: Timestamp,
        /// UID of the job.
        job_uid: String,
    },
    /// Create a CachedResult, or replace one.
    WriteCachedResult(Box<CachedResult>),
    /// Delete a CachedResult.
    DropCachedResult(Arc<CachedResult>),
    /// Replace a job's status.
    WriteJobStatus {
        /// The job it was decided on.
        job: Arc<Job>,
        /// The new status.
        status: Box<JobStatus>,
    },
    /// Set a node's Ready condition.
    SetNodeReady {
        /// The node.
        node: String,
        /// Its UID.
        uid: String,
        /// True, or Unknown because it is lost.
        ready: bool,
    },
    /// Record an event, once the other writes about its object have succeeded.
    EmitEvent(Event),
}

/// Something worth telling the user about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is about.
    pub about: About,
    /// True when somebody should look.
    pub is_warning: bool,
    /// One CamelCase word.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
}

/// The object of an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// A job.
    Job {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// A node.
    Node {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
}

/// Why nothing was done where something could be expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// `job/NAMESPACE/NAME` or `node/NAME`.
    pub subject: String,
    /// One CamelCase word.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
}

impl Plan {
    /// Asks to be called again at `at`, or before.
    pub(crate) fn wake(&mut self, at: Timestamp) {
        self.wake_unless_heard(at);
        self.wake_at_if_heard = Some(self.wake_at_if_heard.map_or(at, |earlier| earlier.min(at)));
    }

    /// Asks to be called again at `at`, should a node be silent until then.
    pub(crate) fn wake_unless_heard(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Adds a note.
    pub(crate) fn note(&mut self, subject: String, reason: &'static str, message: impl Into<String>) {
        self.notes.push(Note { subject, reason, message: message.into() });
    }

    /// Adds an event.
    pub(crate) fn event(&mut self, about: About, is_warning: bool, reason: &'static str, message: impl Into<String>) {
        self.actions.push(Action::EmitEvent(Event { about, is_warning, reason, message: message.into() }));
    }
}

impl Action {
    /// UID of the job; of the node or the name of the CachedResult for what is about that alone.
    pub fn uid(&self) -> Option<&str> {
        match self {
            Self::CreateAssignment(assignment)
            | Self::ReplaceAssignment { assignment, .. }
            | Self::DeleteAssignment(assignment) => Some(&assignment.spec.job.uid),
            Self::WriteJobStatus { job, .. } | Self::DeleteJob(job) => job.metadata.uid.as_deref(),
            Self::SetNodeReady { uid, .. } | Self::ExplainNode { uid, .. } => Some(uid),
            Self::UseCachedResult { job_uid, .. }
            | Self::CompareOutputs { job_uid, .. }
            | Self::DistrustNode { job_uid, .. } => Some(job_uid),
            Self::WriteCachedResult(entry) => entry.metadata.name.as_deref(),
            Self::DropCachedResult(entry) => entry.metadata.name.as_deref(),
            Self::EmitEvent(event) => Some(event.about.uid()),
        }
    }
}

impl About {
    /// UID of the object.
    pub fn uid(&self) -> &str {
        match self {
            Self::Job { uid, .. } | Self::Node { uid, .. } => uid,
        }
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job { namespace, name, .. } => write!(f, "job/{namespace}/{name}"),
            Self::Node { name, .. } => write!(f, "node/{name}"),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.subject, self.reason, self.message)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateAssignment(assignment) => write!(f, "create {}", Told(assignment)),
            Self::ReplaceAssignment { assignment, withdraws: false } => write!(f, "replace {}", Told(assignment)),
            Self::ReplaceAssignment { assignment, withdraws: true } => write!(f, "withdraw {}", Told(assignment)),
            Self::WriteJobStatus { job, status } => {
                write!(f, "status of {}: {}", job.metadata.name.as_deref().unwrap_or_default(), ToldStatus(status))
            }
            Self::DeleteAssignment(assignment) => {
                write!(f, "delete {} on {}", assignment.spec.job.name, assignment.spec.node_name)
            }
            Self::DeleteJob(job) => write!(f, "delete job {}", job.metadata.name.as_deref().unwrap_or_default()),
            Self::CompareOutputs { left, right, indexes, .. } => {
                write!(f, "compare {} and {}: [{indexes}]", &left.hex()[..6], &right.hex()[..6])
            }
            Self::DistrustNode { node, .. } => write!(f, "distrust node {node}"),
            Self::UseCachedResult { entry, .. } => write!(f, "use cached {}", ToldCached(entry)),
            Self::WriteCachedResult(entry) => write!(f, "cache {}", ToldCached(entry)),
            Self::DropCachedResult(entry) => write!(f, "drop cached {}", ToldCached(entry)),
            Self::ExplainNode { node, reason, .. } => {
                write!(
                    f,
                    "node {node}: {}",
                    reason.as_deref().map_or("busy again".into(), |why| format!("idle: {why}"))
                )
            }
            Self::SetNodeReady { node, ready, .. } => {
                write!(f, "node {node}: Ready={}", if *ready { "True" } else { "Unknown" })
            }
            Self::EmitEvent(event) => {
                let kind = if event.is_warning { "warning" } else { "event" };
                write!(f, "{kind} on {}: {}: {}", event.about, event.reason, event.message)
            }
        }
    }
}

/// One line that says what an assignment asks for.
struct Told<'a>(&'a Assignment);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = &self.0.spec;
        write!(f, "{} on {}:", spec.job.name, spec.node_name)?;
        if spec.plan {
            f.write_str(" plan")?;
        }
        if spec.plan_attempt > 0 {
            write!(f, "#{}", spec.plan_attempt)?;
        }
        if let Some(slots) = spec.slots {
            write!(f, " slots={slots}")?;
        }
        for grant in &spec.grants {
            write!(f, " {}:[{}]", grant.attempt, grant.indexes)?;
        }
        for (what, indexes) in [("recalled", &spec.recalled), ("copies", &spec.copies), ("checks", &spec.checks)] {
            if !indexes.is_empty() {
                write!(f, " {what}=[{indexes}]")?;
            }
        }
        let tell = |f: &mut fmt::Formatter<'_>, parts: &[Part]| {
            parts.iter().try_for_each(|part| write!(f, " {}:[{}]", &part.segment.hex()[..6], part.indexes))
        };
        if !spec.check_parts.is_empty() {
            f.write_str(" delivered in")?;
            tell(f, &spec.check_parts)?;
        }
        if let Some(merge) = &spec.merge {
            write!(f, " merge#{}", merge.attempt)?;
            tell(f, &merge.parts)?;
        }
        Ok(())
    }
}

/// One line that says what is cached.
struct ToldCached<'a>(&'a CachedResult);

impl fmt::Display for ToldCached<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = &self.0.spec;
        write!(f, "{} by {}:", &spec.key.hex()[..6], spec.job)?;
        for segment in &spec.outputs.segments {
            write!(f, " {}:[{}]", &segment.digest.hex()[..6], segment.indexes)?;
        }
        if !spec.outputs.found.is_empty() {
            write!(f, " found=[{}]", spec.outputs.found)?;
        }
        if let Some(merged) = &spec.outputs.merged {
            write!(f, " merged=[{}]", merged.indexes)?;
        }
        write!(f, " of {}", spec.layout.subtasks)
    }
}

/// One line that says what a job's status says.
struct ToldStatus<'a>(&'a JobStatus);

impl fmt::Display for ToldStatus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        let counts = status.subtasks;
        write!(f, "{}", status.state.as_deref().unwrap_or("-"))?;
        write!(f, " total={} succeeded={}", counts.total, counts.succeeded)?;
        write!(f, " failed={} running={} pending={}", counts.failed, counts.running, counts.pending)?;
        write!(f, " completed=[{}] failed=[{}]", status.completed_indexes, status.failed_indexes)?;
        if let Some(cached) = &status.cached {
            write!(f, " cached={}", cached.count)?;
        }
        if let Some(verification) = &status.verification {
            write!(f, " verified=[{}]", verification.verified)?;
            for (what, told) in [("unresolved", &verification.unresolved)] {
                if !told.is_empty() {
                    write!(f, " {what}=[{told}]")?;
                }
            }
            for node in &verification.untrusted {
                write!(f, " untrusted={}", node.name)?;
            }
        }
        if !status.found.is_empty() {
            write!(f, " found=[{}]", status.found)?;
        }
        if status.retries > 0 {
            write!(f, " retries={}", status.retries)?;
        }
        if let Some(efficiency) = &status.efficiency {
            write!(f, " efficiency={efficiency}")?;
        }
        if let Some(result) = &status.result {
            write!(f, " result={}", &result.artifact.hex()[..6])?;
        }
        for (name, digest) in &status.inputs {
            write!(f, " {name}={}", &digest.hex()[..6])?;
        }
        if let Some(waiting) = &status.waiting {
            write!(f, " waiting={}({})", waiting.reason, waiting.message)?;
        }
        for condition in &status.conditions {
            write!(f, " {}={}({})", condition.type_, condition.status, condition.reason)?;
        }
        Ok(())
    }
}
