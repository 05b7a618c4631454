//! `pdctl config get-contexts` and `current-context`

use serde_json::json;

use crate::{
    cli::Global,
    client,
    errors::{Error, Result},
    output::{self, Format},
    table::Table,
};

/// How to print them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// wide, json, yaml, name, jsonpath=…, custom-columns=…
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<()> {
    let (kubeconfig, _) = client::read_kubeconfig(global)?;
    let current = kubeconfig.current_context.as_deref().unwrap_or_default();
    let mut table = Table::new(["current", "name", "cluster", "server", "user", "namespace"]);
    let mut objects = Vec::new();
    for named in &kubeconfig.contexts {
        let context = named.context.clone().unwrap_or_default();
        let user = context.user.unwrap_or_default();
        let namespace = context.namespace.unwrap_or_default();
        let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster);
        let server = cluster.and_then(|cluster| cluster.cluster.as_ref()?.server.clone()).unwrap_or_default();
        let is_current = named.name == current;
        let mark = if is_current { "*" } else { "" };
        table.push([mark, &named.name, &context.cluster, &server, &user, &namespace]);
        objects.push(
            json!({"apiVersion": "v1", "kind": "Context", "metadata": {"name": named.name}, "current": is_current,
            "cluster": context.cluster, "server": server, "user": user, "namespace": namespace}),
        );
    }
    match &args.output {
        None | Some(Format::Wide) => output::print(&table.render()),
        Some(Format::Name) => kubeconfig.contexts.iter().try_for_each(|context| output::print_line(&context.name)),
        Some(format) => output::objects(format, objects, true),
    }
}

pub(super) fn current(global: &Global) -> Result<()> {
    let (kubeconfig, file) = client::read_kubeconfig(global)?;
    match kubeconfig.current_context.filter(|name| !name.is_empty()) {
        Some(name) => output::print_line(&name),
        None => Err(Error::Kubeconfig {
            message: format!("{file} has no current context"),
            hint: "`pdctl config use-context NAME` makes one the current one".to_owned(),
        }),
    }
}
