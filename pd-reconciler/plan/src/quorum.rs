//! Quorum: the plan and the merge call of a job that verifies every output are verified too. They run on one node after
//! the other until enough answers are the same.

use std::collections::BTreeMap;

use schemas::{
    Digest,
    assignment::PlanReport,
    job::{JobResult, Layout, Quorum, Verification},
};

use crate::job::{Draft, Work};

/// The quorum that a job asks for.
pub(crate) fn of(spec: &schemas::JobSpec) -> Option<&Quorum> {
    match &spec.verification {
        Some(Verification::Quorum(quorum)) => Some(quorum),
        _ => None,
    }
}

/// What enough nodes have answered to the plan call.
pub(crate) fn layout<'a>(drafts: &[Draft<'a>], quorum: &Quorum) -> Option<&'a Layout> {
    let is_enough = |layout: &&Layout| layouts(drafts).filter(|other| other == layout).count() >= quorum.agree as usize;
    layouts(drafts).find(is_enough)
}

/// Every answer to the plan call.
pub(crate) fn layouts<'a>(drafts: &[Draft<'a>]) -> impl Iterator<Item = &'a Layout> {
    drafts.iter().filter_map(Draft::plan_report).filter_map(|report| match report {
        PlanReport::Layout(layout) => Some(layout),
        PlanReport::Failed(_) => None,
    })
}

/// What enough nodes have merged the outputs into.
pub(crate) fn result(drafts: &[Draft<'_>], quorum: &Quorum) -> Option<JobResult> {
    let mut by_artifact = BTreeMap::<Digest, u32>::new();
    results(drafts).for_each(|result| *by_artifact.entry(result.artifact).or_default() += 1);
    let is_enough = |result: &&JobResult| by_artifact.get(&result.artifact).is_some_and(|count| *count >= quorum.agree);
    results(drafts).find(is_enough).cloned()
}

/// Every result of the merge.
pub(crate) fn results<'d>(drafts: &'d [Draft<'_>]) -> impl Iterator<Item = &'d JobResult> {
    drafts.iter().filter_map(Draft::merge_report).filter_map(|report| report.result.as_ref())
}

/// Positions of the drafts whose nodes have answered a call otherwise than enough others, and which call.
pub(crate) fn liars(work: &Work<'_>) -> Vec<(usize, &'static str)> {
    let Some(quorum) = of(&work.job.spec) else { return Vec::new() };
    let result = result(&work.drafts, quorum);
    let lies = |(at, draft): (usize, &Draft<'_>)| {
        let other_layout = |report: &PlanReport| matches!(report, PlanReport::Layout(l) if Some(l) != work.layout);
        let merged = draft.merge_report().and_then(|report| report.result.as_ref());
        if work.layout.is_some() && draft.plan_report().is_some_and(other_layout) {
            return Some((at, "the answer to the plan call"));
        }
        let is_other = merged.zip(result.as_ref()).is_some_and(|(own, agreed)| own.artifact != agreed.artifact);
        is_other.then_some((at, "the result of the merge"))
    };
    work.drafts.iter().enumerate().filter_map(lies).collect()
}
