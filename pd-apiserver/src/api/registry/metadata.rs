//! The rules of `metadata`: names, labels, annotations, finalizers, owner references.
//!
//! In: an object and its kind. Out: causes. Pure.

use schemas::validation::{label_name_problem, label_problem, label_value_problem, subdomain_problem};
use serde_json::{Map, Value, json};

use super::super::{
    call::text,
    error::{Cause, reasons},
    kinds::{Kind, Rules},
};

/// Bytes of all annotations together: upstream's limit, enough for a last-applied manifest.
const ANNOTATION_BYTES_MAX: usize = 256 << 10;
/// Letters that upstream draws random suffixes from: no vowels, nothing to mistake.
const SUFFIX_LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Letters in a random suffix, as upstream.
const SUFFIX_LENGTH: usize = 5;
/// Longest `generateName` prefix that is kept, so that the name fits a label.
const GENERATED_PREFIX_MAX: usize = 58;

/// A name made of `prefix` and random letters.
pub(crate) fn generated_name(prefix: &str) -> Result<String, getrandom::Error> {
    let mut random = [0_u8; SUFFIX_LENGTH];
    getrandom::fill(&mut random)?;
    let suffix = random.iter().map(|byte| SUFFIX_LETTERS[usize::from(*byte) % SUFFIX_LETTERS.len()] as char);
    let end = prefix.char_indices().nth(GENERATED_PREFIX_MAX).map_or(prefix.len(), |(at, _)| at);
    Ok(prefix[..end].chars().chain(suffix).collect())
}

fn entries<'a>(metadata: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    metadata[key].as_object().into_iter().flat_map(Map::iter)
}

/// Everything that is wrong with an object's metadata.
pub(crate) fn validate(kind: &Kind, object: &Value) -> Vec<Cause> {
    let metadata = &object["metadata"];
    let mut causes = Vec::new();
    let name = text(&metadata["name"]);
    let problem = match kind.rules {
        Rules::Namespace => label_problem(name),
        _ => subdomain_problem(name),
    };
    causes.extend(problem.map(|rule| Cause::invalid("metadata.name", &metadata["name"], &rule)));
    for (key, value) in entries(metadata, "labels") {
        causes.extend(label_name_problem(key).map(|rule| Cause::invalid("metadata.labels", &json!(key), &rule)));
        causes.extend(label_value_problem(text(value)).map(|rule| Cause::invalid("metadata.labels", value, &rule)));
    }
    for (key, _) in entries(metadata, "annotations") {
        let problem = label_name_problem(&key.to_lowercase());
        causes.extend(problem.map(|rule| Cause::invalid("metadata.annotations", &json!(key), &rule)));
    }
    let annotation_bytes: usize = entries(metadata, "annotations").map(|(k, v)| k.len() + text(v).len()).sum();
    if annotation_bytes > ANNOTATION_BYTES_MAX {
        let message = format!("Too long: may not be more than {ANNOTATION_BYTES_MAX} bytes");
        causes.push(Cause::new(reasons::TOO_LONG, "metadata.annotations", message));
    }
    for finalizer in metadata["finalizers"].as_array().into_iter().flatten() {
        let problem = label_name_problem(text(finalizer));
        causes.extend(problem.map(|rule| Cause::invalid("metadata.finalizers", finalizer, &rule)));
    }
    causes.extend(owner_causes(metadata));
    causes
}

fn owner_causes(metadata: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let owners = metadata["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
    for (at, owner) in owners.iter().enumerate() {
        for key in ["apiVersion", "kind", "name", "uid"] {
            if text(&owner[key]).is_empty() {
                causes.push(Cause::required(format!("metadata.ownerReferences[{at}].{key}"), "must not be empty"));
            }
        }
    }
    if owners.iter().filter(|owner| owner["controller"] == true).count() > 1 {
        let message = "Invalid value: only one reference can have controller set to true";
        causes.push(Cause::new(reasons::INVALID, "metadata.ownerReferences", message));
    }
    causes
}

/// What an update may not do to metadata.
pub(crate) fn validate_update(old: &Value, new: &Value) -> Vec<Cause> {
    let is_going = !old["metadata"]["deletionTimestamp"].is_null();
    let had = old["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let added = new["metadata"]["finalizers"].as_array().into_iter().flatten().find(|f| !had.contains(f));
    match added {
        Some(_) if is_going => {
            vec![Cause::forbidden(
                "metadata.finalizers",
                "no new finalizers can be added if the object is being deleted",
            )]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds;

    fn fields(metadata: Value) -> Vec<String> {
        let kind = kinds::by_rules(Rules::Job);
        validate(kind, &json!({"metadata": metadata})).into_iter().map(|cause| cause.field).collect()
    }

    #[test]
    fn all_faults_of_metadata_are_found_at_once() {
        let metadata = json!({
            "name": "Not_legal", "labels": {"a b": "x", "ok": "-"}, "finalizers": ["/"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Job", "name": "x"}],
        });
        assert_eq!(
            fields(metadata),
            [
                "metadata.name",
                "metadata.labels",
                "metadata.labels",
                "metadata.finalizers",
                "metadata.ownerReferences[0].uid"
            ]
        );
    }

    #[test]
    fn legal_metadata_passes() {
        let metadata = json!({
            "name": "a.b-1", "labels": {"example.com/Name_1": "", "x": "Y.z"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
        });
        assert_eq!(fields(metadata), Vec::<String>::new());
    }

    #[test]
    fn generated_names_keep_their_prefix_and_stay_short() {
        let name = generated_name(&"x".repeat(100)).expect("random bytes");
        assert_eq!(name.len(), GENERATED_PREFIX_MAX + SUFFIX_LENGTH);
        assert_eq!(subdomain_problem(&name), None);
    }
}
