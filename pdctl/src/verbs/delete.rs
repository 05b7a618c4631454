//! `pdctl delete`: by name, selector or manifest; waits until the objects are gone.

use kube::{
    api::{DeleteParams, ListParams, PropagationPolicy},
    core::Status,
};

use crate::{
    cli::Global,
    client::{Cluster, name_of},
    errors::{Error, Result},
    follow::{self, deletion},
    kinds::{self, Kind, Kinds},
    manifests, output,
};

const EXAMPLES: &str = "\
Examples:
  pdctl delete job/mandelbrot
  pdctl delete jobs -l team=a
  pdctl delete -f manifests/";

/// What to delete.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// KIND NAME… or KIND/NAME…; KIND alone with -l or --all
    #[arg(value_name = "KIND/NAME", required_unless_present = "filename", add = crate::complete::objects())]
    words: Vec<String>,
    /// What these manifests name: files, folders, `-` for stdin
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["words", "selector", "all"])]
    filename: Vec<String>,
    /// All objects with these labels
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "all")]
    selector: Option<String>,
    /// All objects of the kind in the namespace
    #[arg(long)]
    all: bool,
    /// What is not there is no error
    #[arg(long)]
    ignore_not_found: bool,
    /// Return before the objects are gone
    #[arg(long)]
    no_wait: bool,
    /// Give up waiting after this long (exit code 7)
    #[arg(long, value_name = "DURATION")]
    timeout: Option<schemas::Duration>,
    /// What becomes of what the object owns
    #[arg(long, value_name = "POLICY", default_value = "background", value_parser = ["background", "foreground", "orphan"])]
    cascade: String,
}

/// One object to delete.
struct Doomed<'k> {
    kind: &'k Kind,
    namespace: String,
    name: String,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let documents = if args.filename.is_empty() { Vec::new() } else { manifests::load(&args.filename)? };
    let cluster = Cluster::connect(global).await?;
    let kinds = Kinds::discover(&cluster).await?;
    let doomed = match documents.as_slice() {
        [] => by_words(&cluster, &args, &kinds).await?,
        documents => by_manifest(&cluster, documents, &kinds)?,
    };
    let params = DeleteParams {
        propagation_policy: Some(match args.cascade.as_str() {
            "orphan" => PropagationPolicy::Orphan,
            "foreground" => PropagationPolicy::Foreground,
            _ => PropagationPolicy::Background,
        }),
        ..DeleteParams::default()
    };
    let deadline = follow::deadline(args.timeout);
    let (mut failed, all) = (Vec::new(), doomed.len());
    let mut going = Vec::new();
    for object in doomed {
        match delete(&cluster, &object, &params).await {
            Ok(uid) => {
                output::print_line(&format!("{} \"{}\" deleted", object.kind.full_name(), object.name))?;
                going.push((object, uid));
            }
            Err(Error::NotFound { .. }) if args.ignore_not_found => {}
            Err(error @ Error::Unreachable { .. }) => return Err(error),
            Err(error) => failed.push(error),
        }
    }
    for (object, uid) in going.into_iter().filter(|_| !args.no_wait) {
        deletion(&cluster, object.kind, &object.namespace, &object.name, uid, deadline).await?;
    }
    if all == 1 && failed.len() == 1 {
        return Err(failed.remove(0));
    }
    failed.iter().for_each(Error::report);
    match failed.first() {
        Some(first) => Err(Error::Several { failed: failed.len(), all, exit: first.exit_code() }),
        None => Ok(()),
    }
}

/// What the arguments name or select.
async fn by_words<'k>(cluster: &Cluster, args: &Args, kinds: &'k Kinds) -> Result<Vec<Doomed<'k>>> {
    let mut doomed = Vec::new();
    for target in kinds::targets(kinds, &args.words)? {
        let mut names = target.names;
        if names.is_empty() {
            if args.selector.is_none() && !args.all {
                let what = &target.kind.resource.plural;
                return Err(Error::usage(format!("name which {what} to delete, or use -l or --all")));
            }
            let params = ListParams { label_selector: args.selector.clone(), ..ListParams::default() };
            let api = target.kind.api(cluster, Some(&cluster.namespace));
            let doing = format!("cannot list {}", target.kind.resource.plural);
            let listed = follow::list_all(&api, params).await.map_err(cluster.failed(doing))?;
            names = listed.iter().map(|object| name_of(object).to_owned()).collect();
            if names.is_empty() {
                output::note("nothing found");
            }
        } else if args.selector.is_some() || args.all {
            return Err(Error::usage("names go with neither -l nor --all"));
        }
        doomed.extend(names.into_iter().map(|name| Doomed {
            kind: target.kind,
            namespace: cluster.namespace.clone(),
            name,
        }));
    }
    Ok(doomed)
}

/// What the manifests name, last first: a namespace after what is in it.
fn by_manifest<'k>(cluster: &Cluster, documents: &[manifests::Document], kinds: &'k Kinds) -> Result<Vec<Doomed<'k>>> {
    let mut doomed = Vec::new();
    for document in documents.iter().rev() {
        if let Some(nameless) = document.check_name() {
            return Err(Error::Manifests(vec![nameless]));
        }
        let kind = document.kind(kinds)?;
        let namespace = document.namespace().unwrap_or(&cluster.namespace).to_owned();
        doomed.push(Doomed { kind, namespace, name: document.name().to_owned() });
    }
    Ok(doomed)
}

/// Deletes one; answers its UID as far as the server says it.
async fn delete(cluster: &Cluster, object: &Doomed<'_>, params: &DeleteParams) -> Result<Option<String>> {
    let Doomed { kind, namespace, name } = object;
    let uid_of =
        |status: &Status| status.details.as_ref().map(|details| details.uid.clone()).filter(|uid| !uid.is_empty());
    match kind.api(cluster, Some(namespace)).delete(name, params).await {
        Ok(answer) => Ok(answer.either(|object| object.metadata.uid, |status| uid_of(&status))),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Err(follow::absent(cluster, kind, namespace, name).await)
        }
        Err(error) => Err(cluster.failed(format!("cannot delete {} `{name}`", kind.full_name()))(error)),
    }
}
