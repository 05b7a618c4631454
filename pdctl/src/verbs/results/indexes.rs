//! Outputs of single indexes: out of the segments that the Assignments name, and those that the job took over from an
//! earlier one, before the job has ended as well.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use schemas::{Assignment, Digest, IndexSet, Job, limits::ARTIFACT_BYTES_MAX, segment::Directory};

use crate::{
    artifacts,
    client::Cluster,
    errors::{Error, Result},
    follow, output, platform, text,
};

/// One segment, and what is to be taken from it.
#[derive(Debug, PartialEq)]
struct Take {
    segment: Digest,
    indexes: IndexSet,
}

/// Writes the outputs of some indexes (absent: of all that are done) into a folder, a file each, named by index.
pub(super) async fn into_folder(cluster: &Cluster, job: &Job, wanted: Option<&IndexSet>, folder: &Path) -> Result<()> {
    let (takes, missing) = takes(job, &assignments(cluster, job).await?, wanted);
    fs::create_dir_all(folder).map_err(Error::file("create the folder", folder))?;
    let mut written = 0;
    for take in &takes {
        each(cluster, take, |index, bytes| {
            let path = folder.join(index.to_string());
            written += 1;
            store(&path, bytes)
        })
        .await?;
    }
    output::note(&format!("wrote {} into {}", text::counted(written, "output"), folder.display()));
    refuse_missing(job, &missing)
}

/// The output of one index: into a file, or to stdout.
pub(super) async fn one(cluster: &Cluster, job: &Job, index: u64, file: Option<&Path>) -> Result<()> {
    let wanted = IndexSet::from(index..=index);
    let (takes, missing) = takes(job, &assignments(cluster, job).await?, Some(&wanted));
    refuse_missing(job, &missing)?;
    let mut output = Vec::new();
    for take in &takes {
        each(cluster, take, |_, bytes| {
            output.extend_from_slice(bytes);
            Ok(())
        })
        .await?;
    }
    match file {
        Some(path) => {
            store(path, &output)?;
            output::note(&format!("wrote {} ({} bytes)", path.display(), output.len()));
            Ok(())
        }
        None => to_stdout(&output, job, index),
    }
}

/// A terminal gets text only.
fn to_stdout(bytes: &[u8], job: &Job, index: u64) -> Result<()> {
    if !output::stdout_is_terminal() {
        let mut stdout = std::io::stdout().lock();
        return stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Error::stdout);
    }
    if let Ok(shown) = std::str::from_utf8(bytes) {
        return output::print(&text::plain(shown));
    }
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let message = format!("the output of index {index} is binary ({} bytes) and stdout is a terminal", bytes.len());
    let hint = Some(format!("`pdctl results job/{name} --index {index} -o FILE` writes it to a file"));
    Err(Error::Invalid { message, hint })
}

async fn assignments(cluster: &Cluster, job: &Job) -> Result<Vec<Assignment>> {
    let listed = follow::assignments(cluster, &cluster.namespace).await;
    let mut assignments = listed.map_err(cluster.failed("cannot list the job's assignments"))?;
    assignments.retain(|assignment| Some(&assignment.spec.job.uid) == job.metadata.uid.as_ref());
    Ok(assignments)
}

/// Each wanted index out of one segment that holds it, and those that none holds. A copy of an index has the same
/// bytes, so any segment will do: what was taken over, then the first by node.
fn takes(job: &Job, assignments: &[Assignment], wanted: Option<&IndexSet>) -> (Vec<Take>, IndexSet) {
    let mut left = wanted.cloned();
    let mut taken = IndexSet::new();
    let mut takes = Vec::new();
    let mut assignments: Vec<&Assignment> = assignments.iter().collect();
    assignments.sort_by_key(|assignment| &assignment.spec.node_name);
    let cached = job.status.iter().filter_map(|status| status.cached.as_ref());
    let taken_over = cached.flat_map(|cached| &cached.outputs.segments);
    let trusted = assignments.iter().filter(|assignment| is_trusted(job, assignment));
    let computed = trusted.filter_map(|a| a.status.as_ref()).flat_map(|status| &status.segments);
    for segment in taken_over.chain(computed) {
        let mut indexes = &segment.indexes - &taken;
        if let Some(counted) = counted(job) {
            indexes = &indexes & counted;
        }
        if let Some(left) = &left {
            indexes = &indexes & left;
        }
        if indexes.is_empty() {
            continue;
        }
        indexes.ranges().for_each(|range| taken.insert_range(range));
        left = left.map(|left| &left - &indexes);
        takes.push(Take { segment: segment.digest, indexes });
    }
    (takes, left.unwrap_or_default())
}

/// The indexes whose outputs count, where not all that is delivered does: outputs have to be verified.
fn counted(job: &Job) -> Option<&IndexSet> {
    job.spec.verification.as_ref()?;
    job.status.as_ref().map(|status| &status.completed_indexes)
}

/// False for a node whose outputs differed from what others agreed on.
fn is_trusted(job: &Job, assignment: &Assignment) -> bool {
    let found = job.status.iter().filter_map(|status| status.verification.as_ref());
    !found.flat_map(|found| &found.untrusted).any(|node| node.uid == assignment.spec.node_uid)
}

fn refuse_missing(job: &Job, missing: &IndexSet) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let status = job.status.clone().unwrap_or_default();
    let failed = &status.failed_indexes & missing;
    let total = status.subtasks.total;
    let message = if failed.is_empty() && missing.min().is_some_and(|first| total > 0 && first >= total) {
        format!("job/{name} has indexes 0 to {}, not {missing}", total - 1)
    } else if failed.is_empty() {
        format!("job/{name} has no output of {missing} yet")
    } else {
        format!("job/{name} has no output of {missing}: {failed} failed")
    };
    Err(Error::not_found(message, Some(format!("`pdctl why job/{name}` says how it stands"))))
}

/// Hands out the entries of one segment.
async fn each(cluster: &Cluster, take: &Take, mut give: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    let blob = artifacts::bytes(cluster, &take.segment, ARTIFACT_BYTES_MAX).await?;
    let directory = Directory::of(&blob)
        .map_err(|error| Error::invalid(format!("artifact {} with outputs: {error}", take.segment)))?;
    for index in take.indexes.iter() {
        let range = directory.entry(index).ok_or_else(|| {
            Error::invalid(format!("artifact {} does not hold index {index}, though its node said so", take.segment))
        })?;
        give(index, &blob[range.start as usize..range.end as usize])?;
    }
    Ok(())
}

/// Under a temporary name until it is whole.
fn store(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |source| Error::file("write", path)(source);
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .map_or_else(|| PathBuf::from("."), Path::to_owned);
    let mut file = platform::new_file(&folder).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error)).map(drop)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assignment(node: &str, segments: &[(&[u8], &str)]) -> Assignment {
        let segments: Vec<_> = segments
            .iter()
            .map(|(bytes, indexes)| json!({"digest": Digest::of(bytes), "size": 1, "indexes": indexes}))
            .collect();
        let object = json!({"apiVersion": "processdistro.dev/v1", "kind": "Assignment", "metadata": {"name": node},
            "spec": {"job": {"name": "x", "uid": "u"}, "nodeName": node, "nodeUid": "nu",
                "work": {"module": Digest::of(b""), "memory": "64Mi", "subtaskTimeout": "5m"}},
            "status": {"segments": segments}});
        serde_json::from_value(object).expect("an assignment")
    }

    fn job(status: &serde_json::Value) -> Job {
        let object = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": {"name": "x", "uid": "u"},
            "spec": {"task": {"name": "noop"}}, "status": status});
        serde_json::from_value(object).expect("a job")
    }

    #[test]
    fn what_was_taken_over_is_there_although_no_node_computed_it() {
        let segment = json!({"digest": Digest::of(b"old"), "size": 1, "indexes": "0-3"});
        let job = job(&json!({"cached": {"job": "old", "count": 4, "outputs": {"segments": [segment]}}}));
        let (found, missing) = takes(&job, &[assignment("a", &[(b"1", "4-5")])], Some(&IndexSet::first(6)));
        let text: Vec<String> = found.iter().map(|take| take.indexes.to_string()).collect();
        assert_eq!((text, missing.is_empty()), (vec!["0-3".to_owned(), "4-5".to_owned()], true));
    }

    #[test]
    fn where_outputs_are_verified_only_those_are_taken() {
        let mut job =
            job(&json!({"completedIndexes": "0-3", "verification": {"untrusted": [{"name": "a", "uid": "na"}]}}));
        job.spec.verification = serde_json::from_value(json!({"quorum": {"agree": 2, "of": 3}})).expect("a quorum");
        let mut liar = assignment("a", &[(b"lie", "0-9")]);
        liar.spec.node_uid = "na".into();
        let (found, missing) = takes(&job, &[liar, assignment("b", &[(b"1", "0-5")])], Some(&IndexSet::first(6)));
        let text: Vec<_> = found.iter().map(|take| (take.segment, take.indexes.to_string())).collect();
        assert_eq!((text, missing.to_string()), (vec![(Digest::of(b"1"), "0-3".to_owned())], "4-5".to_owned()));
    }

    #[test]
    fn each_index_is_taken_once() {
        let assignments = [assignment("b", &[(b"2", "3-9")]), assignment("a", &[(b"1", "0-5")])];
        let job = job(&json!({}));
        let (found, missing) = takes(&job, &assignments, None);
        let text: Vec<String> = found.iter().map(|take| take.indexes.to_string()).collect();
        assert_eq!((text, missing.is_empty()), (vec!["0-5".to_owned(), "6-9".to_owned()], true));
        let wanted: IndexSet = "4,8,12".parse().expect("a set");
        let (found, missing) = takes(&job, &assignments, Some(&wanted));
        assert_eq!(found.iter().map(|take| take.indexes.to_string()).collect::<Vec<_>>(), ["4", "8"]);
        assert_eq!(missing.to_string(), "12");
    }
}
