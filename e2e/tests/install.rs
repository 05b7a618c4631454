//! What runs on real machines: the units are in order and shut in, what `pdctl join` writes makes a node, and the files
//! for Kubernetes name flags that our programs have.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{
    Scenario,
    binaries::Binaries,
    deadline,
    process::Process,
    reference::{has, has_kubectl},
};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde::Deserialize as _;
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// From a kubelet's start to its Node being ready, on the reference machine.
const NODE_TIME: Duration = Duration::from_secs(20);
/// For a kubelet that was asked to end.
const END_TIME: Duration = Duration::from_secs(10);
/// In tenths: `systemd-analyze security` calls up to 2.0 safe.
const EXPOSURE_MAX: &str = "20";

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}\n{}", output.status, said(&output));
    Ok(said(&output))
}

/// Installs servers and a node below a folder; answers the folder of the units.
fn installed(root: &Path) -> Result<PathBuf> {
    let pdctl = || -> Result<Command> {
        let mut command = Command::new(Binaries::locate()?.program("pdctl"));
        command.env_remove("KUBECONFIG");
        Ok(command)
    };
    run(pdctl()?
        .args(["server", "install", "--listen", "192.0.2.1:6443", "--san", "control.lan", "--root"])
        .arg(root))?;
    let hash = format!("sha256:{}", "0".repeat(64));
    let join = ["join", "192.0.2.1:6443", "--token", "join-x.0123456789", "--ca-hash", &hash, "--slots", "3", "--root"];
    run(pdctl()?.args(join).arg(root))?;
    Ok(root.join("etc/systemd/system"))
}

#[test]
fn the_units_are_in_order_and_shut_in() -> Result<()> {
    if !has("systemd-analyze") {
        return Ok(());
    }
    let root = tempfile::tempdir()?;
    let units = installed(root.path())?;
    for name in ["pd-apiserver.service", "pd-reconciler.service", "pd-kubelet.service"] {
        let unit = units.join(name);
        let programs = Binaries::locate()?.program("pdctl");
        let folder = programs.parent().context("a folder")?.to_string_lossy().into_owned();
        ensure!(
            fs::read_to_string(&unit)?.contains(&format!("ExecStart={folder}/pd-")),
            "{name} starts other programs"
        );
        // It names every key that it does not know, and ends well all the same.
        let complaints = run(Command::new("systemd-analyze").arg("verify").arg(&unit))?;
        let ours: Vec<&str> = complaints.lines().filter(|line| line.contains("pd-")).collect();
        ensure!(ours.is_empty(), "{ours:#?}");
        run(Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold", EXPOSURE_MAX])
            .arg(&unit))?;
    }
    Ok(())
}

/// Variables of an environment file.
fn variables(file: &Path) -> Result<Vec<(String, String)>> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(text.lines().filter_map(|line| line.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_that_the_first_machine_prints_makes_a_node_of_the_second() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    let output = scenario.pdctl_output(&["token", "create", "--role", "Join"])?;
    scenario.write("join.token", &output.stdout)?;
    let help = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = help.lines().map(str::trim).find(|line| line.starts_with("pdctl join ")).context(help.clone())?;
    let mut arguments: Vec<&str> = line.split(' ').skip(1).collect();
    let dry = scenario.pdctl(&[&arguments[..], &["--dry-run"]].concat())?;
    ensure!(dry.contains("(a secret)") && dry.contains("run systemctl enable --now pd-kubelet.service"), "{dry}");
    let secret = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(!dry.contains(&secret), "a dry run shows the token");
    arguments.extend(["--name", "second", "--slots", "1", "--root", "machine"]);
    scenario.pdctl(&arguments)?;

    // As the unit starts it, but for systemd's folders.
    let settings = scenario.path("machine/etc/processdistro");
    let mut kubelet = Command::new(Binaries::locate()?.program("pd-kubelet"));
    kubelet.envs(variables(&settings.join("kubelet.env"))?);
    kubelet.arg("--data-dir").arg(scenario.path("second")).arg("--token-file").arg(settings.join("join.token"));
    let process = Process::start(&mut kubelet, &scenario.path("second.log"))?;
    let nodes: Api<Node> = Api::all(scenario.client());
    let joined = deadline::until("the second machine to be a node", NODE_TIME, async || {
        ensure!(process.is_alive(), "the kubelet has ended: {}", fs::read_to_string(scenario.path("second.log"))?);
        let node = nodes.get_opt("second").await?;
        let conditions =
            node.iter().flat_map(|node| &node.status).flat_map(|status| status.conditions.iter().flatten());
        Ok(conditions.clone().any(|c| c.type_ == "Ready" && c.status == "True").then_some(()))
    })
    .await;
    process.end(END_TIME)?;
    joined
}

/// The flags that a program says it has.
fn flags(program: &str) -> Result<String> {
    run(Command::new(Binaries::locate()?.program(program)).arg("--help"))
}

#[test]
fn the_files_for_kubernetes_build_and_name_flags_that_there_are() -> Result<()> {
    if !has_kubectl() {
        return Ok(());
    }
    let built = run(Command::new("kubectl").arg("kustomize").arg(Path::new(ROOT).join("manifests/kubernetes")))?;
    let documents: Vec<Value> =
        serde_yaml::Deserializer::from_str(&built).map(Value::deserialize).collect::<Result<_, _>>()?;
    let mut kinds = BTreeMap::new();
    for document in &documents {
        *kinds.entry(document["kind"].as_str().unwrap_or_default()).or_insert(0) += 1;
        let containers = document.pointer("/spec/template/spec/containers").and_then(Value::as_array);
        for container in containers.into_iter().flatten() {
            let program = container["command"][0].as_str().context("a command")?;
            let known = flags(program)?;
            for argument in container["args"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let flag = argument.split('=').next().unwrap_or_default();
                ensure!(known.contains(&format!("{flag} ")), "{program} has no flag {flag}");
            }
        }
    }
    let expected = [("ConfigMap", 1), ("Namespace", 1), ("Service", 1), ("StatefulSet", 2)];
    ensure!(kinds == expected.into(), "{kinds:?}");
    Ok(())
}
