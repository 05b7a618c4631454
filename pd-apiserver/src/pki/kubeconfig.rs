//! Ordinary kubeconfig files, so that one file serves pdctl, kubectl and every other client.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Authority, Issued};

/// A kubeconfig for `user` with a client certificate and the CA in it.
pub fn kubeconfig(authority: &Authority, server: &str, user: &str, issued: &Issued) -> String {
    let ca = STANDARD.encode(authority.ca_pem());
    let certificate = STANDARD.encode(&issued.certificate);
    let key = STANDARD.encode(&issued.key);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: processdistro
  cluster:
    server: {server}
    certificate-authority-data: {ca}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: {user}@processdistro
  context:
    cluster: processdistro
    namespace: default
    user: {user}
current-context: {user}@processdistro
"
    )
}
