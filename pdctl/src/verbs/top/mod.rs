//! `pdctl top nodes|jobs`: who does how much, now.

mod jobs;
mod nodes;

use std::time::Duration;

use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    output::{self, Format},
    screen::Screen,
    table::Table,
};

const EXAMPLES: &str = "\
Examples:
  pdctl top nodes
  pdctl top jobs -A
  pdctl top nodes --live             # until Ctrl-C";

/// Between two looks of `--live`.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Of what.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// nodes or jobs
    #[arg(value_name = "nodes | jobs", value_enum)]
    what: What,
    /// Of all namespaces; nodes are told with all they do anyway
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Look again every second until Ctrl-C; needs a terminal
    #[arg(long, conflicts_with = "output")]
    live: bool,
    /// wide, json, yaml, name, jsonpath=…, custom-columns=…
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum What {
    #[value(alias = "node", alias = "no")]
    Nodes,
    #[value(alias = "job", alias = "pdj")]
    Jobs,
}

/// One look: rows for a person, and the same as objects.
struct Look {
    table: Table,
    objects: Vec<Value>,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    if args.live && !output::stdout_is_terminal() {
        let hint = Some("without --live it prints one look".to_owned());
        return Err(Error::Usage { message: "--live needs a terminal".to_owned(), hint });
    }
    let cluster = Cluster::connect(global).await?;
    if args.live {
        return live(&cluster, &args).await;
    }
    let look = look(&cluster, &args).await?;
    match &args.output {
        None | Some(Format::Wide) if look.objects.is_empty() => {
            output::note("nothing found");
            Ok(())
        }
        None | Some(Format::Wide) => output::print(&look.table.render()),
        Some(format) => output::objects(format, look.objects, true),
    }
}

async fn look(cluster: &Cluster, args: &Args) -> Result<Look> {
    let namespace = (!args.all_namespaces).then_some(cluster.namespace.as_str());
    match args.what {
        What::Nodes => nodes::look(cluster).await,
        What::Jobs => jobs::look(cluster, namespace).await,
    }
}

/// Paints every look over the one before. A server that goes away is waited for.
async fn live(cluster: &Cluster, args: &Args) -> Result<()> {
    let mut screen = Screen::default();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut has_answered = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        match look(cluster, args).await {
            Ok(look) => {
                has_answered = true;
                screen.paint(&look.table.render())?;
            }
            Err(error @ Error::Unreachable { .. }) if has_answered => {
                screen.paint(&format!("{error}; trying again\n"))?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// A rate as the tables show it; nothing measured is nothing shown.
fn rate(per_second: f64) -> String {
    if per_second > 0.0 { crate::progress::rate(per_second) } else { "-".to_owned() }
}
