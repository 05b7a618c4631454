//! `pd-kubelet`: flags in, exit code out; everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let options = pd_kubelet::Options::parse();
    // kube warns of the certificate that it is told not to verify (we compare the CA's hash), and tells of failed
    // connections before we do.
    let default =
        "info,hyper=warn,kube_client::client::tls=error,kube_client::client=error,kube_client::client::builder=off";
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(is_terminal).with_writer(std::io::stderr).init();
    match pd_kubelet::run(options, pd_kubelet::termination()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pd-kubelet: {}", pd_kubelet::chain(&error));
            ExitCode::FAILURE
        }
    }
}
