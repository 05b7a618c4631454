use serde_json::json;

use super::*;

fn parsed(text: &str) -> Value {
    parse("pd.yaml", text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

fn refusals(text: &str) -> Vec<String> {
    parse("pd.yaml", text).expect_err(text).iter().map(ToString::to_string).collect()
}

#[test]
fn the_defaults_are_what_the_type_says() {
    assert_eq!(Layered::default().configuration(), Configuration::default());
    assert_eq!(Layered::default().entries().count(), 10);
}

#[test]
fn every_key_of_the_type_is_a_setting_and_no_other() {
    let tree = json!(Configuration::default());
    let keys: Vec<String> = tree
        .as_object()
        .expect("sections")
        .iter()
        .flat_map(|(section, keys)| {
            keys.as_object().expect("keys").keys().map(move |key| format!("{section}.{key}")).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(keys, SETTINGS.map(|setting| setting.key.to_owned()));
}

#[test]
fn both_spellings_and_json_say_the_same() {
    let plain = "controller:\n  max_nodes: 3\n  task_timeout: 300s\nsecurity:\n  sandbox_memory_limit: 128Mi\n";
    let object = "apiVersion: processdistro.dev/v1\nkind: Configuration\ncontroller:\n  maxNodes: 3\n  taskTimeout: \
                  300s\nsecurity:\n  sandboxMemoryLimit: 128Mi\n";
    let json = r#"{"controller":{"max_nodes":3,"task_timeout":"300s"},"security":{"sandbox_memory_limit":"128Mi"}}"#;
    assert_eq!(parsed(plain), parsed(object));
    assert_eq!(parsed(plain), parsed(json));
    assert_eq!(parsed(""), json!({}));
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_what_was_meant() {
    let wrong = refusals("controller:\n  port: 1\n  max_node: 3\n");
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].starts_with("pd.yaml:3:3: controller.max_node: unknown field"), "{wrong:?}");
    assert!(wrong[0].contains("did you mean `max_nodes`?"), "{wrong:?}");
    let wrong = refusals("apiVersion: processdistro.dev/v1\nkind: Configuration\ncontroller: {max_nodes: 3}\n");
    assert!(wrong[0].contains("did you mean `maxNodes`?"), "{wrong:?}");
}

#[test]
fn wrong_values_are_all_told_at_once() {
    let wrong = refusals(
        "controller: {port: 70000, task_timeout: 300, max_nodes: 0}\nsecurity: {require_tls: maybe}\nperformance: \
         {max_retries: -1}\n",
    );
    for key in ["port", "task_timeout", "max_nodes", "require_tls", "max_retries"] {
        assert!(wrong.iter().any(|error| error.contains(key)), "{key}: {wrong:?}");
    }
    assert!(refusals("kind: Configuration\n")[0].contains("apiVersion"), "an object without its version");
    assert!(refusals("- 1\n")[0].contains("mapping"));
    assert!(refusals("controller: {port: 1}\ncontroller: {port: 2}\n")[0].contains("duplicate"));
    assert!(refusals("controller: {}\n---\nsecurity: {}\n")[0].contains("one document"));
}

#[test]
fn flags_stand_above_the_environment_above_the_file_above_the_defaults() {
    let file = parsed("controller: {max_nodes: 1, port: 1}\nperformance: {max_retries: 1}\n");
    let environment = |name: &str| match name {
        "PD_MAX_NODES" | "PD_PORT" => Some("2".to_owned()),
        _ => None,
    };
    let layered = Layered::default()
        .with_file("pd.yaml", &file)
        .with_environment(environment)
        .expect("numbers")
        .with_flags([("port", "3".to_owned()), ("listen", "x".to_owned())])
        .expect("a number");
    let configuration = layered.configuration();
    assert_eq!((configuration.controller.port, configuration.controller.max_nodes), (3, 2));
    assert_eq!(configuration.performance.max_retries, 1);
    let origins: Vec<String> =
        layered.entries().map(|(setting, _, origin)| format!("{} {origin}", setting.key)).collect();
    assert_eq!(
        origins[..3],
        [
            "controller.port flag --port",
            "controller.max_nodes environment PD_MAX_NODES",
            "controller.task_timeout default"
        ]
    );
    assert_eq!(origins[7], "performance.max_retries file pd.yaml");
}

#[test]
fn a_flag_that_does_not_fit_says_why() {
    let wrong = Layered::default().with_flags([("task-timeout", "soon".to_owned())]).expect_err("no duration");
    assert!(wrong[0].to_string().starts_with("flag --task-timeout for controller.task_timeout: "), "{wrong:?}");
}

#[test]
fn a_reload_keeps_what_only_a_start_can_change() {
    let old = Layered::default();
    let newer = Layered::default().with_file("pd.yaml", &parsed("controller: {port: 1, max_nodes: 7}\n"));
    let (taken, refused) = old.reloaded(&newer);
    assert_eq!(taken.configuration().controller.port, Controller::default().port);
    assert_eq!(taken.configuration().controller.max_nodes, 7);
    assert_eq!(refused.iter().map(|setting| setting.key).collect::<Vec<_>>(), ["controller.port"]);
}

#[test]
fn the_document_shows_the_defaults_and_both_spellings() {
    let document = include_str!("../../../docs/configuration.md");
    let blocks: Vec<&str> = document.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [plain, object] = blocks[..] else { panic!("{} examples", blocks.len()) };
    let shown = Layered::default().with_file("configuration.md", &parsed(plain));
    assert_eq!(shown.configuration(), Configuration::default());
    assert!(shown.entries().all(|(_, _, origin)| *origin != Origin::Default), "every key is shown");
    assert_eq!(parsed(object)["controller"]["max_nodes"], 16);
}
