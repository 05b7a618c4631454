//! `pdctl logs job/x`: what the subtasks wrote, from the artifacts that the Assignments name.

use std::fmt::Write as _;

use schemas::{
    Assignment, Digest, IndexSet,
    assignment::{CallFailure, PlanReport},
    limits::ARTIFACT_BYTES_MAX,
    segment::Directory,
};

use crate::{
    artifacts,
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    follow, kinds, output, text,
    verbs::results,
};

/// Which logs.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// job/NAME or NAME
    #[arg(value_name = "JOB")]
    job: String,
    /// Only of this index
    #[arg(long, value_name = "N", conflicts_with = "indexes")]
    index: Option<u64>,
    /// Only of these indexes: `1-3,7`
    #[arg(long, value_name = "SET")]
    indexes: Option<IndexSet>,
    /// Only of attempts that failed, each with its reason
    #[arg(long)]
    failed: bool,
    /// Only the last lines of each
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let name = kinds::job_name(&args.job)?;
    let cluster = Cluster::connect(global).await?;
    let job = results::job(&cluster, name).await?;
    let wanted = args.indexes.clone().or_else(|| args.index.map(|index| IndexSet::from(index..=index)));
    let listed = follow::assignments(&cluster, &cluster.namespace).await;
    let mut assignments = listed.map_err(cluster.failed("cannot list the job's assignments"))?;
    assignments.retain(|assignment| Some(&assignment.spec.job.uid) == job.metadata.uid.as_ref());
    let mut printed = 0;
    for assignment in &assignments {
        printed += calls(assignment, &args, wanted.is_none())?;
    }
    for source in sources(&assignments, &args, wanted.as_ref()) {
        printed += print_source(&cluster, &source, &args).await?;
    }
    if printed == 0 {
        let which = if wanted.is_some() { "those subtasks" } else { "its subtasks" };
        output::note(&format!(
            "job/{name}: none of {which} has logged anything{}",
            if args.failed { " and failed" } else { "" }
        ));
    }
    Ok(())
}

/// Logs of some indexes of one node, in one artifact.
struct Source<'a> {
    node: &'a str,
    artifact: Option<Digest>,
    indexes: IndexSet,
    /// Which try at them; of those that succeeded the last.
    attempt: u32,
    /// How they failed.
    failure: Option<String>,
}

/// Everything to print, ascending by first index, so that a job reads from its start to its end.
fn sources<'a>(assignments: &'a [Assignment], args: &Args, wanted: Option<&IndexSet>) -> Vec<Source<'a>> {
    let chosen = |indexes: &IndexSet| wanted.map_or_else(|| indexes.clone(), |wanted| wanted & indexes);
    let mut sources = Vec::new();
    for assignment in assignments {
        let node = assignment.spec.node_name.as_str();
        let Some(status) = &assignment.status else { continue };
        for failure in &status.failures {
            let attempt = failure.attempt;
            let reason = format!("attempt {attempt} failed ({:?}): {}", failure.outcome, failure.message);
            let indexes = chosen(&failure.indexes);
            let logged = failure.logs.iter().map(|log| (Some(*log), None));
            for (artifact, failure) in logged.chain([(None, Some(reason))]) {
                sources.push(Source { node, artifact, indexes: indexes.clone(), attempt, failure });
            }
        }
        for segment in status.segments.iter().filter(|_| !args.failed) {
            let indexes = chosen(&segment.indexes);
            sources.push(Source { node, artifact: segment.logs, indexes, attempt: u32::MAX, failure: None });
        }
    }
    sources.retain(|source| !source.indexes.is_empty() && (source.artifact.is_some() || source.failure.is_some()));
    sources.sort_by_key(|source| (source.indexes.min(), source.attempt));
    sources
}

/// Prints one source; answers how many entries it had.
async fn print_source(cluster: &Cluster, source: &Source<'_>, args: &Args) -> Result<usize> {
    if let Some(failure) = &source.failure {
        output::print(&prefixed(&format!("[{} {}] ", source.indexes, source.node), failure, None))?;
        return Ok(1);
    }
    let Some(digest) = source.artifact else { return Ok(0) };
    let blob = artifacts::bytes(cluster, &digest, ARTIFACT_BYTES_MAX).await?;
    let invalid = |error| Error::invalid(format!("artifact {digest} with the logs of {}: {error}", source.node));
    let directory = Directory::of(&blob).map_err(invalid)?;
    let mut printed = 0;
    for index in (directory.indexes() & &source.indexes).iter() {
        let Some(range) = directory.entry(index) else { continue };
        let log = String::from_utf8_lossy(&blob[range.start as usize..range.end as usize]);
        output::print(&prefixed(&format!("[{index} {}] ", source.node), &log, args.tail))?;
        printed += 1;
    }
    Ok(printed)
}

/// What a plan or a merge call said before it failed.
fn calls(assignment: &Assignment, args: &Args, all: bool) -> Result<usize> {
    let Some(status) = assignment.status.as_ref().filter(|_| all) else { return Ok(0) };
    let plan = status.plan.as_ref().and_then(|plan| match plan {
        PlanReport::Failed(failure) => Some(("plan", failure)),
        PlanReport::Layout(_) => None,
    });
    let merge = status.merge.as_ref().and_then(|merge| merge.failure.as_ref()).map(|failure| ("merge", failure));
    let failures: Vec<(&str, &CallFailure)> = plan.into_iter().chain(merge).collect();
    for (call, failure) in &failures {
        let prefix = format!("[{call} {}] ", assignment.spec.node_name);
        output::print(&prefixed(&prefix, &failure.log, args.tail))?;
        output::print(&prefixed(&prefix, &format!("failed ({:?}): {}", failure.outcome, failure.message), None))?;
    }
    Ok(failures.len())
}

/// Each line behind a prefix, safe for a terminal; only the last ones with a tail.
fn prefixed(prefix: &str, log: &str, tail: Option<usize>) -> String {
    let safe = text::plain(log);
    let lines: Vec<&str> = safe.lines().collect();
    let skipped = tail.map_or(0, |tail| lines.len().saturating_sub(tail));
    lines[skipped..].iter().fold(String::new(), |mut out, line| {
        let _ = writeln!(out, "{prefix}{line}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_carry_their_origin_and_no_escape_sequences() {
        assert_eq!(prefixed("[3 n] ", "a\n\u{1b}[2Jb\n", None), "[3 n] a\n[3 n] [2Jb\n");
        assert_eq!(prefixed("[3 n] ", "a\nb\nc", Some(2)), "[3 n] b\n[3 n] c\n");
        assert_eq!(prefixed("[3 n] ", "", None), "");
    }
}
