//! `pdctl apply -f`: server-side apply of manifests, everything checked before anything is stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use clap::ValueEnum;
use kube::{
    api::{DeleteParams, Preconditions},
    core::{Status, response::StatusCause},
};
use serde_json::Value;

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Diagnosis, Error, Result},
    follow::{self, Goal, Subject},
    inputs::Uploads,
    kinds::{Kind, Kinds},
    manifests::{self, Document},
    output::{self, Format},
    progress::JobBar,
    verbs::{run::only_inputs, wait},
    writes::{self, How},
};

const EXAMPLES: &str = "\
Examples:
  pdctl apply -f mandelbrot.yaml --wait
  pdctl apply -f manifests/                      # every manifest of a folder, or nothing of it
  pdctl diff -f manifests/                       # what it would change
  cat job.yaml | pdctl apply -f -";

/// What to apply, and how.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files, folders (searched for *.yaml, *.yml, *.json), or `-` for stdin
    #[arg(short, long, value_name = "FILE", required = true)]
    filename: Vec<String>,
    /// client: check the manifests and ask no server; server: let the server check them and store nothing
    #[arg(long, value_name = "client|server", value_enum)]
    dry_run: Option<DryRun>,
    /// Take over fields that somebody else has set
    #[arg(long)]
    force_conflicts: bool,
    /// Wait until the jobs among them end
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Give up waiting after this long (exit code 7)
    #[arg(long, value_name = "DURATION", requires = "wait")]
    timeout: Option<schemas::Duration>,
    /// Print the objects: json, yaml or name
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// How far a dry run goes.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum DryRun {
    Client,
    Server,
}

/// What an apply did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    Created,
    Configured,
    Unchanged,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        })
    }
}

/// A document with what the cluster knows about it.
pub(crate) struct Item<'k> {
    pub(crate) document: Document,
    pub(crate) kind: &'k Kind,
    pub(crate) namespace: String,
    pub(crate) has_uploads: bool,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let mut documents = manifests::load(&args.filename)?;
    documents.sort_by_key(|document| rank(document.type_()));
    check_names(&documents, global.namespace.as_deref())?;
    let (uploads, with_uploads) = hash_inputs(&mut documents).await?;
    if args.dry_run == Some(DryRun::Client) {
        return tell(
            &args,
            documents
                .iter()
                .map(|d| (d.full_name(), "checked (client dry run)".to_owned(), d.object().clone()))
                .collect(),
        );
    }
    let cluster = Cluster::connect(global).await?;
    let kinds = Kinds::discover(&cluster).await?;
    let items = place(&cluster, &kinds, documents, &with_uploads, global)?;
    let how = How { dry_run: true, force: args.force_conflicts };
    let is_dry = args.dry_run.is_some();
    // A single object without files is checked by the server in the same request that stores it.
    if is_dry || items.len() > 1 || !uploads.is_empty() {
        let checked = check_all(&cluster, &items, how).await?;
        if is_dry {
            return tell(&args, checked);
        }
    }
    uploads.send(&cluster).await?;
    apply_all(&cluster, &args, &items, How { dry_run: false, ..how }).await?;
    if args.wait { wait_for_jobs(&cluster, &items, args.timeout).await } else { Ok(()) }
}

/// Namespaces first, then Tasks, then what needs them.
pub(crate) fn rank((api_version, kind): (&str, &str)) -> u8 {
    match (api_version, kind) {
        ("v1", "Namespace") => 0,
        ("processdistro.dev/v1", "Task") => 1,
        _ => 2,
    }
}

/// Each object has a name, and none is given twice: one of the two would be lost in silence.
pub(crate) fn check_names(documents: &[Document], namespace: Option<&str>) -> Result<()> {
    let mut seen = BTreeMap::new();
    let mut wrong: Vec<Diagnosis> = documents.iter().filter_map(Document::check_name).collect();
    for document in documents.iter().filter(|document| !document.name().is_empty()) {
        let namespace = document.namespace().or(namespace).unwrap_or_default();
        if let Some(first) = seen.insert((document.type_(), namespace, document.name()), document.place()) {
            let message = format!("{} is given twice, first at {first}", document.full_name());
            wrong.push(document.diagnosis("metadata.name", message, None));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::Manifests(wrong)) }
}

/// Puts digests in the place of files; answers the files and the positions of the documents that name any.
pub(crate) async fn hash_inputs(documents: &mut [Document]) -> Result<(Uploads, BTreeSet<usize>)> {
    let (mut uploads, mut positions, mut wrong) = (Uploads::default(), BTreeSet::new(), Vec::new());
    for (position, document) in documents.iter_mut().enumerate() {
        for input in document.parsed.local_inputs() {
            match uploads.add(document.folder.join(&input.path)).await {
                Ok(digest) => document.parsed.set_input(&input.name, digest),
                Err(error) => {
                    let help =
                        "an input is the path of a local file, relative to the manifest, or the digest of an artifact";
                    let message = format!("{}: {error}", input.field);
                    wrong.push(document.diagnosis(&input.field, message, Some(help.to_owned())));
                }
            }
            positions.insert(position);
        }
    }
    if wrong.is_empty() { Ok((uploads, positions)) } else { Err(Error::Manifests(wrong)) }
}

/// Resolves kinds and namespaces.
pub(crate) fn place<'k>(
    cluster: &Cluster,
    kinds: &'k Kinds,
    documents: Vec<Document>,
    with_uploads: &BTreeSet<usize>,
    global: &Global,
) -> Result<Vec<Item<'k>>> {
    let (mut items, mut wrong) = (Vec::new(), Vec::new());
    for (position, document) in documents.into_iter().enumerate() {
        let elsewhere = document.namespace().zip(global.namespace.as_deref()).is_some_and(|(of, asked)| of != asked);
        match document.kind(kinds) {
            Ok(kind) if kind.namespaced && elsewhere => {
                let message = format!("the manifest says another namespace than --namespace {}", cluster.namespace);
                wrong.push(document.diagnosis("metadata.namespace", message, None));
            }
            Ok(kind) => {
                let namespace = document.namespace().unwrap_or(&cluster.namespace).to_owned();
                items.push(Item { document, kind, namespace, has_uploads: with_uploads.contains(&position) });
            }
            Err(Error::Manifests(found)) => wrong.extend(found),
            Err(error) => return Err(error),
        }
    }
    if wrong.is_empty() { Ok(items) } else { Err(Error::Manifests(wrong)) }
}

/// A dry run of everything on the server. What is wrong only because something earlier in the same apply is
/// not stored yet is not wrong.
async fn check_all(cluster: &Cluster, items: &[Item<'_>], how: How) -> Result<Vec<(String, String, Value)>> {
    let (mut checked, mut wrong) = (Vec::new(), Vec::new());
    for item in items {
        let full = item.document.full_name();
        match attempt(cluster, item, how).await {
            Ok((change, object)) => checked.push((full, format!("{change} (server dry run)"), object)),
            Err(kube::Error::Api(status)) if is_to_come(&status, item, items) => {
                checked.push((full, "checked in part (server dry run)".to_owned(), item.document.object().clone()));
            }
            Err(kube::Error::Api(status)) => match item.document.refusal(&status) {
                Some(found) => wrong.extend(found),
                None => return Err(refused(item, status)),
            },
            Err(error) => return Err(cluster.failed(format!("cannot check {full}"))(error)),
        }
    }
    if wrong.is_empty() { Ok(checked) } else { Err(Error::Manifests(wrong)) }
}

/// Whether a refusal is about a Namespace, a Task or an input that the same apply brings.
fn is_to_come(status: &Status, item: &Item<'_>, items: &[Item<'_>]) -> bool {
    let brings = |type_: (&str, &str), name: &str| {
        items.iter().any(|other| other.document.type_() == type_ && other.document.name() == name)
    };
    if status.code == 404 {
        return status.message.contains("namespaces") && brings(("v1", "Namespace"), &item.namespace);
    }
    let task = item.document.object().pointer("/spec/task/name").and_then(Value::as_str).unwrap_or_default();
    let task_comes = brings(("processdistro.dev/v1", "Task"), task);
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let is_about_task =
        status.code == 422 && !causes.is_empty() && causes.iter().all(|cause| cause.field == "spec.task.name");
    (item.has_uploads && only_inputs(status)) || (task_comes && is_about_task)
}

/// Stores everything in order, or nothing new: what could be checked in part only may be refused when its
/// turn comes, and then what this apply has created before it is removed again.
async fn apply_all(cluster: &Cluster, args: &Args, items: &[Item<'_>], how: How) -> Result<()> {
    let mut done: Vec<(&Item<'_>, Change, Value)> = Vec::new();
    for item in items {
        match apply(cluster, item, how).await {
            Ok((change, stored)) => done.push((item, change, stored)),
            Err(error) => {
                if matches!(error, Error::Manifests(_) | Error::Refused { .. }) {
                    undo(cluster, &mut done).await;
                }
                tell(args, told(done))?;
                return Err(error);
            }
        }
    }
    tell(args, told(done))
}

/// Removes what was created just now, the newest first; what cannot be removed stays in the list.
async fn undo(cluster: &Cluster, done: &mut Vec<(&Item<'_>, Change, Value)>) {
    let mut kept = Vec::new();
    while let Some((item, change, stored)) = done.pop() {
        let name = item.document.full_name();
        let uid = stored["metadata"]["uid"].as_str().map(str::to_owned);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        let api = item.kind.api(cluster, Some(&item.namespace));
        if change == Change::Created && api.delete(item.document.name(), &params).await.is_ok() {
            output::note(&format!("{name} removed again, because of the error below"));
        } else {
            kept.push((item, change, stored));
        }
    }
    kept.reverse();
    *done = kept;
}

fn told(done: Vec<(&Item<'_>, Change, Value)>) -> Vec<(String, String, Value)> {
    done.into_iter().map(|(item, change, stored)| (item.document.full_name(), change.to_string(), stored)).collect()
}

async fn apply(cluster: &Cluster, item: &Item<'_>, how: How) -> Result<(Change, Value)> {
    match attempt(cluster, item, how).await {
        Ok(done) => Ok(done),
        Err(kube::Error::Api(status)) => Err(match item.document.refusal(&status) {
            Some(found) => Error::Manifests(found),
            None => refused(item, status),
        }),
        Err(error) => Err(cluster.failed(format!("cannot apply {}", item.document.full_name()))(error)),
    }
}

pub(crate) async fn attempt(cluster: &Cluster, item: &Item<'_>, how: How) -> Result<(Change, Value), kube::Error> {
    apply_with(cluster, item.kind, &item.namespace, item.document.name(), item.document.object(), how).await
}

pub(crate) fn refused(item: &Item<'_>, status: Box<Status>) -> Error {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let is_manager = causes.iter().any(|cause| cause.reason == "FieldManagerConflict");
    let hint = is_manager.then(|| "--force-conflicts takes the fields over".to_owned());
    Error::Refused { doing: format!("cannot apply {}", item.document.full_name()), status, hint }
}

/// Applies one object, taking nothing from anybody.
pub(crate) async fn one(
    cluster: &Cluster,
    kind: &Kind,
    namespace: &str,
    name: &str,
    object: &Value,
) -> Result<(Change, Value), kube::Error> {
    apply_with(cluster, kind, namespace, name, object, How::default()).await
}

async fn apply_with(
    cluster: &Cluster,
    kind: &Kind,
    namespace: &str,
    name: &str,
    object: &Value,
    how: How,
) -> Result<(Change, Value), kube::Error> {
    let before = kind.api(cluster, Some(namespace)).get_opt(name).await?;
    let after = match writes::apply(cluster, kind, namespace, name, object, how).await {
        // What pdctl set by `create`, `patch` or `edit` is its own: the manifest says what it is to be now.
        Err(kube::Error::Api(status)) if !how.force && is_conflict_with_ourselves(&status) => {
            writes::apply(cluster, kind, namespace, name, object, How { force: true, ..how }).await?
        }
        applied => applied?,
    };
    let Some(before) = before else { return Ok((Change::Created, after)) };
    let before = serde_json::to_value(before).map_err(kube::Error::SerdeError)?;
    let change = if substance(before) == substance(after.clone()) { Change::Unchanged } else { Change::Configured };
    Ok((change, after))
}

/// Whether the only other manager of the fields is pdctl.
fn is_conflict_with_ourselves(status: &Status) -> bool {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let ours = format!("conflict with \"{}\"", writes::FIELD_MANAGER);
    let is_ours = |cause: &StatusCause| cause.reason == "FieldManagerConflict" && cause.message.starts_with(&ours);
    status.code == 409 && !causes.is_empty() && causes.iter().all(is_ours)
}

/// What a user sets: without the status and the server's bookkeeping.
pub(crate) fn substance(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|field, _| !matches!(field.as_str(), "status" | "apiVersion" | "kind"));
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !matches!(field.as_str(), "managedFields" | "resourceVersion" | "generation"));
    }
    object
}

fn tell(args: &Args, done: Vec<(String, String, Value)>) -> Result<()> {
    match &args.output {
        Some(format) => output::objects(
            format,
            done.into_iter().map(|(_, _, object)| output::without_managed_fields(object)).collect(),
            false,
        ),
        None => done.into_iter().try_for_each(|(name, what, _)| output::print_line(&format!("{name} {what}"))),
    }
}

/// Follows the applied jobs to their ends, one after the other.
async fn wait_for_jobs(cluster: &Cluster, items: &[Item<'_>], timeout: Option<schemas::Duration>) -> Result<()> {
    let deadline = follow::deadline(timeout);
    for item in items.iter().filter(|item| item.kind.is_job()) {
        let full = item.document.full_name();
        let mut bar = JobBar::new(&full);
        let subject = Subject { kind: item.kind, namespace: &item.namespace, name: item.document.name(), uid: None };
        let end = follow::follow(cluster, subject, &Goal::Terminal, deadline, &mut bar).await;
        bar.clear();
        wait::tell(&full, &Goal::Terminal, end?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn namespaces_and_tasks_go_first() {
        let mut types =
            [("processdistro.dev/v1", "Job"), ("processdistro.dev/v1", "Task"), ("v1", "Namespace"), ("v1", "Node")];
        types.sort_by_key(|type_| rank(*type_));
        assert_eq!(types.map(|(_, kind)| kind), ["Namespace", "Task", "Job", "Node"]);
    }

    #[test]
    fn only_pdctls_own_fields_are_taken_over_in_silence() {
        let conflict = |managers: &[&str]| {
            let causes: Vec<_> = managers
                .iter()
                .map(|manager| {
                    json!({"reason": "FieldManagerConflict", "field": ".spec.a",
                        "message": format!("conflict with \"{manager}\" using processdistro.dev/v1")})
                })
                .collect();
            let status = json!({"code": 409, "reason": "Conflict", "message": "", "details": {"causes": causes}});
            serde_json::from_value::<Status>(status).expect("a status")
        };
        assert!(is_conflict_with_ourselves(&conflict(&["pdctl"])));
        assert!(!is_conflict_with_ourselves(&conflict(&["pdctl", "kubectl"])));
        assert!(!is_conflict_with_ourselves(&conflict(&[])));
    }

    #[test]
    fn bookkeeping_is_no_change() {
        let object = |rv: &str, state: &str, width: u32| {
            json!({"kind": "Job", "metadata": {"name": "x", "resourceVersion": rv, "managedFields": [rv]},
                "spec": {"width": width}, "status": {"state": state}})
        };
        assert_eq!(substance(object("1", "Running", 3)), substance(object("2", "Complete", 3)));
        assert_ne!(substance(object("1", "Running", 3)), substance(object("1", "Running", 4)));
    }
}
