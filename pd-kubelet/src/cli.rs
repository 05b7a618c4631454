//! The flags of `pd-kubelet`. In: the command line and `PD_…` variables. Out: `Options`, plain data that
//! tests fill in by hand. Nothing here touches a file or the network.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;

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
    /// File with the join token ID.SECRET; needed for the first start
    #[arg(long, env = "PD_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Folder for the node's identity, caches and unreported results
    #[arg(long, env = "PD_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Name of the node [default: the name it joined with, else the host name]
    #[arg(long, env = "PD_NAME")]
    pub name: Option<String>,
    /// Subtasks to run at once, one executor process each [default: the number of processors]
    #[arg(long, env = "PD_SLOTS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub slots: Option<u32>,
    /// The pd-executor to start [default: the one beside this program]
    #[arg(long, env = "PD_EXECUTOR")]
    pub executor: Option<PathBuf>,
    /// Address to serve Prometheus metrics on, over plain HTTP
    #[arg(long, env = "PD_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
    /// Label of the node, KEY=VALUE; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
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
        for extra in [["--slots", "0"], ["--label", "zone"]] {
            assert!(Options::try_parse_from(base.iter().chain(&extra)).is_err());
        }
    }
}
