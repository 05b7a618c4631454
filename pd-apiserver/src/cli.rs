//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;

/// The API server of ProcessDistro: objects, artifacts and identities of one cluster.
#[derive(Clone, Debug, Parser)]
#[command(name = "pd-apiserver", version, max_term_width = 100)]
pub struct Options {
    /// Folder of the store, the artifacts, the CA and the kubeconfigs; created when missing
    #[arg(long, env = "PD_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Address and port to serve on; port 0 takes a free one
    #[arg(long, env = "PD_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:6443")]
    pub listen: SocketAddr,
    /// Further DNS name or IP address by which clients call this server; may be repeated
    #[arg(long, env = "PD_SAN", value_name = "NAME_OR_IP", value_delimiter = ',')]
    pub san: Vec<String>,
}
