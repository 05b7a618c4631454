//! The flags of `pd-kubelet`. In: the command line and `PD_…` variables. Out: `Options`, plain data that
//! tests fill in by hand. Nothing here touches a file or the network.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

use crate::slots::ExecutorMode;

/// What a kubelet is told when it starts.
#[derive(Clone, Debug, Parser)]
#[command(name = "pd-kubelet", version, about = "Joins this machine to a ProcessDistro cluster and runs its subtasks")]
pub struct Options {
    /// URL of the API server: https://HOST:PORT
    #[arg(long, env = "PD_SERVER")]
    pub server: http::Uri,
    /// Hash of the cluster's CA as `pdctl token create` prints it: sha256:…; needed for the first start
    #[arg(long, env = "PD_CA_HASH")]
    pub ca_hash: Option<String>,
    /// File with the join token ID.SECRET, one a line for hollow nodes; needed for the first start
    #[arg(long, env = "PD_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Folder for the node's identity, caches and unreported results
    #[arg(long, env = "PD_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Name of the node [default: the name it joined with, else the host name]
    #[arg(long, env = "PD_NAME")]
    pub name: Option<String>,
    /// Subtasks to run at once [default: the number of processors]
    #[arg(long, env = "PD_SLOTS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub slots: Option<u32>,
    /// The pd-executor to start [default: the one beside this program]
    #[arg(long, env = "PD_EXECUTOR")]
    pub executor: Option<PathBuf>,
    /// Whether each slot has an executor process of its own
    #[arg(long, env = "PD_EXECUTOR_MODE", value_enum, default_value_t)]
    pub executor_mode: ExecutorMode,
    /// Where metrics are shown.
    #[command(flatten)]
    pub metrics: daemon::Options,
    /// Time between two renewals of the node's Lease; the reconciler counts silence by it (--node-lost-after), and the node
    /// reports no more than some seven times in it
    #[arg(long, env = "PD_RENEW_LEASE_EVERY", default_value = "1s", value_parser = renewal)]
    pub renew_lease_every: Duration,
    /// Whether the nodes only pretend to work.
    #[command(flatten)]
    pub hollow: HollowOptions,
    /// Label of the node, KEY=VALUE; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
}

/// Nodes that only pretend to work, to measure the control plane with thousands of them on one machine.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct HollowOptions {
    /// Run that many hollow nodes NAME-0, NAME-1, ... instead of one real one: they pretend to run the task `noop`
    #[arg(long = "hollow", value_name = "NODES", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub nodes: Option<u32>,
    /// Subtasks that a slot of a hollow node ends each second
    #[arg(long = "hollow-speed", value_name = "ITEMS_PER_S", requires = "nodes", conflicts_with = "spin", value_parser = speed)]
    pub speed: Option<f64>,
    /// Time that a subtask takes on a hollow node [default: what the job's spinMicros says]
    #[arg(long = "hollow-spin", value_name = "DURATION", requires = "nodes", value_parser = humantime::parse_duration)]
    pub spin: Option<Duration>,
    /// With --hollow: one output in so many is wrong, as of a machine with a broken bit
    #[arg(long = "hollow-lie-every", value_name = "N", requires = "nodes", value_parser = clap::value_parser!(u64).range(1..))]
    pub lie_every: Option<u64>,
}

impl HollowOptions {
    /// What one subtask takes; absent: what its job says.
    pub(crate) fn pace(self) -> Option<Duration> {
        self.spin.or_else(|| self.speed.map(|speed| Duration::from_secs_f64(speed.recip())))
    }
}

/// From one subtask in a day to a million a second.
fn speed(text: &str) -> Result<f64, String> {
    const SLOWEST: f64 = 1.0 / 86_400.0;
    const FASTEST: f64 = 1e6;
    let speed: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of subtasks a second"))?;
    if (SLOWEST..=FASTEST).contains(&speed) {
        Ok(speed)
    } else {
        Err(format!("`{text}` subtasks a second is out of range: from one in a day (0.0000116) to 1000000"))
    }
}

/// Rarely enough to be no load, often enough that silence means something within a minute or so.
fn renewal(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(20);
    const SHORTEST: Duration = Duration::from_millis(200);
    let every = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (SHORTEST..=LONGEST).contains(&every) { Ok(every) } else { Err("it must be from 200ms to 20s".to_owned()) }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not a label; write it like `zone=attic`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_parse() {
        let options = Options::try_parse_from([
            "pd-kubelet",
            "--server",
            "https://127.0.0.1:6443",
            "--data-dir",
            "d",
            "--slots",
            "2",
            "--label",
            "zone=attic",
        ])
        .expect("parses");
        assert_eq!(options.slots, Some(2));
        assert_eq!(options.labels, [("zone".to_owned(), "attic".to_owned())]);
    }

    #[test]
    fn zero_slots_and_a_label_without_a_value_are_refused() {
        let base = ["pd-kubelet", "--server", "https://a:1", "--data-dir", "d"];
        for extra in [
            ["--slots", "0"],
            ["--label", "zone"],
            ["--hollow", "0"],
            ["--hollow-speed", "100"],
            ["--hollow-spin", "10ms"],
            ["--hollow-lie-every", "5"],
            ["--renew-lease-every", "1h"],
        ] {
            assert!(Options::try_parse_from(base.iter().chain(&extra)).is_err());
        }
    }

    #[test]
    fn the_pace_of_hollow_nodes_is_a_time_or_a_speed() {
        let base = ["pd-kubelet", "--server", "https://a:1", "--data-dir", "d", "--hollow", "9"];
        let pace =
            |extra: &[&str]| Options::try_parse_from(base.iter().chain(extra)).map(|options| options.hollow.pace());
        assert_eq!(pace(&[]).expect("parses"), None);
        assert_eq!(pace(&["--hollow-speed", "200"]).expect("parses"), Some(Duration::from_millis(5)));
        assert_eq!(pace(&["--hollow-spin", "10ms"]).expect("parses"), Some(Duration::from_millis(10)));
        for wrong in ["0", "-1", "NaN", "inf", "x"] {
            assert!(pace(&[&format!("--hollow-speed={wrong}")]).is_err(), "{wrong}");
        }
        assert!(pace(&["--hollow-speed", "1", "--hollow-spin", "1s"]).is_err());
    }
}
