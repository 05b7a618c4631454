//! `get -w`: on a terminal the rows are kept up to date in place, elsewhere every change is printed, for ever. A watch that ends is begun again where it ended, and a server
//! that goes away is waited for.

use std::time::Duration;

use futures::StreamExt as _;
use http::header::{ACCEPT, HeaderValue};
use kube::{
    api::WatchParams,
    core::{Request, WatchEvent},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    ACCEPT_TABLE, Args, page, version_of,
    view::{Rows, ServerTable, View},
};
use crate::{
    client::Cluster,
    errors::{Error, Result},
    kinds::Target,
    output,
    screen::Screen,
};

/// Before another try at a server that has gone away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What happened to an object.
#[derive(Clone, Copy)]
enum Change {
    Set,
    Gone,
}

/// What is watched.
pub(super) struct Watch<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) args: &'a Args,
    pub(super) target: &'a Target<'a>,
}

impl Watch<'_> {
    /// Prints rows, going on from those in the view.
    pub(super) async fn rows(&self, mut view: View<'_>, version: String) -> Result<()> {
        let show = |_: Change, table: ServerTable| {
            view.add(table)?;
            output::print(&view.flush())
        };
        let version_in = |table: &ServerTable| table.rows.last().map(|row| version_of(&row.object["metadata"]));
        self.changes(version, Some(ACCEPT_TABLE), version_in, show).await
    }

    /// Keeps rows up to date in place, beginning with what was listed.
    pub(super) async fn live(&self, listed: ServerTable) -> Result<()> {
        let mut rows = Rows::new(self.args);
        let mut screen = Screen::default();
        let version = version_of(&listed.metadata);
        rows.set(listed);
        screen.paint(&rows.render()?)?;
        let show = |change: Change, table: ServerTable| {
            match change {
                Change::Set => rows.set(table),
                Change::Gone => rows.remove(&table),
            }
            screen.paint(&rows.render()?)
        };
        let version_in = |table: &ServerTable| table.rows.last().map(|row| version_of(&row.object["metadata"]));
        self.changes(version, Some(ACCEPT_TABLE), version_in, show).await
    }

    /// Hands every changed object to `show`.
    pub(super) async fn objects(&self, mut show: impl FnMut(Value) -> Result<()>) -> Result<()> {
        let version = self.newest().await?;
        let version_in = |object: &Value| Some(version_of(&object["metadata"]));
        self.changes(version, None, version_in, |_: Change, object| show(object)).await
    }

    async fn newest(&self) -> Result<String> {
        page(self.cluster, self.args, self.target, None).await.map(|(table, _)| version_of(&table.metadata))
    }

    async fn changes<T: Clone + DeserializeOwned + 'static>(
        &self,
        mut version: String,
        accept: Option<&'static str>,
        version_in: impl Fn(&T) -> Option<String>,
        mut show: impl FnMut(Change, T) -> Result<()>,
    ) -> Result<()> {
        let mut is_away = false;
        loop {
            match self.until_it_ends(&mut version, accept, &version_in, &mut show).await {
                Ok(()) => is_away = false,
                Err(error @ (Error::Unreachable { .. } | Error::Answer { .. })) => {
                    if !std::mem::replace(&mut is_away, true) {
                        output::note(&format!("{error}; trying again"));
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                // What happened since that version is forgotten: what is now is where to go on.
                Err(Error::Refused { status, .. }) if status.code == 410 => version = self.newest().await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// One watch request, to its end.
    async fn until_it_ends<T: Clone + DeserializeOwned + 'static>(
        &self,
        version: &mut String,
        accept: Option<&'static str>,
        version_in: &impl Fn(&T) -> Option<String>,
        show: &mut impl FnMut(Change, T) -> Result<()>,
    ) -> Result<()> {
        let doing = format!("cannot watch {}", self.target.kind.resource.plural);
        let list = self.args.list(self.target.names.first().map(String::as_str));
        let params = WatchParams {
            label_selector: list.label_selector,
            field_selector: list.field_selector,
            ..WatchParams::default()
        };
        let request = Request::new(self.target.kind.path(self.args.namespace(self.cluster))).watch(&params, version);
        let mut request = request.map_err(|error| Error::invalid(format!("{doing}: {error}")))?;
        if let Some(accept) = accept {
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        }
        let events = self.cluster.client.request_events::<T>(request).await;
        let mut events = Box::pin(events.map_err(self.cluster.failed(&doing))?);
        while let Some(event) = events.next().await {
            let (change, object) = match event.map_err(self.cluster.failed(&doing))? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (Change::Set, object),
                WatchEvent::Deleted(object) => (Change::Gone, object),
                WatchEvent::Bookmark(bookmark) => {
                    *version = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => return Err(Error::Refused { doing, status, hint: None }),
            };
            *version = version_in(&object).unwrap_or_else(|| std::mem::take(version));
            show(change, object)?;
        }
        Ok(())
    }
}
