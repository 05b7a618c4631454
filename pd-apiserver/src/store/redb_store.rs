//! The embedded store.
use std::path::Path;
use bytes::Bytes;
use futures::future::BoxFuture;
use super::*;
/// The embedded store.
pub struct RedbStore {}
/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// x
    #[error("x")]
    X,
}
impl RedbStore {
    /// Opens the store file at `path`, or creates it.
    pub fn open(path: &Path) -> Result<Self, OpenError> { unimplemented!() }
    /// A store that lives in memory, for tests.
    pub fn in_memory() -> Result<Self, OpenError> { unimplemented!() }
}
impl Store for RedbStore {
    fn revision(&self) -> u64 { unimplemented!() }
    fn get(&self, key: &str) -> Result<Option<Record>, StoreError> { unimplemented!() }
    fn list(&self, prefix: &str, page: &Page) -> Result<Listing, StoreError> { unimplemented!() }
    fn commit(&self, writes: Vec<Write>) -> BoxFuture<'static, Result<u64, StoreError>> { unimplemented!() }
    fn watch(&self, prefix: &str, after: u64) -> Result<Changes, StoreError> { unimplemented!() }
    fn ready(&self) -> Result<(), StoreError> { unimplemented!() }
}
