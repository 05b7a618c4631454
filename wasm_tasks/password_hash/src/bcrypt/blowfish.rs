//! Blowfish with bcrypt's key schedule, for several passwords side by side.
//!
//! In: keys and salts. Out: ciphertexts. A round waits for the four look-ups of the round before, so one password leaves most
//! of the processor idle; a second one fills the gaps. After Schneier (1994), and Provos and Mazières (1999).

use super::pi::{BOXES, SUBKEYS};

const ROUNDS: usize = 16;
const BOX_WORDS: usize = 256;

/// A block: its left and right half.
pub(super) type Block = [u32; 2];
/// A key, repeated until it is as long as all subkeys.
pub(super) type Key = [u32; ROUNDS + 2];
/// A salt as words.
pub(super) type Salt = [u32; 4];

/// The cipher's state for each of `N` passwords.
#[derive(Clone)]
pub(super) struct Blowfish<const N: usize> {
    subkeys: [[u32; ROUNDS + 2]; N],
    boxes: [[u32; 4 * BOX_WORDS]; N],
}

impl<const N: usize> Blowfish<N> {
    pub(super) fn new() -> Self {
        Self { subkeys: [SUBKEYS; N], boxes: [BOXES; N] }
    }

    /// `ExpandKey` of the paper: the state of each password changes by its key and its salt.
    pub(super) fn expand(&mut self, keys: &[Key; N], salts: &[Salt; N]) {
        for (subkeys, key) in self.subkeys.iter_mut().zip(keys) {
            subkeys.iter_mut().zip(key).for_each(|(subkey, word)| *subkey ^= word);
        }
        let mut blocks = [[0; 2]; N];
        for at in (0..ROUNDS + 2).step_by(2) {
            blocks = self.chain(blocks, salts, at);
            for (subkeys, block) in self.subkeys.iter_mut().zip(blocks) {
                (subkeys[at], subkeys[at + 1]) = (block[0], block[1]);
            }
        }
        for at in (0..4 * BOX_WORDS).step_by(2) {
            blocks = self.chain(blocks, salts, ROUNDS + 2 + at);
            for (boxes, block) in self.boxes.iter_mut().zip(blocks) {
                (boxes[at], boxes[at + 1]) = (block[0], block[1]);
            }
        }
    }

    /// The blocks that become words `at` and the next one of the state.
    fn chain(&self, mut blocks: [Block; N], salts: &[Salt; N], at: usize) -> [Block; N] {
        for (block, salt) in blocks.iter_mut().zip(salts) {
            block[0] ^= salt[at % 4];
            block[1] ^= salt[at % 4 + 1];
        }
        self.encrypt(blocks)
    }

    /// One block of each password.
    pub(super) fn encrypt(&self, mut blocks: [Block; N]) -> [Block; N] {
        for round in (0..ROUNDS).step_by(2) {
            for (lane, [left, right]) in blocks.iter_mut().enumerate() {
                *left ^= self.subkeys[lane][round];
                *right ^= self.mixed(lane, *left) ^ self.subkeys[lane][round + 1];
            }
            for (lane, [left, right]) in blocks.iter_mut().enumerate() {
                *left ^= self.mixed(lane, *right);
            }
        }
        for (block, subkeys) in blocks.iter_mut().zip(&self.subkeys) {
            *block = [block[1] ^ subkeys[ROUNDS + 1], block[0] ^ subkeys[ROUNDS]];
        }
        blocks
    }

    /// The paper's function F.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "part of the round")]
    fn mixed(&self, lane: usize, word: u32) -> u32 {
        let boxes = &self.boxes[lane];
        let [a, b, c, d] = word.to_be_bytes().map(usize::from);
        let sum = boxes[a].wrapping_add(boxes[BOX_WORDS + b]) ^ boxes[2 * BOX_WORDS + c];
        sum.wrapping_add(boxes[3 * BOX_WORDS + d])
    }
}
