//! `pdctl wait job/x`: until it ends, in whichever way, and the exit code tells which.

use kube::api::ListParams;

use crate::{
    cli::Global,
    client::{Cluster, name_of},
    errors::{Error, Result},
    follow::{self, End, Goal, Subject},
    kinds::{self, Kinds},
    output,
    progress::JobBar,
};

/// What to wait for.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// KIND/NAME… or KIND NAME…; KIND alone with -l or --all
    #[arg(required = true, value_name = "KIND/NAME")]
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
    let kinds = Kinds::discover(&cluster).await?;
    let goal = args.goal.clone().unwrap_or(Goal::Terminal);
    let deadline = follow::deadline(args.timeout);
    let mut worst: Option<Error> = None;
    for target in kinds::targets(&kinds, &args.words)? {
        if goal == Goal::Terminal && !target.kind.is_job() {
            return Err(Error::usage(format!(
                "only jobs end; for {} say --for=condition=NAME or --for=delete",
                target.kind.resource.plural
            )));
        }
        let mut names = target.names.clone();
        if names.is_empty() {
            if args.selector.is_none() && !args.all {
                return Err(Error::usage("name what to wait for, or use -l or --all"));
            }
            let params = ListParams { label_selector: args.selector.clone(), ..ListParams::default() };
            let api = target.kind.api(&cluster, Some(&cluster.namespace));
            let doing = format!("cannot list {}", target.kind.resource.plural);
            let listed = follow::list_all(&api, params).await.map_err(cluster.failed(doing))?;
            names = listed.iter().map(|object| name_of(object).to_owned()).collect();
            if names.is_empty() {
                return Err(Error::not_found(format!("no {} to wait for", target.kind.resource.plural), None));
            }
        }
        for name in names {
            let subject = Subject { kind: target.kind, namespace: &cluster.namespace, name: &name, uid: None };
            let full = format!("{}/{name}", target.kind.full_name());
            let mut bar = JobBar::for_kind(target.kind.is_job() && goal != Goal::Deleted, &full);
            let end = follow::follow(&cluster, subject, &goal, deadline, &mut bar).await;
            bar.clear();
            if let Err(error) = end.and_then(|end| tell(&full, &goal, end)) {
                if matches!(error, Error::Unreachable { .. } | Error::Timeout { .. }) {
                    return Err(error);
                }
                if let Some(earlier) = worst.replace(error) {
                    earlier.report();
                }
            }
        }
    }
    worst.map_or(Ok(()), Err)
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
