//! Reads, and how often they go over the pipe.

use super::*;
use std::sync::mpsc::{Sender, channel};

fn blobs() -> (Blobs, Sender<Option<ReadAnswer>>) {
    let (answer, answers) = channel();
    let outbox = Outbox::new(Box::new(std::io::sink()));
    (Blobs::new(Link { outbox, answers: Some(answers) }), answer)
}

fn answer(size: u64, bytes: Vec<u8>) -> ReadAnswer {
    ReadAnswer { size, bytes }
}

#[test]
fn small_reads_share_a_block_and_the_last_is_short() {
    let (mut blobs, send) = blobs();
    let size = BLOCK_BYTES + 10;
    send.send(Some(answer(size, vec![1; BLOCK_BYTES as usize]))).expect("queued");
    send.send(Some(answer(size, vec![2; 10]))).expect("queued");
    let input = Blob::Input("a".to_owned());
    assert_eq!(blobs.size(&input).expect("known"), Some(size));
    assert_eq!(blobs.read(&input, 5, 3, 100).expect("reads"), [1; 3]);
    assert_eq!(blobs.read(&input, BLOCK_BYTES - 2, 100, 100).expect("reads"), [1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]);
    assert_eq!(blobs.read(&input, size, 8, 100).expect("reads"), Vec::<u8>::new());
    assert_eq!(blobs.read(&input, u64::MAX, 8, 100).expect("reads"), Vec::<u8>::new());
    assert!(matches!(blobs.read(&input, 0, 101, 100), Err(ReadError::TooLong { wanted: 101, limit: 100 })));
}

#[test]
fn parts_that_follow_each_other_are_fetched_ahead() {
    let (mut blobs, send) = blobs();
    blobs.set_parts(100);
    for part in 0..100_u8 {
        send.send(Some(answer(1, vec![part]))).expect("queued");
    }
    for part in 0..100_u8 {
        assert_eq!(blobs.read(&Blob::Part(part.into()), 0, 9, 9).expect("reads"), [part]);
    }
    assert_eq!(blobs.size(&Blob::Part(100)).expect("known"), None);
    assert_eq!(blobs.ahead.window, 64);
}

#[test]
fn blocks_that_follow_each_other_are_asked_for_ahead_and_only_these() {
    let (mut blobs, send) = blobs();
    let size = 8 * BLOCK_BYTES;
    let input = Blob::Input("a".to_owned());
    let say = |byte| send.send(Some(answer(size, vec![byte; BLOCK_BYTES as usize]))).expect("queued");
    let read = |blobs: &mut Blobs, block: u64| blobs.read(&input, block * BLOCK_BYTES, 1, 9).expect("reads")[0];
    let coming = |blobs: &Blobs| blobs.coming.iter().map(|coming| coming.number).collect::<Vec<_>>();
    say(0);
    say(5);
    assert_eq!((read(&mut blobs, 0), read(&mut blobs, 5), coming(&blobs)), (0, 5, vec![]), "it may be anywhere");
    (1..=3).for_each(say);
    assert_eq!((read(&mut blobs, 1), coming(&blobs)), (1, vec![2, 3]));
    say(4);
    assert_eq!((read(&mut blobs, 2), coming(&blobs)), (2, vec![3, 4]));
    // Another blob is asked for after what is coming, and answered after it.
    send.send(Some(answer(1, vec![77]))).expect("queued");
    assert_eq!(blobs.read(&Blob::State, 0, 1, 9).expect("reads"), [77]);
    assert_eq!((read(&mut blobs, 4), coming(&blobs)), (4, vec![]));
    say(6);
    say(7);
    assert_eq!((read(&mut blobs, 6), coming(&blobs)), (6, vec![7]), "no further than the end");
    blobs.forget();
    assert!(coming(&blobs).is_empty());
}

#[test]
fn what_is_kept_is_bounded() {
    let (mut blobs, send) = blobs();
    let blocks = 300;
    for _ in 0..=blocks {
        send.send(Some(answer(blocks * BLOCK_BYTES, vec![7; BLOCK_BYTES as usize]))).expect("queued");
    }
    for block in 0..blocks {
        assert_eq!(blobs.read(&Blob::State, block * BLOCK_BYTES, 1, 9).expect("reads"), [7]);
    }
    assert!(blobs.kept_bytes <= KEPT_BYTES_MAX);
    assert_eq!(blobs.read(&Blob::State, 0, 1, 9).expect("reads"), [7]);
    blobs.forget();
    drop(send);
    assert!(matches!(blobs.size(&Blob::State), Err(ReadError::Ended)));
}

#[test]
fn a_blob_that_is_not_there_is_empty_and_asked_for_once() {
    let (mut blobs, send) = blobs();
    send.send(None).expect("queued");
    assert_eq!(blobs.size(&Blob::State).expect("known"), None);
    assert_eq!(blobs.read(&Blob::State, 0, 8, 9).expect("reads"), Vec::<u8>::new());
}

#[test]
fn what_is_read_once_is_not_kept_and_not_longer_than_it_may_be() {
    let (mut blobs, send) = blobs();
    let (delivered, size) = (Blob::Delivered(3), BLOCK_BYTES + PIECE_BYTES + 1);
    for bytes in [BLOCK_BYTES, PIECE_BYTES, 1] {
        send.send(Some(answer(size, vec![9; bytes as usize]))).expect("queued");
    }
    let read = blobs.read_once(&delivered, size).expect("reads");
    assert!(read.is_some_and(|bytes| bytes.len() as u64 == size && bytes.iter().all(|byte| *byte == 9)));
    send.send(Some(answer(size, vec![9; BLOCK_BYTES as usize]))).expect("queued");
    assert_eq!(blobs.read_once(&delivered, size - 1).expect("is not read"), None);
    send.send(None).expect("queued");
    assert_eq!(blobs.read_once(&delivered, size).expect("is not there"), None);
    assert_eq!((blobs.kept_bytes, blobs.known.len()), (0, 0));
}

#[test]
fn an_answer_that_is_too_short_is_an_error() {
    let (mut blobs, send) = blobs();
    send.send(Some(answer(10, vec![0; 4]))).expect("queued");
    assert!(matches!(blobs.size(&Blob::State), Err(ReadError::Short { wanted: 10, got: 4, .. })));
}
