//! The outputs that a run is to check, on their way from the server.

use std::{sync::Arc, time::Duration};

use futures::future::{BoxFuture, Shared};

use super::{End, Order, Parts, slot::Slot};

/// Outputs that other nodes have delivered, as far as they can be had; fetched once for all slots that wait for them.
pub(crate) type Delivered = Shared<BoxFuture<'static, Arc<Parts>>>;

/// A segment of 32 MiB takes 3 s at 100 Mbit/s. Whoever waits longer computes.
const FETCH_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

impl Slot {
    /// Waits for what is to be checked. None: there is nothing, or it does not come.
    pub(super) async fn fetched(&mut self, delivered: Option<Delivered>) -> Result<Option<Arc<Parts>>, End> {
        let Some(delivered) = delivered else { return Ok(None) };
        tokio::select! {
            biased;
            order = self.orders.recv() => {
                debug_assert!(matches!(order, None | Some(Order::Cancel)), "a slot does one thing at a time");
                Err(End::Cancelled)
            }
            fetched = tokio::time::timeout(FETCH_TIMEOUT, delivered) => Ok(fetched.ok()),
        }
    }
}
