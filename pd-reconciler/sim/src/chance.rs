//! Chance: the one source of randomness of a simulation. splitmix64 (Steele, Lea, Flood 2014), so that a seed
//! means the same on every machine and with every version of any library.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Chance(u64);

/// Two to the 53rd: the integers that a double holds exactly.
const UNIT: f64 = (1_u64 << 53) as f64;

impl Chance {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// An independent stream, for one purpose of the same simulation: what one purpose draws moves no other.
    pub fn fork(&self, purpose: u64) -> Self {
        let mut fork = Self(self.0 ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93));
        fork.bits();
        fork
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..limit`; 0 when `limit` is.
    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.bits() % limit }
    }

    /// In `least..=most`.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// True that many times in a thousand.
    pub fn permille(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// In `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / UNIT
    }

    /// Between `least` and `most`, evenly on a logarithmic scale.
    pub fn log_between(&mut self, least: f64, most: f64) -> f64 {
        least * (most / least).powf(self.unit())
    }

    /// One of `choices`, which are not empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// A number in `0.0..1.0` that depends on its arguments alone.
pub(crate) fn hashed(seed: u64, a: u64, b: u64) -> f64 {
    let mut chance = Chance(seed ^ a.rotate_left(40) ^ b.rotate_left(17));
    chance.bits();
    chance.unit()
}
