//! Which of the walls around an executor this machine has.
//!
//! In: the executor program. Out: what is missing and why, as the executor itself says.

use std::{path::Path, process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::process::Command;

/// It takes milliseconds.
const ANSWER_TIME: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Layer {
    layer: String,
    missing: Option<String>,
}

/// What is missing, one line each; empty when all walls stand.
pub(crate) async fn missing_walls(executor: &Path) -> Vec<String> {
    let asked = Command::new(executor).arg("walls").env_clear().stdin(Stdio::null()).kill_on_drop(true).output();
    let said = match tokio::time::timeout(ANSWER_TIME, asked).await {
        Ok(Ok(output)) => output.stdout,
        Ok(Err(error)) => return vec![format!("unknown: the executor was not asked: {error}")],
        Err(_) => return vec!["unknown: the executor did not answer".to_owned()],
    };
    parse(&said)
}

fn parse(said: &[u8]) -> Vec<String> {
    match serde_json::from_slice::<Vec<Layer>>(said) {
        Ok(layers) => {
            let missing = layers.into_iter().filter_map(|layer| Some((layer.layer, layer.missing?)));
            missing.map(|(layer, why)| format!("{layer}: {why}")).collect()
        }
        Err(error) => vec![format!("unknown: the executor's answer is not a list of walls: {error}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_listed() {
        let said = br#"[{"layer":"seccomp","missing":null},{"layer":"Landlock","missing":"no such kernel"}]"#;
        assert_eq!(parse(said), ["Landlock: no such kernel"]);
        assert_eq!(parse(b"[]"), Vec::<String>::new());
        assert!(parse(b"").concat().starts_with("unknown"), "silence is not a wall");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told() {
        let missing = missing_walls(Path::new("/nowhere/pd-executor")).await;
        assert!(missing.concat().contains("was not asked"), "{missing:?}");
    }
}
