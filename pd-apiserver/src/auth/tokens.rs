//! Bearer tokens: `ID.SECRET`, where ID names a Token object that holds the SHA-256 of the secret.
//!
//! In: the text of an `Authorization` header. Out: an identity. The object is found by its public ID and the
//! secret compared in constant time, so that timing tells nothing; a plain hash is enough for 160 random bits.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use schemas::{
    Token,
    token::Role,
    well_known::{GROUP, groups},
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Identity;
use crate::store::{Store, StoreError};

/// Random bytes of a secret: 160 bits.
const SECRET_BYTES: usize = 20;
/// Longest text taken for a token: a name of 253 characters, a dot and 40 digits.
const TOKEN_TEXT_MAX: usize = 253 + 1 + 2 * SECRET_BYTES;

/// A fresh secret for the Token object `ID`.
pub struct Minted {
    /// `ID.SECRET`, for `status.token` of the one answer.
    pub token: String,
    /// For `status.secretSha256` of the stored object.
    pub secret_sha256: String,
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Minted(…)")
    }
}

/// Draws a secret for the Token named `id`.
pub fn mint(id: &str) -> std::io::Result<Minted> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    getrandom::fill(bytes.as_mut_slice()).map_err(std::io::Error::other)?;
    let secret = Zeroizing::new(hex::encode(bytes.as_slice()));
    Ok(Minted { token: format!("{id}.{}", secret.as_str()), secret_sha256: hash(&secret) })
}

fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

/// Why a token is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token, of no Token object, or with another secret; which of them is nobody's business.
    #[error("the token is unknown; it may have been deleted: ask an admin for another one")]
    Unknown,
    /// It was good once.
    #[error("the token has expired at {0}: ask an admin for another one")]
    Expired(Timestamp),
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Verifies bearer tokens against the Token objects of a store.
pub struct Tokens {
    store: Arc<dyn Store>,
}

impl Tokens {
    /// Over the Token objects of `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Who `bearer` (`ID.SECRET`) speaks for at `now`. A join token that is used up is still somebody: the
    /// registry answers the same key again and refuses another one.
    pub fn authenticate(&self, bearer: &str, now: Timestamp) -> Result<Identity, TokenError> {
        let (id, secret) = parse(bearer).ok_or(TokenError::Unknown)?;
        let token = self.find(id)?.ok_or(TokenError::Unknown)?;
        let status = token.status.as_ref().ok_or(TokenError::Unknown)?;
        let stored = status.secret_sha256.as_deref().ok_or(TokenError::Unknown)?;
        if !bool::from(hash(secret).as_bytes().ct_eq(stored.as_bytes())) {
            return Err(TokenError::Unknown);
        }
        match status.expires_at {
            Some(expiry) if now < expiry => Ok(identity(id, &token)),
            Some(expiry) => Err(TokenError::Expired(expiry)),
            None => Err(TokenError::Unknown),
        }
    }

    fn find(&self, id: &str) -> Result<Option<Token>, TokenError> {
        let Some(record) = self.store.get(&format!("/{GROUP}/tokens/{id}"))? else { return Ok(None) };
        let token: Option<Token> = serde_json::from_slice(&record.value).ok();
        Ok(token.filter(|token| token.metadata.deletion_timestamp.is_none()))
    }
}

/// The secret has no dot, the ID (an object's name) may have some.
fn parse(bearer: &str) -> Option<(&str, &str)> {
    if bearer.len() > TOKEN_TEXT_MAX {
        return None;
    }
    let (id, secret) = bearer.rsplit_once('.')?;
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    (!id.is_empty() && !secret.is_empty() && id.bytes().all(legal)).then_some((id, secret))
}

fn identity(id: &str, token: &Token) -> Identity {
    let (kind, group) = match token.spec.role {
        Role::Admin => ("token", groups::ADMINS),
        Role::Edit => ("token", groups::EDITORS),
        Role::View => ("token", groups::VIEWERS),
        Role::Metrics => ("token", groups::METRICS),
        Role::Join => ("join", groups::BOOTSTRAPPERS),
    };
    Identity {
        user: format!("{kind}:{id}"),
        groups: vec![group.to_owned()],
        namespace: token.spec.namespace.clone(),
        token: (token.spec.role == Role::Join).then(|| id.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use schemas::{TokenSpec, TokenStatus};

    use super::*;
    use crate::store::{Precondition, Write, redb_store::RedbStore};

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn store_token(store: &RedbStore, id: &str, role: Role, namespace: Option<&str>) -> String {
        let minted = mint(id).unwrap();
        let mut token = Token::new(id, TokenSpec { role, namespace: namespace.map(str::to_owned), ttl: None });
        token.status = Some(TokenStatus {
            expires_at: Some(now() + Duration::from_mins(1)),
            secret_sha256: Some(minted.secret_sha256),
            used: false,
            token: None,
        });
        let value = Bytes::from(serde_json::to_vec(&token).unwrap());
        let key = format!("/{GROUP}/tokens/{id}");
        let write = Write { key, precondition: Precondition::Absent, value: Some(value) };
        futures::executor::block_on(store.commit(vec![write])).unwrap();
        minted.token
    }

    #[test]
    fn each_role_becomes_its_group() {
        let store = Arc::new(RedbStore::in_memory().unwrap());
        let tokens = Tokens::new(store.clone());
        for (id, role, group) in [
            ("a", Role::Admin, groups::ADMINS),
            ("e.with.dots", Role::Edit, groups::EDITORS),
            ("v", Role::View, groups::VIEWERS),
            ("m", Role::Metrics, groups::METRICS),
            ("j", Role::Join, groups::BOOTSTRAPPERS),
        ] {
            let bearer = store_token(&store, id, role, Some("ns"));
            let identity = tokens.authenticate(&bearer, now()).unwrap();
            assert_eq!(identity.groups, [group]);
            assert_eq!(identity.namespace.as_deref(), Some("ns"));
            assert_eq!(identity.token.as_deref(), (role == Role::Join).then_some("j"));
        }
    }

    #[test]
    fn a_wrong_an_expired_and_a_deleted_token_are_refused() {
        let store = Arc::new(RedbStore::in_memory().unwrap());
        let tokens = Tokens::new(store.clone());
        let bearer = store_token(&store, "t", Role::Admin, None);
        assert!(tokens.authenticate(&bearer, now()).is_ok());
        let later = now() + Duration::from_mins(1);
        assert_eq!(tokens.authenticate(&bearer, later), Err(TokenError::Expired(later)));
        let mut wrong = bearer.clone();
        wrong.pop();
        for text in ["", ".", "t", "t.", ".x", "t.x", "T.x", "../t.x", "t/../t.x", &wrong, &"x.y".repeat(500)] {
            assert_eq!(tokens.authenticate(text, now()), Err(TokenError::Unknown), "{text}");
        }
        let remove = Write { key: format!("/{GROUP}/tokens/t"), precondition: Precondition::Any, value: None };
        futures::executor::block_on(store.commit(vec![remove])).unwrap();
        assert_eq!(tokens.authenticate(&bearer, now()), Err(TokenError::Unknown));
    }

    #[test]
    fn secrets_are_long_and_never_shown() {
        let (one, other) = (mint("x").unwrap(), mint("x").unwrap());
        assert_ne!(one.token, other.token);
        assert_eq!(one.token.len(), 2 + 2 * SECRET_BYTES);
        assert!(!format!("{one:?}").contains(&one.token));
        assert_eq!(one.secret_sha256, hash(&one.token[2..]));
    }
}
