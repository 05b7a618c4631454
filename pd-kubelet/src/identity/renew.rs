//! Keeps the certificate fresh: at two thirds of its life a new key is signed and the clients are rebuilt. A pair that
//! somebody else put into the folder, because ours had expired or the node was joined anew, is taken up too.

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
        if let Some(stored) = newer(&dir, &identity) {
            match connection.replace(&stored) {
                Ok(()) => {
                    tracing::info!(node = stored.name, "going on with the certificate that was put into the folder");
                    identity = stored;
                }
                Err(error) => tracing::warn!(error = crate::chain(&error), "the certificate in the folder is unusable"),
            }
        }
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

/// What is in the folder, if it is this node's and lives longer than what is in use.
fn newer(dir: &IdentityDir, used: &Identity) -> Option<Identity> {
    let stored = dir.load().ok().flatten()?;
    (stored.name == used.name && stored.expires_at > used.expires_at).then_some(stored)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_longer_lived_certificate_of_this_node_is_taken_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = IdentityDir::open(folder.path()).expect("opens");
        let identity = |name: &str, hours: u64| {
            let expires_at = SystemTime::UNIX_EPOCH + Duration::from_hours(hours);
            Identity {
                name: name.into(),
                pair_pem: String::new(),
                ca_pem: String::new(),
                renew_at: expires_at,
                expires_at,
            }
        };
        let pair = crate::identity::tests::pair("n1");
        assert!(newer(&dir, &identity("n1", 1)).is_none(), "nothing is stored");
        dir.store(&Identity::from_pems(pair.clone(), pair).expect("reads")).expect("stores");
        assert!(newer(&dir, &identity("n1", 1)).is_some());
        assert!(newer(&dir, &identity("n2", 1)).is_none(), "another node's");
        assert!(newer(&dir, &identity("n1", 24 * 365 * 10_000)).is_none(), "older than what is in use");
    }
}
