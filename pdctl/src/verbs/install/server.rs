//! `pdctl server install`: makes this machine the first of a cluster, and prints the line for the next one.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use super::{How, Installation};
use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    output, programs,
    verbs::{push, runtime, token},
};

const APISERVER: &str = include_str!("../../../../manifests/systemd/pd-apiserver.service");
const RECONCILER: &str = include_str!("../../../../manifests/systemd/pd-reconciler.service");
/// What the servers go by, to begin with: nothing but the defaults.
const CONFIGURATION: &str = "\
# The configuration of pd-apiserver and pd-reconciler; docs/configuration.md explains the keys. Check it with
# `pdctl config validate /etc/processdistro/config.yaml`; a change is taken up within two seconds.
controller: {}
";
const CONFIGURATION_FILE: &str = "/etc/processdistro/config.yaml";
/// Where the API server's unit keeps its data.
const DATA: &str = "/var/lib/processdistro";
/// Port of the API server, as of Kubernetes'.
const PORT: u16 = 6443;
/// For the first start: keys are made, files written.
const START_MAX: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
Examples:
  sudo pdctl server install                                  # on this machine's address, port 6443
  sudo pdctl server install --listen 192.168.1.10:6443 --san control.lan
  pdctl server install --dry-run";

/// What to do with the servers of this machine.
#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Run pd-apiserver and pd-reconciler here, and print the line with which the next machine joins
    #[command(after_help = EXAMPLES)]
    Install(Install),
}

#[derive(clap::Args)]
pub(crate) struct Install {
    /// Address and port to serve on; default: this machine's first address, port 6443
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Further DNS name or IP address by which the server is called; may be repeated
    #[arg(long, value_name = "NAME_OR_IP")]
    san: Vec<String>,
    #[command(flatten)]
    how: How,
}

/// Runs the verb.
pub(crate) fn run(action: Action, global: &Global) -> Result<()> {
    match action {
        Action::Install(args) => install(&args, global),
    }
}

fn install(args: &Install, global: &Global) -> Result<()> {
    let listen = args.listen.unwrap_or_else(|| (own_address(), PORT).into());
    let is_started = installation(listen, &args.san).carry_out(&args.how)?;
    if !is_started {
        return Ok(());
    }
    let kubeconfig = Path::new(DATA).join("admin.kubeconfig");
    output::note(&format!("export KUBECONFIG={}", kubeconfig.display()));
    let global = Global { kubeconfig: Some(kubeconfig.clone()), context: None, ..global.clone() };
    runtime()?.block_on(async {
        let line = join_line(&global, &kubeconfig).await?;
        register_tasks(&global).await?;
        output::print_line(&line)
    })
}

/// The line with which the next machine joins, once the API server answers.
async fn join_line(global: &Global, kubeconfig: &Path) -> Result<String> {
    let deadline = tokio::time::Instant::now() + START_MAX;
    loop {
        match token::join_line(global).await {
            Ok(line) => return Ok(line),
            Err(error) if tokio::time::Instant::now() > deadline => return Err(not_started(error, kubeconfig)),
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// A new cluster knows the tasks that came with its programs.
async fn register_tasks(global: &Global) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    for path in programs::tasks()? {
        let (component, inspection) = push::read(&path)?;
        output::note(&push::register(&cluster, &inspection.metadata.name, component).await?);
    }
    Ok(())
}

fn not_started(error: Error, kubeconfig: &Path) -> Error {
    let message = format!("the API server is installed and does not answer by {}: {error}", kubeconfig.display());
    Error::Invalid { message, hint: Some("`journalctl -u pd-apiserver` says what it does".to_owned()) }
}

fn installation(listen: SocketAddr, san: &[String]) -> Installation {
    let mut installation = Installation::default();
    installation.once("config.yaml", CONFIGURATION);
    installation.variables(
        "apiserver.env",
        &[
            ("PD_LISTEN", Some(listen.to_string())),
            ("PD_SAN", Some(san.join(",")).filter(|san| !san.is_empty())),
            ("PD_CONFIG", Some(CONFIGURATION_FILE.to_owned())),
        ],
    );
    installation.variables("reconciler.env", &[("PD_CONFIG", Some(CONFIGURATION_FILE.to_owned()))]);
    installation.unit("pd-apiserver.service", APISERVER);
    installation.unit("pd-reconciler.service", RECONCILER);
    installation
}

/// The address from which this machine speaks to others. Nothing is sent: connecting a datagram socket only chooses
/// a route. Without one it is loopback.
fn own_address() -> IpAddr {
    // TEST-NET-1 (RFC 5737): on no LAN, so the default route is taken.
    let chosen = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    chosen.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

#[cfg(test)]
mod tests {
    use schemas::configuration;

    use super::*;

    #[test]
    fn the_first_configuration_is_in_order() {
        configuration::parse("config.yaml", CONFIGURATION).expect("it is");
    }

    #[test]
    fn both_servers_are_started_and_told_where() {
        let listen = "192.168.1.10:6443".parse().expect("an address");
        let installation = installation(listen, &["control.lan".to_owned(), "10.0.0.1".to_owned()]);
        assert_eq!(installation.units, ["pd-apiserver.service", "pd-reconciler.service"]);
        let told = installation.told(Path::new("/"));
        assert!(told.contains("  PD_LISTEN=192.168.1.10:6443\n  PD_SAN=control.lan,10.0.0.1\n"), "{told}");
    }
}
