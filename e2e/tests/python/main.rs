//! The Python client against a live cluster: what its custom-objects, dynamic and typed APIs do with Kubernetes, they do
//! here.

use anyhow::{Result, ensure};
use e2e::{Scenario, reference};

const CORE: &str = include_str!("core.py");

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_sees_a_kubernetes() -> Result<()> {
    let Some(python) = reference::kubernetes_python() else { return Ok(()) };
    let mut scenario = Scenario::start(0, 1).await?;
    let kubeconfig = scenario.cluster().kubeconfig();
    let script = scenario.write("core.py", CORE)?;
    let output = std::process::Command::new(python).arg(script).env("KUBECONFIG", kubeconfig).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    print!("{said}");
    Ok(())
}
