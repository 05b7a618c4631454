//! Many pairs of pipes in one: how a kubelet speaks to an executor that serves several slots.
//!
//! Each slot has a lane of its own, which carries what its pipes would. Lanes are numbered by the kubelet and never
//! numbered again.

use serde::{Deserialize, Serialize};

/// Bytes of a lane that travel together at most, so that no lane waits long for another.
pub const PARCEL_BYTES_MAX: usize = 1 << 20;

/// A frame of its own on the common pipe, in either direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parcel {
    /// From the kubelet: a lane begins.
    Open {
        /// Its number.
        lane: u32,
    },
    /// What the lane's pipe carries next, in pieces of any size.
    Bytes {
        /// Its number.
        lane: u32,
        /// The piece.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// The lane's pipe has ended. From the kubelet: what it runs is to end at once, whatever it is.
    Close {
        /// Its number.
        lane: u32,
    },
}
