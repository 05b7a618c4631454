//! Executors within this process: the executor's end of the pipes, for whoever speaks the protocol without being a
//! process. Hollow nodes and tests are such.

use bytes::{Buf as _, BytesMut};
use executor_protocol::{Reply, Request, decode, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::Executor;

/// Bytes under way in one direction: a batch of small outputs. Memory is taken only as it is filled.
const PIPE_BYTES: usize = 1 << 20;

/// The executor's end.
pub(super) struct Pipe {
    stream: DuplexStream,
    buffer: BytesMut,
}

/// The kubelet's end of a new pair of pipes; `serve` is given the other one and ends when the kubelet drops its own.
pub(super) fn start<F>(serve: impl FnOnce(Pipe) -> F) -> Executor
where
    F: Future<Output = Option<()>> + Send + 'static,
{
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    tokio::spawn(serve(Pipe { stream: theirs, buffer: BytesMut::new() }));
    let (reader, writer) = tokio::io::split(ours);
    Executor::over(reader, writer)
}

impl Pipe {
    /// The next request; none when the kubelet has gone. Nothing is lost when this is dropped half-way.
    pub(super) async fn hear(&mut self) -> Option<Request> {
        loop {
            if let Some(length) = self.buffer.first_chunk::<4>() {
                let length = u32::from_le_bytes(*length) as usize;
                if self.buffer.len() >= 4 + length {
                    let request = decode(&self.buffer[4..4 + length]).ok();
                    self.buffer.advance(4 + length);
                    return request;
                }
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Says one thing; none when the kubelet has gone.
    pub(super) async fn say(&mut self, reply: &Reply) -> Option<()> {
        self.stream.write_all(&encode(reply).ok()?).await.ok()
    }
}
