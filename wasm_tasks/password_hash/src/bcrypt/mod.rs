//! bcrypt: the function, and modular crypt format.
//!
//! In: cost, salt, password. Out: a hash, and back from its text. After Provos and Mazières, "A Future-Adaptable Password
//! Scheme" (1999), in the `$2b$` form that OpenBSD settled on.

mod blowfish;
mod pi;

use std::array::from_fn;

use sha2::{Digest, Sha256};

use blowfish::{Block, Blowfish, Key, Salt};

/// Passwords side by side. Each brings 4 KiB of S-boxes into the first cache.
const LANES: usize = 2;
/// What is encrypted, "OrpheanBeholderScryDoubt", and how often.
const TEXT: [Block; 3] = [[0x4f72_7068, 0x6561_6e42], [0x6568_6f6c, 0x6465_7253], [0x6372_7944, 0x6f75_6274]];
const TEXT_TIMES: usize = 64;
/// Bytes of password and NUL that count.
const KEY_MAX: usize = 72;
const ALPHABET: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Bytes of a hash in modular crypt format: `$2b$10$`, 22 characters of salt, 31 of hash.
pub(crate) const TEXT_BYTES: usize = 60;

/// A bcrypt hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bcrypt {
    /// 2 to this power rounds.
    pub cost: u32,
    /// The salt.
    pub salt: [u8; 16],
    /// The hash; of its 24 bytes the format keeps 23.
    pub hash: [u8; 23],
}

impl Bcrypt {
    /// Hashes `password`.
    pub fn hash(cost: u32, salt: [u8; 16], password: &[u8]) -> Self {
        let [hash] = side_by_side(cost, [(salt, password)]);
        hash
    }

    /// Hashes each password with its salt, some of them at a time; `each` gets a password's place and its hash, in order.
    pub fn hash_all(cost: u32, passwords: &[([u8; 16], &[u8])], mut each: impl FnMut(usize, Self)) {
        let (groups, rest) = passwords.as_chunks::<LANES>();
        let hashes = groups.iter().flat_map(|group| side_by_side(cost, *group));
        let rest = rest.iter().map(|(salt, password)| Self::hash(cost, *salt, password));
        hashes.chain(rest).enumerate().for_each(|(at, hash)| each(at, hash));
    }

    /// True when both passwords have the same hash under any salt: they are the same as far as they count.
    pub(crate) fn are_alike(a: &[u8], b: &[u8]) -> bool {
        key(a) == key(b)
    }

    /// Reads modular crypt format: `$2a$`, `$2b$` or `$2y$`, which differ only in the bugs of long gone libraries.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text: &[u8; TEXT_BYTES] = text.try_into().ok()?;
        let [b'$', b'2', b'a' | b'b' | b'y', b'$', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'$', rest @ ..] = text
        else {
            return None;
        };
        let cost = u32::from((tens - b'0') * 10 + ones - b'0');
        let (salt, hash) = rest.split_at(22);
        (4..=31).contains(&cost).then_some(Self { cost, salt: decode(salt)?, hash: decode(hash)? })
    }
}

impl std::fmt::Display for Bcrypt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "$2b${:02}${}{}", self.cost, encode(&self.salt), encode(&self.hash))
    }
}

fn side_by_side<const N: usize>(cost: u32, passwords: [([u8; 16], &[u8]); N]) -> [Bcrypt; N] {
    let keys = passwords.map(|(_, password)| key(password));
    let salts = passwords.map(|(salt, _)| words(&salt));
    let salt_keys = salts.map(|salt| from_fn(|at| salt[at % salt.len()]));
    let mut state = Blowfish::new();
    state.expand(&keys, &salts);
    for _ in 0..1_u64 << cost.min(31) {
        state.expand(&keys, &[[0; 4]; N]);
        state.expand(&salt_keys, &[[0; 4]; N]);
    }
    let texts = TEXT.map(|text| (0..TEXT_TIMES).fold([text; N], |blocks, _| state.encrypt(blocks)));
    from_fn(|lane| {
        let bytes: Vec<u8> = texts.iter().flat_map(|blocks| blocks[lane]).flat_map(u32::to_be_bytes).collect();
        Bcrypt { cost, salt: passwords[lane].0, hash: from_fn(|at| bytes[at]) }
    })
}

/// The password and its NUL, as far as they count, over and over.
fn key(password: &[u8]) -> Key {
    let mut bytes = password.iter().chain(&[0]).take(KEY_MAX).cycle();
    from_fn(|_| (0..4).fold(0, |word, _| word << 8 | u32::from(*bytes.next().expect("invariant: a NUL is there"))))
}

fn words(salt: &[u8; 16]) -> Salt {
    from_fn(|at| u32::from_be_bytes([salt[4 * at], salt[4 * at + 1], salt[4 * at + 2], salt[4 * at + 3]]))
}

/// The salt of candidate `number` when the params give none.
pub(crate) fn derived_salt(seed: u64, number: u64) -> [u8; 16] {
    let digest = Sha256::new()
        .chain_update(b"processdistro password-hash")
        .chain_update(seed.to_le_bytes())
        .chain_update(number.to_le_bytes())
        .finalize();
    from_fn(|at| digest[at])
}

/// bcrypt's own base 64: six bits a character from the top, no padding.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word = three.iter().enumerate().fold(0_u32, |word, (at, byte)| word | u32::from(*byte) << (16 - 8 * at));
        let letters = (0..=three.len()).map(|at| char::from(ALPHABET[(word >> (18 - 6 * at) & 63) as usize]));
        text.extend(letters);
    }
    text
}

/// Back from [`encode`]; bits beyond the last byte are ignored, as all libraries do.
pub(crate) fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != (N * 8).div_ceil(6) {
        return None;
    }
    let mut bytes = [0; N];
    for (number, letter) in text.iter().enumerate() {
        let six = ALPHABET.iter().position(|other| other == letter)? as u16;
        let (at, shift) = (number * 6 / 8, number * 6 % 8);
        let bits = six << 10 >> shift;
        bytes[at] |= (bits >> 8) as u8;
        if let Some(next) = bytes.get_mut(at + 1) {
            *next |= bits as u8;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Bcrypt, decode, encode};

    /// From OpenBSD's and jBCrypt's test vectors.
    #[test]
    fn known_vectors() {
        for (password, text) in [
            ("", "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."),
            ("a", "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"),
            ("abc", "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i"),
            ("~!@#$%^&*()      ~!@#$%^&*()PNBFRD", "$2a$06$fPIsBO8qRqkjj273rfaOI.HtSV9jLDpTbZn782DC6/t7qT67P6FfO"),
        ] {
            let target = Bcrypt::parse(text.as_bytes()).unwrap();
            let hash = Bcrypt::hash(target.cost, target.salt, password.as_bytes());
            assert_eq!(hash.to_string(), text.replace("$2a$", "$2b$"));
            assert_eq!(hash, target);
        }
    }

    #[test]
    fn hashes_equal_another_library_up_to_and_beyond_72_bytes() {
        let long: Vec<u8> = (0..100_u8).map(|at| at.wrapping_mul(37) % 200 + 1).collect();
        let with_nul = [&long[..5], &[0], &long[5..10]].concat();
        for password in [&long[..0], &long[..1], &long[..70], &long[..71], &long[..72], &long[..73], &long, &with_nul] {
            let salt = std::array::from_fn(|at| long[at + 20]);
            let other = bcrypt::hash_with_salt(password, 4, salt).unwrap().format_for_version(bcrypt::Version::TwoB);
            assert_eq!(Bcrypt::hash(4, salt, password).to_string(), other);
        }
        let salt = [1; 16];
        assert_eq!(Bcrypt::hash(4, salt, &long[..72]), Bcrypt::hash(4, salt, &long), "what is beyond 72 bytes counts");
        assert_ne!(Bcrypt::hash(4, salt, &with_nul), Bcrypt::hash(4, salt, &long[..5]), "a NUL ends the password");
    }

    #[test]
    fn side_by_side_is_as_one_by_one() {
        let passwords = [&b""[..], b"a", b"abc", b"hunter2", &[200; 80]];
        for count in 0..=passwords.len() {
            let salted: Vec<([u8; 16], &[u8])> =
                passwords[..count].iter().enumerate().map(|(at, password)| ([at as u8; 16], *password)).collect();
            let mut hashes = Vec::new();
            Bcrypt::hash_all(4, &salted, |at, hash| {
                assert_eq!(at, hashes.len());
                hashes.push(hash);
            });
            let expected = salted.iter().map(|(salt, password)| Bcrypt::hash(4, *salt, password));
            assert_eq!(hashes, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn base_64_goes_back_and_forth() {
        let bytes: [u8; 23] = std::array::from_fn(|at| (at * 77 + 13) as u8);
        assert_eq!(decode(encode(&bytes).as_bytes()), Some(bytes));
        assert_eq!(decode::<23>(encode(&bytes[1..]).as_bytes()), None);
        assert_eq!(decode::<16>(b"......................"), Some([0; 16]));
        assert_eq!(decode::<16>(b".....................="), None);
    }

    #[test]
    fn what_is_not_a_hash_is_refused() {
        let good = "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.";
        assert!(Bcrypt::parse(good.as_bytes()).is_some());
        for bad in [&good[1..], &good.replace("$06$", "$03$"), &good.replace("$2a$", "$2x$"), &good.replace('7', "=")] {
            assert!(Bcrypt::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
