//! Hashes against Python's hashlib and Debian's bcrypt; audits that end when all is found.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Scenario, reference};

const JOB_TIME: Duration = Duration::from_mins(1);

/// Prints the hex digest of each line of candidates.txt with a salt in front.
const HASHLIB: &str = "
import sys, hashlib
algorithm, salt = sys.argv[1:]
lines = open('candidates.txt', 'rb').read().split(b'\\n')[:-1]
for line in lines: print(hashlib.new(algorithm, salt.encode() + line).hexdigest())
";

/// Checks each hash of hashes.txt against its candidate with the bcrypt library.
const BCRYPT: &str = "
import bcrypt
candidates = open('candidates.txt', 'rb').read().split(b'\\n')[:-1]
hashes = open('hashes.txt', 'rb').read().split(b'\\n')[:-1]
assert len(candidates) == len(hashes), (len(candidates), len(hashes))
print(sum(bcrypt.checkpw(candidate, hashed) for candidate, hashed in zip(candidates, hashes)))
";

/// Candidates with odd lengths, an empty line, and bytes that are no text.
fn candidates(count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..count {
        match number % 97 {
            3 => {}
            5 => bytes.extend_from_slice(&[0xff, 0x00, 0x80, b'\r']),
            n => bytes.extend_from_slice(format!("word-{number}-{}", "x".repeat(n)).as_bytes()),
        }
        bytes.push(b'\n');
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn sha_hashes_equal_hashlibs() -> Result<()> {
    if !reference::has_python(&["hashlib"]) {
        return Ok(());
    }
    let scenario = Scenario::start(2, 1).await?;
    scenario.write("candidates.txt", candidates(5000))?;
    for (algorithm, salt) in [("sha256", ""), ("sha256", "pepper"), ("sha512", ""), ("sha512", "salt")] {
        let params = format!(r#"{{"algorithm":"{algorithm}","salt":"{salt}","batchSize":333}}"#);
        let input = ["--input", "candidates=candidates.txt", "-o", "hashes.txt"];
        scenario.pdctl(&[&["run", "password-hash", "--params", &params], &input[..]].concat())?;
        let ours = std::fs::read_to_string(scenario.path("hashes.txt"))?;
        let theirs = reference::python(HASHLIB, &[algorithm, salt], scenario.folder())?;
        ensure!(ours == theirs, "{algorithm} with salt `{salt}` differs");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bcrypt_hashes_verify() -> Result<()> {
    if !reference::has_python(&["bcrypt"]) {
        return Ok(());
    }
    let scenario = Scenario::start(2, 1).await?;
    let words: String = (0..40).map(|number| format!("word-{number}\n")).collect();
    scenario.write("candidates.txt", words)?;
    let params = r#"{"algorithm":"bcrypt","cost":5}"#;
    let input = ["--input", "candidates=candidates.txt", "-o", "hashes.txt"];
    scenario.pdctl(&[&["run", "password-hash", "--params", params], &input[..]].concat())?;
    let verified = reference::python(BCRYPT, &[], scenario.folder())?;
    ensure!(verified.trim() == "40", "{verified} of 40 verify");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_ends_when_all_targets_are_found() -> Result<()> {
    let scenario = Scenario::start(2, 1).await?;
    scenario.write("candidates.txt", (0..200_000).map(|number| format!("pw{number}\n")).collect::<String>())?;
    // SHA-256 of pw7, pw4242 and pw999.
    let targets = ["pw7", "pw4242", "pw999"].map(|word| {
        use sha2::Digest as _;
        sha2::Sha256::digest(word).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    });
    scenario.write("targets.txt", targets.join("\n"))?;
    let manifest = "
apiVersion: processdistro.dev/v1
kind: Job
metadata: {name: audit}
spec:
  task:
    name: password-hash
    params: {algorithm: sha256, mode: audit, batchSize: 500}
    inputs: {candidates: candidates.txt, targets: targets.txt}
  successPolicy: {}
";
    scenario.write("audit.yaml", manifest)?;
    scenario.pdctl(&["apply", "-f", "audit.yaml"])?;
    let job = scenario.until_complete("audit", JOB_TIME).await?;
    let status = job.status.context("a status")?;
    ensure!(status.found.count() == 3, "{:?}", status.found);
    scenario.pdctl(&["results", "job/audit", "-o", "found.txt"])?;
    let found = std::fs::read_to_string(scenario.path("found.txt"))?;
    for (target, word) in targets.iter().zip(["pw7", "pw4242", "pw999"]) {
        ensure!(found.contains(&format!("{target}\t{word}\n")), "{word} is missing:\n{found}");
    }
    ensure!(found.lines().count() == 3, "{found}");
    Ok(())
}
