//! Whole jobs.

use proptest::prelude::*;
use sha2::{Digest, Sha256, Sha512};
use task_sdk::Failure;
use task_sdk::testing::{MemoryHost, merge, run_parts, run_whole, verify, with_kernels};

use super::{Bcrypt, PasswordHash};

const CANDIDATES: &[u8] = b"hunter2\n\npass\tword\r\nhunter2\n\xff\x00\xfe\nlast";

fn lines(candidates: &[u8]) -> Vec<&[u8]> {
    candidates.split(|byte| *byte == b'\n').collect()
}

#[test]
fn hashes_come_a_line_per_candidate_whatever_the_batches() {
    let sha256 = |line: &&[u8]| hex::encode(Sha256::digest(line)) + "\n";
    let sha512 = |line: &&[u8]| hex::encode(Sha512::new().chain_update("sa").chain_update(line).finalize()) + "\n";
    let expected256: String = lines(CANDIDATES).iter().map(sha256).collect();
    let expected512: String = lines(CANDIDATES).iter().map(sha512).collect();
    for batch in [1, 2, 5, 6, 4096] {
        let params = format!(r#"{{"batch_size": {batch}}}"#);
        let finished = run_whole::<PasswordHash>(&params, &[("candidates", CANDIDATES)]).unwrap();
        assert_eq!(String::from_utf8(finished.result).unwrap(), expected256);
        assert_eq!((finished.layout.subtasks, finished.layout.goal), (6_u64.div_ceil(batch), None));
        let params = format!(r#"{{"batchSize": {batch}, "algorithm": "sha512", "salt": "sa"}}"#);
        let finished = run_whole::<PasswordHash>(&params, &[("candidates", CANDIDATES)]).unwrap();
        assert_eq!(String::from_utf8(finished.result).unwrap(), expected512);
    }
}

#[test]
fn bcrypt_hashes_verify_and_do_not_depend_on_the_batches() {
    let hashes = |params: &str| {
        let result = run_whole::<PasswordHash>(params, &[("candidates", CANDIDATES)]).unwrap().result;
        String::from_utf8(result).unwrap()
    };
    let derived = hashes(r#"{"algorithm": "bcrypt", "cost": 4}"#);
    assert_eq!(derived, hashes(r#"{"algorithm": "bcrypt", "cost": 4, "batchSize": 1}"#));
    assert_ne!(derived, hashes(r#"{"algorithm": "bcrypt", "cost": 4, "seed": 1}"#));
    for (hash, candidate) in derived.lines().zip(lines(CANDIDATES)) {
        assert!(hash.starts_with("$2b$04$"));
        assert!(bcrypt::verify(candidate, hash).unwrap(), "{hash}");
    }
    let mut salts: Vec<&str> = derived.lines().map(|hash| &hash[7..29]).collect();
    salts.sort_unstable();
    salts.dedup();
    assert_eq!(salts.len(), 6, "each candidate has its own salt");
    let same = hashes(r#"{"algorithm": "bcrypt", "cost": 4, "salt": "DCq7YPn5Rq63x1Lad4cll."}"#);
    assert!(same.lines().all(|hash| hash.starts_with("$2b$04$DCq7YPn5Rq63x1Lad4cll.")));
    assert_eq!(same, hashes(r#"{"algorithm": "bcrypt", "cost": 4, "salt": "144b3d691a7b4ecf39cf735c7fa7a79c"}"#));
}

#[test]
fn an_audit_reports_each_target_once_with_its_first_candidate() {
    let digest = |text: &[u8]| hex::encode(Sha256::digest(text));
    let (last, hunter) = (digest(b"last"), digest(b"hunter2"));
    let targets =
        [&last, "", &digest(b"nobody"), &hunter.to_uppercase(), &last, &digest(b"pass\tword\r"), ""].join("\r\n");
    let expected = format!("{last}\tlast\n{hunter}\thunter2\n{}\tpass\tword\r\n", digest(b"pass\tword\r"));
    let inputs = [("candidates", CANDIDATES), ("targets", targets.as_bytes())];
    for batch in [1, 4, 100] {
        let params = format!(r#"{{"mode": "audit", "batchSize": {batch}}}"#);
        let finished = run_whole::<PasswordHash>(&params, &inputs).unwrap();
        assert_eq!(String::from_utf8(finished.result).unwrap(), expected);
        assert_eq!(finished.layout.goal, Some(4));
        assert_eq!(finished.host.found_targets(), [0, 2, 3]);
    }
}

#[test]
fn the_machines_kernel_is_used_for_sha256_where_it_is_offered_and_changes_nothing() {
    let target = hex::encode(Sha256::digest(b"salt\xff\x00\xfe"));
    let inputs = [("candidates", CANDIDATES), ("targets", target.as_bytes())];
    for (params, inputs, uses) in [
        (r#"{"salt": "salt", "batchSize": 2}"#, &inputs[..1], 3),
        (r#"{"salt": "salt", "mode": "audit"}"#, &inputs, 1),
        (r#"{"algorithm": "sha512"}"#, &inputs[..1], 0),
        (r#"{"algorithm": "bcrypt", "cost": 4}"#, &inputs[..1], 0),
    ] {
        let own = run_whole::<PasswordHash>(params, inputs).unwrap();
        let (offered, calls) = with_kernels(|| run_whole::<PasswordHash>(params, inputs).unwrap());
        assert_eq!((own.result, own.host.found_targets()), (offered.result, offered.host.found_targets()), "{params}");
        assert_eq!(calls, uses, "{params}");
    }
}

#[test]
fn an_audit_can_be_merged_before_all_batches_ran() {
    let target = hex::encode(Sha512::digest(b"hunter2"));
    let params = r#"{"mode": "audit", "algorithm": "sha512", "batchSize": 1}"#;
    let (layout, host) =
        run_parts::<PasswordHash>(params, &[("candidates", CANDIDATES), ("targets", target.as_bytes())]).unwrap();
    for index in [1, 2, 4, 5] {
        host.remove_part(index);
    }
    let result = merge::<PasswordHash>(params, layout.subtasks, &host).unwrap();
    assert_eq!(String::from_utf8(result).unwrap(), format!("{target}\thunter2\n"));
    host.remove_part(0);
    let failure = merge::<PasswordHash>(r#"{"batchSize": 1}"#, layout.subtasks, &host).unwrap_err();
    assert_eq!(failure, Failure::permanent("index 0 has no output, so the result would have a hole"));
}

#[test]
fn an_audit_finds_bcrypt_targets_of_any_version_salt_and_cost() {
    let one = Bcrypt::hash(4, [7; 16], b"last").to_string().replace("$2b$", "$2y$");
    let two = Bcrypt::hash(5, [7; 16], b"hunter2").to_string().replace("$2b$", "$2a$");
    let three = Bcrypt::hash(4, [7; 16], b"\xff\x00\xfe").to_string();
    let none = Bcrypt::hash(4, [8; 16], b"nobody").to_string();
    let targets = [&one[..], &two, &none, &three].join("\n");
    let params = r#"{"mode": "audit", "algorithm": "bcrypt"}"#;
    let inputs = [("candidates", CANDIDATES), ("targets", targets.as_bytes())];
    let finished = run_whole::<PasswordHash>(params, &inputs).unwrap();
    let expected = [one.as_bytes(), b"\tlast\n", two.as_bytes(), b"\thunter2\n", three.as_bytes(), b"\t\xff\x00\xfe\n"];
    assert!(finished.result == expected.concat());
    assert_eq!(finished.host.found_targets(), [0, 1, 3]);
}

#[test]
fn wrong_jobs_are_refused_for_good() {
    let sha512 = "0".repeat(128);
    for (params, candidates, targets, message) in [
        ("{}", None, None, "the job has no input `candidates`"),
        ("{}", Some(""), None, "input `candidates` is empty"),
        ("{}", Some("x"), Some("y"), "input `targets` is for mode audit"),
        (r#"{"mode": "audit"}"#, Some("x"), None, "the job has no input `targets`"),
        (r#"{"mode": "audit"}"#, Some("x"), Some("\n \n"), "input `targets` is empty"),
        (
            r#"{"mode": "audit"}"#,
            Some("x"),
            Some("\nabc\n"),
            "line 2: `abc` is no hash of this algorithm (64 hex digits)",
        ),
        (r#"{"mode": "audit"}"#, Some("x"), Some(&sha512[..]), "line 1: `0000"),
        (r#"{"mode": "audit", "algorithm": "bcrypt"}"#, Some("x"), Some(&sha512), "begin with $2a$, $2b$ or $2y$"),
        (r#"{"algorithm": "bcrypt", "cost": 3}"#, Some("x"), None, "cost is 3; it must be 4 to 31"),
        (r#"{"algorithm": "bcrypt", "salt": "abc"}"#, Some("x"), None, "salt `abc` is neither 32 hex digits nor 22"),
        (r#"{"algorithm": "md5"}"#, Some("x"), None, "unknown variant `md5`"),
        (r#"{"batchSize": 0}"#, Some("x"), None, "batchSize is 0; it must be 1 to 500000"),
    ] {
        let candidates = candidates.map(|text| ("candidates", text.as_bytes()));
        let inputs: Vec<_> = candidates.into_iter().chain(targets.map(|text| ("targets", text.as_bytes()))).collect();
        let Err(Failure::Permanent(text)) = run_parts::<PasswordHash>(params, &inputs).map(|_| ()) else {
            panic!("{params}")
        };
        assert!(text.contains(message), "{params}: {text}");
    }
}

/// The outputs of a job and a host that has what it was planned with.
fn outputs(params: &str, candidates: &[u8], targets: &[u8]) -> (Vec<Vec<u8>>, MemoryHost) {
    let (layout, host) =
        run_parts::<PasswordHash>(params, &[("candidates", candidates), ("targets", targets)]).expect("runs");
    let part = |index| task_sdk::Host::read_part(&host, index, 0, u32::MAX);
    ((0..layout.subtasks).map(part).collect(), host)
}

#[test]
fn only_an_output_with_every_target_is_attested() {
    let params = r#"{"mode": "audit", "batchSize": 3, "salt": "s"}"#;
    let digest = |text: &[u8]| hex::encode(Sha256::new().chain_update("s").chain_update(text).finalize());
    let attests = |index, output: &[u8], host: &MemoryHost| {
        verify::<PasswordHash>(params, index, output, 0, host).expect("answers")
    };
    // Both targets lie in the second batch.
    let targets = [digest(b"last"), digest(b"hunter2")].join("\n");
    let (outputs_of_both, host) = outputs(params, CANDIDATES, targets.as_bytes());
    assert!(attests(1, &outputs_of_both[1], &host));
    assert!(!attests(0, &outputs_of_both[0], &host), "one of two: the other may have been left out");
    assert!(!attests(0, &outputs_of_both[1], &host), "`last` is no candidate of the first batch");
    let (outputs_of_one, host) = outputs(params, CANDIDATES, digest(b"\xff\x00\xfe").as_bytes());
    assert!(attests(1, &outputs_of_one[1], &host));
    assert_eq!(host.found_targets(), [0]);
    assert!(!attests(0, &outputs_of_one[0], &host), "nothing is what a liar says, too");
}

#[test]
fn of_bcrypt_the_first_of_those_that_are_alike_is_attested() {
    let params = r#"{"mode": "audit", "algorithm": "bcrypt", "batchSize": 4}"#;
    let target = Bcrypt::hash(4, [7; 16], b"abc").to_string();
    // Repeated with its NUL it is the same key.
    let candidates = b"x\nabc\x00abc\nabc\ny";
    let (outputs, host) = outputs(params, candidates, target.as_bytes());
    assert_eq!(outputs[0], [target.as_bytes(), b"\tabc\x00abc\n"].concat());
    let attests = |output: &[u8]| verify::<PasswordHash>(params, 0, output, 0, &host).expect("answers");
    assert!(attests(&outputs[0]));
    assert!(!attests(&[target.as_bytes(), b"\tabc\n"].concat()), "it matches, but is not the first that does");
    assert!(!attests(&[target.as_bytes(), b"\ty\n"].concat()));
}

#[test]
fn hashes_are_not_attested() {
    let (layout, host) = run_parts::<PasswordHash>("{}", &[("candidates", CANDIDATES)]).expect("runs");
    let output = task_sdk::Host::read_part(&host, 0, 0, u32::MAX);
    assert_eq!((layout.subtasks, verify::<PasswordHash>("{}", 0, &output, 0, &host)), (1, Ok(false)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_run_does_not_answer_is_not_attested(
        words in prop::collection::vec("[ab]{0,3}", 1..12), picked: prop::sample::Index, batch in 1_u32..5,
        at: prop::sample::Index, change in 1_u8..=255, sha512: bool,
    ) {
        let algorithm = if sha512 { "sha512" } else { "sha256" };
        let params = format!(r#"{{"mode": "audit", "batchSize": {batch}, "algorithm": "{algorithm}"}}"#);
        let candidates = words.join("\n") + "\n";
        let word = picked.get(&words);
        let target = if sha512 { hex::encode(Sha512::digest(word)) } else { hex::encode(Sha256::digest(word)) };
        let (outputs, host) = outputs(&params, candidates.as_bytes(), target.as_bytes());
        for (index, output) in outputs.iter().enumerate() {
            let attests = |output: &[u8]| verify::<PasswordHash>(&params, index as u64, output, 0, &host).expect("answers");
            prop_assert_eq!(attests(output), !output.is_empty());
            let mut wrong = output.clone();
            match wrong.len() {
                0 => wrong.push(change),
                length => wrong[at.index(length)] ^= change,
            }
            prop_assert!(!attests(&wrong), "{:?}", wrong);
            prop_assert!(!attests(&[&output[..], &output[..]].concat()));
        }
    }
}
