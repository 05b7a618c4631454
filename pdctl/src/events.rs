//! Events that speak of an object: fetched, put in order, shown as a table. What `events`, `describe` and `why` share.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::{Api, api::ListParams};

use crate::{
    age,
    client::Cluster,
    errors::{Error, Result},
    table::Table,
};

/// Events of one page; a namespace keeps one per object and reason.
const PAGE: u32 = 500;

/// The object that events shall speak of.
pub(crate) struct About<'a> {
    /// `Job`
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
    /// Of this very object, not of another that had its name.
    pub(crate) uid: Option<&'a str>,
}

/// Events of a namespace (absent: of all), the oldest first.
pub(crate) async fn fetch(cluster: &Cluster, namespace: Option<&str>, about: Option<&About<'_>>) -> Result<Vec<Event>> {
    let api = api(cluster, namespace);
    let mut params =
        ListParams { field_selector: about.map(About::selector), limit: Some(PAGE), ..ListParams::default() };
    let mut events = Vec::new();
    loop {
        let page = api.list(&params).await.map_err(cluster.failed("cannot list events"))?;
        events.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    events.retain(|event| about.is_none_or(|about| about.is_meant(event)));
    events.sort_by_key(last_seen);
    Ok(events)
}

/// As `fetch`; whoever may see the object need not be allowed to see events.
pub(crate) async fn fetch_if_allowed(
    cluster: &Cluster,
    namespace: Option<&str>,
    about: &About<'_>,
) -> Result<Option<Vec<Event>>> {
    match fetch(cluster, namespace, Some(about)).await {
        Ok(events) => Ok(Some(events)),
        Err(Error::Refused { status, .. }) if matches!(status.code, 403 | 404) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn api(cluster: &Cluster, namespace: Option<&str>) -> Api<Event> {
    match namespace.filter(|namespace| !namespace.is_empty()) {
        Some(namespace) => cluster.api(namespace),
        None => Api::all(cluster.client.clone()),
    }
}

impl About<'_> {
    /// For the server.
    pub(crate) fn selector(&self) -> String {
        format!("involvedObject.name={},involvedObject.kind={}", self.name, self.kind)
    }

    /// What the selector cannot say.
    pub(crate) fn is_meant(&self, event: &Event) -> bool {
        let uid = event.involved_object.uid.as_deref().filter(|uid| !uid.is_empty());
        self.uid.zip(uid).is_none_or(|(wanted, uid)| wanted == uid)
    }
}

/// When it happened last.
pub(crate) fn last_seen(event: &Event) -> Option<Timestamp> {
    let exact = event.event_time.as_ref().map(|time| time.0);
    let created = event.metadata.creation_timestamp.as_ref().map(|time| time.0);
    event.last_timestamp.as_ref().map(|time| time.0).or(exact).or(created)
}

/// An empty table for `cells`.
pub(crate) fn table(with_object: bool) -> Table {
    let object = with_object.then_some("object");
    Table::new(["last seen", "type", "reason"].into_iter().chain(object).chain(["count", "message"]))
}

/// One row.
pub(crate) fn cells(event: &Event, with_object: bool, now: Timestamp) -> Vec<String> {
    let of = &event.involved_object;
    let object =
        format!("{}/{}", of.kind.as_deref().unwrap_or_default().to_lowercase(), of.name.as_deref().unwrap_or_default());
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let head = [
        last_seen(event).map_or_else(String::new, |then| age::since(then, now)),
        text(&event.type_),
        text(&event.reason),
    ];
    let tail = [event.count.unwrap_or(1).to_string(), text(&event.message)];
    head.into_iter().chain(with_object.then_some(object)).chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(uid: &str) -> Event {
        let event = json!({"metadata": {"name": "x.1"}, "type": "Warning", "reason": "NodeLost", "message": "gone\nfor good",
            "involvedObject": {"kind": "Job", "name": "x", "uid": uid}, "lastTimestamp": "2026-01-01T00:00:00Z"});
        serde_json::from_value(event).expect("an event")
    }

    #[test]
    fn an_event_of_an_older_object_of_the_name_is_not_meant() {
        let about = About { kind: "Job", name: "x", uid: Some("u1") };
        assert!(about.is_meant(&event("u1")));
        assert!(about.is_meant(&event("")));
        assert!(!about.is_meant(&event("u0")));
        assert_eq!(about.selector(), "involvedObject.name=x,involvedObject.kind=Job");
    }

    #[test]
    fn a_row_is_one_line() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("a time");
        let mut table = table(true);
        table.push(cells(&event("u1"), true, now));
        let expected = "LAST SEEN   TYPE      REASON     OBJECT   COUNT   MESSAGE\n\
                        60s         Warning   NodeLost   job/x    1       gone for good\n";
        assert_eq!(table.render(), expected);
    }
}
