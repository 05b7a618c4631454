//! List: selectors and pages over one snapshot of the store.
//!
//! In: calls. Out: records. A list that selects everything is never parsed.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    super::{call::Call, error::ApiError, kinds::Kind, print::Item, selectors::Selection, topics::foreseen},
    decode,
};
use crate::store::{Page, REMAINING_COUNTED_MAX, Record, StoreError};

/// Records read from the store at a time while a selector leaves most of them out.
const SCAN_RECORDS: usize = 500;

/// A page of a list, as it is stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordPage {
    pub(crate) records: Vec<Record>,
    pub(crate) revision: u64,
    /// Token of the next page.
    pub(crate) next: Option<String>,
    /// Objects beyond this page, where known.
    pub(crate) remaining: Option<u64>,
}

/// Objects of a list, parsed or computed.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListResult {
    pub(crate) objects: Vec<Value>,
    pub(crate) revision: u64,
    /// Token of the next page.
    pub(crate) next: Option<String>,
    /// Objects beyond this page, where known.
    pub(crate) remaining: Option<u64>,
}

/// Where a page starts: opaque to clients.
#[derive(Serialize, Deserialize)]
pub(crate) struct Continue {
    /// Of the state that it is a page of; none: the newest, as it is then.
    #[serde(rename = "rv", default, skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<u64>,
    pub(crate) after: String,
}

impl Continue {
    pub(crate) fn encode(&self) -> Option<String> {
        serde_json::to_vec(self).ok().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(crate) fn decode(token: &str) -> Result<Self, ApiError> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or_else(|| {
            ApiError::BadRequest(
                "continue key is not valid: send back the token of the previous page unchanged".to_owned(),
            )
        })
    }
}

/// The page that a call asks for.
pub(crate) fn page(call: &Call) -> Result<RecordPage, ApiError> {
    let (target, options) = (&call.target, &call.options);
    let selection = Selection::parse(target.kind, &options.label_selector, &options.field_selector)?;
    let mut page = Page { limit: options.limit, after: None, revision: exact_revision(call)? };
    if !options.continue_token.is_empty() {
        let token = Continue::decode(&options.continue_token)?;
        page = Page { limit: options.limit, after: Some(token.after), revision: token.revision };
    }
    if let Some(name) = selection.name().filter(|_| !target.namespace.is_empty() || !target.kind.namespaced) {
        return one(call, name, &selection);
    }
    collect(call, &selection, page)
}

/// Everything that a call's selectors select, whatever its limit.
pub(crate) fn all(call: &Call) -> Result<RecordPage, ApiError> {
    let mut call = call.clone();
    call.options.limit = 0;
    call.options.continue_token.clear();
    call.options.resource_version.clear();
    page(&call)
}

/// The same, parsed.
pub(crate) fn list_all(call: &Call) -> Result<ListResult, ApiError> {
    let all = all(call)?;
    let objects = all.records.iter().map(|record| decode(&record.key, &record.value, record.revision));
    Ok(ListResult { objects: objects.collect::<Result<_, _>>()?, revision: all.revision, ..ListResult::default() })
}

fn exact_revision(call: &Call) -> Result<Option<u64>, ApiError> {
    let version = call.options.resource_version.as_str();
    if version.is_empty() {
        return Ok(None);
    }
    let version = parse_revision(version)?;
    let newest = call.state.store.revision();
    if version > newest {
        return Err(ApiError::TooLargeVersion { requested: version, newest });
    }
    Ok((call.options.resource_version_match == "Exact" && version > 0).then_some(version))
}

/// A resourceVersion as a revision.
pub(crate) fn parse_revision(version: &str) -> Result<u64, ApiError> {
    version.parse().map_err(|_| {
        ApiError::BadRequest(format!(
            "invalid resource version: \"{version}\" is none of ours: send back one you were given"
        ))
    })
}

/// The at most one object with a name.
fn one(call: &Call, name: &str, selection: &Selection) -> Result<RecordPage, ApiError> {
    let revision = call.state.store.revision();
    let found = call.state.store.get(&call.target.named(name).key())?;
    let revision = found.as_ref().map_or(revision, |record| record.revision.max(revision));
    let mut records = Vec::new();
    if let Some(record) = found
        && is_selected(call.target.kind, selection, &record)?
    {
        records.push(record);
    }
    Ok(RecordPage { records, revision, ..RecordPage::default() })
}

fn is_selected(kind: &Kind, selection: &Selection, record: &Record) -> Result<bool, ApiError> {
    match foreseen(kind, selection, &record.key, &record.value) {
        Some(is_selected) => Ok(is_selected),
        None => Ok(selection.matches(&*Item::of(record)?.shown()?)),
    }
}

fn collect(call: &Call, selection: &Selection, mut page: Page) -> Result<RecordPage, ApiError> {
    let prefix = call.target.kind.prefix(&call.target.namespace);
    let limit = page.limit;
    if !selection.is_everything() && limit > 0 {
        page.limit = SCAN_RECORDS;
    }
    let mut result = RecordPage::default();
    loop {
        let listing = call.state.store.list(&prefix, &page).map_err(|error| expired(call, error))?;
        result.revision = listing.revision;
        let read = listing.records.len();
        page.after = listing.records.last().map(|record| record.key.clone());
        page.revision = Some(listing.revision);
        for (at, record) in listing.records.into_iter().enumerate() {
            let beyond = listing.remaining + (read - at - 1) as u64;
            if is_selected(call.target.kind, selection, &record)? {
                result.records.push(record);
            }
            if limit > 0 && result.records.len() == limit && beyond > 0 {
                let after = result.records.last().map(|record| record.key.clone()).unwrap_or_default();
                result.next = Continue { revision: Some(listing.revision), after }.encode();
                result.remaining =
                    (selection.is_everything() && listing.remaining < REMAINING_COUNTED_MAX).then_some(beyond);
                return Ok(result);
            }
        }
        if listing.remaining == 0 || read == 0 {
            return Ok(result);
        }
    }
}

/// The state that a page is of is gone. Whoever goes on with a token gets one for the rest as it is now.
fn expired(call: &Call, error: StoreError) -> ApiError {
    let StoreError::Compacted { .. } = error else { return error.into() };
    if let Ok(Continue { after, .. }) = Continue::decode(&call.options.continue_token) {
        return ApiError::ExpiredContinue(Continue { revision: None, after }.encode().unwrap_or_default());
    }
    ApiError::Expired("The resourceVersion for the provided list is too old.".to_owned())
}
