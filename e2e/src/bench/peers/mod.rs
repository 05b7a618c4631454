//! The same jobs on ProcessDistro and on the systems people would use instead, side by side on the same two cores.
//!
//! Every system has two workers of one thread; only one is up at a time, and each round starts every one of them anew, in
//! another order. All others run the same native kernels through `ctypes` or as a program; ours runs its components in the
//! sandbox, with everything that belongs to a job: the plan, segments that are hashed, stored and uploaded, the merge.
//! A job's time is from its submission to its last output.

mod figures;
mod jobs;
mod plot;
mod python;
mod systems;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};

use figures::{Figures, Sample, Singles};
use jobs::{Job, Kind};
use systems::{Place, System, single_thread};

use crate::binaries::Binaries;

/// A trivial job that takes more than this share of the limit is measured once, not in each round.
const ONCE_SHARE: f64 = 0.15;

/// What to compare.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Measured rounds.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Which jobs.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Trivial, Kind::Mandelbrot, Kind::Sha256, Kind::Heavy])]
    jobs: Vec<Kind>,
    /// Which systems.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [System::ProcessDistro, System::Batch, System::Pool, System::Xargs, System::Ray, System::Dask])]
    systems: Vec<System>,
    /// Subtasks of the trivial jobs, ascending.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000, 1_000_000, 10_000_000])]
    sizes: Vec<u64>,
    /// Seconds: a trivial job that would take a system longer, by its rate at the size before, is left out.
    #[arg(long, default_value_t = 62.0)]
    limit: f64,
    /// The Python that the environment with Dask and Ray is made of.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Where to draw the figures, as SVG: those of this run, and the latest of jobs that it leaves out.
    #[arg(long)]
    plot: Option<PathBuf>,
}

/// Runs everything and prints the tables.
pub(super) async fn run(options: Options) -> Result<()> {
    let began = Instant::now();
    let mut comparison = Comparison::prepare(&options)?;
    for round in 0..options.rounds {
        comparison.round(round).await?;
    }
    let Comparison { place, samples, .. } = comparison;
    let figures = Figures::of(&samples);
    figures.print();
    println!("{} rounds in {:.0} s", options.rounds, began.elapsed().as_secs_f64());
    let all = figures.merged_with(&place.folder.join("figures.json"))?;
    if let Some(file) = &options.plot {
        fs::write(file, plot::svg(&all)).with_context(|| format!("writing {}", file.display()))?;
        println!("drawn to {}", file.display());
    }
    Ok(())
}

struct Comparison<'a> {
    options: &'a Options,
    place: Place,
    systems: Vec<System>,
    computing: Vec<Job>,
    samples: Vec<Sample>,
}

impl<'a> Comparison<'a> {
    fn prepare(options: &'a Options) -> Result<Self> {
        let (place, systems) = place(options)?;
        let kinds = options.jobs.iter().filter(|kind| **kind != Kind::Trivial);
        let computing = kinds.map(|kind| Job::computing(*kind, &place.folder)).collect::<Result<_>>()?;
        Ok(Self { options, place, systems, computing, samples: Vec::new() })
    }

    async fn round(&mut self, round: u32) -> Result<()> {
        let mut singles = BTreeMap::new();
        for job in &self.computing {
            let ours = single_thread(&self.place, job, true)?;
            let native = single_thread(&self.place, job, false)?;
            singles.insert(job.kind, Singles { ours, native });
        }
        // Nobody is always the one after the same other.
        let mut systems = self.systems.clone();
        let turn = round as usize % systems.len().max(1);
        systems.rotate_left(turn);
        for system in systems {
            let measured = self.measure(system, round, &singles).await;
            measured.with_context(|| format!("measuring {}", system.name()))?;
        }
        Ok(())
    }

    async fn measure(&mut self, system: System, round: u32, singles: &BTreeMap<Kind, Singles>) -> Result<()> {
        let mut running = system.start(&self.place).await?;
        for count in self.sizes() {
            if self.is_left_out(system, count, round) {
                break;
            }
            let seconds = running.run(&Job::trivial(count)).await?;
            self.samples.push(shown(Sample { kind: Kind::Trivial, system, count, seconds, singles: None }));
        }
        // An instance for many subtasks is for subtasks that are short.
        for job in self.computing.iter().filter(|_| system != System::Batch) {
            let seconds = running.run(job).await?;
            let singles = singles.get(&job.kind).copied();
            self.samples.push(shown(Sample { kind: job.kind, system, count: job.count, seconds, singles }));
        }
        running.stop().await
    }

    fn sizes(&self) -> Vec<u64> {
        if self.options.jobs.contains(&Kind::Trivial) { self.options.sizes.clone() } else { Vec::new() }
    }

    /// True when a system would take too long for a trivial job, or has taken long enough for it in the first round.
    fn is_left_out(&self, system: System, count: u64, round: u32) -> bool {
        let smaller = self
            .samples
            .iter()
            .rev()
            .find(|sample| sample.kind == Kind::Trivial && sample.system == system && sample.count < count);
        let expected = smaller.map_or(0.0, |sample| sample.seconds * count as f64 / sample.count as f64);
        expected > self.options.limit || (round > 0 && expected > self.options.limit * ONCE_SHARE)
    }
}

/// Tells whoever waits how far it is.
fn shown(sample: Sample) -> Sample {
    eprintln!("{sample}");
    sample
}

/// Folders, programs, and the systems that can be had.
fn place(options: &Options) -> Result<(Place, Vec<System>)> {
    let binaries = Binaries::locate()?;
    let program = binaries.program("pd-kernel");
    let library =
        binaries.program(&format!("{}bench_kernels{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX));
    let target = program.parent().and_then(Path::parent).context("the programs' folder has no parent")?;
    let folder = target.join("peers");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut systems = options.systems.clone();
    let python = if systems.iter().any(|system| matches!(system, System::Ray | System::Dask)) {
        python::environment(&folder, &options.python).unwrap_or_else(|error| {
            eprintln!("DASK AND RAY ARE LEFT OUT, for they could not be installed: {error:#}");
            systems.retain(|system| !matches!(system, System::Ray | System::Dask));
            options.python.clone()
        })
    } else {
        options.python.clone()
    };
    Ok((Place { folder, python, library, program }, systems))
}
