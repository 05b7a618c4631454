//! One executor and the frames to and from it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::{Buf as _, BytesMut};
use executor_protocol::{FRAME_BYTES_MAX, FrameError, Limit, Reply, Request, decode, encode};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    process::{Child, Command},
};

use super::process::Process;
use crate::metrics::{LimitLabel, Metrics};

/// Bytes read from a pipe at once: a pipe's default capacity.
const READ_BYTES: usize = 64 << 10;
/// Writing one frame to an executor that reads.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts executors.
pub(crate) type Spawner = Arc<dyn Fn() -> std::io::Result<Executor> + Send + Sync>;

/// The other end of the pipes, and the process behind them.
pub(crate) struct Executor {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    buffer: BytesMut,
    /// Killed when this is dropped; tests speak to no process.
    child: Option<Child>,
    metrics: Option<Arc<Metrics>>,
}

impl Executor {
    /// Speaks over any pair of streams.
    pub(crate) fn over(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        let (reader, writer) = (Box::new(reader), Box::new(writer));
        Self { reader, writer, buffer: BytesMut::with_capacity(READ_BYTES), child: None, metrics: None }
    }

    /// One of several in a process; that process is not its own to kill.
    pub(super) fn lane(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { metrics: Some(metrics), ..Self::over(reader, writer) }
    }

    /// Writes one request, flushed.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<(), FrameError> {
        let frame = encode(request)?;
        let write = async {
            self.writer.write_all(&frame).await?;
            self.writer.flush().await
        };
        match tokio::time::timeout(WRITE_TIMEOUT, write).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// The next reply; none when the executor has gone. Nothing is lost when this is dropped half-way.
    pub(crate) async fn next(&mut self) -> Result<Option<Reply>, FrameError> {
        loop {
            if let Some(reply) = self.buffered()? {
                return Ok(Some(reply));
            }
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn buffered(&mut self) -> Result<Option<Reply>, FrameError> {
        let Some(length) = self.buffer.first_chunk::<4>() else {
            self.buffer.reserve(READ_BYTES);
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge(length));
        }
        if self.buffer.len() < 4 + length {
            self.buffer.reserve((4 + length - self.buffer.len()).max(READ_BYTES));
            return Ok(None);
        }
        let reply = decode(&self.buffer[4..4 + length])?;
        self.buffer.advance(4 + length);
        self.count_limits(&reply);
        Ok(Some(reply))
    }

    fn count_limits(&self, reply: &Reply) {
        let Some(metrics) = &self.metrics else { return };
        let count = |limit: &Limit| {
            metrics.limits.get_or_create(&LimitLabel { limit: limit.name() }).inc();
        };
        match reply {
            Reply::Ended(ended) => ended.notable.iter().flat_map(|ended| &ended.call.limits).for_each(count),
            Reply::Planned(call) => call.limits.iter().for_each(count),
            Reply::Merged(call) => call.limits.iter().for_each(count),
            Reply::Refused { limit, .. } => count(limit),
            _ => {}
        }
    }

    /// Ends the process at once and reaps it in the background.
    pub(crate) fn kill(mut self) {
        if let Some(metrics) = &self.metrics {
            metrics.executor_kills.inc();
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.start_kill();
            tokio::spawn(async move { child.wait().await });
        }
    }

    /// Takes leave of an executor that has ended by itself: says how.
    pub(crate) async fn bury(mut self) -> String {
        let Some(mut child) = self.child.take() else { return "its pipe closed".to_owned() };
        // Its pipe is closed: it is dead or about to be.
        match tokio::time::timeout(Duration::from_millis(500), child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                let _ = child.start_kill();
                "it closed its pipe and was killed".to_owned()
            }
        }
    }
}

/// Starts `pd-executor` processes.
pub(crate) fn process_spawner(program: PathBuf, folder: PathBuf, metrics: Arc<Metrics>) -> Spawner {
    Arc::new(move || {
        let Process { child, stdin, stdout } = Process::start(&mut Command::new(&program), &folder, &metrics)?;
        let mut executor = Executor::over(stdout, stdin);
        executor.child = Some(child);
        executor.metrics = Some(Arc::clone(&metrics));
        Ok(executor)
    })
}
