//! The command line.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, Parser};

/// The API server of ProcessDistro: objects, artifacts and identities of one cluster.
#[derive(Clone, Debug, Parser)]
#[command(name = "pd-apiserver", version, max_term_width = 100)]
pub struct Options {
    /// Folder of the store, the artifacts, the CA and the kubeconfigs; created when missing
    #[arg(long, env = "PD_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Address and port to serve on; port 0 takes a free one [default: 127.0.0.1 and controller.port]
    #[arg(long, env = "PD_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Further DNS name or IP address by which clients call this server; may be repeated
    #[arg(long, env = "PD_SAN", value_name = "NAME_OR_IP", value_delimiter = ',')]
    pub san: Vec<String>,
    /// Configuration file, YAML or JSON; read again when it changes, and on SIGHUP
    #[arg(long, env = "PD_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Fill the data folder, which must be absent or empty, from a backup that `pdctl backup` took, and end
    #[arg(long, value_name = "FILE")]
    pub restore: Option<PathBuf>,
    /// Single keys of the configuration.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// Flags that stand above the configuration file. Each key has an environment variable, too: `PD_MAX_NODES`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Configuration, above the file")]
pub struct SettingFlags {
    /// controller.port: port on 127.0.0.1 when there is no --listen
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// controller.max_nodes: most nodes of the cluster
    #[arg(long, value_name = "NUMBER")]
    max_nodes: Option<String>,
    /// controller.task_timeout: limit of one attempt at one subtask, for Jobs that say none
    #[arg(long, value_name = "DURATION")]
    task_timeout: Option<String>,
    /// security.token_duration: life of a token that does not say it
    #[arg(long, value_name = "DURATION")]
    token_duration: Option<String>,
    /// security.require_tls: false serves plain HTTP, too; on a loopback address only
    #[arg(long, value_name = "BOOLEAN")]
    require_tls: Option<String>,
    /// security.sandbox_memory_limit: most memory that a subtask may ask for
    #[arg(long, value_name = "SIZE")]
    sandbox_memory_limit: Option<String>,
    /// performance.max_retries: retries of an index, for Jobs that say none
    #[arg(long, value_name = "NUMBER")]
    max_retries: Option<String>,
    /// performance.retry_delay: delay before the first retry, for Jobs that say none
    #[arg(long, value_name = "DURATION")]
    retry_delay: Option<String>,
    /// performance.task_queue_size: most Jobs that may be unfinished at once
    #[arg(long, value_name = "NUMBER")]
    task_queue_size: Option<String>,
}

impl SettingFlags {
    /// Those that were given, by their names without the dashes.
    pub fn given(&self) -> Vec<(&'static str, String)> {
        let flags = [
            ("port", &self.port),
            ("max-nodes", &self.max_nodes),
            ("task-timeout", &self.task_timeout),
            ("token-duration", &self.token_duration),
            ("require-tls", &self.require_tls),
            ("sandbox-memory-limit", &self.sandbox_memory_limit),
            ("max-retries", &self.max_retries),
            ("retry-delay", &self.retry_delay),
            ("task-queue-size", &self.task_queue_size),
        ];
        flags.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

impl Options {
    /// Where to listen when the configuration says `port`.
    pub fn address(&self, port: u16) -> SocketAddr {
        self.listen.unwrap_or_else(|| (IpAddr::V4(Ipv4Addr::LOCALHOST), port).into())
    }
}

#[cfg(test)]
mod tests {
    use schemas::configuration::SETTINGS;

    use super::*;

    #[test]
    fn every_flag_of_a_setting_is_one() {
        let mut line = vec!["pd-apiserver".to_owned(), "--data-dir=x".to_owned()];
        // Whether work is stolen is the reconciler's to know.
        let ours: Vec<&str> =
            SETTINGS.iter().map(|setting| setting.flag).filter(|flag| *flag != "work-stealing-enabled").collect();
        line.extend(ours.iter().map(|flag| format!("--{flag}=1")));
        let options = Options::try_parse_from(line).expect("every flag is known");
        let given = options.settings.given();
        assert_eq!(given.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ours);
        assert_eq!(options.address(7), "127.0.0.1:7".parse().expect("an address"));
    }
}
