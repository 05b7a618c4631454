//! etcd as Debian packages it, for comparison: one member, no TLS, no authorization, its own protocol (gRPC over
//! HTTP/2). Whatever that saves it, it keeps.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;

use super::{load::Caller, wire};
use crate::{cluster::free_port, process::Process};

/// Debian's package.
const PACKAGE: &str = "etcd-server";
/// From its start to its first answer.
const START_TIME: Duration = Duration::from_secs(20);
/// Between two attempts to reach it.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// A running etcd; dropping it kills it.
pub(super) struct Etcd {
    address: SocketAddr,
    process: Process,
}

impl Etcd {
    /// Starts one whose data are in `folder`; `None`, and a line that says so, where etcd cannot be had.
    pub(super) async fn start(folder: &Path) -> Result<Option<Self>> {
        let Some(program) = program()? else { return Ok(None) };
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let (client, peer) = (free_port()?, free_port()?);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let mut command = Command::new(program);
        command.arg("--data-dir").arg(folder.join("data"));
        command.args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)]);
        command.args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)]);
        command.args(["--initial-cluster", &format!("default={}", url(peer)), "--log-level", "error"]);
        let process = Process::start(&mut command, &folder.join("log"))?;
        let etcd = Self { address: ([127, 0, 0, 1], client).into(), process };
        let start = Instant::now();
        while let Err(error) = async { etcd.put("ready").await?.call().await }.await {
            ensure!(process.is_alive(), "etcd has exited: see {}", folder.join("log").display());
            if start.elapsed() > START_TIME {
                return Err(error.context("etcd does not answer"));
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        Ok(Some(etcd))
    }

    /// A client that puts 1 KiB under ever new keys.
    pub(super) async fn put(&self, name: &str) -> Result<Put> {
        let stream = wire::tcp(self.address).await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.context("starting HTTP/2")?;
        tokio::spawn(connection);
        let uri = format!("http://{}/etcdserverpb.KV/Put", self.address);
        Ok(Put { sender, uri, name: name.to_owned(), number: 0 })
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill() {
            eprintln!("ending etcd: {error:#}");
        }
    }
}

/// See `Etcd::put`.
pub(super) struct Put {
    sender: http2::SendRequest<Full<Bytes>>,
    uri: String,
    name: String,
    number: u64,
}

impl Caller for Put {
    async fn call(&mut self) -> Result<()> {
        self.number += 1;
        let body = put_request(&format!("/bench/{}-{:08}", self.name, self.number), &[b'x'; super::store::VALUE_BYTES]);
        let request =
            Request::post(&self.uri).header(header::CONTENT_TYPE, "application/grpc").header(header::TE, "trailers");
        let request = request.body(Full::new(body)).context("building a request")?;
        let answer = self.sender.send_request(request).await.context("a put to etcd")?;
        let answer = answer.into_body().collect().await.context("reading etcd's answer")?;
        let status = answer.trailers().and_then(|trailers| trailers.get("grpc-status"));
        match status {
            Some(status) if status == "0" => Ok(()),
            other => bail!("etcd refuses a put: grpc-status {other:?}"),
        }
    }
}

/// One gRPC message: not compressed, its length, and a `PutRequest` of key (field 1) and value (field 2).
fn put_request(key: &str, value: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(key.len() + value.len() + 16);
    for (tag, bytes) in [(0x0a, key.as_bytes()), (0x12, value)] {
        message.put_u8(tag);
        let mut length = bytes.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(bytes);
    }
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}

/// etcd of the PATH, else Debian's, unpacked into a folder of ours: installing it would start a daemon.
fn program() -> Result<Option<PathBuf>> {
    let installed = env::var_os("PATH")
        .and_then(|path| env::split_paths(&path).map(|folder| folder.join("etcd")).find(|file| file.is_file()));
    if installed.is_some() {
        return Ok(installed);
    }
    let own = env::current_exe().context("finding the running program's own path")?;
    let folder = own.with_file_name("etcd");
    let unpacked = folder.join("usr/bin/etcd");
    if unpacked.is_file() {
        return Ok(Some(unpacked));
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    if !run(Command::new("apt-get").args(["download", "-qq", PACKAGE]).current_dir(&folder)) {
        println!("no etcd on the PATH, and `apt-get download {PACKAGE}` failed: measured without it");
        return Ok(None);
    }
    let listing = fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut files = listing.filter_map(|entry| Some(entry.ok()?.path()));
    let package = files.find(|file| file.extension().is_some_and(|extension| extension == "deb"));
    let package = package.with_context(|| format!("apt-get left no package in {}", folder.display()))?;
    ensure!(run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&folder)), "cannot unpack {}", package.display());
    Ok(Some(unpacked))
}

fn run(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_is_framed_as_grpc_wants_it() {
        let framed = put_request("k", &[7; 300]);
        assert_eq!(&framed[..8], &[0, 0, 0, 1, 50, 0x0a, 1, b'k']);
        assert_eq!(&framed[8..11], &[0x12, 0xac, 0x02]);
        assert_eq!(framed.len(), 5 + 306);
    }
}
