//! Whether a Job's outputs are believed because one node delivered them, or because several did.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::IndexSet;

/// How outputs are verified: other nodes compute indexes again, and the outputs are compared bit by bit. A node whose
/// output differs from what enough others agree on is not trusted any more, and what it did is done again.
///
/// Under verification components run with canonical NaNs and without host kernels, so that what they compute does not
/// depend on the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verification {
    /// A part of the indexes, chosen where no node can foresee it.
    Sample(Sample),
    /// Every index, and the plan and the merge call.
    Quorum(Quorum),
}

/// Verify a part of the indexes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// Which part, greater than 0 and at most 1: `"0.01"`. At least one index is chosen. Two of at most three
    /// outputs have to agree.
    pub fraction: String,
}

/// Verify every index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quorum {
    /// An index has succeeded when the outputs of that many nodes are the same.
    #[schemars(range(min = 2, max = 5))]
    pub agree: u32,
    /// Most nodes that compute one index: as many as `agree` at first, the others once outputs differ.
    #[schemars(range(min = 2, max = 9))]
    pub of: u32,
}

/// Digits after the point that count: a millionth.
const FRACTION_DIGITS: usize = 6;

impl Sample {
    /// The fraction in millionths; none for what is not a decimal number greater than 0 and at most 1.
    pub fn per_million(&self) -> Option<u32> {
        let (whole, part) = self.fraction.split_once('.').unwrap_or((&self.fraction, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(part) || part.len() > FRACTION_DIGITS {
            return None;
        }
        let millionths: u32 = format!("{part:0<FRACTION_DIGITS$}").parse().ok()?;
        let sum = whole.parse::<u32>().ok()?.checked_mul(1_000_000)?.checked_add(millionths)?;
        (1..=1_000_000).contains(&sum).then_some(sum)
    }
}

impl Verification {
    /// How many outputs of one index have to agree.
    pub const fn agree(&self) -> u32 {
        match self {
            Self::Sample(_) => 2,
            Self::Quorum(quorum) => quorum.agree,
        }
    }

    /// Most nodes that compute one index.
    pub const fn of(&self) -> u32 {
        match self {
            Self::Sample(_) => 3,
            Self::Quorum(quorum) => quorum.of,
        }
    }

    /// True when every index is verified before it counts.
    pub const fn is_quorum(&self) -> bool {
        matches!(self, Self::Quorum(_))
    }
}

/// What has come of a Job's verification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerificationStatus {
    /// Indexes of which enough outputs agree.
    #[serde(default, skip_serializing_if = "IndexSet::is_empty")]
    pub verified: IndexSet,
    /// Indexes of which no `agree` outputs are the same, although `of` nodes have computed them: they have failed.
    #[serde(default, skip_serializing_if = "IndexSet::is_empty")]
    pub unresolved: IndexSet,
    /// Nodes whose outputs differed from what others agreed on. Nothing of theirs counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub untrusted: Vec<UntrustedNode>,
}

/// A node that a Job does not trust.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UntrustedNode {
    /// Its name.
    pub name: String,
    /// UID of its Node object.
    pub uid: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_a_decimal_number_above_zero_and_at_most_one() {
        let read = |text: &str| Sample { fraction: text.into() }.per_million();
        for (text, millionths) in [("0.01", 10_000), ("1", 1_000_000), ("1.0", 1_000_000), ("0.000001", 1)] {
            assert_eq!(read(text), Some(millionths), "{text}");
        }
        for wrong in ["0", "0.0", "1.1", "-0.1", ".5", "1%", "1e-2", "", "0.0000001", "99999999999"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
