//! The server as its clients meet it: over TCP and TLS.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    time::Instant,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use schemas::Digest;
use serde_json::Value;
use tokio::sync::oneshot;

use super::*;
use crate::{cli::SettingFlags, pki::Issued};

/// A served cluster in a folder of its own.
struct Cluster {
    folder: tempfile::TempDir,
    address: SocketAddr,
    authority: Arc<Authority>,
    shutdown: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<anyhow::Result<()>>,
}

fn options(folder: &Path) -> Options {
    Options {
        data_dir: folder.join("data"),
        listen: Some((Ipv4Addr::LOCALHOST, 0).into()),
        san: vec!["control.example".to_owned()],
        config: None,
        restore: None,
        settings: SettingFlags::default(),
    }
}

async fn start_in(folder: tempfile::TempDir) -> Cluster {
    let server = Server::start(&options(folder.path())).await.unwrap();
    let (address, authority) = (server.local_addr(), Arc::clone(&server.state.authority));
    let (shutdown, told) = oneshot::channel();
    let served = tokio::spawn(server.serve(async {
        let _ = told.await;
    }));
    Cluster { folder, address, authority, shutdown, served }
}

async fn start() -> Cluster {
    start_in(tempfile::tempdir().unwrap()).await
}

impl Cluster {
    async fn stop(self) -> tempfile::TempDir {
        self.shutdown.send(()).unwrap();
        self.served.await.unwrap().unwrap();
        self.folder
    }

    fn issue(&self, user: &str, group: &str) -> Issued {
        self.authority.issue_client(user, group, Duration::from_mins(10)).unwrap()
    }

    fn connect(
        &self,
        client: Option<&Issued>,
        name: &str,
    ) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.ca_pem().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let server = ServerName::try_from(name.to_owned()).unwrap();
        let tls = ClientConnection::new(Arc::new(config), server).map_err(std::io::Error::other)?;
        let tcp = TcpStream::connect(self.address)?;
        tcp.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(StreamOwned::new(tls, tcp))
    }

    /// One request (`METHOD PATH`, ` ~ ` and a header if need be) on a connection of its own: code, head, body.
    async fn ask(&self, client: Option<&Issued>, head: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = self.connect(client, "127.0.0.1").unwrap();
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let (line, header) =
            head.split_once(" ~ ").map_or((head, String::new()), |(line, h)| (line, format!("{h}\r\n")));
        let text = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}{length}\r\n");
        let request = [text.as_bytes(), body].concat();
        let answer = tokio::task::spawn_blocking(move || {
            stream.write_all(&request).unwrap();
            let mut answer = Vec::new();
            // A server that ends without close_notify has still answered.
            let _ = stream.read_to_end(&mut answer);
            answer
        });
        let answer = answer.await.unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("no answer");
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, head, answer[end + 4..].to_vec())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_health_and_the_ca_and_nothing_else() {
    let cluster = start().await;
    for path in ["/livez", "/readyz", "/healthz"] {
        let (code, _, body) = cluster.ask(None, &format!("GET {path}"), b"").await;
        assert_eq!((code, body.as_slice()), (200, &b"ok"[..]), "{path}");
    }
    let (code, _, body) = cluster.ask(None, "GET /ca", b"").await;
    assert_eq!((code, body.as_slice()), (200, cluster.authority.ca_pem().as_bytes()));
    for path in ["/metrics", "/apis", "/artifacts/v1/sha256:00", "/api/v1/nodes", "/livez/x", "/nothing"] {
        let (code, head, body) = cluster.ask(None, &format!("GET {path}"), b"").await;
        let status: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (code, &status["kind"], &status["reason"]),
            (401, &"Status".into(), &"Unauthorized".into()),
            "{path}"
        );
        assert!(head.to_ascii_lowercase().contains("www-authenticate: bearer"), "{head}");
    }
    let (code, _, body) = cluster.ask(None, "GET /apis ~ Authorization: Bearer x.y", b"").await;
    assert_eq!(code, 401, "{}", String::from_utf8_lossy(&body));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_an_identity() {
    let cluster = start().await;
    let admin = cluster.issue("admin", groups::ADMINS);
    let (code, _, body) = cluster.ask(Some(&admin), "GET /metrics", b"").await;
    let text = String::from_utf8(body).unwrap();
    assert_eq!(code, 200, "{text}");
    assert!(text.contains("pd_apiserver_store_revision "), "{text}");
    let viewer = cluster.issue("v", groups::VIEWERS);
    assert_eq!(cluster.ask(Some(&viewer), "GET /metrics", b"").await.0, 403);
    let foreign =
        Authority::ephemeral().unwrap().issue_client("admin", groups::ADMINS, Duration::from_mins(1)).unwrap();
    let refused = tokio::task::block_in_place(|| {
        let mut stream = cluster.connect(Some(&foreign), "127.0.0.1")?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")?;
        stream.read(&mut [0; 64])
    });
    assert!(!matches!(refused, Ok(1..)), "a certificate of another CA must not pass");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_by_all_its_names() {
    let cluster = start().await;
    tokio::task::block_in_place(|| {
        for (name, known) in [("localhost", true), ("::1", true), ("control.example", true), ("other.example", false)] {
            let mut stream = cluster.connect(None, name).unwrap();
            let sent = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(sent.is_ok(), known, "{name}");
        }
    });
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_travel_and_survive_a_restart() {
    let cluster = start().await;
    let admin = cluster.issue("admin", groups::ADMINS);
    let bytes: Vec<u8> = (0..3_000_000u32).map(|index| (index % 253) as u8).collect();
    let path = format!("/artifacts/v1/{}", Digest::of(&bytes));
    assert_eq!(cluster.ask(Some(&admin), &format!("GET {path}"), b"").await.0, 404);
    let (code, _, body) = cluster.ask(Some(&admin), &format!("PUT {path}"), &bytes).await;
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((code, answer["size"].as_u64()), (201, Some(3_000_000)));
    assert_eq!(cluster.ask(Some(&admin), &format!("PUT {path}"), &bytes).await.0, 200);
    assert_eq!(cluster.ask(Some(&admin), &format!("PUT {path}"), &bytes[1..]).await.0, 422);
    assert_eq!(cluster.ask(Some(&admin), "PUT /artifacts/v1/sha256:12", b"x").await.0, 400);

    let cluster = start_in(cluster.stop().await).await;
    let admin = cluster.issue("admin", groups::ADMINS);
    let (code, head, body) = cluster.ask(Some(&admin), &format!("HEAD {path}"), b"").await;
    assert_eq!((code, body.len()), (200, 0));
    assert!(head.to_ascii_lowercase().contains("content-length: 3000000"), "{head}");
    let (code, _, body) = cluster.ask(Some(&admin), &format!("GET {path}"), b"").await;
    assert!(code == 200 && body == bytes);
    let (code, head, body) = cluster.ask(Some(&admin), &format!("GET {path} ~ Range: bytes=10-19"), b"").await;
    assert_eq!((code, body.as_slice()), (206, &bytes[10..20]), "{head}");
    assert!(head.contains("content-range: bytes 10-19/3000000"), "{head}");
    assert_eq!(cluster.ask(Some(&admin), &format!("GET {path} ~ Range: bytes=3000000-"), b"").await.0, 416);
    let node = cluster.issue("node:n1", groups::NODES);
    assert_eq!(cluster.ask(Some(&node), &format!("GET {path}"), b"").await.0, 403);
    assert_eq!(cluster.ask(Some(&node), &format!("HEAD {path}"), b"").await.0, 200);
    let viewer = cluster.issue("v", groups::VIEWERS);
    assert_eq!(cluster.ask(Some(&viewer), &format!("PUT {path}"), &bytes).await.0, 403);
    assert_eq!(cluster.ask(None, &format!("PUT {path}"), &bytes).await.0, 401);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_heads_are_refused_and_idle_connections_closed() {
    let cluster = start().await;
    let head = format!("GET /livez ~ X-Long: {}", "x".repeat(20_000));
    assert_eq!(cluster.ask(None, &head, b"").await.0, 431);
    let idle = tokio::task::block_in_place(|| {
        let mut silent = TcpStream::connect(cluster.address).unwrap();
        silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let started = Instant::now();
        let read = silent.read(&mut [0; 1]);
        (read.ok(), started.elapsed())
    });
    assert_eq!(idle.0, Some(0), "the server closes a connection that never speaks");
    assert!(idle.1 < Duration::from_secs(25), "{idle:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_for_clients_are_there_and_private() {
    let cluster = start().await;
    let data = cluster.folder.path().join("data");
    for user in ["admin", "reconciler"] {
        let path = data.join(format!("{user}.kubeconfig"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("server: https://{}\n", cluster.address)), "{text}");
    }
    assert_eq!(fs::read_to_string(data.join("ca.hash")).unwrap().trim(), cluster.authority.ca_hash());
    for file in
        ["store.redb", "cluster-id", "artifacts", "pki/ca.crt", "pki/ca.key", "pki/server.crt", "pki/server.key"]
    {
        assert!(data.join(file).exists(), "{file}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_do_not_share_a_folder() {
    let cluster = start().await;
    assert!(Server::start(&options(cluster.folder.path())).await.is_err());
    cluster.stop().await;
}

/// What the server answers to a request in plain HTTP; none when it closes the connection.
async fn ask_plain(address: SocketAddr, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A connection that is refused in the middle has answered nothing.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    Some(asked.await.unwrap()).filter(|answer| answer.starts_with("HTTP/1.1 "))
}

#[tokio::test]
async fn plain_http_is_served_when_it_is_allowed_and_on_loopback_only() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pd.yaml");
    fs::write(&config, "controller: {port: 0}\nsecurity: {require_tls: false}\n").unwrap();
    let open = Options { listen: None, config: Some(config), ..options(folder.path()) };
    let everywhere = Options { listen: Some((Ipv4Addr::UNSPECIFIED, 0).into()), ..open.clone() };
    let refused = Server::start(&everywhere).await.err().expect("a refusal").to_string();
    assert!(refused.contains("plain HTTP is served on loopback only"), "{refused}");

    let server = Server::start(&open).await.unwrap();
    let address = server.local_addr();
    assert!(address.ip().is_loopback() && address.port() != 0, "controller.port 0 takes a free one: {address}");
    let (shutdown, told) = oneshot::channel::<()>();
    let served = tokio::spawn(server.serve(async {
        let _ = told.await;
    }));
    assert!(ask_plain(address, "/livez").await.is_some_and(|answer| answer.contains("200 OK")));
    let closed = ask_plain(address, "/api/v1/nodes").await.expect("an answer");
    assert!(closed.contains("401 Unauthorized"), "{closed}");
    shutdown.send(()).unwrap();
    served.await.unwrap().unwrap();

    let cluster = start().await;
    assert_eq!(ask_plain(cluster.address, "/livez").await, None, "TLS is required unless somebody says otherwise");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_takes_its_connection_over_and_ends_it() {
    let cluster = start().await;
    let admin = cluster.issue("admin", groups::ADMINS);
    let path = "/api/v1/namespaces?watch=1&timeoutSeconds=1";
    let (code, head, body) = cluster.ask(Some(&admin), &format!("GET {path}"), b"").await;
    let (head, body) = (head.to_ascii_lowercase(), String::from_utf8(body).unwrap());
    assert_eq!(code, 200, "{head}");
    for expected in ["transfer-encoding: chunked", "connection: close", "content-type: application/json"] {
        assert!(head.contains(expected), "{head}");
    }
    assert!(body.contains(r#"{"type":"ADDED","object":{"kind":"Namespace""#), "{body}");
    assert!(body.ends_with("\r\n0\r\n\r\n"), "a watch that has run its time ends as HTTP ends: {body}");
    let (code, head, body) = cluster.ask(Some(&admin), &format!("HEAD {path}"), b"").await;
    assert_eq!((code, body.len()), (200, 0), "{head}");
    let refused = cluster.ask(Some(&admin), "GET /api/v1/namespaces?watch=1&resourceVersion=x", b"").await;
    assert_eq!(refused.0, 400);
    cluster.stop().await;
}
