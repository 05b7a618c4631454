//! CachedResults: one may name only what is there. Who writes one, if only to say that it was used, learns so whether
//! it still holds; and what it names counts as used, so that it is not collected before a job names it too.

use schemas::{CachedResultSpec, validation};
use serde_json::Value;

use super::{
    super::{
        call::{Call, text},
        error::{ApiError, Cause, reasons},
    },
    causes, typed,
};

pub(super) fn validate(object: &Value) -> Vec<Cause> {
    typed::<CachedResultSpec>(object, "spec").map_or_else(Vec::new, |spec| {
        causes(validation::validate_cached_result(text(&object["metadata"]["name"]), &spec))
    })
}

pub(super) async fn admit(call: &Call, object: &Value) -> Result<Vec<Cause>, ApiError> {
    let Some(spec) = typed::<CachedResultSpec>(object, "spec") else { return Ok(Vec::new()) };
    let named = spec.outputs.artifacts().map(|digest| (digest, "spec.outputs"));
    let state = spec.layout.state.map(|digest| (digest, "spec.layout.state"));
    let mut found = Vec::new();
    for (digest, field) in named.chain(state) {
        if call.state.artifacts.head(&digest).await?.is_none() {
            let message =
                format!("Not found: \"{digest}\": the artifact is gone; what it held has to be computed anew");
            found.push(Cause::new(reasons::NOT_FOUND, field, message));
        }
    }
    Ok(found)
}
