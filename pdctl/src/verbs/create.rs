//! `pdctl create -f`: objects that are not there yet; unlike `apply` it takes `metadata.generateName`.

use serde_json::Value;

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    kinds::Kinds,
    manifests::{self, Document},
    output::{self, Format},
    verbs::apply::{self, DryRun, Item},
    writes::{self, How},
};

const EXAMPLES: &str = "\
Examples:
  pdctl create -f job.yaml           # exit code 6 when it exists
  pdctl create -f job.yaml -o name   # with metadata.generateName: prints the name it got";

/// What to create.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files, folders (searched for *.yaml, *.yml, *.json), or `-` for stdin
    #[arg(short, long, value_name = "FILE", required = true)]
    filename: Vec<String>,
    /// client: check the manifests and ask no server; server: let the server check them and store nothing
    #[arg(long, value_name = "client|server", value_enum)]
    dry_run: Option<DryRun>,
    /// Print the objects: json, yaml, name, jsonpath=…
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// Runs the verb. Several objects are all checked by the server before the first is stored.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let mut documents = manifests::load(&args.filename)?;
    documents.sort_by_key(|document| apply::rank(document.type_()));
    let (uploads, with_uploads) = apply::hash_inputs(&mut documents).await?;
    if args.dry_run == Some(DryRun::Client) {
        return documents.iter().try_for_each(|document| {
            tell(&args, document.object().clone(), &format!("{} checked (client dry run)", document.full_name()))
        });
    }
    let cluster = Cluster::connect(global).await?;
    let words: Vec<&str> = documents.iter().map(|document| document.type_().1).collect();
    let kinds = Kinds::for_words(&cluster, &[words.join(",")]).await?;
    let items = apply::place(&cluster, &kinds, documents, &with_uploads, global)?;
    let is_dry = args.dry_run.is_some();
    if is_dry || items.len() > 1 {
        for item in items.iter().filter(|item| !item.has_uploads) {
            let checked = create(&cluster, item, How { dry_run: true, force: false }).await?;
            if is_dry {
                tell(&args, checked, &format!("{} created (server dry run)", item.document.full_name()))?;
            }
        }
        if is_dry {
            return Ok(());
        }
    }
    uploads.send(&cluster).await?;
    for item in &items {
        let created = create(&cluster, item, How::default()).await?;
        let name = created["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        tell(&args, created, &format!("{}/{name} created", item.kind.full_name()))?;
    }
    Ok(())
}

async fn create(cluster: &Cluster, item: &Item<'_>, how: How) -> Result<Value> {
    let document: &Document = &item.document;
    match writes::create(cluster, item.kind, &item.namespace, document.object(), how).await {
        Ok(created) => Ok(created),
        Err(kube::Error::Api(status)) => Err(match document.refusal(&status) {
            Some(found) => Error::Manifests(found),
            None => Error::Refused { doing: format!("cannot create {}", document.full_name()), status, hint: None },
        }),
        Err(error) => Err(cluster.failed(format!("cannot create {}", document.full_name()))(error)),
    }
}

fn tell(args: &Args, object: Value, line: &str) -> Result<()> {
    match &args.output {
        None => output::print_line(line),
        Some(format) => output::objects(format, vec![output::without_managed_fields(object)], false),
    }
}
