//! What was measured, and the tables of it.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{
    jobs::{Kind, longest_share},
    systems::{SLOTS, System},
};
use crate::bench::spread;

/// What ours has to reach: trivial subtasks a second with a fresh sandbox each and in `Batch`, efficiency, and makespan
/// over its lower bound.
const FRESH_MIN: f64 = 60_000.0;
const BATCH_MIN: f64 = 1_000_000.0;
const MANDELBROT_MIN: f64 = 0.95;
const HEAVY_MAX: f64 = 1.03;

/// Seconds that all of a job takes on one thread, without any system around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Singles {
    /// Our component in the bare wasmtime loop.
    pub ours: f64,
    /// The native kernel that all others run.
    pub native: f64,
}

/// One job on one system in one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub kind: Kind,
    pub system: System,
    pub count: u64,
    pub seconds: f64,
    /// None for trivial jobs.
    pub singles: Option<Singles>,
}

impl Sample {
    /// What the job is judged by: subtasks a second, efficiency, or makespan over its lower bound.
    fn figure(&self) -> f64 {
        let single =
            self.singles.map_or(0.0, |singles| if self.system.is_ours() { singles.ours } else { singles.native });
        let slots = f64::from(SLOTS);
        match self.kind {
            Kind::Trivial => self.count as f64 / self.seconds,
            Kind::Mandelbrot | Kind::Sha256 => single / (self.seconds * slots),
            Kind::Heavy => self.seconds / (single / slots).max(single * longest_share()),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, system) = (self.kind.name(), self.system.name());
        write!(formatter, "{system}: {kind} job of {}: {:.3} s", self.count, self.seconds)
    }
}

/// Medians of what was measured.
#[derive(Default)]
pub(super) struct Figures {
    /// Seconds of each job on each system, a number a round.
    seconds: BTreeMap<(Kind, u64, System), Vec<f64>>,
    /// The same of what it is judged by.
    reached: BTreeMap<(Kind, u64, System), Vec<f64>>,
    singles: BTreeMap<Kind, (Vec<f64>, Vec<f64>)>,
}

/// The best median of each system, by job and system: what is drawn.
pub(super) type Best = BTreeMap<String, BTreeMap<String, f64>>;

impl Figures {
    pub(super) fn of(samples: &[Sample]) -> Self {
        let mut figures = Self::default();
        for sample in samples {
            let key = (sample.kind, sample.count, sample.system);
            figures.seconds.entry(key).or_default().push(sample.seconds);
            figures.reached.entry(key).or_default().push(sample.figure());
            if let Some(singles) = sample.singles {
                let (ours, native) = figures.singles.entry(sample.kind).or_default();
                ours.push(singles.ours);
                native.push(singles.native);
            }
        }
        figures
    }

    pub(super) fn print(&self) {
        self.print_trivial();
        for kind in [Kind::Mandelbrot, Kind::Sha256, Kind::Heavy] {
            self.print_computing(kind);
        }
        self.print_goals();
    }

    fn print_trivial(&self) {
        let keys = || self.reached.keys().filter(|(kind, _, _)| *kind == Kind::Trivial);
        let mut counts: Vec<u64> = keys().map(|(_, count, _)| *count).collect();
        counts.sort_unstable();
        counts.dedup();
        if counts.is_empty() {
            return;
        }
        print!("{:<24}", "trivial subtasks/s, of");
        counts.iter().for_each(|count| print!(" {count:>10}"));
        println!();
        for system in self.systems(Kind::Trivial) {
            print!("{:<24}", system.name());
            for count in &counts {
                match self.reached.get(&(Kind::Trivial, *count, system)) {
                    Some(figures) => print!(" {:>10.0}", median(figures)),
                    None => print!(" {:>10}", "-"),
                }
            }
            println!();
        }
        println!();
    }

    fn print_computing(&self, kind: Kind) {
        let Some((ours, native)) = self.singles.get(&kind) else { return };
        let judged = if kind == Kind::Heavy { "over bound" } else { "efficiency" };
        println!("{}; one thread: native {:.2} s, bare wasmtime {:.2} s", kind.name(), median(native), median(ours));
        println!("{:<24} {:>8} {:>8} {:>8} {judged:>11}", "seconds", "minimum", "median", "maximum");
        for ((_, _, system), figures) in self.reached.iter().filter(|((of, _, _), _)| *of == kind) {
            let mut seconds: Vec<f64> = self.seconds_of(kind, *system);
            let (minimum, middle, maximum) = spread(&mut seconds);
            let name = system.name();
            println!("{name:<24} {minimum:>8.2} {middle:>8.2} {maximum:>8.2} {:>11.3}", median(figures));
        }
        println!();
    }

    fn print_goals(&self) {
        let best = self.best();
        let of = |kind: Kind, system: System| best.get(kind.name())?.get(system.name()).copied();
        let goals = [
            (of(Kind::Trivial, System::ProcessDistro), "trivial subtasks/s, a fresh sandbox each", ">=", FRESH_MIN),
            (of(Kind::Trivial, System::Batch), "trivial subtasks/s, Batch", ">=", BATCH_MIN),
            (of(Kind::Mandelbrot, System::ProcessDistro), "Mandelbrot, efficiency", ">=", MANDELBROT_MIN),
            (of(Kind::Heavy, System::ProcessDistro), "heavy-tailed, over the lower bound", "<=", HEAVY_MAX),
        ];
        for (found, what, sign, goal) in goals {
            let Some(found) = found else { continue };
            let is_met = if sign == ">=" { found >= goal } else { found <= goal };
            println!("{what}: {found:.3} (goal {sign} {goal}: {})", if is_met { "met" } else { "NOT MET" });
        }
    }

    /// Those measured with a job, in the order of their declaration.
    fn systems(&self, kind: Kind) -> Vec<System> {
        let mut systems: Vec<System> =
            self.reached.keys().filter(|(of, _, _)| *of == kind).map(|(_, _, system)| *system).collect();
        systems.sort_unstable();
        systems.dedup();
        systems
    }

    fn seconds_of(&self, kind: Kind, system: System) -> Vec<f64> {
        let of = self.seconds.iter().filter(|((a, _, b), _)| (*a, *b) == (kind, system));
        of.flat_map(|(_, seconds)| seconds.clone()).collect()
    }

    fn best(&self) -> Best {
        let mut best = Best::new();
        for ((kind, _, system), figures) in &self.reached {
            let figure = median(figures);
            let known =
                best.entry(kind.name().to_owned()).or_default().entry(system.name().to_owned()).or_insert(figure);
            *known = known.max(figure);
        }
        best
    }

    /// Keeps these in `file`, with those of other jobs that earlier runs left there.
    pub(super) fn merged_with(&self, file: &Path) -> Result<Best> {
        #[derive(Default, Serialize, Deserialize)]
        struct Kept(Best);
        let kept = fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Kept(mut all) = kept.unwrap_or_default();
        all.extend(self.best());
        let kept = Kept(all);
        fs::write(file, serde_json::to_vec_pretty(&kept)?).with_context(|| format!("writing {}", file.display()))?;
        Ok(kept.0)
    }
}

fn median(values: &[f64]) -> f64 {
    spread(&mut values.to_vec()).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(kind: Kind, system: System, seconds: f64) -> Sample {
        let singles = (kind != Kind::Trivial).then_some(Singles { ours: 8.0, native: 10.0 });
        Sample { kind, system, count: 1000, seconds, singles }
    }

    #[test]
    fn each_side_is_judged_by_its_own_kernel() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(sample(Kind::Mandelbrot, System::ProcessDistro, 5.0).figure(), 0.8));
        assert!(close(sample(Kind::Mandelbrot, System::Ray, 5.0).figure(), 1.0));
        assert!(close(sample(Kind::Heavy, System::Dask, 6.0).figure(), 1.2));
        assert!(close(sample(Kind::Trivial, System::Pool, 2.0).figure(), 500.0));
        assert!(longest_share() < 0.5, "the bound is the sum over the slots");
    }

    #[test]
    fn earlier_figures_of_other_jobs_are_kept() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let trivial =
            Figures::of(&[sample(Kind::Trivial, System::Pool, 2.0), sample(Kind::Trivial, System::Pool, 4.0)]);
        assert_eq!(trivial.merged_with(file.path()).expect("writes").len(), 1);
        let image = Figures::of(&[sample(Kind::Mandelbrot, System::Ray, 10.0)]);
        let all = image.merged_with(file.path()).expect("writes");
        assert!((all["trivial"]["Python's Pool, chunk 1"] - 250.0).abs() < 1e-9);
        assert!((all["Mandelbrot"]["Ray"] - 0.5).abs() < 1e-9);
    }
}
