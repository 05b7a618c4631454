//! `pdctl events`: what happened, the oldest first.

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::runtime::{
    WatchStreamExt as _,
    watcher::{self, Config},
};
use serde_json::Value;

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    events::{self, About},
    follow,
    kinds::Kinds,
    output::{self, Format},
    verbs::get,
};

const EXAMPLES: &str = "\
Examples:
  pdctl events                       # of the namespace
  pdctl events job/mandelbrot -w     # of one job, and what happens next
  pdctl events node/node-1 --type Warning
  pdctl events -A -o json";

/// Which events.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only those of this object
    #[arg(value_name = "KIND/NAME", add = crate::complete::objects())]
    subject: Option<String>,
    /// Only of this type
    #[arg(long = "type", value_name = "TYPE", value_parser = ["Normal", "Warning"], ignore_case = true)]
    type_: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long, conflicts_with = "subject")]
    all_namespaces: bool,
    /// Stay and print what happens next
    #[arg(short, long)]
    watch: bool,
    /// wide, json, yaml, name, jsonpath=…, custom-columns=…
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    /// Print no header
    #[arg(long)]
    no_headers: bool,
}

/// The object that is asked about.
struct Subject {
    kind: String,
    name: String,
    uid: Option<String>,
    namespace: Option<String>,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    let subject = match &args.subject {
        Some(word) => Some(subject(&cluster, word).await?),
        None => None,
    };
    let about = subject.as_ref().map(Subject::about);
    let namespace = match &subject {
        Some(subject) => subject.namespace.as_deref(),
        None => (!args.all_namespaces).then_some(cluster.namespace.as_str()),
    };
    let mut listed = events::fetch(&cluster, namespace, about.as_ref()).await?;
    listed.retain(|event| args.is_wanted(event));
    let mut printer = Printer::new(&args, about.is_none());
    printer.print(&listed)?;
    if args.watch {
        return watch(&cluster, &args, namespace, about.as_ref(), &listed, &mut printer).await;
    }
    if listed.is_empty() && args.output.is_none() {
        let of = args.subject.as_ref().map_or_else(String::new, |subject| format!(" of {subject}"));
        output::note(&format!("no events{of}"));
    }
    Ok(())
}

impl Args {
    fn is_wanted(&self, event: &Event) -> bool {
        let type_ = event.type_.as_deref().unwrap_or_default();
        self.type_.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(type_))
    }
}

impl Subject {
    fn about(&self) -> About<'_> {
        About { kind: &self.kind, name: &self.name, uid: self.uid.as_deref() }
    }
}

/// Reads `KIND/NAME`. An object that is gone may have left events behind.
async fn subject(cluster: &Cluster, word: &str) -> Result<Subject> {
    let Some((kind, name)) = word.split_once('/').filter(|(_, name)| !name.is_empty() && !name.contains('/')) else {
        return Err(Error::usage(format!("`{word}` is not KIND/NAME; write it like job/x")));
    };
    let kinds = Kinds::for_words(cluster, std::slice::from_ref(&kind.to_owned())).await?;
    let kind = kinds.one(kind)?;
    let object = match get::one(cluster, kind, name).await {
        Ok(object) => object,
        Err(error @ Error::NotFound { .. }) => {
            output::note(&format!("note: {error}; its events may be there still"));
            Value::Null
        }
        Err(error) => return Err(error),
    };
    Ok(Subject {
        kind: kind.resource.kind.clone(),
        name: name.to_owned(),
        uid: object["metadata"]["uid"].as_str().map(str::to_owned),
        // Events of what lives in no namespace are in any.
        namespace: kind.namespaced.then(|| cluster.namespace.clone()),
    })
}

/// Prints rows in the width of those before.
struct Printer<'a> {
    args: &'a Args,
    with_object: bool,
    table: crate::table::Table,
    has_header: bool,
}

impl<'a> Printer<'a> {
    fn new(args: &'a Args, with_object: bool) -> Self {
        Self { args, with_object, table: events::table(with_object), has_header: args.no_headers }
    }

    fn print(&mut self, listed: &[Event]) -> Result<()> {
        if let Some(format) = self.args.output.as_ref().filter(|format| !matches!(format, Format::Wide)) {
            if listed.is_empty() && self.args.watch {
                return Ok(());
            }
            let is_single = self.args.watch && listed.len() == 1;
            return output::objects(format, listed.iter().map(as_object).collect(), !is_single);
        }
        if listed.is_empty() {
            return Ok(());
        }
        let now = Timestamp::now();
        for event in listed {
            self.table.push(events::cells(event, self.with_object, now));
        }
        let header =
            if std::mem::replace(&mut self.has_header, true) { String::new() } else { self.table.header_line() };
        output::print(&(header + &self.table.drain_lines()))
    }
}

/// As the server would send it alone.
fn as_object(event: &Event) -> Value {
    let mut object = serde_json::to_value(event).unwrap_or_default();
    object["apiVersion"] = "v1".into();
    object["kind"] = "Event".into();
    output::without_managed_fields(object)
}

/// Prints every further event, for ever.
async fn watch(
    cluster: &Cluster,
    args: &Args,
    namespace: Option<&str>,
    about: Option<&About<'_>>,
    listed: &[Event],
    printer: &mut Printer<'_>,
) -> Result<()> {
    let version = |event: &Event| (event.metadata.uid.clone(), event.metadata.resource_version.clone());
    let mut seen: std::collections::BTreeMap<_, _> = listed.iter().map(version).collect();
    let config = about.map_or_else(Config::default, |about| Config::default().fields(&about.selector()));
    let mut stream = Box::pin(watcher::watcher(events::api(cluster, namespace), config).default_backoff());
    let mut is_away = false;
    while let Some(next) = stream.next().await {
        let event = match next {
            Ok(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) => event,
            Ok(_) => continue,
            Err(error) => {
                let error = follow::watch_error(cluster, "events", error);
                if !matches!(error, Error::Unreachable { .. } | Error::Answer { .. }) {
                    return Err(error);
                }
                if !std::mem::replace(&mut is_away, true) {
                    output::note(&format!("{error}; trying again"));
                }
                continue;
            }
        };
        is_away = false;
        let (uid, version) = version(&event);
        let is_new = seen.insert(uid, version.clone()) != Some(version);
        if is_new && args.is_wanted(&event) && about.is_none_or(|about| about.is_meant(&event)) {
            printer.print(std::slice::from_ref(&event))?;
        }
    }
    Ok(())
}
