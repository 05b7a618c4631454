//! Speaks the protocol to the real binary, as a kubelet does.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use executor_protocol::{Blob, Context, Ended, Isolation, Outcome, ReadAnswer, Reply, Request, read, write};
use tempfile::TempDir;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

const PATIENCE: Duration = Duration::from_mins(1);
const WIT: &str = include_str!("../../../../wasm_tasks/abi/wit/task.wit");

/// Processor time and memory of a compilation, beyond what any honest guest takes.
pub(crate) const COMPILE_MS: u64 = 60_000;
pub(crate) const COMPILE_BYTES: u64 = 2 << 30;

/// The guest of these tests as a component.
pub(crate) fn guest() -> Vec<u8> {
    component(include_str!("guest.wat"))
}

/// The same where it can check outputs, as text.
pub(crate) fn verifying_text() -> String {
    let guest = include_str!("guest.wat").trim_end().strip_suffix(')').expect("a module");
    format!("{guest}{})", include_str!("verify.wat"))
}

/// The same as a component.
pub(crate) fn verifying_guest() -> Vec<u8> {
    component(&verifying_text())
}

/// The component of a core module of one of the contract's worlds.
pub(crate) fn component(module: &str) -> Vec<u8> {
    let world = if module.contains("#verify") { "checked-task" } else { "task" };
    let mut module = wat::parse_str(module).expect("the guest parses");
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_source("task.wit", WIT).expect("the contract parses");
    let world = resolve.select_world(&[package], Some(world)).expect("the world is there");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).expect("embeds");
    ComponentEncoder::default().validate(true).module(&module).expect("is a module").encode().expect("encodes")
}

/// An executor and the node around it.
pub(crate) struct Node {
    pub(crate) folder: Arc<TempDir>,
    /// Of its files in the folder.
    name: String,
    pub(crate) blobs: BTreeMap<Blob, Vec<u8>>,
    /// How often the executor asked for bytes.
    pub(crate) reads: usize,
    /// None: it is a lane of an executor that has others.
    child: Option<Child>,
    stdin: Option<Box<dyn Write + Send>>,
    replies: Receiver<Reply>,
}

impl Node {
    pub(crate) fn start() -> Self {
        Self::spawn(&mut Command::new(env!("CARGO_BIN_EXE_pd-executor")))
    }

    /// An executor that may map only so many bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn with_address_space(bytes: u64) -> Self {
        let limited = format!("ulimit -v {}; exec \"$0\"", bytes >> 10);
        Self::spawn(Command::new("sh").args(["-c", &limited, env!("CARGO_BIN_EXE_pd-executor")]))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .env("SECRET", "of the kubelet")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the executor starts");
        let stdout = child.stdout.take().expect("piped");
        let stdin = child.stdin.take().expect("piped");
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let mut node = Self::over(stdout, stdin, folder, String::new());
        node.child = Some(child);
        node
    }

    /// Speaks over any pair of streams.
    pub(crate) fn over(
        mut stdout: impl Read + Send + 'static,
        stdin: impl Write + Send + 'static,
        folder: Arc<TempDir>,
        name: String,
    ) -> Self {
        let (sender, replies) = channel();
        thread::spawn(move || {
            while let Ok(Some(reply)) = read(&mut stdout) {
                if sender.send(reply).is_err() {
                    break;
                }
            }
        });
        Self { folder, name, blobs: BTreeMap::new(), reads: 0, child: None, stdin: Some(Box::new(stdin)), replies }
    }

    /// An executor with the guest compiled and prepared for these params.
    pub(crate) fn with_guest(params: &str, change: impl FnOnce(&mut Context)) -> Self {
        let mut node = Self::start();
        assert_eq!(node.compile(&guest()), Reply::Prepared);
        assert_eq!(node.prepare(params, change), Reply::Prepared);
        node
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("a process of its own").id()
    }

    pub(crate) fn compiled(&self) -> PathBuf {
        self.folder.path().join(format!("compiled{}", self.name))
    }

    pub(crate) fn compile(&mut self, component: &[u8]) -> Reply {
        self.compile_within(component, COMPILE_MS, COMPILE_BYTES)
    }

    /// Compiles for a context with canonical NaNs.
    pub(crate) fn compile_canonical(&mut self, component: &[u8]) -> Reply {
        let path = self.folder.path().join("component");
        fs::write(&path, component).expect("writes");
        self.send(&Request::Compile {
            component: text(&path),
            compiled: text(&self.compiled()),
            cpu_ms_max: COMPILE_MS,
            memory_bytes_max: COMPILE_BYTES,
            canonical_nans: true,
        });
        self.next()
    }

    pub(crate) fn compile_within(&mut self, component: &[u8], cpu_ms_max: u64, memory_bytes_max: u64) -> Reply {
        let path = self.folder.path().join(format!("component{}", self.name));
        fs::write(&path, component).expect("writes");
        let (component, compiled) = (text(&path), text(&self.compiled()));
        self.send(&Request::Compile { component, compiled, cpu_ms_max, memory_bytes_max, canonical_nans: false });
        self.next()
    }

    pub(crate) fn prepare(&mut self, params: &str, change: impl FnOnce(&mut Context)) -> Reply {
        let mut context = Context {
            compiled: text(&self.compiled()),
            params: params.to_owned(),
            memory_bytes_max: 16 << 20,
            call_ms_max: 30_000,
            output_bytes_max: 1 << 20,
            log_bytes_max: 1 << 10,
            goal: Some(2),
            cpu_ms_max: None,
            isolation: Isolation::Subtask,
            canonical_nans: false,
            host_kernels: true,
        };
        change(&mut context);
        self.send(&Request::Prepare(context));
        self.next()
    }

    pub(crate) fn send(&mut self, request: &Request) {
        write(self.stdin.as_mut().expect("open"), request).expect("the executor listens");
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().expect("open").write_all(bytes).expect("the executor listens");
    }

    /// The next reply that is not a `Read`; those are answered.
    pub(crate) fn next(&mut self) -> Reply {
        self.try_next().expect("the executor replies")
    }

    /// The same; none once the executor has ended.
    pub(crate) fn try_next(&mut self) -> Option<Reply> {
        loop {
            let reply = self.replies.recv_timeout(PATIENCE).ok()?;
            let Reply::Read { blob, offset, length } = &reply else { return Some(reply) };
            self.reads += 1;
            let answer = self.blobs.get(blob).map(|bytes| {
                let from = bytes.len().min(*offset as usize);
                let to = bytes.len().min(from + *length as usize);
                ReadAnswer { size: bytes.len() as u64, bytes: bytes[from..to].to_vec() }
            });
            self.send(&Request::Data(answer));
        }
    }

    /// Runs a range and returns what ended, in order.
    pub(crate) fn run(&mut self, first: u64, last: u64) -> Vec<Ended> {
        self.send(&Request::Run { first, last, careful: false });
        self.until_done()
    }

    pub(crate) fn until_done(&mut self) -> Vec<Ended> {
        let mut all = Vec::new();
        loop {
            match self.next() {
                Reply::Ended(ended) => all.extend(ended.unpack().expect("adds up")),
                Reply::Progress { .. } => {}
                Reply::Done => return all,
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The outcome of a single index.
    pub(crate) fn outcome(&mut self, index: u64) -> Outcome<Vec<u8>> {
        let mut ended = self.run(index, index);
        assert_eq!(ended.len(), 1);
        ended.remove(0).call.outcome
    }

    /// Ends the executor as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.as_mut().expect("a process of its own").kill().expect("is our child");
    }

    /// Closes the executor's standard input.
    pub(crate) fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// Waits for the executor's end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            let child = self.child.as_mut().expect("a process of its own");
            if let Some(status) = child.try_wait().expect("is our child") {
                return status;
            }
            assert!(Instant::now() < until, "the executor did not end");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}
