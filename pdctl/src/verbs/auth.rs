//! `pdctl auth whoami` and `pdctl auth can-i`: what the server takes us for.

use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
};
use kube::{Api, api::PostParams};

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    kinds::Kinds,
    output::{self, Format},
    table::Table,
};

const WHOAMI: &str = "\
Examples:
  pdctl auth whoami
  pdctl auth whoami -o jsonpath='{.status.userInfo.username}'";
const CAN_I: &str = "\
Prints yes or no; the exit code is 0 or 4.

Examples:
  pdctl auth can-i create jobs
  pdctl auth can-i get nodes/node-1
  pdctl auth can-i delete jobs -n team && echo go on";

/// What to ask.
#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Say as whom the server knows this credential
    #[command(after_help = WHOAMI)]
    Whoami(Whoami),
    /// Say whether this credential may do something
    #[command(after_help = CAN_I)]
    CanI(CanI),
}

#[derive(clap::Args)]
pub(crate) struct Whoami {
    /// json, yaml, jsonpath=…
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

#[derive(clap::Args)]
pub(crate) struct CanI {
    /// get, list, watch, create, update, patch, delete
    #[arg(value_name = "VERB")]
    verb: String,
    /// KIND or KIND/NAME
    #[arg(value_name = "KIND", add = crate::complete::objects())]
    kind: String,
    /// status or scale
    #[arg(long, value_name = "NAME")]
    subresource: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb.
pub(crate) async fn run(action: Action, global: &Global) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    match action {
        Action::Whoami(args) => whoami(&cluster, &args).await,
        Action::CanI(args) => can_i(&cluster, &args).await,
    }
}

/// User name and groups.
pub(crate) async fn review(cluster: &Cluster) -> Result<SelfSubjectReview> {
    let api: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    let asked = api.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    asked.map_err(cluster.failed("cannot ask who I am"))
}

async fn whoami(cluster: &Cluster, args: &Whoami) -> Result<()> {
    let review = review(cluster).await?;
    if let Some(format) = &args.output {
        let mut object = serde_json::to_value(&review).unwrap_or_default();
        object["apiVersion"] = "authentication.k8s.io/v1".into();
        object["kind"] = "SelfSubjectReview".into();
        return output::objects(format, vec![object], false);
    }
    let user = review.status.and_then(|status| status.user_info).unwrap_or_default();
    let mut table = Table::new(["attribute", "value"]);
    table.push(["Username", &user.username.unwrap_or_default()]);
    table.push(["Groups", &user.groups.unwrap_or_default().join(", ")]);
    output::print(&table.render())
}

async fn can_i(cluster: &Cluster, args: &CanI) -> Result<()> {
    let (word, name) = match args.kind.split_once('/') {
        Some((kind, name)) => (kind, Some(name.to_owned())),
        None => (args.kind.as_str(), None),
    };
    let kinds = Kinds::for_words(cluster, &[word.to_owned()]).await?;
    let kind = kinds.one(word)?;
    let is_everywhere = args.all_namespaces || !kind.namespaced;
    let attributes = ResourceAttributes {
        verb: Some(args.verb.to_lowercase()),
        group: Some(kind.resource.group.clone()),
        version: Some(kind.resource.version.clone()),
        resource: Some(kind.resource.plural.clone()),
        subresource: args.subresource.clone(),
        namespace: (!is_everywhere).then(|| cluster.namespace.clone()),
        name,
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), non_resource_attributes: None },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let asked =
        api.create(&PostParams::default(), &review).await.map_err(cluster.failed("cannot ask what I may do"))?;
    let status = asked.status.unwrap_or_default();
    if !args.quiet {
        output::print_line(if status.allowed { "yes" } else { "no" })?;
    }
    if status.allowed { Ok(()) } else { Err(refusal(&args.verb, &args.kind, status.reason)) }
}

/// A no is an answer and an exit code.
fn refusal(verb: &str, kind: &str, reason: Option<String>) -> Error {
    let why = reason.filter(|reason| !reason.is_empty()).map_or_else(String::new, |reason| format!(": {reason}"));
    let status = kube::core::Status::failure(&format!("this credential may not {verb} {kind}{why}"), "Forbidden");
    Error::Refused { doing: "no".to_owned(), status: status.with_code(403).boxed(), hint: None }
}
