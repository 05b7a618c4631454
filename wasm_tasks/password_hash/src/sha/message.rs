//! A salt, a candidate and what FIPS 180-4, 5.1, puts behind them, in whole blocks.
//!
//! In: candidates, one after the other. Out: blocks. Copies have lengths that the compiler knows, since in a sandbox one of
//! any length is a call out of it.

/// Bytes of the longest message that has room here, its padding included.
const ROOM: usize = 512;
/// Bytes copied at once.
const PIECE: usize = 16;
/// What is written beyond the last block before it is found to be too much: a block of zeros, and a piece.
const BEYOND: usize = 128 + PIECE;

/// One message at a time, in blocks of `BLOCK` bytes: 64 for SHA-256, 128 for SHA-512.
#[derive(Clone)]
pub(super) struct Message<const BLOCK: usize> {
    bytes: [u8; ROOM + BEYOND],
    salt_bytes: usize,
}

impl<const BLOCK: usize> Message<BLOCK> {
    /// What follows the message's bytes; the length comes after it.
    const PADDING: [u8; BLOCK] = {
        let mut padding = [0; BLOCK];
        padding[0] = 0x80;
        padding
    };

    /// Room for messages that begin with `salt`; none: it is too long.
    pub(super) fn new(salt: &[u8]) -> Option<Self> {
        let mut bytes = [0; ROOM + BEYOND];
        bytes.get_mut(..salt.len()).filter(|_| blocks::<BLOCK>(salt.len()) * BLOCK <= ROOM)?.copy_from_slice(salt);
        Some(Self { bytes, salt_bytes: salt.len() })
    }

    /// Puts the first `length` bytes of `text` behind the salt. Answers in how many blocks; none: there is no room.
    pub(super) fn set(&mut self, text: &[u8], length: usize) -> Option<usize> {
        let (start, end) = (self.salt_bytes, self.salt_bytes + length);
        let blocks = blocks::<BLOCK>(end);
        let last = (blocks * BLOCK).checked_sub(BLOCK).filter(|last| *last < ROOM)?;
        for at in (0..length).step_by(PIECE) {
            match text.get(at..at + PIECE) {
                Some(piece) => self.bytes[start + at..start + at + PIECE].copy_from_slice(piece),
                // The end of the whole text.
                None => self.bytes[start + at..end].copy_from_slice(&text[at..length]),
            }
        }
        self.bytes[end..end + BLOCK].copy_from_slice(&Self::PADDING);
        let bits = (8 * end as u128).to_be_bytes();
        let (from, to) = (last + BLOCK - BLOCK / 8, last + BLOCK);
        self.bytes[from..to].copy_from_slice(&bits[bits.len() - BLOCK / 8..]);
        Some(blocks)
    }

    pub(super) fn block(&self, number: usize) -> &[u8; BLOCK] {
        self.bytes[number * BLOCK..].first_chunk().expect("invariant: there are as many as `set` has said")
    }
}

/// Blocks of so many bytes with their padding: a one bit, and the length in an eighth of a block.
fn blocks<const BLOCK: usize>(bytes: usize) -> usize {
    (bytes + 1 + BLOCK / 8).div_ceil(BLOCK)
}
