//! `pdctl wait job/x`: until it ends, in whichever way, and the exit code tells which.

use kube::api::ListParams;

use crate::{
    cli::Global,
    client::{Cluster, name_of},
    errors::{Error, Result},
    follow::{self, End, Goal, Subject},
    kinds::{self, Kind, Kinds},
    output,
    progress::JobBar,
};

const EXAMPLES: &str = "\
Examples:
  pdctl wait job/mandelbrot --timeout 10m        # 0 complete, 8 failed, 3 deleted, 7 timeout
  pdctl wait job/mandelbrot --for=condition=Planned
  pdctl wait nodes --all --for=condition=Ready";

/// What to wait for.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// KIND/NAME… or KIND NAME…; KIND alone with -l or --all
    #[arg(required = true, value_name = "KIND/NAME", add = crate::complete::objects())]
    words: Vec<String>,
    /// complete, failed, delete, or condition=NAME[=STATUS]; default: the end of a job, whichever
    #[arg(long = "for", value_name = "WHAT", value_parser = parse_goal)]
    goal: Option<Goal>,
    /// Give up after this long (exit code 7): 30s, 5m
    #[arg(long, value_name = "DURATION")]
    timeout: Option<schemas::Duration>,
    /// All objects with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// All objects of the kind
    #[arg(long)]
    all: bool,
}

fn parse_goal(text: &str) -> Result<Goal, String> {
    let condition = |type_: &str, status: &str| Goal::Condition { type_: type_.to_owned(), status: status.to_owned() };
    match text.split_once('=') {
        None => match text.to_lowercase().as_str() {
            "complete" => Ok(condition("Complete", "True")),
            "failed" => Ok(condition("Failed", "True")),
            "delete" | "deleted" => Ok(Goal::Deleted),
            _ => Err("one of complete, failed, delete, condition=NAME[=STATUS]".to_owned()),
        },
        Some(("condition", rest)) if !rest.is_empty() => {
            let (type_, status) = rest.split_once('=').unwrap_or((rest, "True"));
            Ok(condition(type_, status))
        }
        Some(_) => Err("one of complete, failed, delete, condition=NAME[=STATUS]".to_owned()),
    }
}

/// Runs the verb. Several objects are waited for one after the other, under one deadline.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    let kinds = Kinds::for_words(&cluster, &args.words).await?;
    let goal = args.goal.clone().unwrap_or(Goal::Terminal);
    let deadline = follow::deadline(args.timeout);
    let subjects = subjects(&cluster, &args, &kinds, &goal).await?;
    let mut exits = Vec::new();
    for (kind, name) in &subjects {
        let full = format!("{}/{name}", kind.full_name());
        let mut bar = JobBar::for_kind(kind.is_job() && goal != Goal::Deleted, &full);
        let subject = Subject { kind, namespace: &cluster.namespace, name, uid: None };
        let end = follow::follow(&cluster, subject, &goal, deadline, &mut bar).await;
        bar.clear();
        match end.and_then(|end| tell(&full, &goal, end)) {
            Ok(()) => {}
            Err(error) if subjects.len() == 1 || matches!(error, Error::Unreachable { .. } | Error::OutputClosed) => {
                return Err(error);
            }
            Err(error) => {
                error.report();
                exits.push(error.exit_code());
            }
        }
    }
    match exits.first() {
        Some(exit) => Err(Error::Several { failed: exits.len(), all: subjects.len(), exit: *exit }),
        None => Ok(()),
    }
}

/// What the arguments name or select.
async fn subjects<'k>(
    cluster: &Cluster,
    args: &Args,
    kinds: &'k Kinds,
    goal: &Goal,
) -> Result<Vec<(&'k Kind, String)>> {
    let mut subjects = Vec::new();
    for target in kinds::targets(kinds, &args.words)? {
        let plural = &target.kind.resource.plural;
        if *goal == Goal::Terminal && !target.kind.is_job() {
            return Err(Error::usage(format!("only jobs end; for {plural} say --for=condition=NAME or --for=delete")));
        }
        let mut names = target.names;
        if names.is_empty() {
            if args.selector.is_none() && !args.all {
                return Err(Error::usage("name what to wait for, or use -l or --all"));
            }
            let params = ListParams { label_selector: args.selector.clone(), ..ListParams::default() };
            let api = target.kind.api(cluster, Some(&cluster.namespace));
            let listed =
                follow::list_all(&api, params).await.map_err(cluster.failed(format!("cannot list {plural}")))?;
            names = listed.iter().map(|object| name_of(object).to_owned()).collect();
            if names.is_empty() {
                return Err(Error::not_found(format!("no {plural} to wait for"), None));
            }
        }
        subjects.extend(names.into_iter().map(|name| (target.kind, name)));
    }
    Ok(subjects)
}

/// Says how it ended.
pub(crate) fn tell(full: &str, goal: &Goal, end: End) -> Result<()> {
    match end {
        End::Complete(_) => output::print_line(&format!("{full} complete")),
        End::ConditionMet => output::print_line(&format!("{full} condition met")),
        End::Deleted if *goal == Goal::Deleted => output::print_line(&format!("{full} deleted")),
        End::Deleted => {
            output::print_line(&format!("{full} deleted"))?;
            Err(Error::not_found(format!("{full} was deleted before it ended"), None))
        }
        End::Failed(why) => {
            output::print_line(&format!("{full} failed"))?;
            let hint = Some(format!("`pdctl logs {full} --failed` shows what the failed subtasks said"));
            Err(Error::JobFailed { job: full.to_owned(), why, hint })
        }
        End::Unmeetable(why) => Err(Error::invalid(format!("{full} will not meet the condition: {why}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_parse() {
        let condition =
            |type_: &str, status: &str| Ok(Goal::Condition { type_: type_.to_owned(), status: status.to_owned() });
        assert_eq!(parse_goal("complete"), condition("Complete", "True"));
        assert_eq!(parse_goal("delete"), Ok(Goal::Deleted));
        assert_eq!(parse_goal("condition=Ready"), condition("Ready", "True"));
        assert_eq!(parse_goal("condition=Ready=Unknown"), condition("Ready", "Unknown"));
        assert!(parse_goal("done").is_err());
        assert!(parse_goal("condition=").is_err());
    }
}
