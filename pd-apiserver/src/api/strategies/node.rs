//! Nodes: a drain ends when its node may have work again.

use schemas::well_known::TAINT_DRAIN;
use serde_json::Value;

/// Takes the drain taint away from a node that is uncordoned: kubectl does not know of it.
pub(super) fn default_update(old: &Value, new: &mut Value) {
    if old["spec"]["unschedulable"] != true || new["spec"]["unschedulable"] == true {
        return;
    }
    if let Some(taints) = new["spec"]["taints"].as_array_mut() {
        taints.retain(|taint| taint["key"] != TAINT_DRAIN);
        if taints.is_empty() {
            super::remove(&mut new["spec"], "taints");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn uncordoning_ends_a_drain_and_nothing_else_does() {
        let drained = json!({"spec": {"unschedulable": true, "taints": [{"key": TAINT_DRAIN, "effect": "NoExecute"}]}});
        let mut labelled = drained.clone();
        labelled["metadata"]["labels"]["a"] = "b".into();
        default_update(&drained, &mut labelled);
        assert_eq!(labelled["spec"], drained["spec"]);
        let mut free = drained.clone();
        super::super::remove(&mut free["spec"], "unschedulable");
        default_update(&drained, &mut free);
        assert_eq!(free["spec"], json!({}));
    }
}
