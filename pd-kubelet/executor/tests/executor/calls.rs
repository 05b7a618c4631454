//! What becomes of a guest that behaves, and of one that does not, over the real pipe.

use std::time::Instant;

use crate::driver::{Node, guest};
use executor_protocol::{Blob, Isolation, Layout, Outcome, Reply, Request};

#[test]
fn every_index_answers_in_order() {
    let mut node = Node::with_guest("e", |_| {});
    let ended = node.run(5, 1_004);
    assert_eq!(ended.len(), 1_000);
    for (ended, index) in ended.iter().zip(5_u64..) {
        assert_eq!(ended.index, index);
        assert_eq!(ended.call.outcome, Outcome::Success(index.to_le_bytes().to_vec()));
        assert_eq!(ended.call.memory_peak_bytes, 2 << 16);
        assert!(ended.call.wall_ns > 0 && ended.call.log.is_empty() && ended.found.is_empty());
    }
    assert_eq!(node.run(9, 8), [], "an empty range is done at once");
}

#[test]
fn a_nan_has_the_same_bits_on_every_machine_when_that_is_asked_for() {
    let mut node = Node::start();
    assert_eq!(node.compile_canonical(&guest()), Reply::Prepared);
    assert_eq!(node.prepare("N", |context| context.canonical_nans = true), Reply::Prepared);
    assert_eq!(node.outcome(0), Outcome::Success(0x7ff8_0000_0000_0000_u64.to_le_bytes().to_vec()));
    assert_eq!(node.compile(&guest()), Reply::Prepared, "one executor serves jobs of both kinds");
    assert_eq!(node.prepare("N", |_| {}), Reply::Prepared);
    assert!(matches!(node.outcome(0), Outcome::Success(output) if output.len() == 8));
}

#[test]
fn a_careful_run_reports_each_index_on_its_own() {
    let mut node = Node::with_guest("e", |_| {});
    node.send(&Request::Run { first: 0, last: 2, careful: true });
    for index in 0..3 {
        let Reply::Ended(ended) = node.next() else { panic!("expected an index") };
        assert_eq!((ended.first, ended.count), (index, 1));
    }
    assert_eq!(node.next(), Reply::Done);
}

#[test]
fn failures_keep_their_kind_and_text() {
    let mut node = Node::with_guest("r", |_| {});
    assert_eq!(node.outcome(0), Outcome::Retryable("later".to_owned()));
    assert_eq!(node.prepare("p", |_| {}), Reply::Prepared);
    assert_eq!(node.outcome(0), Outcome::Permanent("never".to_owned()));
}

#[test]
fn a_panic_is_told_with_its_message_and_frames() {
    let mut node = Node::with_guest("u", |_| {});
    let Outcome::Trap(text) = node.outcome(0) else { panic!("expected a trap") };
    assert!(text.starts_with("the task panicked: panicked at guest.rs:1: boom\n  at boom"), "{text}");
    assert_eq!(node.run(1, 1)[0].call.log, "error: panicked at guest.rs:1: boom\n", "and the executor lives on");
}

#[test]
fn a_stack_overflow_is_a_trap() {
    let mut node = Node::with_guest("s", |_| {});
    let Outcome::Trap(text) = node.outcome(0) else { panic!("expected a trap") };
    assert!(text.contains("stack overflowed") && text.contains("more frames"), "{text}");
}

#[test]
fn memory_beyond_the_limit_is_out_of_memory() {
    let mut node = Node::with_guest("m", |_| {});
    let Outcome::OutOfMemory(text) = node.outcome(0) else { panic!("expected no memory") };
    assert!(text.contains("65667072 bytes") && text.contains("16777216"), "{text}");
    assert_eq!(node.prepare("m", |context| context.memory_bytes_max = 128 << 20), Reply::Prepared);
    let ended = node.run(0, 0);
    assert!(matches!(ended[0].call.outcome, Outcome::Success(_)));
    assert_eq!(ended[0].call.memory_peak_bytes, 1_002 << 16);
    assert_eq!(node.prepare("e", |context| context.memory_bytes_max = 1 << 16), Reply::Prepared);
    assert!(matches!(node.outcome(0), Outcome::OutOfMemory(_)), "the memory it starts with counts");
}

#[test]
fn an_output_beyond_the_limit_is_invalid() {
    let mut node = Node::with_guest("o", |context| context.output_bytes_max = 65_536);
    assert!(matches!(node.outcome(0), Outcome::Success(output) if output.len() == 65_536));
    assert_eq!(node.prepare("o", |context| context.output_bytes_max = 65_535), Reply::Prepared);
    let Outcome::InvalidOutput(text) = node.outcome(0) else { panic!("expected an invalid output") };
    assert!(text.contains("more than the limit of 65535"), "{text}");
    assert_eq!(node.prepare("H", |_| {}), Reply::Prepared);
    let Outcome::InvalidOutput(text) = node.outcome(0) else { panic!("expected an invalid output") };
    assert_eq!(text, "the output is larger than the limit of 1048576 bytes");
    assert_eq!(node.prepare("O", |_| {}), Reply::Prepared);
    let outcome = node.outcome(0);
    assert!(matches!(&outcome, Outcome::InvalidOutput(text) if text.contains("contract")), "{outcome:?}");
}

#[test]
fn a_flood_of_lines_is_cut() {
    let mut node = Node::with_guest("f", |_| {});
    let ended = node.run(0, 0);
    let log = &ended[0].call.log;
    assert!(log.len() <= 1 << 10 && log.starts_with("warn: hello\n") && log.contains("lines dropped"), "{log}");
    assert!(matches!(ended[0].call.outcome, Outcome::Success(_)));
}

#[test]
fn found_targets_are_checked_against_the_goal() {
    let mut node = Node::with_guest("g", |_| {});
    let ended = node.run(0, 2);
    assert_eq!([&ended[0].found[..], &ended[1].found[..], &ended[2].found[..]], [&[0_u64][..], &[1], &[]]);
    assert!(matches!(&ended[2].call.outcome, Outcome::InvalidOutput(text) if text.contains("0 to 1")));
    assert_eq!(node.prepare("g", |context| context.goal = None), Reply::Prepared);
    assert!(matches!(node.outcome(0), Outcome::InvalidOutput(text) if text.contains("no goal")));
}

#[test]
fn small_reads_of_an_input_cost_one_round_trip() {
    let mut node = Node::with_guest("i", |_| {});
    node.blobs.insert(Blob::Input("data".to_owned()), (0..255).collect());
    let ended = node.run(0, 63);
    let joined: Vec<u8> = ended.into_iter().flat_map(|ended| success(ended.call.outcome)).collect();
    assert_eq!(joined, (0..255).collect::<Vec<u8>>());
    assert_eq!(node.reads, 1);
    assert_eq!(node.outcome(1_000), Outcome::Success(Vec::new()), "nothing beyond the end");
}

#[test]
fn a_large_read_is_whole_or_out_of_memory() {
    let mut node = Node::with_guest("I", |context| context.output_bytes_max = 64 << 20);
    let data: Vec<u8> = (0..9_000_001_u32).map(|at| (at % 251) as u8).collect();
    node.blobs.insert(Blob::Input("data".to_owned()), data.clone());
    assert_eq!(success(node.outcome(0)), data);
    assert_eq!(node.prepare("I", |context| context.memory_bytes_max = 4 << 20), Reply::Prepared);
    assert!(matches!(node.outcome(0), Outcome::OutOfMemory(_)));
}

#[test]
fn the_plan_answers_a_layout_and_runs_read_its_state() {
    let mut node = Node::with_guest("S", |_| {});
    node.send(&Request::Plan);
    let Reply::Planned(call) = node.next() else { panic!("expected a plan") };
    let (media_type, state) = ("text/plain".to_owned(), b"seed".to_vec());
    let layout = Layout { subtasks: 3, media_type, goal: Some(2), state: state.clone() };
    assert_eq!(call.outcome, Outcome::Success(layout));
    assert_eq!(node.next(), Reply::Done);
    node.blobs.insert(Blob::State, state);
    assert_eq!(node.outcome(0), Outcome::Success(b"seed".to_vec()));
    assert_eq!(node.prepare("p", |_| {}), Reply::Prepared);
    node.send(&Request::Plan);
    let Reply::Planned(call) = node.next() else { panic!("expected a plan") };
    assert_eq!(call.outcome, Outcome::Permanent("never".to_owned()));
}

#[test]
fn a_merge_streams_the_parts_that_are_there() {
    let mut node = Node::with_guest("e", |_| {});
    let parts = 700_u64;
    for part in (0..parts).filter(|part| part % 10 != 3) {
        node.blobs.insert(Blob::Part(part), vec![part as u8; 3_000 + part as usize]);
    }
    node.send(&Request::Merge { subtasks: parts });
    let (mut result, mut pieces) = (Vec::new(), 0);
    let call = loop {
        match node.next() {
            Reply::ResultBytes(bytes) => {
                result.extend(bytes);
                pieces += 1;
            }
            Reply::Merged(call) => break call,
            other => panic!("unexpected {other:?}"),
        }
    };
    assert_eq!(call.outcome, Outcome::Success(()));
    assert_eq!(node.next(), Reply::Done);
    let expected: Vec<u8> = node.blobs.values().flatten().copied().collect();
    assert!(result == expected, "{} of {} bytes", result.len(), expected.len());
    assert!(pieces > 1 && pieces < 20, "{pieces} pieces");
    assert!(node.reads as u64 <= parts, "{} reads", node.reads);
}

#[test]
fn a_result_can_only_be_written_in_a_merge() {
    let mut node = Node::with_guest("w", |_| {});
    assert!(matches!(node.outcome(0), Outcome::InvalidOutput(text) if text.contains("`merge`")));
}

#[test]
fn a_cancel_reaches_the_running_index_and_leaves_the_rest_out() {
    let mut node = Node::with_guest("c", |_| {});
    node.send(&Request::Run { first: 7, last: 1_000_000, careful: false });
    assert_eq!(node.next(), Reply::Progress { index: 7, done: 1, total: 2 });
    node.send(&Request::Cancel);
    let ended = node.until_done();
    assert_eq!(ended.iter().map(|ended| ended.index).collect::<Vec<_>>(), [7]);
    node.send(&Request::Cancel);
    assert_eq!(node.prepare("e", |_| {}), Reply::Prepared);
    assert_eq!(node.run(0, 9).len(), 10, "a late cancel is not for the next request");
}

#[test]
fn a_batch_reuses_an_instance_until_it_fails_or_has_grown() {
    let mut node = Node::with_guest("n", |context| context.isolation = Isolation::Batch);
    // Each call answers how many its instance has had; index 5 panics, index 8 takes most of the memory.
    let mut ended = node.run(0, 8);
    assert!(ended[8].call.memory_peak_bytes > 8 << 20);
    ended.extend(node.run(9, 11));
    assert_eq!(ended[9].call.memory_peak_bytes, 2 << 16, "each run tells its own");
    let counts: Vec<Option<u8>> = ended
        .iter()
        .map(|ended| match &ended.call.outcome {
            Outcome::Success(output) => Some(output[0]),
            _ => None,
        })
        .collect();
    let some = |counts: [u8; 3]| counts.map(Some);
    assert_eq!(counts[..5], [some([1, 2, 3]).as_slice(), &[Some(4), Some(5)]].concat());
    assert_eq!(counts[5], None, "a trap");
    assert_eq!(counts[6..9], some([1, 2, 3]), "a fresh one after it");
    assert_eq!(counts[9..], some([1, 2, 3]), "and after one that had grown");
    assert_eq!(node.run(12, 12)[0].call.outcome, Outcome::Success(vec![4]), "also from one run to the next");
    assert_eq!(node.prepare("n", |_| {}), Reply::Prepared);
    assert!(node.run(0, 3).iter().all(|ended| ended.call.outcome == Outcome::Success(vec![1])), "fresh by default");
}

#[test]
fn a_batch_replaces_its_instance_after_ten_thousand_calls() {
    let mut node = Node::with_guest("n", |context| context.isolation = Isolation::Batch);
    let ended = node.run(100, 10_100);
    let count = |at: usize| ended[at].call.outcome.clone();
    assert_eq!(count(9_999), Outcome::Success(vec![(10_000 % 256) as u8]));
    assert_eq!(count(10_000), Outcome::Success(vec![1]));
}

#[test]
fn a_hundred_thousand_indexes_pass() {
    let mut node = Node::with_guest("e", |_| {});
    let started = Instant::now();
    let ended = node.run(0, 99_999);
    let rate = 100_000.0 / started.elapsed().as_secs_f64();
    println!("{rate:.0} indexes a second over the pipe");
    assert_eq!(ended.len(), 100_000);
    assert!(ended.iter().all(|ended| matches!(ended.call.outcome, Outcome::Success(_))));
}

fn success(outcome: Outcome<Vec<u8>>) -> Vec<u8> {
    match outcome {
        Outcome::Success(bytes) => bytes,
        other => panic!("unexpected {other:?}"),
    }
}
