//! `pdctl version`

use k8s_openapi::apimachinery::pkg::version::Info;
use serde_json::{Value, json};

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    output::{self, Format},
    text,
};

const EXAMPLES: &str = "\
Examples:
  pdctl version
  pdctl version --client -o json";

/// What to print.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only pdctl's own version; asks nobody
    #[arg(long)]
    pub(crate) client: bool,
    /// json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// Without asking the server.
pub(crate) fn client_only(args: &Args) -> Result<()> {
    print(args, None)
}

/// Both versions. The client's is printed even when the server does not answer.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let server = async {
        let cluster = Cluster::connect(global).await?;
        cluster.client.apiserver_version().await.map_err(cluster.failed("cannot ask for the server's version"))
    };
    match server.await {
        Ok(info) => print(&args, Some(&info)),
        Err(error) => {
            print(&args, None)?;
            Err(error)
        }
    }
}

fn print(args: &Args, server: Option<&Info>) -> Result<()> {
    let client = env!("CARGO_PKG_VERSION");
    let whole = || {
        let mut whole = json!({"clientVersion": {"version": client}});
        if let Some(info) = server {
            whole["serverVersion"] = serde_json::to_value(info).unwrap_or(Value::Null);
        }
        whole
    };
    match &args.output {
        None => {
            let server = server.map(|info| format!("Server Version: {}\n", text::one_line(&info.git_version)));
            output::print(&format!("Client Version: v{client}\n{}", server.unwrap_or_default()))
        }
        Some(Format::Json) => output::print_line(&output::json_text(&whole())),
        Some(Format::Yaml) => output::print(&output::yaml_text(&whole())?),
        Some(_) => Err(Error::usage("`version` prints json or yaml only")),
    }
}
