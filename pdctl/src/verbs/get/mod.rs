//! `pdctl get KIND [NAME…]`

mod view;
mod watch;

use kube::{api::ListParams, core::Request};
use serde_json::Value;
use view::{ServerTable, View};
use watch::Watch;

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    follow,
    kinds::{self, Kind, Kinds, Target},
    output::{self, Format},
};

/// kubectl's way to ask for a Table.
const ACCEPT_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
/// Rows of one page, as kubectl asks for them.
const PAGE: u32 = 500;

const EXAMPLES: &str = "\
Examples:
  pdctl get jobs
  pdctl get jobs -w                              # on a terminal the rows are kept up to date in place
  pdctl get job/mandelbrot -o yaml
  pdctl get jobs -o jsonpath='{range .items[*]}{.metadata.name}{\"\\n\"}{end}'
  pdctl get subtasks -l processdistro.dev/job=mandelbrot --field-selector status.phase=Failed";

/// What to list, and how.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// One or more kinds, with commas between them, and names; or `KIND/NAME…`
    #[arg(required = true, value_name = "KIND | KIND/NAME", add = crate::complete::objects())]
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

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    let kinds = Kinds::for_words(&cluster, &args.words).await?;
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
        let show = |object: Value| output::objects(format, vec![tidy(object)], false);
        return Watch { cluster, args, target: &targets[0] }.objects(show).await;
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

/// Tables, one a kind.
async fn tables(cluster: &Cluster, args: &Args, targets: &[Target<'_>]) -> Result<()> {
    let with_kind = targets.iter().any(|target| target.kind != targets[0].kind);
    let mut printed = 0;
    for (position, target) in grouped(targets).into_iter().enumerate() {
        if args.watch && output::stdout_is_terminal() {
            return live(cluster, args, &target).await;
        }
        let mut view = View::new(args, with_kind.then(|| target.kind.full_name()));
        let version = fill(cluster, args, &target, &mut view).await?;
        let rows = view.rows;
        if rows > 0 {
            let text = view.flush();
            output::print(&if position > 0 && printed > 0 { format!("\n{text}") } else { text })?;
            printed += rows;
        }
        if args.watch {
            return Watch { cluster, args, target: &target }.rows(view, version).await;
        }
    }
    if printed == 0 {
        let is_namespaced = targets.iter().any(|target| target.kind.namespaced);
        let is_one = is_namespaced && !args.all_namespaces;
        output::note(&if is_one { nothing_in(cluster).await } else { "nothing found".to_owned() });
    }
    Ok(())
}

/// Nothing found; a namespace that is not there is told apart from an empty one.
async fn nothing_in(cluster: &Cluster) -> String {
    let name = cluster.namespace.as_str();
    let nothing = format!("nothing found in namespace `{name}`");
    let namespaces = Kind::of::<k8s_openapi::api::core::v1::Namespace>(false);
    match namespaces.api(cluster, None).get_metadata_opt(name).await {
        Ok(None) => {
            let Error::NotFound { hint, .. } = follow::absent(cluster, &namespaces, "", name).await else {
                return nothing;
            };
            let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
            format!("{nothing}: there is no such namespace{hint}")
        }
        // Who may not look at namespaces is told no more.
        Ok(Some(_)) | Err(_) => nothing,
    }
}

/// One kind, kept up to date in place.
async fn live(cluster: &Cluster, args: &Args, target: &Target<'_>) -> Result<()> {
    let (mut listed, mut next) = page(cluster, args, target, None).await?;
    while let Some(token) = next {
        let (further, after) = page(cluster, args, target, Some(token)).await?;
        listed.rows.extend(further.rows);
        listed.metadata = further.metadata;
        next = after;
    }
    match target.names.first().filter(|_| listed.rows.is_empty()) {
        Some(name) => Err(follow::absent(cluster, target.kind, &cluster.namespace, name).await),
        None => Watch { cluster, args, target }.live(listed).await,
    }
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
    // To watch one object it is listed: the version of a list is what a watch goes on from.
    let by_list = target.names.is_empty() || args.watch;
    for name in target.names.iter().filter(|_| !by_list) {
        let request =
            Request::new(target.kind.path(Some(&cluster.namespace))).get(name, &kube::api::GetParams::default());
        let doing = format!("cannot get {}", target.kind.singular);
        let table: ServerTable = match cluster.request(&doing, request, Some(ACCEPT_TABLE)).await {
            Err(Error::Refused { status, .. }) if status.code == 404 => {
                return Err(follow::absent(cluster, target.kind, &cluster.namespace, name).await);
            }
            other => other?,
        };
        view.add(table)?;
    }
    let mut next = by_list.then_some(None);
    while let Some(token) = next {
        let (table, after) = page(cluster, args, target, token).await?;
        version = version_of(&table.metadata);
        view.add(table)?;
        next = after.map(Some);
    }
    match target.names.first().filter(|_| by_list && view.rows == 0) {
        Some(name) => Err(follow::absent(cluster, target.kind, &cluster.namespace, name).await),
        None => Ok(version),
    }
}

/// One page and the token of the next.
async fn page(
    cluster: &Cluster,
    args: &Args,
    target: &Target<'_>,
    token: Option<String>,
) -> Result<(ServerTable, Option<String>)> {
    let name = target.names.first().map(String::as_str);
    let params = ListParams { continue_token: token, ..args.list(name) };
    let request = Request::new(target.kind.path(args.namespace(cluster))).list(&params);
    let doing = format!("cannot list {}", target.kind.resource.plural);
    let table: ServerTable = cluster.request(&doing, request, Some(ACCEPT_TABLE)).await?;
    let next = table.metadata["continue"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
    Ok((table, next))
}

fn version_of(metadata: &Value) -> String {
    metadata["resourceVersion"].as_str().unwrap_or_default().to_owned()
}
