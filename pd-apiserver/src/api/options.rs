//! What one request may ask for beside its target: the query string, understood.
//!
//! In: a URI. Out: `Options`, or what is wrong with them, in upstream's words. It knows no kinds.

use axum::extract::Query;
use http::Uri;

use super::error::{ApiError, Cause, Subject, reasons};

/// Longest name of a field manager, as upstream.
const MANAGER_BYTES_MAX: usize = 128;

/// What to do with fields that the kind does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// Drop them in silence.
    Ignore,
    /// Drop them and say so in a `Warning` header.
    #[default]
    Warn,
    /// Refuse.
    Strict,
}

/// The query string.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) label_selector: String,
    pub(crate) field_selector: String,
    pub(crate) limit: usize,
    pub(crate) continue_token: String,
    pub(crate) resource_version: String,
    pub(crate) resource_version_match: String,
    pub(crate) watch: bool,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial_events: bool,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) dry_run: bool,
    pub(crate) field_validation: FieldValidation,
    pub(crate) field_manager: String,
    pub(crate) force: bool,
    pub(crate) include_object: String,
    pub(crate) propagation_policy: String,
    pub(crate) orphan_dependents: bool,
    /// Of `/log`.
    pub(crate) log: LogOptions,
    /// What is wrong with the options of a write.
    refused: Vec<Cause>,
}

/// The query of a pod's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogOptions {
    pub(crate) container: String,
    pub(crate) follow: bool,
    pub(crate) timestamps: bool,
    pub(crate) previous: bool,
    /// Only so many lines from the end.
    pub(crate) tail_lines: Option<usize>,
    /// Only so many bytes from there.
    pub(crate) limit_bytes: Option<usize>,
    /// True when lines of a certain age were asked for.
    pub(crate) has_since: bool,
}

fn truth(value: &str) -> bool {
    matches!(value, "true" | "1" | "t" | "T" | "TRUE" | "True")
}

impl Options {
    /// From a request's URI; unknown parameters are ignored, as upstream does.
    pub(crate) fn parse(uri: &Uri) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| ApiError::BadRequest(format!("cannot read the query string: {error}")))?;
        let mut options = Self::default();
        for (key, value) in pairs {
            options.set(&key, value)?;
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), ApiError> {
        match key {
            "labelSelector" => self.label_selector = value,
            "fieldSelector" => self.field_selector = value,
            "limit" => self.limit = number(key, &value)? as usize,
            "continue" => self.continue_token = value,
            "resourceVersion" => self.resource_version = value,
            "resourceVersionMatch" => self.resource_version_match = value,
            "watch" => self.watch = truth(&value),
            "allowWatchBookmarks" => self.bookmarks = truth(&value),
            "sendInitialEvents" => self.send_initial_events = truth(&value),
            "timeoutSeconds" if !value.is_empty() => self.timeout_seconds = Some(number(key, &value)?),
            "dryRun" => self.set_dry_run(&value),
            "fieldValidation" if !value.is_empty() => match field_validation(&value) {
                Some(validation) => self.field_validation = validation,
                None => self.refused.push(Cause::not_supported(
                    "fieldValidation",
                    &value,
                    &["", "Ignore", "Strict", "Warn"],
                )),
            },
            "fieldManager" => self.field_manager = value,
            "force" => self.force = truth(&value),
            "includeObject" => self.include_object = value,
            "propagationPolicy" => self.propagation_policy = value,
            "orphanDependents" => self.orphan_dependents = truth(&value),
            "container" => self.log.container = value,
            "follow" => self.log.follow = truth(&value),
            "timestamps" => self.log.timestamps = truth(&value),
            "previous" => self.log.previous = truth(&value),
            "tailLines" if !value.is_empty() => self.log.tail_lines = Some(number(key, &value)? as usize),
            "limitBytes" if !value.is_empty() => self.log.limit_bytes = Some(number(key, &value)? as usize),
            "sinceSeconds" | "sinceTime" if !value.is_empty() => self.log.has_since = true,
            _ => {}
        }
        Ok(())
    }

    fn set_dry_run(&mut self, value: &str) {
        match value {
            "" => {}
            "All" => self.dry_run = true,
            other => self.refused.push(Cause::not_supported("dryRun", other, &["All"])),
        }
    }

    /// Refuses what a verb cannot have.
    pub(crate) fn check(&self, verb: &str) -> Result<(), ApiError> {
        let (kind, causes) = match verb {
            "list" | "watch" | "deletecollection" => ("ListOptions", self.list_causes(verb == "watch")),
            "create" => ("CreateOptions", self.write_causes()),
            "update" => ("UpdateOptions", self.write_causes()),
            "patch" => ("PatchOptions", self.write_causes()),
            "delete" => ("DeleteOptions", self.refused.clone()),
            _ => return Ok(()),
        };
        let is_versioned = !matches!(self.resource_version.as_str(), "" | "0");
        if !self.continue_token.is_empty() && is_versioned && kind == "ListOptions" {
            let message = "specifying resource version is not allowed when using continue";
            return Err(ApiError::BadRequest(message.to_owned()));
        }
        refuse(kind, causes)
    }

    fn write_causes(&self) -> Vec<Cause> {
        let mut causes = self.refused.clone();
        if self.field_manager.len() > MANAGER_BYTES_MAX {
            let message = format!("Too long: may not be more than {MANAGER_BYTES_MAX} bytes");
            causes.push(Cause::new(reasons::TOO_LONG, "fieldManager", message));
        }
        causes
    }

    /// The rules between the options that say from when on to list or watch, as upstream has them.
    fn list_causes(&self, is_watch: bool) -> Vec<Cause> {
        let matching = self.resource_version_match.as_str();
        let forbidden = |text: &str| vec![Cause::forbidden("resourceVersionMatch", text)];
        if self.send_initial_events && !is_watch {
            return vec![Cause::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")];
        }
        match matching {
            "" if self.send_initial_events => {
                forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
            }
            "" => Vec::new(),
            "NotOlderThan" if is_watch && self.send_initial_events => Vec::new(),
            _ if is_watch && self.send_initial_events => {
                vec![Cause::not_supported("resourceVersionMatch", matching, &["NotOlderThan"])]
            }
            _ if is_watch => {
                forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
            }
            "Exact" | "NotOlderThan" if !self.continue_token.is_empty() => {
                forbidden("resourceVersionMatch is forbidden when continue is provided")
            }
            "Exact" | "NotOlderThan" if self.resource_version.is_empty() => {
                forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided")
            }
            "Exact" if self.resource_version == "0" => {
                forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
            }
            "Exact" | "NotOlderThan" => Vec::new(),
            other => vec![Cause::not_supported("resourceVersionMatch", other, &["Exact", "NotOlderThan", ""])],
        }
    }
}

/// Refuses the options of a request when there are causes.
pub(crate) fn refuse(kind: &str, causes: Vec<Cause>) -> Result<(), ApiError> {
    if causes.is_empty() {
        return Ok(());
    }
    let subject = Subject { group: "meta.k8s.io".to_owned(), kind: kind.to_owned(), ..Subject::default() };
    Err(ApiError::Invalid { subject, causes })
}

fn field_validation(value: &str) -> Option<FieldValidation> {
    match value {
        "Strict" => Some(FieldValidation::Strict),
        "Warn" => Some(FieldValidation::Warn),
        "Ignore" => Some(FieldValidation::Ignore),
        _ => None,
    }
}

fn number(key: &str, value: &str) -> Result<u64, ApiError> {
    if value.is_empty() {
        return Ok(0);
    }
    value.parse().map_err(|_| ApiError::BadRequest(format!("{key}: `{value}` is not a whole number from 0 up")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(verb: &str, query: &str) -> String {
        let uri = format!("/x?{query}").parse().expect("a URI");
        Options::parse(&uri).and_then(|options| options.check(verb)).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn options_are_refused_in_upstream_words() {
        for (verb, query, expected) in [
            (
                "create",
                "dryRun=x",
                "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: \"x\": supported values: \"All\"",
            ),
            (
                "patch",
                "fieldValidation=x",
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"x\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
            ),
            (
                "list",
                "resourceVersionMatch=Exact",
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            (
                "list",
                "resourceVersionMatch=x&resourceVersion=1",
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Unsupported value: \"x\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
            ),
            (
                "list",
                "sendInitialEvents=true",
                "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
            ),
            (
                "watch",
                "sendInitialEvents=true",
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
            ("list", "continue=a&resourceVersion=1", "specifying resource version is not allowed when using continue"),
            ("list", "limit=x", "limit: `x` is not a whole number from 0 up"),
        ] {
            assert_eq!(refusal(verb, query), expected, "{verb} {query}");
        }
        let long = "m".repeat(MANAGER_BYTES_MAX + 1);
        assert!(refusal("update", &format!("fieldManager={long}")).contains("fieldManager: Too long"));
    }

    #[test]
    fn what_clients_send_passes() {
        for (verb, query) in [
            ("get", "dryRun=x&pretty=true"),
            ("list", "&limit=500&resourceVersion=0&resourceVersionMatch=NotOlderThan"),
            ("watch", "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"),
            ("patch", "dryRun=All&fieldValidation=Strict&fieldManager=kubectl&force=true"),
        ] {
            assert_eq!(refusal(verb, query), "", "{verb} {query}");
        }
    }
}
