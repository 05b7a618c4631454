//! The simulated API server: objects with revisions, compare-and-swap, and the fences of the registry. It
//! restarts without losing anything, as the real one does; what it sends gets lost on the way, not here.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use pd_plan::{Readiness, Taint};
use schemas::{Assignment, AssignmentStatus, Job, JobStatus};

use crate::{bug::Bug, kubelet::Kubelet, world::is_over};

/// A Node, as far as the plan reads it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeObject {
    /// Number of its machine.
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) slots: u32,
    pub(crate) ready: Readiness,
    /// False when it is cordoned.
    pub(crate) schedulable: bool,
    /// True when what it has not started should go elsewhere.
    pub(crate) draining: bool,
    /// Why it has nothing to do, as the reconciler wrote it down.
    pub(crate) idle_reason: Option<String>,
    pub(crate) version: u64,
}

/// One stored object.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Job(Arc<Job>),
    Assignment(Arc<Assignment>),
    Node(Arc<NodeObject>),
    /// This one was deleted.
    Gone(Gone),
}

/// What was deleted, by UID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    Job(String),
    /// With the UID of its job and the name of its node.
    Assignment {
        uid: String,
        job: String,
        node: String,
    },
}

/// One write.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    CreateAssignment(Box<Assignment>),
    ReplaceAssignment(Box<Assignment>),
    DeleteAssignment(Box<Assignment>),
    JobStatus {
        job: Arc<Job>,
        status: Box<JobStatus>,
    },
    NodeReady {
        node: Arc<NodeObject>,
        ready: bool,
    },
    /// A patch: whatever the revision.
    NodeIdle {
        node: Arc<NodeObject>,
        reason: Option<String>,
    },
    /// A node's report: on the revision that it knows.
    Report {
        assignment: Arc<Assignment>,
        status: Box<AssignmentStatus>,
    },
}

/// What became of a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Written(Object),
    /// Somebody wrote before; with what is there now.
    Conflict(Option<Object>),
    /// Not taken, whatever the revision.
    Refused,
    /// Nobody knows: nothing came back in time.
    Silence,
}

/// The server's state.
#[derive(Debug, Default)]
pub(crate) struct Server {
    pub(crate) version: u64,
    uids: u32,
    pub(crate) jobs: BTreeMap<String, Arc<Job>>,
    pub(crate) assignments: BTreeMap<String, Arc<Assignment>>,
    pub(crate) nodes: BTreeMap<String, Arc<NodeObject>>,
}

impl Server {
    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Stores a user's job.
    pub(crate) fn submit(&mut self, mut job: Job, at: Timestamp) -> Object {
        let uid = job.metadata.uid.clone().unwrap_or_default();
        job.metadata.creation_timestamp = Some(Time(at));
        job.metadata.generation = Some(1);
        job.metadata.resource_version = Some(self.next_version().to_string());
        let job = Arc::new(job);
        self.jobs.insert(uid, Arc::clone(&job));
        Object::Job(job)
    }

    /// Stores a node that joins; one of the same name is replaced.
    pub(crate) fn join(&mut self, number: usize, kubelet: &Kubelet) -> Object {
        let node = NodeObject {
            number,
            name: kubelet.name.clone(),
            uid: kubelet.uid.clone(),
            labels: kubelet.labels.clone(),
            taints: kubelet.taints.clone(),
            slots: kubelet.slots.len() as u32,
            ready: Readiness::True,
            schedulable: true,
            draining: false,
            idle_reason: None,
            version: self.next_version(),
        };
        let node = Arc::new(node);
        self.nodes.insert(kubelet.name.clone(), Arc::clone(&node));
        Object::Node(node)
    }

    /// A user changes what a job asks for; none when it is not there or is over.
    pub(crate) fn edit_job(&mut self, uid: &str, edit: impl FnOnce(&mut Job)) -> Option<Object> {
        let mut job = (**self.jobs.get(uid).filter(|job| !is_over(job))?).clone();
        let before = job.spec.clone();
        edit(&mut job);
        if job.spec == before {
            return None;
        }
        job.metadata.generation = job.metadata.generation.map(|generation| generation + 1);
        job.metadata.resource_version = Some(self.next_version().to_string());
        let job = Arc::new(job);
        self.jobs.insert(uid.to_owned(), Arc::clone(&job));
        Some(Object::Job(job))
    }

    /// A user deletes a job; none when it is not there. Its assignments go when the garbage is collected.
    pub(crate) fn delete_job(&mut self, uid: &str) -> Option<Object> {
        self.jobs.remove(uid)?;
        self.version += 1;
        Some(Object::Gone(Gone::Job(uid.to_owned())))
    }

    /// Deletes the assignments of jobs that are not there any more.
    pub(crate) fn sweep(&mut self) -> Vec<Object> {
        let orphans =
            self.assignments.extract_if(.., |_, assignment| !self.jobs.contains_key(&assignment.spec.job.uid));
        let gone: Vec<Object> = orphans.map(|(_, orphan)| Object::Gone(gone(&orphan))).collect();
        self.version += gone.len() as u64;
        gone
    }

    /// An administrator changes a node; none when it has not joined, or nothing of it changes.
    pub(crate) fn edit_node(&mut self, name: &str, edit: impl FnOnce(&mut NodeObject)) -> Option<Object> {
        let there = self.nodes.get_mut(name)?;
        let mut node = (**there).clone();
        edit(&mut node);
        if node == **there {
            return None;
        }
        self.version += 1;
        node.version = self.version;
        *there = Arc::new(node);
        Some(Object::Node(Arc::clone(there)))
    }

    /// Everything, or what one node watches.
    pub(crate) fn list(&self, node: Option<&str>) -> Vec<Object> {
        let is_meant = |assignment: &&Arc<Assignment>| node.is_none_or(|node| assignment.spec.node_name == node);
        let assignments = self.assignments.values().filter(is_meant).cloned().map(Object::Assignment);
        let jobs = self.jobs.values().filter(|_| node.is_none()).cloned().map(Object::Job);
        let nodes = self.nodes.values().filter(|_| node.is_none()).cloned().map(Object::Node);
        nodes.chain(jobs).chain(assignments).collect()
    }

    /// Carries out a write. The flag says whether anything was changed.
    pub(crate) fn handle(&mut self, request: &Request, at: Timestamp, bug: Option<Bug>) -> (Answer, bool) {
        match request {
            Request::CreateAssignment(assignment) => self.create(assignment, at),
            Request::ReplaceAssignment(assignment) => self.replace(assignment),
            Request::DeleteAssignment(assignment) => self.delete(assignment),
            Request::JobStatus { job, status } => self.write_job_status(job, status),
            Request::NodeReady { node, ready } => self.set_ready(node, *ready),
            Request::NodeIdle { node, reason } => self.set_idle(node, reason.as_deref()),
            Request::Report { assignment, status } => self.report(assignment, status, bug),
        }
    }

    fn create(&mut self, assignment: &Assignment, at: Timestamp) -> (Answer, bool) {
        let name = assignment.metadata.name.clone().unwrap_or_default();
        if let Some(there) = self.assignments.get(&name) {
            return (Answer::Conflict(Some(Object::Assignment(Arc::clone(there)))), false);
        }
        self.uids += 1;
        let mut created = assignment.clone();
        created.metadata.uid = Some(format!("a{}", self.uids));
        created.metadata.creation_timestamp = Some(Time(at));
        created.metadata.generation = Some(1);
        created.status = None;
        (self.store(name, created), true)
    }

    fn replace(&mut self, assignment: &Assignment) -> (Answer, bool) {
        let name = assignment.metadata.name.clone().unwrap_or_default();
        let Some(there) = self.assignments.get(&name) else { return (Answer::Conflict(None), false) };
        if there.metadata.resource_version != assignment.metadata.resource_version {
            return (Answer::Conflict(Some(Object::Assignment(Arc::clone(there)))), false);
        }
        if there.spec == assignment.spec {
            return (Answer::Written(Object::Assignment(Arc::clone(there))), false);
        }
        let mut written = (**there).clone();
        written.spec = assignment.spec.clone();
        written.metadata.generation = written.metadata.generation.map(|generation| generation + 1);
        (self.store(name, written), true)
    }

    fn delete(&mut self, assignment: &Assignment) -> (Answer, bool) {
        let name = assignment.metadata.name.clone().unwrap_or_default();
        let is_it = |there: &Arc<Assignment>| there.metadata.uid == assignment.metadata.uid;
        if !self.assignments.get(&name).is_some_and(is_it) {
            return (Answer::Conflict(None), false);
        }
        self.assignments.remove(&name);
        self.version += 1;
        (Answer::Written(Object::Gone(gone(assignment))), true)
    }

    fn report(&mut self, known: &Assignment, status: &AssignmentStatus, bug: Option<Bug>) -> (Answer, bool) {
        let name = known.metadata.name.clone().unwrap_or_default();
        let there = self.assignments.get(&name).filter(|there| there.metadata.uid == known.metadata.uid);
        let Some(there) = there else { return (Answer::Refused, false) };
        if status.node_uid != there.spec.node_uid && bug != Some(Bug::ForeignReport) {
            return (Answer::Refused, false);
        }
        if there.metadata.resource_version != known.metadata.resource_version {
            return (Answer::Conflict(Some(Object::Assignment(Arc::clone(there)))), false);
        }
        if there.status.as_ref() == Some(status) {
            return (Answer::Written(Object::Assignment(Arc::clone(there))), false);
        }
        let mut written = (**there).clone();
        written.status = Some(status.clone());
        if bug == Some(Bug::ForeignReport)
            && let Some(status) = &mut written.status
        {
            status.node_uid.clone_from(&written.spec.node_uid);
        }
        (self.store(name, written), true)
    }

    fn store(&mut self, name: String, mut assignment: Assignment) -> Answer {
        assignment.metadata.resource_version = Some(self.next_version().to_string());
        let assignment = Arc::new(assignment);
        self.assignments.insert(name, Arc::clone(&assignment));
        Answer::Written(Object::Assignment(assignment))
    }

    fn write_job_status(&mut self, job: &Job, status: &JobStatus) -> (Answer, bool) {
        let uid = job.metadata.uid.clone().unwrap_or_default();
        let Some(there) = self.jobs.get(&uid) else { return (Answer::Conflict(None), false) };
        if there.metadata.resource_version != job.metadata.resource_version {
            return (Answer::Conflict(Some(Object::Job(Arc::clone(there)))), false);
        }
        let mut written = (**there).clone();
        written.status = Some(status.clone());
        written.metadata.resource_version = Some(self.next_version().to_string());
        let written = Arc::new(written);
        self.jobs.insert(uid, Arc::clone(&written));
        (Answer::Written(Object::Job(written)), true)
    }

    fn set_idle(&mut self, node: &NodeObject, reason: Option<&str>) -> (Answer, bool) {
        let version = self.version + 1;
        let Some(there) = self.nodes.get_mut(&node.name).filter(|there| there.uid == node.uid) else {
            return (Answer::Conflict(None), false);
        };
        self.version = version;
        *there = Arc::new(NodeObject { idle_reason: reason.map(str::to_owned), version, ..(**there).clone() });
        (Answer::Written(Object::Node(Arc::clone(there))), true)
    }

    fn set_ready(&mut self, node: &NodeObject, ready: bool) -> (Answer, bool) {
        let version = self.version + 1;
        let Some(there) = self.nodes.get_mut(&node.name).filter(|there| there.uid == node.uid) else {
            return (Answer::Conflict(None), false);
        };
        if there.version != node.version {
            return (Answer::Conflict(Some(Object::Node(Arc::clone(there)))), false);
        }
        self.version = version;
        let ready = if ready { Readiness::True } else { Readiness::Unknown };
        *there = Arc::new(NodeObject { ready, version, ..(**there).clone() });
        (Answer::Written(Object::Node(Arc::clone(there))), true)
    }
}

/// That an Assignment is not there any more.
fn gone(assignment: &Assignment) -> Gone {
    let uid = assignment.metadata.uid.clone().unwrap_or_default();
    Gone::Assignment { uid, job: assignment.spec.job.uid.clone(), node: assignment.spec.node_name.clone() }
}

impl Object {
    /// Its revision.
    pub(crate) fn version(&self) -> u64 {
        let parse = |version: &Option<String>| version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0);
        match self {
            Self::Job(job) => parse(&job.metadata.resource_version),
            Self::Assignment(assignment) => parse(&assignment.metadata.resource_version),
            Self::Node(node) => node.version,
            Self::Gone(_) => u64::MAX,
        }
    }
}
