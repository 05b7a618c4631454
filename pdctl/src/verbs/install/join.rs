//! `pdctl join SERVER`: makes this machine a node of a cluster; the line for it is printed by the first machine.

use std::{fs, path::PathBuf};

use schemas::Digest;

use super::{How, Installation};
use crate::{
    errors::{Error, Result},
    output,
};

const UNIT: &str = include_str!("../../../../manifests/systemd/pd-kubelet.service");
const EXAMPLES: &str = "\
`pdctl token create --role Join` on a machine that can speak to the cluster prints the whole line. The token is good for \
one node, once; what it joins is checked against the hash of the cluster's CA before the token is sent.

Examples:
  sudo pdctl join https://192.168.1.10:6443 --token join-x.… --ca-hash sha256:…
  sudo pdctl join 192.168.1.10:6443 --token-file join.token --ca-hash sha256:… --slots 8
  pdctl join https://192.168.1.10:6443 --token-file join.token --ca-hash sha256:… --dry-run";

/// Which cluster, and as what.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The API server: https://HOST:PORT
    #[arg(value_name = "SERVER", value_parser = server)]
    server: String,
    /// Hash of the cluster's CA: sha256:…
    #[arg(long, value_name = "HASH")]
    ca_hash: Digest,
    /// The join token: ID.SECRET
    #[arg(long, value_name = "TOKEN", value_parser = token, required_unless_present = "token_file")]
    token: Option<String>,
    /// File with the join token; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Name of the node; default: the host name
    #[arg(long)]
    name: Option<String>,
    /// Subtasks to run at once; default: the number of processors
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
    #[command(flatten)]
    how: How,
}

/// A URL of an API server; the scheme may be left out.
fn server(text: &str) -> Result<String, String> {
    let url = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let parsed: http::Uri = url.parse().map_err(|error| format!("{error}"))?;
    let is_bare = matches!(parsed.path(), "" | "/") && parsed.query().is_none();
    match (parsed.scheme_str(), parsed.authority()) {
        (Some("https"), Some(authority)) if is_bare && authority.port().is_some() => Ok(format!("https://{authority}")),
        _ => Err("write https://HOST:PORT".to_owned()),
    }
}

/// `ID.SECRET`.
fn token(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match text.rsplit_once('.') {
        Some((id, secret)) if is_plain(&id.replace('.', "-")) && is_plain(secret) => Ok(text.to_owned()),
        _ => Err("a join token is ID.SECRET, as `pdctl token create --role Join` prints it".to_owned()),
    }
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let secret = secret(args)?;
    let is_started = installation(args, &secret).carry_out(&args.how)?;
    if is_started {
        output::print_line(&format!("this machine joins {}", args.server))?;
        output::note("`pdctl get nodes` shows it in a moment; `journalctl -u pd-kubelet` says what it does");
    }
    Ok(())
}

fn secret(args: &Args) -> Result<String> {
    let Some(file) = &args.token_file else { return Ok(args.token.clone().unwrap_or_default()) };
    let text = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).map_err(Error::file("read", "stdin"))?
    } else {
        fs::read_to_string(file).map_err(Error::file("read", file))?
    };
    token(&text).map_err(|message| Error::invalid(format!("{}: {message}", file.display())))
}

fn installation(args: &Args, secret: &str) -> Installation {
    let mut installation = Installation::default();
    installation.secret("join.token", secret);
    installation.variables(
        "kubelet.env",
        &[
            ("PD_SERVER", Some(args.server.clone())),
            ("PD_CA_HASH", Some(args.ca_hash.to_string())),
            ("PD_NAME", args.name.clone()),
            ("PD_SLOTS", args.slots.map(|slots| slots.to_string())),
        ],
    );
    installation.unit("pd-kubelet.service", UNIT);
    installation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_with_a_port() {
        for given in ["10.0.0.1:6443", "https://10.0.0.1:6443", "https://10.0.0.1:6443/"] {
            assert_eq!(server(given).as_deref(), Ok("https://10.0.0.1:6443"));
        }
        assert_eq!(server("https://[::1]:6443").as_deref(), Ok("https://[::1]:6443"));
        for wrong in ["http://10.0.0.1:6443", "10.0.0.1", "https://10.0.0.1:6443/x", "https://", ""] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_token_has_two_parts() {
        assert_eq!(token(" join-abc.0123\n").as_deref(), Ok("join-abc.0123"));
        for wrong in ["", "x", "x.", ".y", "a b.c"] {
            assert!(token(wrong).is_err(), "{wrong}");
        }
    }
}
