//! The Pods that somebody has deleted. They are views, so all there is to delete is the looking.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Mutex, PoisonError},
};

/// Most UIDs remembered, the oldest go first: some hundred drains of large nodes, 1 MB. What is forgotten (by a
/// restart too) is seen again for as long as its Assignment lives.
const HIDDEN_MAX: usize = 16_384;

/// UIDs of deleted Pods.
#[derive(Debug, Default)]
pub struct Hidden(Mutex<(BTreeSet<String>, VecDeque<String>)>);

impl Hidden {
    /// Hides a Pod once it has ended.
    pub(super) fn hide(&self, uid: &str) {
        let (uids, order) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !uids.insert(uid.to_owned()) {
            return;
        }
        order.push_back(uid.to_owned());
        if order.len() > HIDDEN_MAX
            && let Some(oldest) = order.pop_front()
        {
            uids.remove(&oldest);
        }
    }

    /// Whether a Pod was deleted.
    pub(super) fn holds(&self, uid: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.contains(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let hidden = Hidden::default();
        (0..=HIDDEN_MAX).for_each(|number| hidden.hide(&number.to_string()));
        assert!(!hidden.holds("0") && hidden.holds("1") && hidden.holds(&HIDDEN_MAX.to_string()));
    }
}
