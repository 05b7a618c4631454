//! pd-local as a person uses it: what it starts it also ends.

use std::{fs, net::TcpStream, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use e2e::{binaries::Binaries, cluster::Cluster};

fn pd_local(home: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(Binaries::locate()?.program("pd-local"));
    let output = command.env("PD_LOCAL_HOME", home).args(arguments).output().context("running pd-local")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pd-local {}: {errors}", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn delete_leaves_no_process_no_port_and_no_file() -> Result<()> {
    let home = tempfile::tempdir()?;
    let home = home.path();
    let printed = pd_local(home, &["create", "short-lived", "--nodes", "2", "--slots", "1"])?;
    let kubeconfig = pd_local(home, &["kubeconfig", "short-lived"])?;
    assert_eq!(printed.trim(), format!("export KUBECONFIG={}", kubeconfig.trim()));

    let listed = pd_local(home, &["list"])?;
    assert_eq!(listed.matches("running").count(), 4, "API server, reconciler and two nodes:\n{listed}");
    let cluster = Cluster::open(home, "short-lived")?;
    let state = cluster.state().clone();
    let kubelets: Vec<_> = state.nodes.iter().filter_map(|node| node.kubelet).collect();
    let executors: Vec<_> = kubelets.iter().flat_map(|kubelet| kubelet.children()).collect();
    assert!(TcpStream::connect(("127.0.0.1", state.port)).is_ok());

    pd_local(home, &["delete", "short-lived"])?;
    for process in kubelets
        .into_iter()
        .chain(executors)
        .chain(state.apiserver)
        .chain(state.reconcilers.iter().filter_map(|reconciler| reconciler.process))
    {
        assert!(!process.is_alive(), "process {} is left", process.pid());
    }
    assert!(TcpStream::connect(("127.0.0.1", state.port)).is_err(), "port {} is left", state.port);
    assert_eq!(fs::read_dir(home)?.count(), 0, "files are left");
    Ok(())
}

#[test]
fn nodes_are_added_killed_paused_and_restarted_by_number_or_name() -> Result<()> {
    let home = tempfile::tempdir()?;
    let home = home.path();
    pd_local(home, &["create", "c", "--nodes", "1"])?;
    let result = (|| {
        assert_eq!(pd_local(home, &["add-node", "c", "--slots", "2"])?.trim(), "node-1");
        pd_local(home, &["pause-node", "c", "1"])?;
        ensure!(pd_local(home, &["list"])?.contains("paused"), "node-1 is not paused");
        pd_local(home, &["resume-node", "c", "node-1"])?;
        pd_local(home, &["kill-node", "c", "node-0"])?;
        ensure!(pd_local(home, &["list"])?.contains("dead"), "node-0 is not dead");
        pd_local(home, &["restart-node", "c", "0"])?;
        pd_local(home, &["kill-apiserver", "c"])?;
        pd_local(home, &["restart-apiserver", "c"])?;
        let unknown = pd_local(home, &["kill-node", "c", "node-7"]).expect_err("there is no node-7");
        ensure!(unknown.to_string().contains("the cluster has node-0, node-1"), "{unknown}");
        let logs = tempfile::tempdir()?;
        pd_local(home, &["export-logs", "c", logs.path().to_str().context("a text path")?])?;
        ensure!(fs::read_to_string(logs.path().join("nodes.yaml"))?.contains("node-1"), "the nodes are not exported");
        Ok(())
    })();
    pd_local(home, &["delete", "c"])?;
    result
}
