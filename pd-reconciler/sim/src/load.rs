//! Load: what the subtasks of a job really cost, and with `outcomes` how they end. The plan and the kubelets never see this;
//! they find out by running.

use std::sync::Arc;

use crate::{
    chance::{Chance, hashed},
    outcomes::Outcomes,
};

/// How costs vary over the indexes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each within 20 % of the mean.
    Uniform,
    /// Rising from a tenth of the mean at the first index to 1.9 times it at the last.
    Ramp,
    /// Pareto with exponent 1.5, cut at 500 times the least cost: a few indexes cost a hundred times the
    /// median, spread at random.
    HeavyTailed,
    /// One index in ten costs twenty times the others, in blocks of a hundred, as regions of a picture do.
    Bimodal,
}

impl Shape {
    /// Every shape, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Uniform, Self::Ramp, Self::HeavyTailed, Self::Bimodal];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Ramp => "ramp",
            Self::HeavyTailed => "heavy-tailed",
            Self::Bimodal => "bimodal",
        }
    }

    /// Cost of one index of `count`, before it is scaled to the mean.
    fn cost(self, index: u64, count: u64, seed: u64) -> f64 {
        let chance = hashed(seed, index, 1);
        match self {
            Self::Uniform => 0.8 + 0.4 * chance,
            Self::Ramp => 0.1 + 1.8 * (index as f64 + 0.5) / count as f64,
            Self::HeavyTailed => (1.0 - chance).powf(-1.0 / 1.5).min(500.0),
            Self::Bimodal if hashed(seed, index / 100, 2) < 0.1 => 20.0 * (0.9 + 0.2 * chance),
            Self::Bimodal => 0.9 + 0.2 * chance,
        }
    }
}

/// The costs of a job's indexes.
#[derive(Clone, Debug)]
pub struct Costs {
    /// Cost of all indexes below each, in microseconds at speed 1; one longer than the indexes are many.
    below: Arc<[f64]>,
    longest: f64,
}

impl Costs {
    /// Costs of `count` indexes with a mean of `mean_micros`.
    pub fn new(shape: Shape, count: u64, mean_micros: f64, seed: u64) -> Self {
        let raw: Vec<f64> = (0..count).map(|index| shape.cost(index, count, seed)).collect();
        let scale = mean_micros * count as f64 / raw.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let mut below = Vec::with_capacity(raw.len() + 1);
        let (mut sum, mut longest) = (0.0, 0.0_f64);
        below.push(0.0);
        for cost in raw {
            sum += cost * scale;
            longest = longest.max(cost * scale);
            below.push(sum);
        }
        Self { below: below.into(), longest }
    }

    /// Number of indexes.
    pub fn count(&self) -> u64 {
        self.below.len() as u64 - 1
    }

    /// Cost of `first..=last`.
    pub fn of(&self, first: u64, last: u64) -> f64 {
        self.below[last as usize + 1] - self.below[first as usize]
    }

    /// Cost of all.
    pub fn total(&self) -> f64 {
        self.below[self.below.len() - 1]
    }

    /// Cost of the longest.
    pub fn longest(&self) -> f64 {
        self.longest
    }

    /// The index that runs when `done` of the cost of `first..` is paid; `last + 1` when all is.
    pub fn reached(&self, first: u64, last: u64, done: f64) -> u64 {
        // A rounding error must not hold an index back whose end is due.
        let paid = self.below[first as usize] + done + 1e-3;
        let ends = &self.below[first as usize + 1..=last as usize + 1];
        first + ends.partition_point(|end| *end <= paid) as u64
    }
}

/// What is true of one job.
#[derive(Clone, Debug)]
pub struct Load {
    /// What its indexes cost.
    pub costs: Costs,
    /// How they end.
    pub outcomes: Outcomes,
    /// Cost of the plan call and of the merge call, in microseconds at speed 1.
    pub call_cost: f64,
}

impl Load {
    /// A load of `count` indexes in which nothing fails.
    pub fn sound(shape: Shape, count: u64, mean_micros: f64, chance: &mut Chance) -> Self {
        let costs = Costs::new(shape, count, mean_micros, chance.bits());
        Self { costs, outcomes: Outcomes::default(), call_cost: 2000.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_add_up_to_the_mean_and_progress_finds_the_index() {
        for shape in Shape::ALL {
            let costs = Costs::new(shape, 10_000, 500.0, 7);
            assert!((costs.total() / 5_000_000.0 - 1.0).abs() < 1e-9, "{shape:?}");
            assert_eq!(costs.reached(10, 20, 0.0), 10);
            assert_eq!(costs.reached(10, 20, costs.of(10, 14)), 15);
            assert_eq!(costs.reached(10, 20, costs.of(10, 20)), 21);
            assert!(costs.longest() >= costs.of(3, 3));
        }
    }

    #[test]
    fn shapes_are_as_their_names_say() {
        let ratio = |shape| {
            let costs = Costs::new(shape, 20_000, 1000.0, 3);
            costs.longest() / (costs.total() / 20_000.0)
        };
        assert!(ratio(Shape::Uniform) < 1.21);
        assert!(ratio(Shape::Ramp) < 1.91);
        assert!(ratio(Shape::HeavyTailed) > 50.0);
        assert!((5.0..9.0).contains(&ratio(Shape::Bimodal)), "{}", ratio(Shape::Bimodal));
    }
}
