//! The line between one component and the API server: latency, loss, doubled requests, cuts in either
//! direction. Requests overtake each other; the news of one watch stays in order, as on a TCP connection, and a
//! lost message breaks it.

use crate::{chance::Chance, events::Micros};

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) out_is_cut: bool,
    pub(crate) in_is_cut: bool,
    /// Least time one way.
    pub(crate) latency: Micros,
    /// Mean of what comes on top.
    pub(crate) jitter: Micros,
    /// In a thousand, each way.
    pub(crate) loss: u64,
    /// In a thousand requests.
    pub(crate) doubled: u64,
    /// Grows with each start of the process: answers to an earlier one are nobody's.
    pub(crate) incarnation: u32,
    /// Grows with each watch.
    pub(crate) session: u32,
    pub(crate) is_watching: bool,
    /// Nothing of this watch arrives before this.
    pub(crate) floor: Micros,
}

impl Line {
    pub(crate) fn new(latency: Micros) -> Self {
        Self {
            out_is_cut: false,
            in_is_cut: false,
            latency,
            jitter: latency / 4,
            loss: 0,
            doubled: 0,
            incarnation: 0,
            session: 0,
            is_watching: false,
            floor: 0,
        }
    }

    /// Time one way.
    pub(crate) fn delay(&self, chance: &mut Chance) -> Micros {
        self.latency + (-(self.jitter as f64 * (1.0 - chance.unit()).ln())) as Micros
    }

    /// True when a request does not get there.
    pub(crate) fn loses_out(&self, chance: &mut Chance) -> bool {
        self.out_is_cut || chance.permille(self.loss)
    }

    /// True when an answer or a piece of news does not get there.
    pub(crate) fn loses_in(&self, chance: &mut Chance) -> bool {
        self.in_is_cut || chance.permille(self.loss)
    }

    /// Ends the process's watch: it will list anew.
    pub(crate) fn hang_up(&mut self) {
        self.is_watching = false;
        self.session += 1;
    }
}
