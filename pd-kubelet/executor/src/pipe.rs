//! The two pipes to the kubelet: a thread that reads, and an outbox that batches what has ended.
//!
//! In: frames. Out: frames. Must not know what a request means, only which ones need no turn: `Data` and
//! `Cancel` are for the request that is being carried out, the others wait in a queue.

use std::{
    io::{self, Read, Write},
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::Sender,
    },
    time::{Duration, Instant},
};

use executor_protocol::{Ended, EndedRun, FrameError, Outcome, ReadAnswer, Reply, Request, encode, read};

/// A batch of ended indexes is sent as soon as it has this many bytes: some 4 pipes full, so that the cost of
/// a system call and a wake-up is spread thin.
const BATCH_BYTES: usize = 256 << 10;
/// Nothing that has ended waits longer than this.
const BATCH_AGE: Duration = Duration::from_millis(10);
/// What took at least this long does not wait at all: sending it costs a hundredth of that, and an executor that is killed
/// loses no more than the index that it was at. Of shorter ones it loses what ended within `BATCH_AGE`.
const LONG_NS: u64 = 2_000_000;
/// What an index that is not packed weighs besides its output, log and texts.
const NOTABLE_BYTES: usize = 32;

/// A request and its number, counted from 1.
pub(crate) type Numbered = (u64, Request);

/// Which requests are no longer wanted.
#[derive(Debug, Default)]
pub(crate) struct Cancels {
    up_to: AtomicU64,
}

impl Cancels {
    /// True once the request of that number was cancelled.
    pub(crate) fn include(&self, number: u64) -> bool {
        self.up_to.load(Ordering::Acquire) >= number
    }
}

/// Reads requests, after the one that was read before, until the pipe ends or breaks. A cancel is for the last request before it, so one that
/// crosses with a `Done` on its way can never hit the request after.
pub(crate) fn listen(
    first: Request,
    from: &mut impl Read,
    requests: &Sender<Numbered>,
    answers: &Sender<Option<ReadAnswer>>,
    cancels: &Cancels,
) -> Result<(), FrameError> {
    let mut number = 0;
    let mut next = Some(first);
    while let Some(request) = next {
        let heard = match request {
            Request::Data(answer) => answers.send(answer).is_ok(),
            Request::Cancel => {
                cancels.up_to.store(number, Ordering::Release);
                true
            }
            request => {
                number += 1;
                requests.send((number, request)).is_ok()
            }
        };
        if !heard {
            break;
        }
        next = read(from)?;
    }
    Ok(())
}

/// What goes to the kubelet. Every message leaves in the order in which it came; only `Ended`s wait.
pub(crate) struct Outbox {
    inner: Mutex<Inner>,
    filled: Condvar,
}

struct Inner {
    to: Box<dyn Write + Send>,
    ended: EndedRun,
    bytes: usize,
    oldest: Option<Instant>,
    closed: bool,
}

impl Outbox {
    pub(crate) fn new(to: Box<dyn Write + Send>) -> Arc<Self> {
        let inner = Inner { to, ended: EndedRun::default(), bytes: 0, oldest: None, closed: false };
        Arc::new(Self { inner: Mutex::new(inner), filled: Condvar::new() })
    }

    /// Adds an ended index to the batch; sends the batch when it is full, when the index took long, or `at_once`.
    pub(crate) fn ended(&self, ended: Ended, at_once: bool) -> Result<(), FrameError> {
        let mut inner = self.lock();
        if inner.ended.next() != ended.index {
            inner.flush()?;
        }
        let is_long = ended.call.wall_ns >= LONG_NS;
        inner.bytes += weight(&ended);
        inner.ended.push(ended);
        if at_once || is_long || inner.bytes >= BATCH_BYTES {
            return inner.flush();
        }
        if inner.oldest.is_none() {
            inner.oldest = Some(Instant::now());
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Sends what waits, then the replies, in one go.
    pub(crate) fn send(&self, replies: &[Reply]) -> Result<(), FrameError> {
        let mut inner = self.lock();
        let mut bytes = inner.take_frame()?;
        for reply in replies {
            let frame = encode(reply)?;
            if bytes.is_empty() { bytes = frame } else { bytes.extend(frame) }
        }
        Ok(inner.to.write_all(&bytes)?)
    }

    /// Nobody reads any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Sends every batch that has become old, for as long as the pipe stands.
    pub(crate) fn flush_old(&self) -> FrameError {
        let mut inner = self.lock();
        loop {
            if inner.closed {
                return io::Error::from(io::ErrorKind::BrokenPipe).into();
            }
            let age = inner.oldest.map(|oldest| oldest.elapsed());
            inner = match age {
                None => self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(age) if age < BATCH_AGE => {
                    self.filled
                        .wait_timeout(inner, BATCH_AGE.saturating_sub(age))
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                Some(_) => {
                    if let Err(error) = inner.flush() {
                        return error;
                    }
                    inner
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn flush(&mut self) -> Result<(), FrameError> {
        let frame = self.take_frame()?;
        Ok(self.to.write_all(&frame)?)
    }

    /// What has ended, as a frame; nothing where nothing has.
    fn take_frame(&mut self) -> Result<Vec<u8>, FrameError> {
        if self.ended.is_empty() {
            return Ok(Vec::new());
        }
        let reply = Reply::Ended(mem::take(&mut self.ended));
        let frame = encode(&reply)?;
        if let Reply::Ended(mut ended) = reply
            && ended.outputs.capacity() <= 2 * BATCH_BYTES
        {
            ended.clear();
            self.ended = ended;
        }
        (self.bytes, self.oldest) = (0, None);
        Ok(frame)
    }
}

/// Bytes that an index adds to a frame, about. One that is packed adds its output alone, so that of empty outputs only
/// `BATCH_AGE` ends a batch.
fn weight(ended: &Ended) -> usize {
    let (outcome, rest) = match &ended.call.outcome {
        Outcome::Success(output) => (output.len(), 0),
        Outcome::Retryable(text)
        | Outcome::Permanent(text)
        | Outcome::Trap(text)
        | Outcome::OutOfMemory(text)
        | Outcome::TimedOut(text)
        | Outcome::InvalidOutput(text) => (text.len(), NOTABLE_BYTES),
    };
    outcome + rest + ended.call.log.len() + ended.found.len() * size_of::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor_protocol::Call;
    use std::sync::mpsc::channel;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Sink {
        fn replies(&self) -> Vec<Reply> {
            let bytes = self.0.lock().expect("not poisoned").clone();
            let mut from = bytes.as_slice();
            std::iter::from_fn(|| read(&mut from).expect("whole frames")).collect()
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ended(index: u64, bytes: usize) -> Ended {
        let outcome = Outcome::Success(vec![0; bytes]);
        let call = Call { outcome, log: String::new(), wall_ns: 0, memory_peak_bytes: 0, limits: Vec::new() };
        Ended { index, call, found: Vec::new(), checked: None }
    }

    fn run<const N: usize>(ended: [Ended; N]) -> Reply {
        Reply::Ended(ended.into_iter().collect())
    }

    #[test]
    fn ended_indexes_wait_for_a_full_batch_or_the_next_reply() {
        let sink = Sink::default();
        let outbox = Outbox::new(Box::new(sink.clone()));
        outbox.ended(ended(0, 10), false).expect("waits");
        assert_eq!(sink.replies(), []);
        outbox.ended(ended(1, BATCH_BYTES), false).expect("sends");
        assert_eq!(sink.replies(), [run([ended(0, 10), ended(1, BATCH_BYTES)])]);
        outbox.ended(ended(2, 10), false).expect("waits");
        outbox.send(&[Reply::Done]).expect("sends");
        assert_eq!(sink.replies()[1..], [run([ended(2, 10)]), Reply::Done]);
        outbox.ended(ended(3, 1), true).expect("sends");
        assert_eq!(sink.replies()[3..], [run([ended(3, 1)])]);
        outbox.ended(ended(4, 1), false).expect("waits");
        outbox.ended(ended(9, 1), true).expect("sends both");
        assert_eq!(sink.replies()[4..], [run([ended(4, 1)]), run([ended(9, 1)])], "a gap ends a batch");
    }

    #[test]
    fn a_cancel_is_for_the_request_before_it() {
        let mut bytes = Vec::new();
        for request in [Request::Cancel, Request::Plan, Request::Data(None)] {
            bytes.extend(encode(&request).expect("encodes"));
        }
        let (requests, queue) = channel();
        let (answers, data) = channel();
        let cancels = Cancels::default();
        listen(Request::Plan, &mut bytes.as_slice(), &requests, &answers, &cancels).expect("reads to the end");
        assert_eq!(queue.try_iter().collect::<Vec<_>>(), [(1, Request::Plan), (2, Request::Plan)]);
        assert_eq!(data.try_iter().collect::<Vec<_>>(), [None]);
        assert!(cancels.include(1) && !cancels.include(2));
    }
}
