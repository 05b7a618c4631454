//! Flags: what a person or a unit file may choose. Policy knobs end up in `pd_plan::Policy`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser};
use pd_plan::Policy;

/// Drives Jobs to their end: plans, grants indexes to nodes, retries, merges.
#[derive(Clone, Debug, Parser)]
#[command(version, about)]
pub struct Options {
    /// Kubeconfig of an identity that may reconcile, as pd-apiserver writes it
    #[arg(long, env = "PD_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// Where metrics are shown.
    #[command(flatten)]
    pub metrics: daemon::Options,
    /// Name in the leader's Lease, to which a unique suffix is added [default: the host name]
    #[arg(long, env = "PD_NAME")]
    pub name: Option<String>,
    /// Configuration file, YAML or JSON, the same as the API server's; read again when it changes, and on SIGHUP
    #[arg(long, env = "PD_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// controller.work_stealing_enabled, above the configuration file [env: PD_WORK_STEALING_ENABLED]
    #[arg(long, value_name = "BOOLEAN")]
    pub work_stealing_enabled: Option<String>,
    /// A folder of manifests whose objects shall follow it.
    #[command(flatten)]
    pub manifests: ManifestOptions,
    /// Silence after which a node is lost
    #[arg(long, env = "PD_NODE_LOST_AFTER", default_value = "5s", value_parser = humantime::parse_duration)]
    pub node_lost_after: Duration,
    /// Silence after which nodes are lost when more than half of them fell silent together
    #[arg(long, env = "PD_NODES_LOST_AFTER", default_value = "15s", value_parser = humantime::parse_duration)]
    pub nodes_lost_after: Duration,
    /// Least work of one grant per slot
    #[arg(long, env = "PD_GRANT_MIN", default_value = "50ms", value_parser = humantime::parse_duration)]
    pub grant_min: Duration,
    /// Most work of one grant per slot
    #[arg(long, env = "PD_GRANT_MAX", default_value = "2s", value_parser = humantime::parse_duration)]
    pub grant_max: Duration,
    /// Work left below which a node is topped up
    #[arg(long, env = "PD_REFILL_BELOW", default_value = "400ms", value_parser = humantime::parse_duration)]
    pub refill_below: Duration,
    /// Longest delay before a retry
    #[arg(long, env = "PD_RETRY_DELAY_MAX", default_value = "60s", value_parser = humantime::parse_duration)]
    pub retry_delay_max: Duration,
}

/// A folder of manifests that the leader, or who is alone, watches.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct ManifestOptions {
    /// Folder of manifests whose objects follow its files
    #[arg(long = "manifests", env = "PD_MANIFESTS", value_name = "DIR", requires = "kubeconfig_of_manifests")]
    pub folder: Option<PathBuf>,
    /// Kubeconfig of an identity that may write what the folder holds: the reconciler's own may not
    #[arg(
        id = "kubeconfig_of_manifests",
        long = "manifests-kubeconfig",
        env = "PD_MANIFESTS_KUBECONFIG",
        value_name = "FILE"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// With --manifests: delete an object when no file holds it any more
    #[arg(long, requires = "folder")]
    pub prune: bool,
    /// With --prune: delete everything when no file holds anything
    #[arg(long, requires = "prune")]
    pub allow_empty: bool,
}

impl Options {
    /// Keys of the configuration that were given as flags.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        self.work_stealing_enabled.iter().map(|value| ("work-stealing-enabled", value.clone())).collect()
    }

    /// The policy that the flags ask for.
    pub fn policy(&self) -> Policy {
        Policy {
            lost_after: self.node_lost_after,
            mass_lost_after: self.nodes_lost_after,
            grant_min: self.grant_min,
            grant_max: self.grant_max.max(self.grant_min),
            refill_below: self.refill_below,
            retry_delay_max: self.retry_delay_max,
            ..Policy::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_flags_are_the_defaults_of_the_policy() {
        let options = Options::try_parse_from(["pd-reconciler", "--kubeconfig", "file"]).unwrap();
        assert_eq!(options.policy(), Policy::default());
    }
}
