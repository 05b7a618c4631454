//! Subtasks: the view of one index, computed from Job and Assignments on each read.
//!
//! In: a call and the stored Jobs and Assignments. Out: a page of objects. A job may have 10^8 indexes: a page costs
//! what is on it.

mod view;

use std::collections::{BTreeMap, VecDeque};

use schemas::{Assignment, well_known::LABEL_JOB};
use serde::Deserialize;
use serde_json::Value;

use self::view::View;
use super::{
    call::{Call, text},
    error::ApiError,
    kinds::{self, Kind, Rules},
    registry::{self, Continue, ListResult},
    selectors::Selection,
};
use crate::store::{Page, Record};

/// Most Subtasks of one answer, whatever limit was asked for: 5,000 of about 400 bytes are 2 MB.
const PAGE_MAX: usize = 5_000;
/// Most indexes looked at for one answer when a selector leaves most of them out. The answer may then have fewer
/// objects than its limit, or none, and a token to go on with: some 50 ms.
const VISITS_MAX: usize = 5_000;
/// Jobs read at a time while all of a namespace are walked.
const JOBS_READ: usize = 64;
/// In place of an index in a token: the page ended before the job's first one.
const NOTHING_YET: &str = "-";

/// One Subtask by its name, `<job>-<index>`.
pub(crate) fn get(call: &Call) -> Result<Value, ApiError> {
    let target = &call.target;
    let parts = target.name.rsplit_once('-').and_then(|(job, index)| Some((job, index.parse::<u64>().ok()?)));
    let (job, index) = parts.ok_or_else(|| target.not_found())?;
    let revision = call.state.store.revision();
    let stored = registry::find(&*call.state.store, kinds::by_rules(Rules::Job), &target.namespace, job)?;
    let job = stored.ok_or_else(|| target.not_found())?.object;
    let assignments = Assignments::read(call)?.of(&job)?;
    let view = View::new(job, &assignments).ok_or_else(|| target.not_found())?;
    view.get(index, revision).ok_or_else(|| target.not_found())
}

/// A page of Subtasks: of one job when the label selector names it, else of all.
pub(crate) fn list(call: &Call) -> Result<ListResult, ApiError> {
    let (target, options) = (&call.target, &call.options);
    let selection = Selection::parse(target.kind, &options.label_selector, &options.field_selector)?;
    let revision = call.state.store.revision();
    let limit = if options.limit == 0 { PAGE_MAX } else { options.limit.min(PAGE_MAX) };
    let start = match options.continue_token.as_str() {
        "" => None,
        token => Some(position(&Continue::decode(token)?.after)?),
    };
    let assignments = Assignments::read(call)?;
    let mut result = ListResult { revision, ..ListResult::default() };
    let mut visits = VISITS_MAX;
    let mut jobs = Jobs::new(call, &selection, start.as_ref());
    while let Some((key, job)) = jobs.next()? {
        let own = assignments.of(&job)?;
        let Some(view) = View::new(job, &own) else { continue };
        let after = start.as_ref().filter(|(started, _)| *started == key).and_then(|(_, index)| *index);
        let part = view.page(&selection, after, (limit - result.objects.len(), visits), revision);
        visits -= part.visited;
        result.objects.extend(part.objects);
        if part.is_cut {
            result.next = next(revision, &view.job, part.last.or(after));
            return Ok(result);
        }
    }
    Ok(result)
}

/// The token of what comes after an index of a job; `None`: before its first one.
fn next(revision: u64, job: &Value, last: Option<u64>) -> Option<String> {
    let (namespace, name) = (text(&job["metadata"]["namespace"]), text(&job["metadata"]["name"]));
    let last = last.map_or_else(|| NOTHING_YET.to_owned(), |index| index.to_string());
    Continue { revision: Some(revision), after: format!("{namespace}/{name}/{last}") }.encode()
}

/// Whether a token's text says where a page of Subtasks ended.
#[cfg(any(test, feature = "hostile"))]
pub(crate) fn is_position(after: &str) -> bool {
    position(after).is_ok()
}

/// Where a page ended: the job's key and the last index looked at.
type Position = (String, Option<u64>);

fn position(after: &str) -> Result<Position, ApiError> {
    let kind = kinds::by_rules(Rules::Job);
    let parts: Vec<&str> = after.split('/').collect();
    match parts.as_slice() {
        [namespace, job, NOTHING_YET] => Some((kind.key(namespace, job), None)),
        [namespace, job, index] => index.parse().ok().map(|index: u64| (kind.key(namespace, job), Some(index))),
        _ => None,
    }
    .filter(|(_, index)| index.is_none_or(|index| index < u64::MAX))
    .ok_or_else(|| ApiError::BadRequest("continue key is not valid".to_owned()))
}

/// The jobs that may have selected Subtasks, in the order of their keys, read as they are needed.
struct Jobs<'a> {
    call: &'a Call,
    /// The only name that can match.
    name: Option<&'a str>,
    /// Read and not yet handed out.
    waiting: VecDeque<Record>,
    /// What to read next; `None`: nothing.
    page: Option<Page>,
    /// The job to begin with, which the page before ended in.
    first: Option<String>,
}

impl<'a> Jobs<'a> {
    fn new(call: &'a Call, selection: &'a Selection, start: Option<&Position>) -> Self {
        let after = start.map(|(key, _)| key.clone());
        let page = Some(Page { limit: JOBS_READ, after: after.clone(), revision: None });
        let name = selection.required_label(LABEL_JOB);
        Self { call, name, waiting: VecDeque::new(), page, first: after }
    }

    fn next(&mut self) -> Result<Option<(String, Value)>, ApiError> {
        let kind = kinds::by_rules(Rules::Job);
        let (store, namespace) = (&self.call.state.store, &self.call.target.namespace);
        if let Some(name) = self.name.filter(|_| !namespace.is_empty()) {
            self.first = None;
            let Some(_) = self.page.take() else { return Ok(None) };
            let found = registry::find(&**store, kind, namespace, name)?;
            return Ok(found.map(|stored| (kind.key(namespace, name), stored.object)));
        }
        if let Some(key) = self.first.take() {
            self.waiting.extend(store.get(&key)?);
        }
        loop {
            while let Some(record) = self.waiting.pop_front() {
                let is_wanted = Kind::of_key(&record.key).is_some_and(|(_, _, own)| self.name.is_none_or(|n| n == own));
                if is_wanted {
                    let object = registry::decode(&record.key, &record.value, record.revision)?;
                    return Ok(Some((record.key, object)));
                }
            }
            let Some(page) = self.page.take() else { return Ok(None) };
            let listing = store.list(&kind.prefix(namespace), &page)?;
            let after = listing.records.last().filter(|_| listing.remaining > 0).map(|record| record.key.clone());
            self.page = after.map(|after| Page { after: Some(after), ..page });
            self.waiting.extend(listing.records);
        }
    }
}

/// The Assignments of a namespace (an empty one means all) by the UID of their job, not yet decoded: most of them are
/// of jobs that a page does not show.
struct Assignments {
    by_job: BTreeMap<String, Vec<Record>>,
}

impl Assignments {
    fn read(call: &Call) -> Result<Self, ApiError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Named {
            uid: String,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Spec {
            job: Named,
        }
        #[derive(Deserialize)]
        struct OfJob {
            #[serde(default)]
            spec: Spec,
        }
        let kind = kinds::by_rules(Rules::Assignment);
        let listing = call.state.store.list(&kind.prefix(&call.target.namespace), &Page::default())?;
        let mut by_job: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for record in listing.records {
            let of_job: OfJob = serde_json::from_slice(&record.value).map_err(|error| undecodable(&record, &error))?;
            by_job.entry(of_job.spec.job.uid).or_default().push(record);
        }
        Ok(Self { by_job })
    }

    fn of(&self, job: &Value) -> Result<Vec<Assignment>, ApiError> {
        let records = self.by_job.get(text(&job["metadata"]["uid"])).map_or(&[][..], Vec::as_slice);
        let decoded = records
            .iter()
            .map(|record| serde_json::from_slice(&record.value).map_err(|error| undecodable(record, &error)));
        decoded.collect()
    }
}

fn undecodable(record: &Record, error: &serde_json::Error) -> ApiError {
    ApiError::Internal(format!("the stored object `{}` does not decode: {error}", record.key))
}
