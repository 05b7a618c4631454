//! `pdctl logs job/x`: what the subtasks wrote, from the artifacts that the Assignments name.

mod follow_job;
mod source;

use std::fmt::Write as _;

use schemas::{IndexSet, assignment::CallFailure, limits::ARTIFACT_BYTES_MAX, segment::Directory};

use self::source::{Calls, Source};
use crate::{
    artifacts,
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    follow, kinds, output, text,
    verbs::results,
};

const EXAMPLES: &str = "\
Each line is prefixed by its index and its node. Logs arrive when a subtask has ended, not while it runs.

Examples:
  pdctl logs job/mandelbrot
  pdctl logs job/mandelbrot -f                   # until the job ends
  pdctl logs job/mandelbrot --failed --tail 20   # why attempts failed
  pdctl logs job/mandelbrot --indexes 1-3,7";

/// Which logs.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// job/NAME or NAME
    #[arg(value_name = "JOB", add = crate::complete::jobs())]
    job: String,
    /// Only of this index
    #[arg(long, value_name = "N", conflicts_with = "indexes")]
    index: Option<u64>,
    /// Only of these indexes: `1-3,7`
    #[arg(long, value_name = "SET")]
    indexes: Option<IndexSet>,
    /// Only of this node
    #[arg(long, value_name = "NODE", add = crate::complete::nodes())]
    node: Option<String>,
    /// Only of attempts that failed, each with its reason
    #[arg(long)]
    failed: bool,
    /// Only the last lines of each
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
    /// Print on as subtasks end, until the job ends
    #[arg(short, long)]
    follow: bool,
}

impl Args {
    /// The indexes that were asked for; absent: all.
    fn wanted(&self) -> Option<IndexSet> {
        self.indexes.clone().or_else(|| self.index.map(|index| IndexSet::from(index..=index)))
    }
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let name = kinds::job_name(&args.job)?;
    let cluster = Cluster::connect(global).await?;
    let job = results::job(&cluster, name).await?;
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let mut printer = Printer { cluster: &cluster, args: &args, told: Told::default(), entries: 0 };
    if args.follow && results::end_of(&job).is_none() {
        follow_job::run(&cluster, name, &uid, &mut printer).await?;
    } else {
        let listed = follow::assignments(&cluster, &cluster.namespace).await;
        let mut assignments = listed.map_err(cluster.failed("cannot list the job's assignments"))?;
        assignments.retain(|assignment| assignment.spec.job.uid == uid);
        printer.print_taken_over(&job).await?;
        printer.print(&assignments).await?;
        if let Some(end) = results::end_of(&job).filter(|_| args.follow) {
            output::note(&format!("job/{name} is {end}"));
        }
    }
    if printer.entries == 0 {
        let which = if args.wanted().is_some() { "those subtasks" } else { "its subtasks" };
        let failed = if args.failed { " and failed" } else { "" };
        output::note(&format!("job/{name}: none of {which} has logged anything{failed}"));
    }
    Ok(())
}

/// What was printed already: a job that is followed is looked at again and again.
#[derive(Default)]
struct Told {
    calls: Calls,
    sources: source::Told,
}

/// Prints what is new.
struct Printer<'a> {
    cluster: &'a Cluster,
    args: &'a Args,
    told: Told,
    entries: usize,
}

impl Printer<'_> {
    /// Prints what these Assignments say and was not said yet.
    async fn print(&mut self, assignments: &[schemas::Assignment]) -> Result<()> {
        let of_node = |a: &&schemas::Assignment| self.args.node.as_ref().is_none_or(|node| a.spec.node_name == *node);
        let assignments: Vec<_> = assignments.iter().filter(of_node).collect();
        let wanted = self.args.wanted();
        if wanted.is_none() {
            for (prefix, failure) in self.told.calls.fresh(&assignments) {
                self.call(&prefix, failure)?;
            }
        }
        let mut sources = source::all(&assignments, self.args.failed, wanted.as_ref());
        self.told.sources.retain_fresh(&mut sources);
        for source in sources {
            self.source(&source).await?;
        }
        Ok(())
    }

    /// Prints what the attempts logged whose outputs an earlier job left.
    async fn print_taken_over(&mut self, job: &schemas::Job) -> Result<()> {
        if self.args.failed || self.args.node.is_some() {
            return Ok(());
        }
        for source in source::taken_over(job, self.args.wanted().as_ref()) {
            self.source(&source).await?;
        }
        Ok(())
    }

    /// What a plan or a merge call said before it failed.
    fn call(&mut self, prefix: &str, failure: &CallFailure) -> Result<()> {
        self.entries += 1;
        output::print(&prefixed(prefix, &failure.log, self.args.tail))?;
        output::print(&prefixed(prefix, &format!("failed ({:?}): {}", failure.outcome, failure.message), None))
    }

    async fn source(&mut self, source: &Source) -> Result<()> {
        if let Some(failure) = &source.failure {
            self.entries += 1;
            return output::print(&prefixed(&format!("[{} {}] ", source.indexes, source.node), failure, None));
        }
        let Some(digest) = source.artifact else { return Ok(()) };
        let blob = artifacts::bytes(self.cluster, &digest, ARTIFACT_BYTES_MAX).await?;
        let invalid = |error| Error::invalid(format!("artifact {digest} with the logs of {}: {error}", source.node));
        let directory = Directory::of(&blob).map_err(invalid)?;
        for index in (directory.indexes() & &source.indexes).iter() {
            let Some(range) = directory.entry(index) else { continue };
            let log = String::from_utf8_lossy(&blob[range.start as usize..range.end as usize]);
            output::print(&prefixed(&format!("[{index} {}] ", source.node), &log, self.args.tail))?;
            self.entries += 1;
        }
        Ok(())
    }
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
