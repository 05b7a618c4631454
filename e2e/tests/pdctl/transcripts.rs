//! What pdctl says to a person with a cluster, word for word, with its exit codes.
//!
//! The transcripts stand in `transcript/*.trycmd`, the files that they begin with beside each in a folder `.in`.
//! `TRYCMD=overwrite cargo test --release -p e2e --test pdctl transcripts` writes anew what is said; what differs from run to
//! run is then to be made `[..]` again.

use std::{env, fs, path::Path};

use anyhow::{Context, Result};
use e2e::{Scenario, scenario::text};
use serde_json::{Value, json};

/// In this order, on one cluster.
const PARTS: [&str; 3] = ["jobs", "objects", "machines"];
/// Where they are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pdctl/transcript");

#[tokio::test(flavor = "multi_thread")]
async fn pdctl_says_what_the_transcripts_say() -> Result<()> {
    let mut scenario = Scenario::start(2, 1).await?;
    PARTS.iter().try_for_each(|part| play(&mut scenario, part))
}

/// Plays one part in a folder of its own.
fn play(scenario: &mut Scenario, part: &str) -> Result<()> {
    let kubeconfig = scenario.cluster().kubeconfig();
    let programs = scenario.cluster().binaries().clone();
    let folder = scenario.path(part);
    // A folder `.out` is what makes trycmd play a transcript in a copy of `.in`.
    let (begins_with, ends_with) = (folder.join("part.in"), folder.join("part.out"));
    fs::create_dir_all(&begins_with)?;
    fs::create_dir(&ends_with)?;
    copy_files(&Path::new(FOLDER).join(part).with_extension("in"), &begins_with)?;
    fs::copy(programs.task("noop"), begins_with.join("noop.wasm")).context("copying a component")?;
    let (server, stranger) = a_strangers(&scenario.pdctl(&["config", "view", "--raw", "-o", "json"])?)?;
    fs::write(begins_with.join("stranger"), stranger)?;

    let original = Path::new(FOLDER).join(part).with_extension("trycmd");
    let transcript = folder.join("part.trycmd");
    fs::copy(&original, &transcript).with_context(|| format!("copying {}", original.display()))?;
    let cases = trycmd::TestCases::new();
    cases.register_bin("pdctl", programs.program("pdctl"));
    cases.env("KUBECONFIG", text(&kubeconfig)?).env("NO_COLOR", "1");
    cases.insert_var("[SERVER]", server)?.insert_var("[KUBECONFIG]", text(&kubeconfig)?)?;
    cases.case(&transcript).run();
    if env::var_os("TRYCMD").is_some_and(|mode| mode == "overwrite") {
        fs::copy(&transcript, &original)?;
    }
    Ok(())
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The server of a kubeconfig, and the kubeconfig of somebody whom it does not know.
fn a_strangers(kubeconfig: &str) -> Result<(String, String)> {
    let mut kubeconfig: Value = serde_json::from_str(kubeconfig)?;
    kubeconfig["users"][0]["user"] = json!({"token": "stranger-x.0123456789"});
    let server = kubeconfig["clusters"][0]["cluster"]["server"].as_str().context("a server")?.to_owned();
    Ok((server, kubeconfig.to_string()))
}
