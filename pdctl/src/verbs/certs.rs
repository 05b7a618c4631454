//! `pdctl certs`: the certificates in play, and how long they live: the cluster's CA, the server's own, the client's.

use std::{net::ToSocketAddrs as _, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::client::ConfigExt as _;
use serde_json::json;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use x509_parser::{extensions::GeneralName, prelude::*};

use crate::{
    age,
    cli::Global,
    client::Cluster,
    errors::{self, Error, Result},
    output::{self, Format},
    table::Table,
};

const EXAMPLES: &str = "\
Nodes renew theirs by themselves; the server's is made anew at each of its starts.

Examples:
  pdctl certs
  pdctl certs -o jsonpath='{range .items[*]}{.metadata.name} {.expires}{\"\\n\"}{end}'";

/// Time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How to print them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// wide, json, yaml, name, jsonpath=…, custom-columns=…
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// One certificate, as far as it matters here.
#[derive(Debug, PartialEq)]
pub(crate) struct Certificate {
    pub(crate) what: &'static str,
    pub(crate) subject: String,
    /// Names and addresses that it is for.
    pub(crate) names: Vec<String>,
    pub(crate) expires: Timestamp,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    let mut found = of_kubeconfig(&cluster)?;
    let server = of_server(&cluster).await;
    if let Ok(server) = &server {
        found.push(read("server", server)?);
    }
    if found.is_empty() {
        return server.map(drop);
    }
    let now = Timestamp::now();
    match &args.output {
        None | Some(Format::Wide) => {
            let mut table = Table::new(["certificate", "subject", "expires", "in", "names"]);
            for one in &found {
                let left = age::human(one.expires.as_second() - now.as_second());
                let left = if one.expires > now { left } else { "expired".to_owned() };
                table.push([one.what, &one.subject, &one.expires.to_string(), &left, &one.names.join(",")]);
            }
            output::print(&table.render())?;
        }
        Some(format) => {
            let object = |one: &Certificate| {
                json!({"apiVersion": "v1", "kind": "Certificate", "metadata": {"name": one.what}, "subject": one.subject,
                    "names": one.names, "expires": one.expires})
            };
            output::objects(format, found.iter().map(object).collect(), true)?;
        }
    }
    server.map(drop)
}

/// The CA and the client's certificate.
pub(crate) fn of_kubeconfig(cluster: &Cluster) -> Result<Vec<Certificate>> {
    let mut found = Vec::new();
    for der in cluster.config.root_cert.iter().flatten() {
        found.push(read("ca", der)?);
    }
    let auth = &cluster.config.auth_info;
    let pem = match (&auth.client_certificate_data, &auth.client_certificate) {
        (Some(data), _) => {
            use base64::Engine as _;
            let decoded = base64::engine::general_purpose::STANDARD.decode(data.trim());
            Some(decoded.map_err(|error| unreadable("client", &error.to_string()))?)
        }
        (None, Some(path)) => Some(std::fs::read(path).map_err(Error::file("read the client certificate", path))?),
        (None, None) => None,
    };
    if let Some(pem) = pem {
        let (_, block) = parse_x509_pem(&pem).map_err(|error| unreadable("client", &error.to_string()))?;
        found.push(read("client", &block.contents)?);
    }
    Ok(found)
}

/// The certificate that the server shows, in DER. It is trusted only for having been looked at.
pub(crate) async fn of_server(cluster: &Cluster) -> Result<Vec<u8>> {
    let config = cluster.config.rustls_client_config().map_err(cluster.failed("cannot prepare TLS"))?;
    let url = &cluster.config.cluster_url;
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_u16().unwrap_or(443);
    let name = cluster.config.tls_server_name.clone().unwrap_or_else(|| host.clone());
    let shake = handshake(Arc::new(config), host, port, name);
    match tokio::time::timeout(CONNECT_TIMEOUT, shake).await {
        Ok(Ok(der)) => Ok(der),
        Ok(Err(error)) => {
            Err(errors::transport(&cluster.origin, "cannot see the server's certificate".to_owned(), &error))
        }
        Err(_) => Err(Error::Unreachable { origin: cluster.origin.clone(), reason: "no answer in time".to_owned() }),
    }
}

async fn handshake(config: Arc<ClientConfig>, host: String, port: u16, name: String) -> std::io::Result<Vec<u8>> {
    let addresses = (host.as_str(), port).to_socket_addrs()?.collect::<Vec<_>>();
    let stream = tokio::net::TcpStream::connect(&*addresses).await?;
    let name = ServerName::try_from(name).map_err(std::io::Error::other)?;
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    shown
        .map(|certificate| certificate.to_vec())
        .ok_or_else(|| std::io::Error::other("the server shows no certificate"))
}

/// Reads one out of its DER.
pub(crate) fn read(what: &'static str, der: &[u8]) -> Result<Certificate> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| unreadable(what, &error.to_string()))?;
    let expires = Timestamp::from_second(certificate.validity().not_after.timestamp())
        .map_err(|error| unreadable(what, &error.to_string()))?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|extension| extension.value.general_names.iter().filter_map(name_of).collect());
    Ok(Certificate { what, subject: certificate.subject().to_string(), names: names.unwrap_or_default(), expires })
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
            _ => None,
        },
        _ => None,
    }
}

fn unreadable(what: &str, reason: &str) -> Error {
    Error::invalid(format!("the {what} certificate cannot be read: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_addresses() {
        assert_eq!(name_of(&GeneralName::DNSName("localhost")).as_deref(), Some("localhost"));
        assert_eq!(name_of(&GeneralName::IPAddress(&[127, 0, 0, 1])).as_deref(), Some("127.0.0.1"));
        assert_eq!(name_of(&GeneralName::IPAddress(&[1, 2])), None);
        assert!(read("ca", b"no certificate").is_err());
    }
}
