//! What becomes of an index that is to be checked: it is attested, or computed whatever `verify` does.

use executor_protocol::{Blob, Checked, Ended, Isolation, Limit, Outcome, Reply, Request};

use crate::{
    driver::{Node, guest, verifying_guest},
    shared::Shared,
};

/// A node whose guest can check outputs, and what others have delivered.
fn verifying(params: &str, delivered: &[&[u8]], change: impl FnOnce(&mut executor_protocol::Context)) -> Node {
    let node = Node::start();
    prepared(node, params, delivered, change)
}

fn prepared(
    mut node: Node,
    params: &str,
    delivered: &[&[u8]],
    change: impl FnOnce(&mut executor_protocol::Context),
) -> Node {
    assert_eq!(node.compile(&verifying_guest()), Reply::Prepared);
    assert_eq!(node.prepare(params, change), Reply::Prepared);
    node.blobs = (0..).zip(delivered).map(|(index, bytes)| (Blob::Delivered(index), bytes.to_vec())).collect();
    node
}

fn check(node: &mut Node, first: u64, last: u64) -> Vec<Ended> {
    node.send(&Request::Check { first, last, careful: false });
    node.until_done()
}

/// As the guest computes it.
fn computed(index: u64) -> Outcome<Vec<u8>> {
    Outcome::Success(index.to_le_bytes().to_vec())
}

#[test]
fn what_is_attested_is_the_output_and_anything_else_is_computed() {
    let mut node =
        verifying("e", &[b"yes", b"no", b"?", b"retry", b"memory", b"good"], |context| context.goal = Some(6));
    let ended = check(&mut node, 0, 6);
    assert_eq!(ended[0].call.outcome, Outcome::Success(b"yes".to_vec()));
    assert_eq!((&ended[0].checked, &ended[0].call.log[..]), (&Some(Checked::Attested), "info: hello\n"));
    for index in [1, 2, 3, 4, 6] {
        assert_eq!(ended[index].call.outcome, computed(index as u64), "{index}");
    }
    assert_eq!(ended[1].checked, Some(Checked::Refused));
    let why = |index: usize| match &ended[index].checked {
        Some(Checked::Failed(why)) => why.as_str(),
        other => panic!("{index}: {other:?}"),
    };
    assert!(why(2).starts_with("Trap: "), "{}", why(2));
    assert_eq!(why(3), "Retryable: later");
    assert!(why(4).starts_with("OutOfMemory: "), "{}", why(4));
    assert_eq!(ended[4].call.limits, [Limit::Memory]);
    assert_eq!(
        (&ended[5].checked, ended[5].call.outcome.clone()),
        (&Some(Checked::Attested), Outcome::Success(b"good".to_vec()))
    );
    assert_eq!(ended[6].checked, None, "nobody has delivered it");
}

#[test]
fn targets_that_an_attested_output_names_are_found() {
    let mut node = verifying("e", &[b"good", b"good"], |_| {});
    let ended = check(&mut node, 0, 1);
    assert_eq!((&ended[0].found[..], &ended[1].found[..]), (&[0][..], &[1][..]));
}

#[test]
fn an_output_that_is_longer_than_one_may_be_is_not_looked_at() {
    let mut node = verifying("e", &[b"yes, and more"], |context| context.output_bytes_max = 12);
    let ended = check(&mut node, 0, 0);
    assert_eq!((ended[0].call.outcome.clone(), &ended[0].checked), (computed(0), &None));
}

#[test]
fn nothing_is_read_for_a_task_without_verify_or_an_index_that_is_not_checked() {
    let mut node = verifying("e", &[b"yes"], |_| {});
    assert_eq!(node.run(0, 0)[0].call.outcome, computed(0));
    assert_eq!(node.compile(&guest()), Reply::Prepared);
    assert_eq!(node.prepare("e", |_| {}), Reply::Prepared);
    assert_eq!(check(&mut node, 0, 0)[0].call.outcome, computed(0));
    assert_eq!(node.reads, 0);
}

#[test]
fn a_check_and_the_run_after_it_share_an_instance_in_a_batch_only() {
    for (isolation, calls) in [(Isolation::Subtask, [1, 1]), (Isolation::Batch, [2, 4])] {
        let mut node = verifying("n", &[b"no", b"no"], |context| context.isolation = isolation);
        let ended = check(&mut node, 0, 1);
        assert_eq!(
            ended.iter().map(|ended| ended.call.outcome.clone()).collect::<Vec<_>>(),
            calls.map(|n| Outcome::Success(vec![n]))
        );
    }
}

#[test]
fn each_check_has_a_seed_of_its_own() {
    let mut node = verifying("e", &[b"seed".as_slice(); 64], |_| {});
    let attested = check(&mut node, 0, 63).iter().filter(|ended| ended.checked == Some(Checked::Attested)).count();
    assert!((8..56).contains(&attested), "{attested} of 64 seeds are odd");
}

#[test]
fn a_check_that_takes_too_long_ends_the_process_and_no_index() {
    let mut node = verifying("e", &[b"yes", b"loop"], |context| context.call_ms_max = 300);
    node.send(&Request::Check { first: 0, last: 3, careful: false });
    let Some(Reply::Ended(ended)) = node.try_next() else { panic!("expected index 0") };
    assert_eq!((ended.first, ended.count), (0, 1));
    assert_eq!(node.try_next(), None);
    assert_eq!(node.wait().code(), Some(3));
}

#[test]
fn where_slots_share_a_process_the_index_is_computed_there() {
    let shared = Shared::start(1);
    let mut node = prepared(shared.lane(), "e", &[b"loop", b"yes"], |context| context.call_ms_max = 300);
    let ended = check(&mut node, 0, 1);
    assert_eq!(ended[0].call.outcome, computed(0));
    assert!(matches!(&ended[0].checked, Some(Checked::Failed(why)) if why.starts_with("TimedOut: ")), "{ended:?}");
    assert_eq!(ended[0].call.limits, [Limit::WallTime]);
    assert_eq!(ended[1].checked, Some(Checked::Attested));
}
