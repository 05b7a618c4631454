//! The verbs that need no server, in cases that the transcripts beside do not show.

use std::{fs, path::Path};

use assert_cmd::Command;
use tempfile::TempDir;

const JOB: &str = "\
apiVersion: processdistro.dev/v1
kind: Job
metadata:
  name: hello
spec:
  task:
    name: noop
    params: {count: 3}
";

const KUBECONFIG: &str = "\
# written by hand
apiVersion: v1
kind: Config
current-context: home
clusters:
- {name: c, cluster: {server: 'https://127.0.0.1:1'}}
users:
- {name: u, user: {token: knowsthissecret}}
contexts:
- {name: home, context: {cluster: c, user: u}}
- {name: work, context: {cluster: c, user: u, namespace: team}}
";

/// pdctl in a folder of its own, seeing no kubeconfig but the one it is given.
fn pdctl(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("pdctl").expect("the binary");
    command.current_dir(folder).env_remove("KUBECONFIG").env("HOME", folder).env("NO_COLOR", "1");
    command
}

/// Exit code, stdout and stderr of a command line.
fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = pdctl(folder).args(arguments).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

fn folder_with(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    folder
}

#[test]
fn validate_tells_what_is_valid_and_where() {
    let folder = folder_with(&[("m/a.yaml", JOB), ("m/b.yaml", &JOB.replace("hello", "other"))]);
    let (code, stdout, stderr) = run(folder.path(), &["validate", "m"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout, "m/a.yaml:1 job.processdistro.dev/hello valid\nm/b.yaml:1 job.processdistro.dev/other valid\n");
    assert_eq!(run(folder.path(), &["validate", "-q", "-f", "m"]), (0, String::new(), String::new()));
}

#[test]
fn validate_tells_all_that_is_wrong_at_once() {
    let typo = JOB.replace("spec:\n", "spec:\n  paralelism: 4\n");
    let missing = JOB.replace("    params:", "    inputs: {a: data/a.npy}\n    params:");
    let folder = folder_with(&[
        ("m/typo.yaml", &typo),
        ("m/input.yaml", &missing),
        ("m/twice.yaml", &format!("{}---\n{}", JOB.replace("hello", "x"), JOB.replace("hello", "x"))),
        ("m/broken.yaml", "a: [1,\nb: {"),
    ]);
    let (code, stdout, stderr) = run(folder.path(), &["validate", "m"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    for part in [
        "m/typo.yaml:6:3",
        "did you mean `parallelism`?",
        "m/input.yaml:8:",
        "cannot read the input `m/data/a.npy`: no such file",
        "m/twice.yaml:13:9",
        "given twice, first at m/twice.yaml:1",
        "m/broken.yaml:",
    ] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
}

#[test]
fn explain_needs_no_server_for_the_kinds() {
    let folder = folder_with(&[]);
    let (code, stdout, stderr) = run(folder.path(), &["explain", "job.spec.subtaskTimeout"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(
        stdout
            .starts_with("KIND:     Job\nVERSION:  processdistro.dev/v1\nFIELD:    job.spec.subtaskTimeout <string>\n"),
        "{stdout}"
    );
    assert!(stdout.contains("default: \"5m\""), "{stdout}");
    let (code, stdout, stderr) = run(folder.path(), &["explain", "job.spec.timout"]);
    assert_eq!((code, stdout.as_str()), (3, ""));
    assert_eq!(stderr, "error: job.spec has no field `timout`\n  help: did you mean `timeout`?\n");
    let (code, _, stderr) = run(folder.path(), &["explain", "jbo"]);
    assert_eq!(code, 3);
    assert!(stderr.contains("did you mean `job`?"), "{stderr}");
}

#[test]
fn config_shows_contexts_and_never_secrets() {
    let folder = folder_with(&[("kc", KUBECONFIG)]);
    let (code, stdout, stderr) = run(folder.path(), &["config", "get-contexts", "--kubeconfig", "kc"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let expected = "\
CURRENT   NAME   CLUSTER   SERVER                USER   NAMESPACE
*         home   c         https://127.0.0.1:1   u
          work   c         https://127.0.0.1:1   u      team
";
    assert_eq!(stdout, expected);
    let (code, stdout, _) = run(folder.path(), &["config", "view", "--kubeconfig", "kc"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("REDACTED") && !stdout.contains("knowsthissecret"), "{stdout}");
    let (code, stdout, _) = run(folder.path(), &["config", "view", "--raw", "--kubeconfig", "kc", "-o", "json"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("knowsthissecret"), "{stdout}");
}

#[test]
fn use_context_writes_one_line() {
    let folder = folder_with(&[("kc", KUBECONFIG)]);
    let (code, stdout, _) = run(folder.path(), &["config", "use-context", "work", "--kubeconfig", "kc"]);
    assert_eq!((code, stdout.as_str()), (0, "switched to context `work`\n"));
    let written = fs::read_to_string(folder.path().join("kc")).expect("the file");
    assert_eq!(written, KUBECONFIG.replace("current-context: home", "current-context: work"));
    let (code, stdout, _) = run(folder.path(), &["config", "current-context", "--kubeconfig", "kc"]);
    assert_eq!((code, stdout.as_str()), (0, "work\n"));
    let (code, _, stderr) = run(folder.path(), &["config", "use-context", "wrok", "--kubeconfig", "kc"]);
    assert_eq!(code, 3);
    assert!(stderr.contains("did you mean `work`?"), "{stderr}");
}

#[test]
fn a_shell_is_answered_what_a_line_may_go_on_with() {
    let folder = folder_with(&[("kc", KUBECONFIG)]);
    let (code, stdout, _) = run(folder.path(), &["completion", "bash"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("PDCTL_COMPLETE") && stdout.contains("complete "), "{stdout}");
    let ask = |words: &[&str]| {
        let mut command = pdctl(folder.path());
        command.env("PDCTL_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
        command.env("_CLAP_IFS", "\n").env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "true");
        let output = command.arg("--").args(words).output().expect("it runs");
        String::from_utf8(output.stdout).expect("text")
    };
    let verbs = ask(&["pdctl", "re"]);
    assert!(verbs.lines().any(|word| word == "results") && verbs.lines().any(|word| word == "rerun"), "{verbs}");
    let contexts = ask(&["pdctl", "--kubeconfig", "kc", "config", "use-context", ""]);
    assert!(contexts.lines().any(|word| word == "work"), "{contexts}");
    // A cluster that does not answer offers nothing, soon.
    assert_eq!(
        ask(&["pdctl", "--kubeconfig", "kc", "results", ""]).lines().filter(|word| !word.starts_with('-')).count(),
        0
    );
    let (code, _, stderr) = run(folder.path(), &["completion", "bahs"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("did you mean `bash`?"), "{stderr}");
}

#[test]
fn the_manual_has_a_page_for_each_verb() {
    let folder = folder_with(&[]);
    let (code, stdout, _) = run(folder.path(), &["man"]);
    assert_eq!(code, 0);
    assert!(stdout.contains(".TH pdctl 1"), "{stdout}");
    let (code, _, stderr) = run(folder.path(), &["man", "pages"]);
    assert_eq!((code, stderr.as_str()), (0, "wrote the pages into pages\n"));
    for verb in ["apply", "why", "config-use-context"] {
        assert!(folder.path().join(format!("pages/pdctl-{verb}.1")).is_file(), "{verb}");
    }
}

#[test]
fn the_help_groups_the_verbs_and_shows_examples() {
    let folder = folder_with(&[]);
    let (code, stdout, _) = run(folder.path(), &["help"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("\nWork:\n  run  ") && stdout.contains("help exit-codes"), "{stdout}");
    assert!(stdout.lines().all(|line| line.chars().count() <= 110), "{stdout}");
    let (code, stdout, _) = run(folder.path(), &["help", "logs"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("Examples:\n  pdctl logs job/mandelbrot"), "{stdout}");
}

#[test]
fn wrong_usage_of_the_verbs_is_two() {
    let folder = folder_with(&[("kc", KUBECONFIG)]);
    for arguments in [
        &["why"][..],
        &["why", "task/x"],
        &["top", "pods"],
        &["top", "nodes", "--live"],
        &["results", "job/x", "--all"],
        &["results", "job/x", "--index", "1", "--all", "-o", "d"],
        &["patch", "job/x"],
        &["patch", "job/x", "-p", "[1]"],
        &["patch", "job/x", "--type", "json", "-p", "{}"],
        &["replay", "job/x"],
        &["events", "jobs"],
        &["suspend"],
        &["retry", "job/x", "--failed", "--indexes", "1"],
        &["retry", "job/x", "--indexes", "3-1"],
        &["retry", "job/x", "--timeout", "5s"],
        &["backup"],
        &["restore", "cluster.tar"],
        &["join", "10.0.0.1:6443", "--ca-hash", "sha256:0", "--token", "a.b"],
        &["join", "10.0.0.1"],
        &["server", "install", "--listen", "here"],
        &["config", "view", "--raw", "--show-origin"],
        &["validate"],
        &["init"],
    ] {
        let arguments = [arguments, &["--kubeconfig", "kc"]].concat();
        let (code, stdout, stderr) = run(folder.path(), &arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
    }
}

#[test]
fn the_servers_configuration_says_who_says_what() {
    let folder = folder_with(&[("pd.yaml", "controller:\n  max_nodes: 7\n")]);
    let arguments = ["config", "view", "--config", "pd.yaml", "--show-origin"];
    let output = pdctl(folder.path()).args(arguments).env("PD_MAX_RETRIES", "9").output().expect("it runs");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    let row = |key: &str| -> Vec<String> {
        let line = stdout.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row("controller.max_nodes")[1], "7");
    assert!(row("controller.max_nodes")[2..].join(" ").contains("pd.yaml"), "{stdout}");
    assert_eq!(row("performance.max_retries")[1], "9");
    assert!(row("performance.max_retries")[2..].join(" ").contains("PD_MAX_RETRIES"), "{stdout}");
    assert!(row("controller.port")[2..].join(" ").contains("default"), "{stdout}");
    let (code, plain, _) = run(folder.path(), &["config", "view", "--config", "pd.yaml"]);
    assert!(code == 0 && plain.contains("controller.max_nodes") && !plain.contains("pd.yaml"), "{plain}");
}

#[test]
fn a_machine_that_joins_keeps_its_token_to_itself() {
    let folder = folder_with(&[("join.token", "join-x.0123456789\n"), ("empty", "\n")]);
    let hash = format!("sha256:{}", "a".repeat(64));
    let arguments = ["join", "10.0.0.1:6443", "--ca-hash", &hash, "--token-file", "join.token", "--name", "attic"];
    let (code, stdout, stderr) = run(folder.path(), &[&arguments[..], &["--dry-run"]].concat());
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("  PD_SERVER=https://10.0.0.1:6443\n") && stdout.contains("  PD_NAME=attic\n"), "{stdout}");
    assert!(!stdout.contains("0123456789") && stdout.contains("join.token (mode 600)"), "{stdout}");
    let (code, stdout, _) = run(folder.path(), &[&arguments[..], &["--root", "machine"]].concat());
    assert_eq!((code, stdout.as_str()), (0, ""));
    let token = fs::read_to_string(folder.path().join("machine/etc/processdistro/join.token")).expect("the token");
    assert_eq!(token, "join-x.0123456789\n");
    let wrong = ["join", "10.0.0.1:6443", "--ca-hash", &hash, "--token-file", "empty", "--dry-run"];
    let (code, _, stderr) = run(folder.path(), &wrong);
    assert_eq!(code, 1);
    assert!(stderr.contains("empty: a join token is ID.SECRET"), "{stderr}");
}

#[test]
fn a_server_s_installation_can_be_looked_at_before() {
    let folder = folder_with(&[]);
    let arguments = ["server", "install", "--listen", "10.0.0.1:6443", "--dry-run"];
    let (code, stdout, stderr) = run(folder.path(), &arguments);
    assert_eq!((code, stderr.as_str()), (0, ""));
    for part in [
        "write /etc/processdistro/config.yaml (mode 644, unless it is there)",
        "write /etc/systemd/system/pd-apiserver.service (mode 644)",
        "  PD_LISTEN=10.0.0.1:6443",
        "run systemctl enable --now pd-apiserver.service pd-reconciler.service",
    ] {
        assert!(stdout.contains(part), "{part} is not in\n{stdout}");
    }
}

#[test]
fn errors_of_diff_are_never_taken_for_differences() {
    let folder = folder_with(&[("wrong.yaml", "kind: Job\n")]);
    let (code, _, stderr) = run(folder.path(), &["diff", "-f", "wrong.yaml"]);
    assert_eq!(code, 2, "{stderr}");
    let (code, ..) = run(folder.path(), &["diff", "-f", "absent.yaml"]);
    assert_eq!(code, 2);
}

#[test]
fn a_sandbox_that_is_not_installed_is_said() {
    // A pdctl with nothing beside it, and nothing on the path. A link, for a program that has just been written cannot be
    // started while another test starts one: until then that one holds the file open, too.
    let pdctl = assert_cmd::cargo::cargo_bin("pdctl");
    let folder = tempfile::tempdir_in(pdctl.parent().expect("a folder")).expect("a folder");
    let alone = folder.path().join("pdctl");
    fs::hard_link(&pdctl, &alone).expect("a link");
    let output = Command::new(&alone).args(["task", "check", "a.wasm"]).env("PATH", "").output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("`pd-executor`, which runs components, is neither beside pdctl nor on the path"),
        "{stderr}"
    );
}

#[test]
fn a_new_task_is_a_crate_of_its_own() {
    let sdk = concat!(env!("CARGO_MANIFEST_DIR"), "/../wasm_tasks/sdk");
    let folder = folder_with(&[("other/Cargo.toml", "[package]\nname = \"other\"\n")]);
    let (code, stdout, stderr) = run(folder.path(), &["task", "new", "word-count", "--sdk", sdk]);
    assert_eq!((code, stdout.as_str()), (0, "word-count\n"), "{stderr}");
    assert!(stderr.contains("cd word-count && cargo test"), "{stderr}");
    let read = |name: &str| fs::read_to_string(folder.path().join("word-count").join(name)).expect(name);
    assert!(read("Cargo.toml").contains("name = \"word-count\"") && read("Cargo.toml").contains("wasm_tasks/sdk"));
    assert!(read("src/lib.rs").contains("task_sdk::export_task!(WordCount);"));
    assert!(read("task.json").contains("\"name\": \"word-count\""));
    let (code, _, stderr) = run(folder.path(), &["task", "new", "word-count", "--sdk", sdk]);
    assert_eq!(code, 1);
    assert!(stderr.contains("`word-count` exists"), "{stderr}");
    let (code, _, stderr) = run(folder.path(), &["task", "new", "x", "--sdk", "other"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("other is not the crate task-sdk"), "{stderr}");
    assert!(!folder.path().join("x").exists());
    let (code, _, stderr) = run(folder.path(), &["task", "new", "Word_Count", "--sdk", sdk]);
    assert_eq!(code, 2, "{stderr}");
}
