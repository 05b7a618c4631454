//! Which Assignment gets the next free slot.

/// An Assignment that may want a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// It has a plan or merge call to run.
    pub call: bool,
    /// It has indexes to run.
    pub queued: bool,
    /// Slots it uses.
    pub busy: u32,
    /// Slots it may use; absent: all.
    pub cap: Option<u32>,
    /// When it last got a slot, as a count of hand-outs.
    pub served: u64,
}

/// The order of preference; field order is the policy: calls before runs, since whole jobs wait for them;
/// then whoever uses the fewest slots; then whoever has waited longest.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_run: bool,
    busy: u32,
    served: u64,
}

/// Position of the one to serve next.
pub fn choose(candidates: impl IntoIterator<Item = Candidate>) -> Option<usize> {
    candidates
        .into_iter()
        .enumerate()
        .filter(|(_, one)| one.call || (one.queued && one.cap.is_none_or(|cap| one.busy < cap)))
        .min_by_key(|(_, one)| Rank { is_run: !one.call, busy: one.busy, served: one.served })
        .map(|(position, _)| position)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Candidate = Candidate { call: false, queued: true, busy: 0, cap: None, served: 0 };

    #[test]
    fn jobs_share_the_slots_evenly() {
        let mut jobs = [IDLE; 3];
        for turn in 1..=9 {
            let chosen = choose(jobs).expect("one is chosen");
            jobs[chosen].busy += 1;
            jobs[chosen].served = turn;
        }
        assert_eq!(jobs.map(|job| job.busy), [3, 3, 3]);
    }

    #[test]
    fn a_cap_is_kept_and_calls_go_first() {
        let capped = Candidate { busy: 2, cap: Some(2), ..IDLE };
        assert_eq!(choose([capped]), None);
        assert_eq!(choose([IDLE, Candidate { call: true, busy: 7, ..IDLE }]), Some(1));
        assert_eq!(choose([Candidate { queued: false, ..IDLE }]), None);
    }

    #[test]
    fn equals_take_turns() {
        assert_eq!(choose([Candidate { served: 4, ..IDLE }, Candidate { served: 3, ..IDLE }]), Some(1));
    }
}
