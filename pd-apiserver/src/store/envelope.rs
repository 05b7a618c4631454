//! The bytes of one stored record: format version, revision, digest, payload.
//!
//! redb does not verify checksums on ordinary reads, so a flipped bit on disk would come back as data. The
//! digest covers the key, the version, the revision and the payload, and every read checks it. XXH3 is
//! enough: it guards against accidents, not against somebody who can write the file.

use bytes::{BufMut, Bytes};
use xxhash_rust::xxh3::Xxh3;

/// Version of this layout; the first byte of every record.
const FORMAT: u8 = 1;
/// Format, revision and digest.
const HEADER_BYTES: usize = 1 + 8 + 16;

/// The record is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// What a record held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened<'a> {
    pub(super) revision: u64,
    pub(super) payload: &'a [u8],
}

/// Wraps `payload`, written under `key` by `revision`.
pub(super) fn seal(key: &[u8], revision: u64, payload: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER_BYTES + payload.len());
    record.put_u8(FORMAT);
    record.put_u64_le(revision);
    record.put_u128_le(digest(key, FORMAT, revision, payload));
    record.put_slice(payload);
    record
}

/// Unwraps a record that was read under `key`.
pub(super) fn open<'a>(key: &[u8], record: &'a [u8]) -> Result<Opened<'a>, Damaged> {
    let (header, payload) = record.split_at_checked(HEADER_BYTES).ok_or(Damaged)?;
    let format = header[0];
    let revision = u64::from_le_bytes(header[1..9].try_into().map_err(|_| Damaged)?);
    let stored = u128::from_le_bytes(header[9..].try_into().map_err(|_| Damaged)?);
    if format != FORMAT || stored != digest(key, format, revision, payload) {
        return Err(Damaged);
    }
    Ok(Opened { revision, payload })
}

fn digest(key: &[u8], format: u8, revision: u64, payload: &[u8]) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&[format]);
    hash.update(&revision.to_le_bytes());
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(payload);
    hash.digest128()
}

/// The payload of a change-log record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoggedChange {
    pub(super) key: String,
    pub(super) value: Option<Bytes>,
    pub(super) previous: Option<Bytes>,
}

/// Key length, key, then value and previous value, each as its length (`u32::MAX`: absent) and bytes.
pub(super) fn encode_change(change: &LoggedChange) -> Vec<u8> {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let mut payload = Vec::with_capacity(12 + change.key.len() + length(&change.value) + length(&change.previous));
    payload.put_u32_le(change.key.len() as u32);
    payload.put_slice(change.key.as_bytes());
    for bytes in [&change.value, &change.previous] {
        match bytes {
            None => payload.put_u32_le(u32::MAX),
            Some(bytes) => {
                payload.put_u32_le(bytes.len() as u32);
                payload.put_slice(bytes);
            }
        }
    }
    payload
}

/// The key of a change-log payload, without reading the rest: most history is filtered by it.
pub(super) fn change_key(payload: &[u8]) -> Result<&str, Damaged> {
    let (key, _) = take_bytes(payload)?;
    std::str::from_utf8(key.ok_or(Damaged)?).map_err(|_| Damaged)
}

/// Reads what `encode_change` wrote.
pub(super) fn decode_change(payload: &[u8]) -> Result<LoggedChange, Damaged> {
    let (key, rest) = take_bytes(payload)?;
    let (value, rest) = take_bytes(rest)?;
    let (previous, _) = take_bytes(rest)?;
    let key = std::str::from_utf8(key.ok_or(Damaged)?).map_err(|_| Damaged)?.to_owned();
    Ok(LoggedChange { key, value: value.map(Bytes::copy_from_slice), previous: previous.map(Bytes::copy_from_slice) })
}

fn take_bytes(payload: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Damaged> {
    let (length, rest) = payload.split_at_checked(4).ok_or(Damaged)?;
    let length = u32::from_le_bytes(length.try_into().map_err(|_| Damaged)?);
    if length == u32::MAX {
        return Ok((None, rest));
    }
    let (bytes, rest) = rest.split_at_checked(length as usize).ok_or(Damaged)?;
    Ok((Some(bytes), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let record = seal(b"/a/b", 77, b"some payload");
        assert_eq!(open(b"/a/b", &record), Ok(Opened { revision: 77, payload: b"some payload" }));
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(b"/a/b", &flipped), Err(Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_record_under_another_key_is_noticed() {
        assert_eq!(open(b"/a/c", &seal(b"/a/b", 1, b"x")), Err(Damaged));
    }

    #[test]
    fn every_truncation_is_noticed() {
        let record = seal(b"k", 1, b"payload");
        for length in 0..record.len() {
            assert_eq!(open(b"k", &record[..length]), Err(Damaged));
        }
    }

    #[test]
    fn changes_round_trip_with_absent_and_empty_told_apart() {
        for (value, previous) in [(None, Some("old")), (Some(""), None), (Some("new"), Some(""))] {
            let change = LoggedChange {
                key: "/g/r/n".to_owned(),
                value: value.map(Bytes::from),
                previous: previous.map(Bytes::from),
            };
            let payload = encode_change(&change);
            assert_eq!(change_key(&payload), Ok("/g/r/n"));
            assert_eq!(decode_change(&payload), Ok(change));
        }
    }
}
