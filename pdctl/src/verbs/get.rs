//! `pdctl get KIND [NAME…]`

use std::fmt::Write as _;

use futures::StreamExt as _;
use http::header::{ACCEPT, HeaderValue};
use jiff::Timestamp;
use kube::{
    api::{ListParams, WatchParams},
    core::{Request, WatchEvent},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    age,
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    follow,
    kinds::{self, Kind, Kinds, Target},
    output::{self, Format},
    table::Table,
};

/// kubectl's way to ask for a Table.
const ACCEPT_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
/// Rows of one page, as kubectl asks for them.
const PAGE: u32 = 500;

/// What to list, and how.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// KIND[,KIND] [NAME…] or KIND/NAME…
    #[arg(required = true, value_name = "KIND | KIND/NAME")]
    words: Vec<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels: `app=x,tier!=y`
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Only objects with these fields: `status.phase=Failed`
    #[arg(long, value_name = "FIELDS")]
    field_selector: Option<String>,
    /// wide, json, yaml, name, jsonpath=…, custom-columns=…
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    /// Stay and print every change
    #[arg(short, long)]
    watch: bool,
    /// Print no header
    #[arg(long)]
    no_headers: bool,
    /// Print metadata.managedFields too
    #[arg(long)]
    show_managed_fields: bool,
}

/// A page of a Table, as the server renders it.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
struct ServerTable {
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    column_definitions: Vec<Column>,
    #[serde(default)]
    rows: Vec<Row>,
}

#[derive(Deserialize, Clone, Debug)]
struct Column {
    name: String,
    #[serde(rename = "type", default)]
    type_: String,
    #[serde(default)]
    priority: i32,
}

#[derive(Deserialize, Clone, Debug)]
struct Row {
    cells: Vec<Value>,
    #[serde(default)]
    object: Value,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    let kinds = Kinds::discover(&cluster).await?;
    let targets = kinds::targets(&kinds, &args.words)?;
    check(&args, &targets)?;
    match &args.output {
        None | Some(Format::Wide) => tables(&cluster, &args, &targets).await,
        Some(format) => whole(&cluster, &args, &targets, format).await,
    }
}

fn check(args: &Args, targets: &[Target<'_>]) -> Result<()> {
    let is_named = targets.iter().any(|target| !target.names.is_empty());
    let has_selector = args.selector.is_some() || args.field_selector.is_some();
    if is_named && (has_selector || args.all_namespaces) {
        return Err(Error::usage("a name goes with neither a selector nor --all-namespaces"));
    }
    if args.watch && (targets.len() > 1 || targets[0].names.len() > 1) {
        return Err(Error::usage("--watch takes one kind, and at most one name"));
    }
    Ok(())
}

impl Args {
    fn namespace<'a>(&self, cluster: &'a Cluster) -> Option<&'a str> {
        (!self.all_namespaces).then_some(cluster.namespace.as_str())
    }

    /// List parameters; a name becomes a field selector when it is watched.
    fn list(&self, name: Option<&str>) -> ListParams {
        let fields = match (name, &self.field_selector) {
            (Some(name), _) => Some(format!("metadata.name={name}")),
            (None, fields) => fields.clone(),
        };
        ListParams {
            label_selector: self.selector.clone(),
            field_selector: fields,
            limit: Some(PAGE),
            ..ListParams::default()
        }
    }
}

/// Objects in full.
async fn whole(cluster: &Cluster, args: &Args, targets: &[Target<'_>], format: &Format) -> Result<()> {
    let tidy = |object: Value| if args.show_managed_fields { object } else { output::without_managed_fields(object) };
    let mut objects = Vec::new();
    for target in targets {
        for name in &target.names {
            objects.push(tidy(one(cluster, target.kind, name).await?));
        }
        if target.names.is_empty() {
            let api = target.kind.api(cluster, args.namespace(cluster));
            let doing = format!("cannot list {}", target.kind.resource.plural);
            let listed = follow::list_all(&api, args.list(None)).await.map_err(cluster.failed(doing))?;
            for mut object in listed {
                // Items of a list may come without their kind; each is to stand for itself here.
                object.types.get_or_insert_with(|| kube::core::TypeMeta {
                    api_version: target.kind.resource.api_version.clone(),
                    kind: target.kind.resource.kind.clone(),
                });
                objects.push(tidy(serde_json::to_value(object).unwrap_or(Value::Null)));
            }
        }
    }
    let is_one = matches!(targets, [target] if target.names.len() == 1);
    if args.watch {
        for object in objects {
            output::objects(format, vec![object], false)?;
        }
        return watch_whole(cluster, args, &targets[0], format).await;
    }
    output::objects(format, objects, !is_one)
}

/// One object as the server sends it.
pub(crate) async fn one(cluster: &Cluster, kind: &Kind, name: &str) -> Result<Value> {
    let request = Request::new(kind.path(Some(&cluster.namespace))).get(name, &kube::api::GetParams::default());
    match cluster.request(&format!("cannot get {}", kind.singular), request, None).await {
        Err(Error::Refused { status, .. }) if status.code == 404 => {
            Err(follow::absent(cluster, kind, &cluster.namespace, name).await)
        }
        other => other,
    }
}

async fn watch_whole(cluster: &Cluster, args: &Args, target: &Target<'_>, format: &Format) -> Result<()> {
    let name = target.names.first().map(String::as_str);
    let (page, _) = page(cluster, args, target.kind, name, None).await?;
    let mut version = version_of(&page.metadata);
    loop {
        let mut events = Box::pin(watch::<Value>(cluster, args, target.kind, name, &version, None).await?);
        while let Some(event) = events.next().await {
            let Ok(event) = event else { break };
            if let WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) = event {
                version = version_of(&object["metadata"]);
                output::objects(format, vec![output::without_managed_fields(object)], false)?;
            }
        }
    }
}

/// Tables, one a kind.
async fn tables(cluster: &Cluster, args: &Args, targets: &[Target<'_>]) -> Result<()> {
    let with_kind = targets.iter().any(|target| target.kind != targets[0].kind);
    let mut printed = 0;
    for (position, target) in grouped(targets).into_iter().enumerate() {
        let mut view = View::new(args, with_kind.then(|| target.kind.full_name()));
        let version = fill(cluster, args, &target, &mut view).await?;
        let rows = view.rows;
        if rows > 0 {
            let text = view.flush();
            output::print(&if position > 0 && printed > 0 { format!("\n{text}") } else { text })?;
            printed += rows;
        }
        if args.watch {
            return watch_table(cluster, args, &target, view, version).await;
        }
    }
    if printed == 0 {
        let is_namespaced = targets.iter().any(|target| target.kind.namespaced);
        let place = if is_namespaced && !args.all_namespaces {
            format!(" in namespace `{}`", cluster.namespace)
        } else {
            String::new()
        };
        output::note(&format!("nothing found{place}"));
    }
    Ok(())
}

/// `job/a job/b task/c` is one table of two jobs and one of a task.
fn grouped<'k>(targets: &[Target<'k>]) -> Vec<Target<'k>> {
    let mut groups: Vec<Target<'k>> = Vec::new();
    for target in targets {
        match groups.iter_mut().find(|group| group.kind == target.kind) {
            Some(group) => group.names.extend(target.names.iter().cloned()),
            None => groups.push(Target { kind: target.kind, names: target.names.clone() }),
        }
    }
    groups
}

/// Reads all pages of a target; answers the list's resourceVersion.
async fn fill(cluster: &Cluster, args: &Args, target: &Target<'_>, view: &mut View<'_>) -> Result<String> {
    let mut version = String::new();
    for name in &target.names {
        let request =
            Request::new(target.kind.path(Some(&cluster.namespace))).get(name, &kube::api::GetParams::default());
        let doing = format!("cannot get {}", target.kind.singular);
        let table: ServerTable = match cluster.request(&doing, request, Some(ACCEPT_TABLE)).await {
            Err(Error::Refused { status, .. }) if status.code == 404 => {
                return Err(follow::absent(cluster, target.kind, &cluster.namespace, name).await);
            }
            other => other?,
        };
        version = version_of(&table.metadata);
        view.add(table)?;
    }
    let mut token = None;
    while target.names.is_empty() {
        let (table, next) = page(cluster, args, target.kind, None, token).await?;
        version = version_of(&table.metadata);
        view.add(table)?;
        token = next;
        if token.is_none() {
            break;
        }
    }
    Ok(version)
}

/// One page and the token of the next.
async fn page(
    cluster: &Cluster,
    args: &Args,
    kind: &Kind,
    name: Option<&str>,
    token: Option<String>,
) -> Result<(ServerTable, Option<String>)> {
    let params = ListParams { continue_token: token, ..args.list(name) };
    let request = Request::new(kind.path(args.namespace(cluster))).list(&params);
    let doing = format!("cannot list {}", kind.resource.plural);
    let table: ServerTable = cluster.request(&doing, request, Some(ACCEPT_TABLE)).await?;
    let next = table.metadata["continue"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
    Ok((table, next))
}

/// Starts a watch from a version.
async fn watch<T: Clone + serde::de::DeserializeOwned + 'static>(
    cluster: &Cluster,
    args: &Args,
    kind: &Kind,
    name: Option<&str>,
    version: &str,
    accept: Option<&'static str>,
) -> Result<impl futures::Stream<Item = Result<WatchEvent<T>, kube::Error>> + use<T>> {
    let doing = format!("cannot watch {}", kind.resource.plural);
    let list = args.list(name);
    let params = WatchParams {
        label_selector: list.label_selector,
        field_selector: list.field_selector,
        ..WatchParams::default()
    };
    let request = Request::new(kind.path(args.namespace(cluster))).watch(&params, version);
    let mut request = request.map_err(|error| Error::invalid(format!("{doing}: {error}")))?;
    if let Some(accept) = accept {
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
    }
    cluster.client.request_events::<T>(request).await.map_err(cluster.failed(doing))
}

/// Prints rows as they change, for ever; a watch that the server ends is begun again where it ended.
async fn watch_table(
    cluster: &Cluster,
    args: &Args,
    target: &Target<'_>,
    mut view: View<'_>,
    mut version: String,
) -> Result<()> {
    let name = target.names.first().map(String::as_str);
    loop {
        let mut events =
            Box::pin(watch::<ServerTable>(cluster, args, target.kind, name, &version, Some(ACCEPT_TABLE)).await?);
        while let Some(event) = events.next().await {
            match event {
                Ok(WatchEvent::Added(table) | WatchEvent::Modified(table) | WatchEvent::Deleted(table)) => {
                    version = table.rows.last().map_or(version, |row| version_of(&row.object["metadata"]));
                    view.add(table)?;
                    output::print(&view.flush())?;
                }
                Ok(WatchEvent::Bookmark(bookmark)) => version = bookmark.metadata.resource_version,
                Ok(WatchEvent::Error(_)) | Err(_) => break,
            }
        }
        // Too old, or the connection broke: what is there now is printed anew, then the watch goes on.
        version = fill(cluster, args, &Target { kind: target.kind, names: Vec::new() }, &mut view)
            .await
            .map(|v| if v.is_empty() { version } else { v })?;
        output::print(&view.flush())?;
    }
}

fn version_of(metadata: &Value) -> String {
    metadata["resourceVersion"].as_str().unwrap_or_default().to_owned()
}

/// One table on its way to stdout.
struct View<'a> {
    args: &'a Args,
    /// Prefix of the names when several kinds are printed.
    kind: Option<String>,
    columns: Vec<Column>,
    table: Option<Table>,
    has_header: bool,
    rows: usize,
}

impl<'a> View<'a> {
    fn new(args: &'a Args, kind: Option<String>) -> Self {
        Self { args, kind, columns: Vec::new(), table: None, has_header: false, rows: 0 }
    }

    /// Adds the rows of a server's table; later ones may come without their columns.
    fn add(&mut self, table: ServerTable) -> Result<()> {
        if self.columns.is_empty() {
            self.columns = table.column_definitions;
        }
        if self.columns.is_empty() && !table.rows.is_empty() {
            return Err(Error::Answer {
                doing: "cannot print the list".to_owned(),
                reason: "it is no Table".to_owned(),
            });
        }
        let is_wide = matches!(self.args.output, Some(Format::Wide));
        let shown: Vec<usize> =
            (0..self.columns.len()).filter(|&at| is_wide || self.columns[at].priority == 0).collect();
        let namespace_header = self.args.all_namespaces.then_some("namespace");
        let header = namespace_header.into_iter().chain(shown.iter().map(|&at| self.columns[at].name.as_str()));
        let lines = self.table.get_or_insert_with(|| Table::new(header));
        let now = Timestamp::now();
        for row in table.rows {
            let namespace = row.object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
            let cells = shown
                .iter()
                .map(|&at| cell(&self.columns[at], row.cells.get(at), self.kind.as_deref().filter(|_| at == 0), now));
            lines.push(namespace_header.map(|_| namespace).into_iter().chain(cells));
            self.rows += 1;
        }
        Ok(())
    }

    /// What is not printed yet, under the header if that is not printed yet.
    fn flush(&mut self) -> String {
        let Some(table) = self.table.as_mut().filter(|_| self.rows > 0) else { return String::new() };
        let mut text = String::new();
        let header = table.header_line();
        let lines = table.drain_lines();
        if !std::mem::replace(&mut self.has_header, true) && !self.args.no_headers {
            text = header;
        }
        let _ = write!(text, "{lines}");
        text
    }
}

/// One cell as a person reads it.
fn cell(column: &Column, value: Option<&Value>, kind: Option<&str>, now: Timestamp) -> String {
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) if column.type_ == "date" => age::of_text(text, now),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    match kind {
        Some(kind) => format!("{kind}/{text}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_of_type_date_become_ages() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("a time");
        let column = |type_: &str| Column { name: "Age".to_owned(), type_: type_.to_owned(), priority: 0 };
        let then = json!("2026-01-01T00:00:00Z");
        assert_eq!(cell(&column("date"), Some(&then), None, now), "60s");
        assert_eq!(cell(&column("string"), Some(&then), None, now), "2026-01-01T00:00:00Z");
        assert_eq!(cell(&column("integer"), Some(&json!(3)), None, now), "3");
        assert_eq!(cell(&column("integer"), Some(&Value::Null), None, now), "");
        assert_eq!(
            cell(&column("string"), Some(&json!("x")), Some("job.processdistro.dev"), now),
            "job.processdistro.dev/x"
        );
    }
}
