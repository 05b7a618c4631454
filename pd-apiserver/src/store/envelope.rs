//! The bytes of one stored record: format version, revision, digest, payload.
//!
//! redb does not verify checksums on ordinary reads, so a flipped bit on disk would come back as data. The
//! digest covers the key, the version, the revision and the payload, and every read checks it. XXH3 is
//! enough: it guards against accidents, not against somebody who can write the file.

use bytes::BufMut;
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

/// One change of a change-log chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoggedChange<'a> {
    pub(super) revision: u64,
    pub(super) key: &'a str,
    pub(super) value: Option<&'a [u8]>,
    pub(super) previous: Option<&'a [u8]>,
}

/// The payload of a change-log chunk while it is filled: a count, then the changes.
///
/// Each change is its revision, then key, value and previous value, each as its length (`u32::MAX`: absent) and
/// bytes.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    payload: Vec<u8>,
    count: u32,
}

impl Default for Chunk {
    fn default() -> Self {
        Self { payload: vec![0; 4], count: 0 }
    }
}

impl Chunk {
    pub(super) fn push(&mut self, change: &LoggedChange<'_>) {
        self.payload.put_u64_le(change.revision);
        for bytes in [Some(change.key.as_bytes()), change.value, change.previous] {
            self.payload.put_u32_le(bytes.map_or(u32::MAX, |bytes| bytes.len() as u32));
            self.payload.put_slice(bytes.unwrap_or_default());
        }
        self.count += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.payload.len()
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.payload[..4].copy_from_slice(&self.count.to_le_bytes());
        self.payload
    }
}

/// How many changes the payload of a chunk holds.
pub(super) fn count_of(payload: &[u8]) -> Result<u32, Damaged> {
    let count = payload.first_chunk().ok_or(Damaged)?;
    Ok(u32::from_le_bytes(*count))
}

/// Reads what a `Chunk` wrote, oldest change first.
pub(super) fn changes_of(payload: &[u8]) -> Result<impl Iterator<Item = Result<LoggedChange<'_>, Damaged>>, Damaged> {
    let count = count_of(payload)?;
    let mut rest = &payload[4..];
    Ok((0..count).map(move |_| {
        let (revision, tail) = rest.split_first_chunk().ok_or(Damaged)?;
        let (key, tail) = take_bytes(tail)?;
        let (value, tail) = take_bytes(tail)?;
        let (previous, tail) = take_bytes(tail)?;
        rest = tail;
        let key = std::str::from_utf8(key.ok_or(Damaged)?).map_err(|_| Damaged)?;
        Ok(LoggedChange { revision: u64::from_le_bytes(*revision), key, value, previous })
    }))
}

fn take_bytes(payload: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Damaged> {
    let (length, rest) = payload.split_first_chunk().ok_or(Damaged)?;
    let length = u32::from_le_bytes(*length);
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
        type Values = (Option<&'static [u8]>, Option<&'static [u8]>);
        let cases: [Values; 3] = [(None, Some(b"old")), (Some(b""), None), (Some(b"new"), Some(b""))];
        let changes: Vec<_> = (7..)
            .zip(cases)
            .map(|(revision, (value, previous))| LoggedChange { revision, key: "/g/r/n", value, previous })
            .collect();
        let mut chunk = Chunk::default();
        for change in &changes {
            chunk.push(change);
        }
        let payload = chunk.finish();
        assert_eq!(count_of(&payload), Ok(3));
        assert_eq!(changes_of(&payload).unwrap().collect::<Result<Vec<_>, _>>(), Ok(changes));
        for length in 0..payload.len() {
            let read = changes_of(&payload[..length]).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            assert_eq!(read, Err(Damaged), "cut to {length} bytes");
        }
    }
}
