//! Case files: `tests/cases/*.yaml` hold a snapshot and, below a line of dashes, the plan it must give.
//! Adding one needs no Rust. `PD_REGENERATE=1 cargo test -p pd-plan --test cases` writes the plans anew.

mod written;

use std::{fs, path::Path};

use pd_plan::{Plan, Policy, apply, invariants, plan};
use written::{Case, at};

const DIVIDER: &str = "--- # the plan; PD_REGENERATE=1 writes it anew\n";

/// Plans follow each other at most this often before nothing changes any more.
const ROUNDS_MAX: usize = 3;

#[test]
fn every_case_gives_the_plan_in_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 15, "only {} case files", paths.len());
    let mut wrong = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let (given, expected) = text.split_once(DIVIDER).unwrap_or((&text, ""));
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let case: Case = serde_yaml::from_str(given).unwrap_or_else(|error| panic!("{name}: {error}"));
        let told = run(&case, &name);
        if told == expected {
            continue;
        }
        if std::env::var_os("PD_REGENERATE").is_some() {
            fs::write(&path, format!("{given}{DIVIDER}{told}")).unwrap();
        } else {
            wrong.push(format!("{name}: expected\n{expected}\nbut the plan is\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Plans, applies and plans again until nothing changes, and tells what each round did.
fn run(case: &Case, name: &str) -> String {
    let usual = Policy::default();
    let pairs_max = case.pairs_max.unwrap_or(usual.pairs_max);
    let policy = Policy { work_stealing: case.work_stealing_enabled, pairs_max, ..usual };
    let now = at(case.now);
    let mut snapshot = case.snapshot();
    let mut told = String::new();
    for round in 0.. {
        let planned = plan(&snapshot, now, &policy);
        let again = plan(&snapshot, now, &policy);
        assert_eq!(format!("{planned:?}"), format!("{again:?}"), "{name}: two plans of one snapshot differ");
        let broken = invariants::check(&snapshot, &planned, &policy);
        assert!(broken.is_empty(), "{name}: {broken:#?}");
        if round > 0 && planned.actions.is_empty() {
            return told;
        }
        assert!(round < ROUNDS_MAX, "{name}: no fixed point after {ROUNDS_MAX} rounds: {planned:#?}");
        told += &tell(&planned, round, case.now);
        snapshot = apply(&snapshot, &planned);
    }
    told
}

fn tell(plan: &Plan, round: usize, now: f64) -> String {
    let mut lines = vec![format!("{}: |", ["plan", "then", "then2"][round])];
    lines.extend(plan.actions.iter().map(|action| format!("  {action}")));
    lines.extend(plan.notes.iter().map(|note| format!("  note {note}")));
    if let Some(wake_at) = plan.wake_at {
        lines.push(format!("  look again in {:.3} s", wake_at.duration_since(at(now)).as_secs_f64()));
    }
    if lines.len() == 1 {
        lines.push("  nothing".into());
    }
    lines.join("\n") + "\n"
}
