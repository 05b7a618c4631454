//! One call of a task, on the machine of the person who asks why.
//!
//! In: a component, params, inputs, an index. Out: outcome, trace, log and figures, as text or JSON; the call is made
//! behind the same walls as on a node.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use executor_protocol::{Blob, Call, Layout, Outcome};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;

use crate::compile::from_bytes;
use crate::coredump::CoreDumps;
use crate::engine::{Variant, variant};
use crate::given::{Given, Limits, component, open};
use crate::host::{Host, bindings::TaskPre};
use crate::local::{Session, Shared, Source, lock, told};
use crate::prepare::check;
use crate::sandbox::{self, Way};
use crate::usage::{Usage, cpu_time};

/// The call did not succeed.
const FAILED: u8 = 1;

/// Flags of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The task's component, or a core module of its world
    #[arg(long, value_name = "FILE")]
    pub module: PathBuf,
    /// Which of the task's functions to call
    #[arg(long, value_enum, default_value_t = Function::Run)]
    pub call: Function,
    /// The index to run
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub index: u64,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    limits: Limits,
    /// The state that the plan left; unless given, the plan is called here first
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Number of targets of a task that searches; unless given, that of the plan
    #[arg(long, value_name = "N")]
    pub goal: Option<u64>,
    /// For `merge`: number of indexes; unless given, that of the plan
    #[arg(long, value_name = "N")]
    pub subtasks: Option<u64>,
    /// For `merge`: a folder with the outputs, one file each, named by its index; unless given, all are computed here
    #[arg(long, value_name = "DIR")]
    pub parts: Option<PathBuf>,
    /// Where the output of `run`, the result of `merge` or the state of `plan` goes
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// When the call fails, write there what it had in memory, for a debugger of WebAssembly
    #[arg(long, value_name = "FILE")]
    pub coredump: Option<PathBuf>,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Compile for a debugger, and without limits on time: `gdb --args pd-executor replay … --gdb`
    #[arg(long)]
    pub gdb: bool,
}

/// A function of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Function {
    /// Cuts the job into indexes
    Plan,
    /// Computes one index
    Run,
    /// Joins the outputs
    Merge,
}

/// Does what the flags say, prints what came of it.
pub(crate) fn replay(options: &Replay) -> Result<ExitCode> {
    let mut stage = Stage::open(options)?;
    let before = cpu_time();
    let report = match options.call {
        Function::Plan => stage.report_plan(before)?,
        Function::Run => stage.report_run(options.index)?,
        Function::Merge => stage.report_merge()?,
    };
    stage.write_core_dump()?;
    report.print(options.json);
    Ok(if report.outcome == "Success" { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Everything opened and compiled, and the walls around it.
struct Stage<'a> {
    options: &'a Replay,
    engine: Engine,
    task: TaskPre<Host>,
    sources: Shared,
    output: Option<File>,
    /// Where a core dump goes, and the one that came of the call.
    core_dump: Option<(File, Arc<CoreDumps>)>,
    usage: Usage,
}

impl<'a> Stage<'a> {
    fn open(options: &'a Replay) -> Result<Self> {
        // Whoever debugs is told of a missing wall by `pd-executor walls`; here it would hide what they look for.
        drop(sandbox::enter());
        let bytes = component(&options.module)?;
        let sources = options.given.sources()?;
        if let Some(path) = &options.state {
            lock(&sources).blobs.insert(Blob::State, Source::File(open(path)?));
        }
        lock(&sources).parts.clone_from(&options.parts);
        let output = options.output.as_deref().map(create).transpose()?;
        let core_dump = options.coredump.as_deref().map(create).transpose()?.map(|file| (file, Arc::default()));
        let usage = Usage::open();
        let ways: Vec<Way<'_>> = options.parts.as_deref().map(Way::Read).into_iter().collect();
        drop(sandbox::confine(&ways));
        let with_core_dumps = core_dump.is_some();
        let engine = variant(Variant { for_debugger: options.gdb, with_core_dumps, ..Variant::default() })?;
        let task = check(&engine, &from_bytes(&engine, &bytes)?)?;
        Ok(Self { options, engine, task, sources, output, core_dump, usage })
    }

    fn session(&self, goal: Option<u64>) -> Result<Session> {
        let mut context = self.options.given.context(&self.options.limits, goal)?;
        if self.options.gdb {
            let unlimited =
                self.options.given.context(&Limits { memory: context.memory_bytes_max, ..Limits::NONE }, goal)?;
            context = unlimited;
        }
        let core_dumps = self.core_dump.as_ref().map(|(_, core_dumps)| Arc::clone(core_dumps));
        Session::start_with(&self.engine, self.task.clone(), context, &self.sources, core_dumps)
    }

    /// Writes what the call left, if it was asked for and there is something.
    fn write_core_dump(&mut self) -> Result<()> {
        let Some((file, core_dumps)) = &mut self.core_dump else { return Ok(()) };
        match core_dumps.take() {
            Some(Ok(bytes)) => file.write_all(&bytes).context("cannot write the core dump"),
            Some(Err(why)) => {
                eprintln!("pd-executor: no core dump: {why}");
                Ok(())
            }
            None => {
                eprintln!("pd-executor: no core dump: the call did not fail in the task's own code");
                Ok(())
            }
        }
    }

    fn report_plan(&mut self, before: Duration) -> Result<Report> {
        let call = self.session(None)?.plan()?;
        let mut report = Report::of("plan", None, &call, before, &self.usage);
        if let Outcome::Success(layout) = &call.outcome {
            self.keep(&layout.state, &mut report)?;
            report.layout = Some(layout.clone());
        }
        Ok(report)
    }

    fn report_run(&mut self, index: u64) -> Result<Report> {
        let goal = match (&self.options.state, self.options.goal) {
            (Some(_), goal) => goal,
            (None, goal) => {
                let layout = self.planned()?;
                ensure!(
                    index < layout.subtasks,
                    "--index {index}: the plan answers {} subtasks for these params",
                    layout.subtasks
                );
                goal.or(layout.goal)
            }
        };
        let mut session = self.session(goal)?;
        let before = cpu_time();
        let ended = session.run(index)?;
        let mut report = Report::of("run", Some(index), &ended.call, before, &self.usage);
        report.found = ended.found;
        if let Outcome::Success(output) = &ended.call.outcome {
            self.keep(output, &mut report)?;
        }
        Ok(report)
    }

    fn report_merge(&mut self) -> Result<Report> {
        let (goal, subtasks) = match (&self.options.state, self.options.subtasks) {
            (Some(_), Some(subtasks)) => (self.options.goal, subtasks),
            (_, subtasks) => {
                let layout = self.planned()?;
                (self.options.goal.or(layout.goal), subtasks.unwrap_or(layout.subtasks))
            }
        };
        let mut session = self.session(goal)?;
        if self.options.parts.is_none() {
            self.compute_parts(&mut session, subtasks)?;
        }
        let (mut digest, mut bytes, mut output) = (Sha256::new(), 0, self.output.take());
        let before = cpu_time();
        let call = session.merge(subtasks, &mut |piece| {
            digest.update(piece);
            bytes += piece.len() as u64;
            output.as_mut().map_or(Ok(()), |file| file.write_all(piece))
        })?;
        let mut report = Report::of("merge", None, &call, before, &self.usage);
        report.output = Some((bytes, hex(&digest.finalize())));
        Ok(report)
    }

    /// Calls the plan for its state, unless that was given.
    fn planned(&self) -> Result<Layout> {
        let call = self.session(None)?.plan()?;
        let Call { outcome: Outcome::Success(layout), .. } = call else {
            let (outcome, message) = told(&call.outcome);
            bail!("the plan must succeed first: {outcome}: {}", message.unwrap_or_default());
        };
        lock(&self.sources).blobs.entry(Blob::State).or_insert_with(|| Source::Bytes(layout.state.clone()));
        Ok(layout)
    }

    fn compute_parts(&self, session: &mut Session, subtasks: u64) -> Result<()> {
        for index in 0..subtasks {
            let ended = session.run(index)?;
            match ended.call.outcome {
                Outcome::Success(output) => {
                    lock(&self.sources).blobs.insert(Blob::Part(index), Source::Bytes(output));
                }
                // As in the cluster, an index that failed has no part.
                failed => {
                    eprintln!("pd-executor: index {index}: {}: {}", told(&failed).0, told(&failed).1.unwrap_or(""));
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8], report: &mut Report) -> Result<()> {
        if let Some(file) = &mut self.output {
            file.write_all(bytes).context("cannot write the output")?;
        }
        report.output = Some((bytes.len() as u64, hex(&Sha256::digest(bytes))));
        Ok(())
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What came of the call.
struct Report {
    call: &'static str,
    index: Option<u64>,
    outcome: &'static str,
    message: Option<String>,
    limits: Vec<&'static str>,
    log: String,
    wall_ns: u64,
    cpu_ns: u64,
    memory_peak_bytes: u64,
    resident_peak_bytes: Option<u64>,
    /// Bytes and SHA-256.
    output: Option<(u64, String)>,
    found: Vec<u64>,
    layout: Option<Layout>,
}

impl Report {
    fn of<T>(name: &'static str, index: Option<u64>, call: &Call<T>, cpu_before: Duration, usage: &Usage) -> Self {
        let cpu = cpu_time().saturating_sub(cpu_before);
        let (outcome, message) = told(&call.outcome);
        Self {
            call: name,
            index,
            outcome,
            message: message.map(ToOwned::to_owned),
            limits: call.limits.iter().map(|limit| limit.name()).collect(),
            log: call.log.clone(),
            wall_ns: call.wall_ns,
            cpu_ns: u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX),
            memory_peak_bytes: call.memory_peak_bytes,
            resident_peak_bytes: usage.resident_peak_bytes(),
            output: None,
            found: Vec::new(),
            layout: None,
        }
    }

    fn print(&self, as_json: bool) {
        if as_json {
            println!("{}", self.json());
        } else {
            print!("{}", self.text());
        }
    }

    fn json(&self) -> Value {
        let layout = self.layout.as_ref().map(|layout| {
            let Layout { subtasks, media_type, goal, state } = layout;
            json!({"subtasks": subtasks, "mediaType": media_type, "goal": goal, "stateBytes": state.len()})
        });
        json!({
            "call": self.call,
            "index": self.index,
            "outcome": self.outcome,
            "message": self.message,
            "limits": self.limits,
            "log": self.log,
            "wallNs": self.wall_ns,
            "cpuNs": self.cpu_ns,
            "memoryPeakBytes": self.memory_peak_bytes,
            "residentPeakBytes": self.resident_peak_bytes,
            "outputBytes": self.output.as_ref().map_or(0, |(bytes, _)| *bytes),
            "outputSha256": self.output.as_ref().map(|(_, digest)| digest),
            "found": self.found,
            "layout": layout,
        })
    }

    fn text(&self) -> String {
        let index = self.index.map(|index| format!(" of index {index}")).unwrap_or_default();
        let mut lines = vec![format!("{}{index}: {}", self.call, self.outcome)];
        lines.extend(self.message.clone());
        if let Some(layout) = &self.layout {
            let goal = layout.goal.map(|goal| format!(", goal {goal}")).unwrap_or_default();
            lines.push(format!("{} subtasks, {}{goal}", layout.subtasks, layout.media_type));
        }
        if let Some((bytes, digest)) = &self.output {
            lines.push(format!("output: {bytes} bytes, sha256:{digest}"));
        }
        if !self.found.is_empty() {
            lines.push(format!("found: {:?}", self.found));
        }
        if !self.log.is_empty() {
            lines.push("log:".to_owned());
            lines.extend(self.log.lines().map(|line| format!("  {line}")));
        }
        let (wall, cpu) = (Duration::from_nanos(self.wall_ns), Duration::from_nanos(self.cpu_ns));
        let kibibytes = self.memory_peak_bytes >> 10;
        lines.push(format!("took {wall:.1?} of wall time, {cpu:.1?} of processor time, {kibibytes} KiB of memory\n"));
        lines.join("\n")
    }
}
