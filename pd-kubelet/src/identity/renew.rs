//! Keeps the certificate fresh: at two thirds of its life a new key is signed and the clients are rebuilt.

use std::time::{Duration, SystemTime};

use rcgen::KeyPair;

use super::{Identity, IdentityDir, IdentityError, join};
use crate::client::Connection;

/// How often the clock is looked at: a machine that slept must notice soon after it woke.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Renews for ever. A failed renewal is tried again at the next look; a third of the life is left for that.
pub(crate) async fn keep_fresh(dir: IdentityDir, mut identity: Identity, connection: Connection) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = SystemTime::now();
        if now < identity.renew_at {
            continue;
        }
        match renew(&dir, &identity, &connection).await {
            Ok(renewed) => {
                tracing::info!(node = renewed.name, "certificate renewed");
                identity = renewed;
            }
            Err(error) => {
                let left = identity.expires_at.duration_since(now).unwrap_or_default();
                tracing::warn!(error = crate::chain(&error), left_s = left.as_secs(), "certificate not renewed");
            }
        }
    }
}

async fn renew(dir: &IdentityDir, old: &Identity, connection: &Connection) -> Result<Identity, IdentityError> {
    let key = KeyPair::generate()?;
    let client = connection.current().api.clone();
    let certificate = join::request_certificate(&client, &old.name, &key).await?;
    let renewed = join::identity(&old.name, &key, &certificate, old.ca_pem.clone())?;
    dir.store(&renewed)?;
    connection
        .replace(&renewed)
        .map_err(|source| IdentityError::Exchange { what: "build a client from the renewed certificate", source })?;
    Ok(renewed)
}
