//! Bearer tokens.
use std::sync::Arc;
use jiff::Timestamp;
use super::Identity;
use crate::store::Store;
/// A fresh secret for the Token object `ID`.
pub struct Minted {
    /// `ID.SECRET`, for `status.token` of the one answer.
    pub token: String,
    /// For `status.secretSha256` of the stored object.
    pub secret_sha256: String,
}
/// Draws a secret for the Token named `id`.
pub fn mint(id: &str) -> std::io::Result<Minted> { unimplemented!() }
/// Verifies bearer tokens against the store.
pub struct Tokens { store: Arc<dyn Store> }
/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// x
    #[error("x")]
    X,
}
impl Tokens {
    /// Over the Token objects of `store`.
    pub fn new(store: Arc<dyn Store>) -> Self { Self { store } }
    /// Who `bearer` (`ID.SECRET`) speaks for at `now`.
    pub fn authenticate(&self, bearer: &str, now: Timestamp) -> Result<Identity, TokenError> { unimplemented!() }
}
