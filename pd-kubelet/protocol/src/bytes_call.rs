//! `Call<Vec<u8>>` on the wire: its output as one run of bytes, not as a sequence of numbers.
//!
//! The bytes are those that serde's own derive would give; only the copying is faster.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::{ByteBuf, Bytes};

use crate::{Call, Limit, Outcome};

/// A `Call<Vec<u8>>`, borrowed; the fields and their order are those of `Call`.
#[derive(Serialize)]
struct Borrowed<'a> {
    outcome: BorrowedOutcome<'a>,
    log: &'a str,
    wall_ns: u64,
    memory_peak_bytes: u64,
    limits: &'a [Limit],
}

/// An `Outcome<Vec<u8>>`, borrowed; the variants and their order are those of `Outcome`.
#[derive(Serialize)]
enum BorrowedOutcome<'a> {
    Success(&'a Bytes),
    Retryable(&'a str),
    Permanent(&'a str),
    Trap(&'a str),
    OutOfMemory(&'a str),
    TimedOut(&'a str),
    InvalidOutput(&'a str),
}

pub(crate) fn serialize<S: Serializer>(call: &Call<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    let outcome = match &call.outcome {
        Outcome::Success(output) => BorrowedOutcome::Success(Bytes::new(output)),
        Outcome::Retryable(text) => BorrowedOutcome::Retryable(text),
        Outcome::Permanent(text) => BorrowedOutcome::Permanent(text),
        Outcome::Trap(text) => BorrowedOutcome::Trap(text),
        Outcome::OutOfMemory(text) => BorrowedOutcome::OutOfMemory(text),
        Outcome::TimedOut(text) => BorrowedOutcome::TimedOut(text),
        Outcome::InvalidOutput(text) => BorrowedOutcome::InvalidOutput(text),
    };
    let (wall_ns, memory_peak_bytes) = (call.wall_ns, call.memory_peak_bytes);
    Borrowed { outcome, log: &call.log, wall_ns, memory_peak_bytes, limits: &call.limits }.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Call<Vec<u8>>, D::Error> {
    Ok(Call::<ByteBuf>::deserialize(deserializer)?.map(ByteBuf::into_vec))
}

#[cfg(test)]
mod tests {
    use crate::{Call, Checked, Ended, Limit, Outcome, decode, encode};

    #[test]
    fn every_outcome_survives_and_has_the_bytes_of_the_plain_derive() {
        let text = || "why".to_owned();
        let outcomes = [
            Outcome::Success(vec![0, 1, 2, 255]),
            Outcome::Retryable(text()),
            Outcome::Permanent(text()),
            Outcome::Trap(text()),
            Outcome::OutOfMemory(text()),
            Outcome::TimedOut(text()),
            Outcome::InvalidOutput(text()),
        ];
        for outcome in outcomes {
            let limits = vec![Limit::Memory, Limit::CompileMemory];
            let call = Call { outcome, log: "info a\n".to_owned(), wall_ns: 5, memory_peak_bytes: 1 << 40, limits };
            let checked = Some(Checked::Failed(text()));
            let ended = Ended { index: 7, call: call.clone(), found: vec![3], checked: checked.clone() };
            let frame = encode(&ended).expect("encodes");
            assert_eq!(frame, encode(&(7_u64, call, vec![3_u64], checked)).expect("encodes"));
            assert_eq!(decode::<Ended>(&frame[4..]).expect("decodes"), ended);
        }
    }
}
