//! pdctl as a person meets it without a server: usage, manifests that are wrong, dry runs, kubeconfigs.

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
fn the_exit_codes_are_listed() {
    let folder = folder_with(&[]);
    let (code, stdout, _) = run(folder.path(), &["help", "exit-codes"]);
    assert_eq!(code, 0);
    let codes =
        stdout.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()?.parse::<u8>().ok());
    assert_eq!(codes.collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 130], "{stdout}");
}

#[test]
fn the_clients_version_needs_no_server() {
    let folder = folder_with(&[]);
    let (code, stdout, stderr) = run(folder.path(), &["version", "--client"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout, format!("Client Version: v{}\n", env!("CARGO_PKG_VERSION")));
    let (code, stdout, _) = run(folder.path(), &["version", "--client", "-o", "json"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("\"clientVersion\""), "{stdout}");
}

#[test]
fn wrong_usage_is_two() {
    let folder = folder_with(&[("job.yaml", JOB)]);
    for arguments in [
        &["frobnicate"][..],
        &["get"],
        &["apply"],
        &["get", "jobs", "-o", "xml"],
        &["run", "noop", "--param", "count", "--dry-run=client"],
        &["run", "noop", "--input", "x", "--dry-run=client"],
        &["run", "noop", "--dry-run=client", "-o", "wide"],
        &["run", "noop", "--parallelism", "0"],
        &["wait", "job/x", "--for=done"],
        &["logs", "node/x"],
        &["logs", "job/x", "--indexes", "3-1"],
        &["token", "create", "--role", "King"],
        &["apply", "-f", "job.yaml", "--timeout", "5s"],
    ] {
        let (code, stdout, stderr) = run(folder.path(), arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains("error"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn no_kubeconfig_says_where_it_looked() {
    let folder = folder_with(&[]);
    let (code, stdout, stderr) = run(folder.path(), &["get", "jobs"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with("error: no kubeconfig"), "{stderr}");
    assert!(stderr.contains(".kube/config") && stderr.contains("--kubeconfig"), "{stderr}");
    let (code, _, stderr) = run(folder.path(), &["get", "jobs", "--kubeconfig", "absent.yaml"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("absent.yaml") && stderr.contains("no such file"), "{stderr}");
}

#[test]
fn a_context_that_is_not_there_is_suggested() {
    let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: admin\nclusters: []\nusers: []\n\
                      contexts: [{name: admin, context: {cluster: c, user: u}}]\n";
    let folder = folder_with(&[("kc", kubeconfig)]);
    let (code, _, stderr) = run(folder.path(), &["get", "jobs", "--kubeconfig", "kc", "--context", "admni"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no context `admni`") && stderr.contains("did you mean `admin`?"), "{stderr}");
}

#[test]
fn a_server_that_is_not_there_is_five_and_named() {
    // A port that was just free and that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: admin\n\
         clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{port}'}}}}]\n\
         users: [{{name: u, user: {{token: secret}}}}]\ncontexts: [{{name: admin, context: {{cluster: c, user: u}}}}]\n"
    );
    let folder = folder_with(&[("kc", &kubeconfig), ("job.yaml", JOB)]);
    for arguments in
        [&["get", "jobs"][..], &["apply", "-f", "job.yaml"], &["run", "noop"], &["results", "x"], &["wait", "job/x"]]
    {
        let arguments = [arguments, &["--kubeconfig", "kc"]].concat();
        let (code, stdout, stderr) = run(folder.path(), &arguments);
        assert_eq!((code, stdout.as_str()), (5, ""), "{arguments:?}: {stderr}");
        assert!(
            stderr.contains(&format!("cannot reach the API server https://127.0.0.1:{port}: connection refused")),
            "{stderr}"
        );
        assert!(stderr.contains("context `admin` in kc") && stderr.contains("--context"), "{stderr}");
        assert!(!stderr.contains("secret"), "{stderr}");
    }
}

#[test]
fn a_wrong_manifest_is_shown_with_line_and_caret() {
    let wrong = JOB.replace("spec:\n", "spec:\n  paralelism: 4\n");
    let twice = JOB.replace("  name: hello\n", "  name: hello\n  name: again\n");
    let folder = folder_with(&[("wrong.yaml", &wrong), ("twice.yaml", &twice), ("broken.yaml", "a: [1,\nb: {")]);
    let (code, stdout, stderr) = run(folder.path(), &["apply", "-f", "wrong.yaml"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    for part in
        ["error: spec.paralelism: unknown field", "wrong.yaml:6:3", "  paralelism: 4", "did you mean `parallelism`?"]
    {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    let (code, _, stderr) = run(folder.path(), &["apply", "-f", "twice.yaml"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("twice.yaml:5:3") && stderr.contains("duplicate key"), "{stderr}");
    let (code, _, stderr) = run(folder.path(), &["apply", "-f", "broken.yaml"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("broken.yaml:"), "{stderr}");
}

#[test]
fn all_files_are_checked_before_anything_is_told() {
    let wrong = JOB.replace("name: noop", "nmae: noop");
    let folder = folder_with(&[("m/b/two.yml", &wrong), ("m/one.yaml", &wrong), ("m/note.txt", "not: [a manifest")]);
    let (code, _, stderr) = run(folder.path(), &["apply", "-f", "m"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("m/one.yaml:7:") && stderr.contains("m/b/two.yml:7:"), "{stderr}");
    assert!(!stderr.contains("note.txt"), "{stderr}");
}

#[test]
fn a_folder_without_manifests_and_a_file_that_is_not_there_are_errors() {
    let folder = folder_with(&[("empty/readme.txt", "")]);
    let (code, _, stderr) = run(folder.path(), &["apply", "-f", "empty"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no object found in empty"), "{stderr}");
    let (code, _, stderr) = run(folder.path(), &["apply", "-f", "absent.yaml"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("cannot read `absent.yaml`: no such file"), "{stderr}");
}

#[test]
fn a_missing_input_is_shown_in_the_manifest() {
    let job = JOB.replace("    params:", "    inputs: {a: data/a.npy}\n    params:");
    let folder = folder_with(&[("m/job.yaml", &job)]);
    let (code, stdout, stderr) = run(folder.path(), &["apply", "-f", "m/job.yaml", "--dry-run=client"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("m/job.yaml:8:") && stderr.contains("m/data/a.npy"), "{stderr}");
}

#[test]
fn a_client_dry_run_fills_the_digests_in() {
    let job = JOB.replace("    params:", "    inputs: {a: data/a.txt}\n    params:");
    let folder = folder_with(&[("m/job.yaml", &job), ("m/data/a.txt", "")]);
    let (code, stdout, _) = run(folder.path(), &["apply", "-f", "m", "--dry-run=client", "-o", "yaml"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("a: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"), "{stdout}");
    let (code, stdout, _) = run(folder.path(), &["apply", "-f", "m", "--dry-run=client"]);
    assert_eq!((code, stdout.as_str()), (0, "job.processdistro.dev/hello checked (client dry run)\n"));
}

#[test]
fn the_same_object_twice_is_refused() {
    let folder = folder_with(&[("two.yaml", &format!("{JOB}---\n{JOB}"))]);
    let (code, _, stderr) = run(folder.path(), &["apply", "-f", "two.yaml", "--dry-run=client"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("two.yaml:13:9") && stderr.contains("given twice"), "{stderr}");
}

#[test]
fn manifests_come_from_stdin_too() {
    let folder = folder_with(&[]);
    let output =
        pdctl(folder.path()).args(["apply", "-f", "-", "--dry-run=client", "-o", "name"]).write_stdin(JOB).output();
    let output = output.expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "job.processdistro.dev/hello\n");
}

#[test]
fn run_prints_the_job_that_it_would_create() {
    let folder = folder_with(&[("p.json", r#"{"count": 1, "spinMicros": 5}"#)]);
    let arguments = [
        "run",
        "noop",
        "--params",
        "@p.json",
        "--param",
        "count=1000000",
        "--param",
        "note=x y",
        "--parallelism",
        "8",
        "--timeout",
        "5m",
        "--memory",
        "32Mi",
        "--dry-run=client",
        "-n",
        "team",
    ];
    let (code, stdout, stderr) = run(folder.path(), &arguments);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let expected = "\
apiVersion: processdistro.dev/v1
kind: Job
metadata:
  generateName: noop-
  namespace: team
spec:
  task:
    name: noop
    params:
      count: 1000000
      spinMicros: 5
      note: x y
  parallelism: 8
  timeout: 5m
  resources:
    memory: 32Mi
";
    assert_eq!(stdout, expected);
    // What it prints can be applied once it has a name.
    let (code, stdout, _) = run(folder.path(), &["run", "noop", "--name", "x", "--dry-run=client", "-o", "yaml"]);
    assert_eq!(code, 0);
    let output = pdctl(folder.path()).args(["apply", "-f", "-", "--dry-run=client"]).write_stdin(stdout).output();
    assert!(output.expect("it runs").status.success());
}

#[test]
fn wrong_params_and_names_are_told_without_a_server() {
    let folder = folder_with(&[]);
    let (code, _, stderr) = run(folder.path(), &["run", "noop", "--params", "{count: 3}", "--dry-run=client"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("the params are not JSON") && stderr.contains("--params:1:2"), "{stderr}");
    let (code, _, stderr) = run(folder.path(), &["run", "noop", "--name", "Not_A_Name", "--dry-run=client"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("metadata.name"), "{stderr}");
    let (code, _, stderr) = run(folder.path(), &["run", "noop", "--input", "a=absent.npy", "--dry-run=client"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("cannot read `absent.npy`"), "{stderr}");
}

#[test]
fn what_is_no_component_is_refused_before_a_server_is_asked() {
    let folder = folder_with(&[("a.wasm", "hello"), ("b.wasm", "\0asm\u{1}\0\0\0")]);
    let (code, stdout, stderr) = run(folder.path(), &["push", "a.wasm"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("a.wasm: not WebAssembly at all"), "{stderr}");
    let (code, _, stderr) = run(folder.path(), &["push", "b.wasm", "--check"]);
    assert_eq!(code, 1);
    assert!(stderr.starts_with("error: b.wasm: "), "{stderr}");
    let (code, _, stderr) = run(folder.path(), &["push", "absent.wasm"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("cannot read `absent.wasm`"), "{stderr}");
}
