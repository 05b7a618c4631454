//! Names and metadata of assignments.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use schemas::{AssignmentSpec, Digest, Job, assignment::JobRef, well_known};

/// Characters of the job's name in an assignment's name: with a dash and twelve digits it stays below the 63
/// of a label.
const JOB_NAME_CHARS_MAX: usize = 40;
/// Hexadecimal digits of the hash in an assignment's name: 48 bits, one in 2^24 pairs before two collide.
const HASH_DIGITS: usize = 12;
/// Length of a label's value.
const LABEL_CHARS_MAX: usize = 63;

/// Name of the assignment of `job` to the node with UID `node_uid`.
pub fn assignment(job: &JobRef, node_uid: &str) -> String {
    let short: String = job.name.chars().take(JOB_NAME_CHARS_MAX).collect();
    let short = short.trim_end_matches(['-', '.']);
    let hash = Digest::of(format!("{}{node_uid}", job.uid).as_bytes()).hex();
    format!("{short}-{}", &hash[..HASH_DIGITS])
}

/// Metadata of a new assignment: labels to find it by, and the job as its owner.
pub(crate) fn metadata(job: &Job, spec: &AssignmentSpec, name: String) -> ObjectMeta {
    let labels: BTreeMap<String, String> =
        [(well_known::LABEL_JOB, &spec.job.name), (well_known::LABEL_NODE, &spec.node_name)]
            .into_iter()
            .filter(|(_, value)| is_label_value(value))
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect();
    ObjectMeta {
        name: Some(name),
        namespace: job.metadata.namespace.clone(),
        labels: Some(labels),
        owner_references: Some(vec![OwnerReference {
            api_version: format!("{}/{}", well_known::GROUP, well_known::VERSION),
            kind: "Job".into(),
            name: spec.job.name.clone(),
            uid: spec.job.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    }
}

/// True when `value` may stand as a label's value.
fn is_label_value(value: &str) -> bool {
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    value.len() <= LABEL_CHARS_MAX
        && is_edge(value.chars().next())
        && is_edge(value.chars().last())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_legal_and_differ_by_uid() {
        let job = |name: &str, uid: &str| JobRef { name: name.into(), uid: uid.into() };
        let long = format!("{}.b", "a".repeat(39));
        let name = assignment(&job(&long, "u1"), "n1");
        assert!(name.starts_with(&format!("{}-", "a".repeat(39))), "{name}");
        assert_eq!(name.len(), 39 + 1 + HASH_DIGITS);
        assert_ne!(name, assignment(&job(&long, "u2"), "n1"));
        assert_ne!(name, assignment(&job(&long, "u1"), "n2"));
    }

    #[test]
    fn a_value_that_is_no_label_is_left_out() {
        assert!(is_label_value("node-1.lan"));
        for wrong in ["", "-a", "a-", "a b", &"a".repeat(64)] {
            assert!(!is_label_value(wrong), "{wrong}");
        }
    }
}
