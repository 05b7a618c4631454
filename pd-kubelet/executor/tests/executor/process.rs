//! The executor as a process: what it refuses, how it ends, and what it can be asked on the command line.

use std::{fs, process::Command};

use crate::driver::{COMPILE_BYTES, COMPILE_MS, Node, guest, text};
use executor_protocol::{Outcome, Reply, Request};

fn broken(reply: Reply) -> String {
    match reply {
        Reply::Broken(text) => text,
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn a_call_beyond_its_time_ends_the_executor_after_what_had_ended() {
    let mut node = Node::with_guest("l", |context| context.call_ms_max = 300);
    node.send(&Request::Run { first: 0, last: 9, careful: false });
    let mut ended = Vec::new();
    while let Some(reply) = node.try_next() {
        let Reply::Ended(batch) = reply else { panic!("unexpected {reply:?}") };
        ended.extend(batch.unpack().expect("adds up"));
    }
    assert_eq!(ended.iter().map(|ended| ended.index).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(matches!(ended[1].call.outcome, Outcome::Success(_)));
    let late = &ended[2].call;
    assert!(matches!(&late.outcome, Outcome::TimedOut(text) if text.contains("300ms")), "{late:?}");
    assert!(
        late.wall_ns >= 300_000_000 && late.memory_peak_bytes == 2 << 16 && late.log == "info: hello\n",
        "{late:?}"
    );
    assert_eq!(node.wait().code(), Some(3));
}

#[test]
fn a_plan_beyond_its_time_is_reported_as_one() {
    let mut node = Node::with_guest("l", |context| context.call_ms_max = 50);
    node.send(&Request::Plan);
    let Reply::Planned(call) = node.next() else { panic!("expected a plan") };
    assert!(matches!(call.outcome, Outcome::TimedOut(_)));
    assert_eq!(node.wait().code(), Some(3));
}

#[test]
fn an_ended_index_does_not_wait_for_a_slow_one() {
    let mut node = Node::with_guest("l", |_| {});
    node.send(&Request::Run { first: 0, last: 2, careful: false });
    let Reply::Ended(ended) = node.next() else { panic!("expected indexes") };
    assert!(ended.count <= 2, "index 2 runs for ever");
}

#[test]
fn what_took_long_is_told_as_it_ends_so_that_a_kill_costs_one_index() {
    let mut node = Node::with_guest("t", |_| {});
    node.send(&Request::Run { first: 0, last: 9, careful: false });
    for index in 0..5 {
        let Reply::Ended(ended) = node.next() else { panic!("expected an index") };
        assert_eq!((ended.first, ended.count), (index, 1));
        assert!(ended.wall_ns > 2_000_000, "{} ns", ended.wall_ns);
    }
    node.kill();
    let told = std::iter::from_fn(|| node.try_next()).count();
    assert!(told <= 1, "one may have ended meanwhile");
}

#[test]
fn the_end_of_its_input_ends_it_even_in_a_loop() {
    let mut node = Node::with_guest("l", |_| {});
    node.send(&Request::Run { first: 2, last: 2, careful: false });
    node.hang_up();
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn what_was_reported_before_a_crash_is_whole() {
    let mut node = Node::with_guest("l", |_| {});
    node.send(&Request::Run { first: 0, last: 2, careful: true });
    for index in 0..2 {
        let Reply::Ended(ended) = node.next() else { panic!("expected an index") };
        assert_eq!((ended.first, ended.count), (index, 1));
    }
    node.kill();
    assert_eq!(node.try_next(), None);
    assert_eq!(node.wait().code(), None);
}

#[cfg(target_os = "linux")]
#[test]
fn without_room_for_a_pool_it_works_all_the_same() {
    let mut node = Node::with_address_space(6 << 30);
    assert_eq!(node.compile(&guest()), Reply::Prepared);
    assert_eq!(node.prepare("e", |_| {}), Reply::Prepared);
    assert_eq!(node.run(0, 99).len(), 100);
}

#[test]
fn nonsense_on_the_pipe_ends_it_without_a_panic() {
    for nonsense in [&[0xff; 16][..], &[2, 0, 0, 0, 99, 99], &[0, 0, 0, 0]] {
        let mut node = Node::start();
        node.send_raw(nonsense);
        assert_eq!(node.wait().code(), Some(2));
    }
    let mut node = Node::start();
    node.send_raw(&[9, 0, 0]);
    node.hang_up();
    assert!(node.wait().code().is_some_and(|code| code != 101));
}

#[test]
fn a_forbidden_import_is_named() {
    let text = r#"(component
        (import "wasi:clocks/monotonic-clock@0.2.6" (instance (export "now" (func (result u64)))))
        (import "processdistro:task/types@1.0.0" (instance)))"#;
    let mut node = Node::start();
    let why = broken(node.compile(&wat::parse_str(text).expect("parses")));
    assert!(why.contains("`wasi:clocks/monotonic-clock@0.2.6`") && !why.contains("types@"), "{why}");
    assert!(!node.compiled().exists());
}

#[test]
fn what_is_not_a_task_is_refused_in_words() {
    let mut node = Node::start();
    let component = wat::parse_str("(component)").expect("parses");
    assert!(broken(node.compile(&component)).contains("does not export `processdistro:task/contract@1.0.0`"));
    assert!(broken(node.compile(b"\0asm\x01\0\0\0")).contains("core WebAssembly module"));
    assert!(broken(node.compile(b"#!/bin/sh")).contains("not WebAssembly"));
    assert!(broken(node.compile(b"\0asm\x0d\0\x01\0garbage")).contains("does not compile"));
    let wrong = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (instance $c (export "run" (func $f)))
        (export "processdistro:task/contract@1.0.0" (instance $c)))"#;
    let why = broken(node.compile(&wat::parse_str(wrong).expect("parses")));
    assert!(why.contains("does not fit the contract"), "{why}");
    assert!(!node.compiled().exists());
    node.send(&Request::Compile {
        component: "/nowhere".to_owned(),
        compiled: text(&node.compiled()),
        cpu_ms_max: COMPILE_MS,
        memory_bytes_max: COMPILE_BYTES,
        canonical_nans: false,
    });
    assert!(broken(node.next()).contains("cannot read the component /nowhere"));
    assert!(broken(node.prepare("e", |_| {})).contains("cannot read the compiled module"));
    fs::write(node.compiled(), b"not compiled").expect("writes");
    assert!(broken(node.prepare("e", |_| {})).contains("compile it again"));
    node.send(&Request::Run { first: 0, last: 0, careful: false });
    assert!(broken(node.next()).contains("nothing is prepared"));
    assert_eq!(node.compile(&guest()), Reply::Prepared, "and it lives on");
}

#[test]
fn a_compiled_module_is_whole_and_alone() {
    let mut node = Node::start();
    assert_eq!(node.compile(&guest()), Reply::Prepared);
    let names: Vec<_> =
        fs::read_dir(node.folder.path()).expect("reads").map(|entry| entry.expect("reads").file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(node.prepare("e", |_| {}), Reply::Prepared);
}

#[cfg(target_os = "linux")]
#[test]
fn the_walls_stand() {
    let node = Node::with_guest("e", |_| {});
    let proc = format!("/proc/{}", node.id());
    let status = fs::read_to_string(format!("{proc}/status")).expect("reads");
    assert!(status.lines().any(|line| line == "NoNewPrivs:\t1"), "{status}");
    assert!(status.lines().any(|line| line == "Seccomp:\t2"), "{status}");
    assert_eq!(fs::read_to_string(format!("{proc}/oom_score_adj")).expect("reads"), "1000\n");
    let limits = fs::read_to_string(format!("{proc}/limits")).expect("reads");
    let limit = |name: &str| limits.lines().find(|line| line.starts_with(name)).expect("is listed").to_owned();
    assert!(limit("Max core file size").split_whitespace().nth(4) == Some("0"), "{limits}");
    assert!(limit("Max open files").split_whitespace().nth(3) == Some("256"), "{limits}");
}

#[cfg(target_os = "linux")]
#[test]
fn descriptors_of_the_parent_are_closed() {
    let mut child = Command::new("sh")
        .args(["-c", "exec 7</dev/null; exec \"$0\" serve", env!("CARGO_BIN_EXE_pd-executor")])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = child.stdout.take().expect("piped");
    executor_protocol::write(&mut stdin, &Request::Plan).expect("writes");
    assert!(matches!(executor_protocol::read(&mut stdout), Ok(Some(Reply::Broken(_)))));
    let open = fs::read_dir(format!("/proc/{}/fd", child.id())).expect("reads");
    let targets: Vec<_> = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect();
    drop(stdin);
    assert!(child.wait().expect("ends").success());
    assert!(!targets.iter().any(|target| target.to_str() == Some("/dev/null")), "{targets:?}");
}

#[test]
fn the_bare_loop_prints_a_rate() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("guest.wasm");
    fs::write(&path, guest()).expect("writes");
    let bench = |params: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pd-executor"));
        command.args(["bench", "--component", &text(&path), "--params", params, "--count", "2000"]);
        command.output().expect("runs")
    };
    let measured = bench("{}");
    let line = String::from_utf8_lossy(&measured.stdout).into_owned();
    let rate = line.strip_prefix("runs_per_second=").and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    assert!(measured.status.success() && rate.is_some_and(|rate| rate > 0.0), "{measured:?}");
    let not_json = bench("e");
    assert!(String::from_utf8_lossy(&not_json.stderr).contains("not JSON"));
    fs::write(&path, b"x").expect("writes");
    assert!(String::from_utf8_lossy(&bench("{}").stderr).contains("not WebAssembly"));
}

#[test]
fn the_fingerprint_is_stable() {
    let print = || {
        let output = Command::new(env!("CARGO_BIN_EXE_pd-executor")).arg("fingerprint").output().expect("runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let first = print();
    assert_eq!(first.trim().len(), 16);
    assert_eq!(first, print());
}
