//! Components that mean harm: each ends as the outcome named for it, and everything around it goes on.

use std::{
    fs::File,
    thread,
    time::{Duration, Instant},
};

use crate::driver::{COMPILE_BYTES, COMPILE_MS, Node, component, guest, text};
use crate::shared::Shared;
use executor_protocol::{Blob, Context, Ended, Limit, Outcome, Reply, Request};

/// The index that does harm, between others that do not.
const HARMFUL: u64 = 7;
const FIRST: u64 = 5;
const LAST: u64 = 9;

/// How a harmful index ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Success,
    Trap,
    OutOfMemory,
    TimedOut,
    InvalidOutput,
}

use Kind::{InvalidOutput, OutOfMemory, Success, TimedOut, Trap};

/// What it does, how that ends, the limit it meets, and what the message says.
type Case = (&'static str, &'static str, &'static str, Kind, Option<Limit>, &'static str);

/// Name, declarations, what index 7 does, and what is to come of it.
const CASES: [Case; 46] = [
    ("a loop", "", "(loop $l (br $l))", TimedOut, Some(Limit::WallTime), "spec.subtaskTimeout"),
    (
        "a loop of log lines",
        "",
        "(loop $l (call $log (i32.const 1) (i32.const 1000) (i32.const 5)) (br $l))",
        TimedOut,
        Some(Limit::WallTime),
        "wall time",
    ),
    (
        "a loop of progress",
        "",
        "(loop $l (call $progress (i64.const 1) (i64.const 2)) (br $l))",
        TimedOut,
        Some(Limit::WallTime),
        "wall time",
    ),
    (
        "a loop of reads",
        "",
        "(loop $l (global.set $heap (i32.const 32768))
            (call $read_input (i32.const 1100) (i32.const 4) (i64.const 0) (i32.const 4) (i32.const 64)) (br $l))",
        TimedOut,
        Some(Limit::WallTime),
        "wall time",
    ),
    ("all memory at once", "", "(drop (memory.grow (i32.const 65000)))", OutOfMemory, Some(Limit::Memory), "resources.memory"),
    (
        "memory page by page",
        "",
        "(loop $l (drop (memory.grow (i32.const 1)))
            (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (i32.const 1)) (br $l))",
        OutOfMemory,
        Some(Limit::Memory),
        "its limit of 16777216",
    ),
    (
        "a table that grows",
        "(table $t 1 funcref)",
        "(drop (table.grow $t (ref.null func) (i32.const 1000000)))",
        OutOfMemory,
        Some(Limit::Tables),
        "1000001 table elements",
    ),
    (
        "tables that grow by turns",
        "(table $a 0 funcref) (table $b 0 funcref) (table $c 0 funcref) (table $d 0 funcref) (table $e 0 funcref)
         (table $f 0 funcref) (table $g 0 funcref) (table $h 0 funcref) (table $i 0 funcref) (table $j 0 funcref)
         (table $k 0 funcref)",
        "(drop (table.grow $a (ref.null func) (i32.const 100000))) (drop (table.grow $b (ref.null func) (i32.const 100000)))
         (drop (table.grow $c (ref.null func) (i32.const 100000))) (drop (table.grow $d (ref.null func) (i32.const 100000)))
         (drop (table.grow $e (ref.null func) (i32.const 100000))) (drop (table.grow $f (ref.null func) (i32.const 100000)))
         (drop (table.grow $g (ref.null func) (i32.const 100000))) (drop (table.grow $h (ref.null func) (i32.const 100000)))
         (drop (table.grow $i (ref.null func) (i32.const 100000))) (drop (table.grow $j (ref.null func) (i32.const 100000)))
         (drop (table.grow $k (ref.null func) (i32.const 100000)))",
        OutOfMemory,
        Some(Limit::Tables),
        "all of them together",
    ),
    ("recursion", "", "(drop (call $recurse (i32.const 0)))", Trap, Some(Limit::Stack), "stack overflowed"),
    ("a panic", "", "(call $log (i32.const 3) (i32.const 1000) (i32.const 28)) unreachable", Trap, None, "panicked at guest.rs:1: boom"),
    ("unreachable code", "", "unreachable", Trap, None, "must not be reached"),
    ("division by zero", "", "(drop (i32.div_u (i32.const 1) (local.get $n)))", Trap, None, "divide by zero"),
    (
        "an overflow",
        "",
        "(drop (i32.div_s (i32.const 0x80000000) (i32.sub (local.get $n) (i32.const 1))))",
        Trap,
        None,
        "integer overflow",
    ),
    ("not a number", "", "(drop (i32.trunc_f64_s (f64.const nan)))", Trap, None, "invalid conversion"),
    ("a look beyond its memory", "", "(drop (i32.load (i32.const -8)))", Trap, None, "outside its memory"),
    ("a write beyond its memory", "", "(i64.store offset=4294967288 (i32.const -8) (i64.const 1))", Trap, None, "outside its memory"),
    ("a copy beyond its memory", "", "(memory.copy (i32.const 0) (i32.const 65536) (i32.const -1))", Trap, None, "outside its memory"),
    ("a look beyond a table", "(table $t 1 funcref)", "(drop (table.get $t (i32.const 9)))", Trap, None, "table"),
    ("a call beyond a table", "(table $t 1 funcref)", "(call_indirect $t (type $none) (i32.const 9))", Trap, None, "table"),
    ("a call of nothing", "(table $t 1 funcref)", "(call_indirect $t (type $none) (i32.const 0))", Trap, None, "uninitialized element"),
    (
        "a call of another type",
        "(table $t funcref (elem $recurse))",
        "(call_indirect $t (type $none) (i32.const 0))",
        Trap,
        None,
        "indirect call type mismatch",
    ),
    (
        "a giant output",
        "",
        "(drop (memory.grow (i32.const 100))) (return (call $answer (i32.const 0) (i32.const 0) (i32.const 6000000) (i32.const 0)))",
        InvalidOutput,
        Some(Limit::Output),
        "limit of 1048576 bytes",
    ),
    (
        "an output of 2 GiB that is not there",
        "",
        "(return (call $answer (i32.const 0) (i32.const 0) (i32.const 0x7fffffff) (i32.const 0)))",
        InvalidOutput,
        None,
        "contract",
    ),
    (
        "an output at the end of its memory",
        "",
        "(return (call $answer (i32.const 0) (i32.const 131070) (i32.const 100) (i32.const 0)))",
        InvalidOutput,
        None,
        "contract",
    ),
    ("an answer of no kind", "", "(return (call $answer (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 0)))", InvalidOutput, None, "contract"),
    ("an answer outside its memory", "", "(return (i32.const -16))", InvalidOutput, None, "contract"),
    ("an answer at an odd address", "", "(return (i32.const 17))", InvalidOutput, None, "contract"),
    (
        "a failure that is no text",
        "",
        "(return (call $answer (i32.const 1) (i32.const 1) (i32.const 1200) (i32.const 3)))",
        InvalidOutput,
        None,
        "utf-8",
    ),
    ("a line that is no text", "", "(call $log (i32.const 1) (i32.const 1200) (i32.const 3))", Trap, None, "utf-8"),
    ("a line that is not there", "", "(call $log (i32.const 1) (i32.const 131000) (i32.const 1000))", Trap, None, "called the host wrongly"),
    ("a level that is none", "", "(call $log (i32.const 77) (i32.const 1000) (i32.const 5))", Trap, None, "called the host wrongly"),
    (
        "a line of 4 MiB",
        "",
        "(drop (memory.grow (i32.const 64))) (call $log (i32.const 1) (i32.const 65536) (i32.const 4194304))",
        Trap,
        Some(Limit::HostCall),
        "more than 1048576 bytes in one call",
    ),
    (
        "a flood of lines",
        "",
        "(loop $l (call $log (i32.const 1) (i32.const 1000) (i32.const 20))
            (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 50000))))",
        Success,
        Some(Limit::Log),
        "",
    ),
    ("an allocator that lies", "", "(global.set $liar (i32.const 1))
        (call $read_input (i32.const 1100) (i32.const 4) (i64.const 0) (i32.const 4) (i32.const 64))", Trap, None, "called the host wrongly"),
    ("an allocator that calls the host", "", "(global.set $liar (i32.const 2))
        (call $read_input (i32.const 1100) (i32.const 4) (i64.const 0) (i32.const 4) (i32.const 64))", Trap, None, "leave component instance"),
    ("a target that is none", "", "(call $found (i64.const -1))", InvalidOutput, None, "the plan's goal is"),
    (
        "more targets than anybody has",
        "",
        "(loop $l (call $found (i64.extend_i32_u (local.get $n)))
            (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1100000))))",
        InvalidOutput,
        Some(Limit::Found),
        "more than 1048576 targets",
    ),
    (
        "a matrix smaller than announced",
        "",
        "(call $gemm (i32.const 2) (i32.const 2) (i32.const 2) (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 4)
            (i32.const 0) (i32.const 0) (i32.const 64))",
        InvalidOutput,
        None,
        "a has 3 elements where 2 × 2",
    ),
    (
        "a matrix that is not there",
        "",
        "(call $gemm (i32.const 1) (i32.const 1) (i32.const 100) (i32.const 131000) (i32.const 100) (i32.const 0)
            (i32.const 100) (i32.const 0) (i32.const 0) (i32.const 64))",
        Trap,
        None,
        "called the host wrongly",
    ),
    (
        "a matrix at an odd address",
        "",
        "(call $gemm (i32.const 1) (i32.const 1) (i32.const 1) (i32.const 3) (i32.const 1) (i32.const 0) (i32.const 1)
            (i32.const 0) (i32.const 0) (i32.const 64))",
        Trap,
        None,
        "called the host wrongly",
    ),
    (
        "a product of 2^64 zeros",
        "",
        "(call $gemm (i32.const -1) (i32.const -1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 64))",
        OutOfMemory,
        Some(Limit::Memory),
        "resources.memory",
    ),
    (
        "matrices of more than a call may carry",
        "",
        "(drop (memory.grow (i32.const 64))) (call $gemm (i32.const 300) (i32.const 300) (i32.const 300) (i32.const 0)
            (i32.const 90000) (i32.const 0) (i32.const 90000) (i32.const 0) (i32.const 0) (i32.const 64))",
        Trap,
        Some(Limit::HostCall),
        "more than 1048576 bytes in one call",
    ),
    (
        "a loop of products",
        "",
        "(drop (memory.grow (i32.const 20))) (loop $l (global.set $heap (i32.const 700000))
            (call $gemm (i32.const 200) (i32.const 200) (i32.const 200) (i32.const 0) (i32.const 40000) (i32.const 0)
                (i32.const 40000) (i32.const 0) (i32.const 0) (i32.const 64)) (br $l))",
        TimedOut,
        Some(Limit::WallTime),
        "wall time",
    ),
    (
        "messages that overlap",
        "",
        "(i32.store (i32.const 2048) (i32.const 9)) (i32.store (i32.const 2052) (i32.const 8))
            (call $sha256 (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 10) (i32.const 2048) (i32.const 2)
                (i32.const 0) (i32.const 64))",
        InvalidOutput,
        None,
        "message 1 is to be 9..8 of 10 bytes",
    ),
    (
        "an allocator that lies to a kernel",
        "",
        "(global.set $liar (i32.const 1)) (call $sha256 (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 10)
            (i32.const 4096) (i32.const 1) (i32.const 0) (i32.const 64))",
        Trap,
        None,
        "called the host wrongly",
    ),
    ("a result in the wrong place", "", "(call $write_result (i32.const 0) (i32.const 4))", InvalidOutput, None, "`merge`"),
];

fn hostile(pages: &str, head: &str, harm: &str) -> Vec<u8> {
    let text = include_str!("hostile.wat").replace("PAGES", pages).replace("HEAD", head).replace("HARM", harm);
    component(&text)
}

/// Time enough for everything that ends, on a machine that has other things to do.
fn limits(expected: Kind) -> impl FnOnce(&mut Context) {
    let call_ms_max = if expected == TimedOut { 500 } else { 60_000 };
    move |context| (context.call_ms_max, context.goal) = (call_ms_max, Some(1 << 40))
}

fn kind(outcome: &Outcome<Vec<u8>>) -> (Option<Kind>, String) {
    let (kind, text) = match outcome {
        Outcome::Success(_) => (Some(Success), ""),
        Outcome::Trap(text) => (Some(Trap), text.as_str()),
        Outcome::OutOfMemory(text) => (Some(OutOfMemory), text.as_str()),
        Outcome::TimedOut(text) => (Some(TimedOut), text.as_str()),
        Outcome::InvalidOutput(text) => (Some(InvalidOutput), text.as_str()),
        Outcome::Retryable(text) | Outcome::Permanent(text) => (None, text.as_str()),
    };
    (kind, text.to_owned())
}

fn is_good(ended: &Ended) -> bool {
    ended.call.outcome == Outcome::Success(ended.index.to_le_bytes().to_vec()) && ended.call.limits.is_empty()
}

/// What ends until the executor is done or gone.
fn until_end(node: &mut Node) -> Vec<Ended> {
    let mut all = Vec::new();
    while let Some(reply) = node.try_next() {
        match reply {
            Reply::Ended(ended) => all.extend(ended.unpack().expect("adds up")),
            Reply::Progress { .. } => {}
            Reply::Done => break,
            other => panic!("unexpected {other:?}"),
        }
    }
    all
}

#[test]
fn each_ends_as_the_outcome_named_for_it_and_the_next_index_works() {
    let neighbour = thread::spawn(|| Node::with_guest("e", |_| {}).run(0, 49_999));
    let mut node = Node::start();
    for (name, head, harm, expected, limit, said) in CASES {
        assert_eq!(node.compile(&hostile("2", head, harm)), Reply::Prepared, "{name}");
        assert_eq!(node.prepare("{}", limits(expected)), Reply::Prepared, "{name}");
        node.blobs.insert(Blob::Input("data".to_owned()), vec![1; 100]);
        node.send(&Request::Run { first: FIRST, last: LAST, careful: false });
        let ended = until_end(&mut node);
        let call = &ended[(HARMFUL - FIRST) as usize].call;
        let (found, text) = kind(&call.outcome);
        assert_eq!((found, call.limits.first().copied()), (Some(expected), limit), "{name}: {text}");
        assert!(text.to_lowercase().contains(&said.to_lowercase()), "{name}: {text}");
        assert!(ended.iter().filter(|ended| ended.index != HARMFUL).all(is_good), "{name}: {ended:?}");
        if expected == TimedOut {
            assert_eq!((ended.len(), node.wait().code()), (3, Some(3)), "{name}");
            node = Node::start();
        } else {
            assert_eq!(ended.len() as u64, LAST - FIRST + 1, "{name}");
        }
    }
    let ended = neighbour.join().expect("the neighbour ends");
    assert!(ended.len() == 50_000 && ended.iter().all(is_good), "the neighbour noticed nothing");
}

/// The same on threads of one process: a time limit ends the call, the lane goes on, and so does its neighbour.
#[test]
fn so_does_each_where_slots_share_a_process() {
    let shared = Shared::start(2);
    let mut other = shared.lane();
    let neighbour = thread::spawn(move || {
        assert_eq!(other.compile(&guest()), Reply::Prepared);
        assert_eq!(other.prepare("e", |_| {}), Reply::Prepared);
        other.run(0, 49_999)
    });
    let mut node = shared.lane();
    for (name, head, harm, expected, limit, said) in CASES {
        assert_eq!(node.compile(&hostile("2", head, harm)), Reply::Prepared, "{name}");
        assert_eq!(node.prepare("{}", limits(expected)), Reply::Prepared, "{name}");
        node.blobs.insert(Blob::Input("data".to_owned()), vec![1; 100]);
        let ended = node.run(FIRST, LAST);
        let call = &ended[(HARMFUL - FIRST) as usize].call;
        let (found, text) = kind(&call.outcome);
        assert_eq!((found, call.limits.first().copied()), (Some(expected), limit), "{name}: {text}");
        assert!(text.to_lowercase().contains(&said.to_lowercase()), "{name}: {text}");
        assert!(ended.iter().filter(|ended| ended.index != HARMFUL).all(is_good), "{name}: {ended:?}");
        assert_eq!(ended.len() as u64, LAST - FIRST + 1, "{name}");
    }
    let ended = neighbour.join().expect("the neighbour ends");
    assert!(ended.len() == 50_000 && ended.iter().all(is_good), "the neighbour noticed nothing");
}

#[test]
fn a_kernel_that_is_not_offered_is_not_there() {
    let product = "(call $gemm (i32.const 1) (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 0)
        (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 64))";
    let mut node = Node::start();
    assert_eq!(node.compile(&hostile("2", "", product)), Reply::Prepared);
    assert_eq!(node.prepare("{}", |_| {}), Reply::Prepared);
    assert!(node.run(FIRST, LAST).iter().all(is_good), "offered, it answers");
    assert_eq!(node.prepare("{}", |context| context.host_kernels = false), Reply::Prepared);
    let ended = node.run(FIRST, LAST);
    let (found, text) = kind(&ended[(HARMFUL - FIRST) as usize].call.outcome);
    assert!(found == Some(InvalidOutput) && text.contains("spec.sandbox.hostKernels"), "{text}");
    assert_eq!(ended.iter().filter(|ended| is_good(ended)).count(), 4);
}

#[test]
fn what_does_harm_before_its_first_call_ends_the_same_way() {
    let cases: [(&str, &str, &str, Kind, Option<Limit>); 6] = [
        ("memory from the start", "300", "", OutOfMemory, Some(Limit::Memory)),
        (
            "4 GiB from the start, written at both ends",
            "65536",
            r#"(data (i32.const 0) "a") (data (i32.const -1) "z")"#,
            OutOfMemory,
            Some(Limit::Memory),
        ),
        ("data beyond its memory", "2", r#"(data (i32.const 131070) "too long")"#, Trap, None),
        ("a start that never ends", "2", "(func $s (loop $l (br $l))) (start $s)", TimedOut, Some(Limit::WallTime)),
        ("a start that traps", "2", "(func $s unreachable) (start $s)", Trap, None),
        (
            "a start that takes all memory",
            "2",
            "(func $s (drop (memory.grow (i32.const 9000)))) (start $s)",
            OutOfMemory,
            Some(Limit::Memory),
        ),
    ];
    let mut node = Node::start();
    for (name, pages, head, expected, limit) in cases {
        assert_eq!(node.compile(&hostile(pages, head, "")), Reply::Prepared, "{name}");
        assert_eq!(node.prepare("{}", limits(expected)), Reply::Prepared, "{name}");
        node.send(&Request::Run { first: HARMFUL, last: HARMFUL, careful: false });
        let ended = until_end(&mut node);
        let (found, text) = kind(&ended[0].call.outcome);
        assert_eq!((found, ended[0].call.limits.first().copied()), (Some(expected), limit), "{name}: {text}");
        if expected == TimedOut {
            node = Node::start();
        }
        assert_eq!(node.compile(&guest()), Reply::Prepared);
        assert_eq!(node.prepare("e", |_| {}), Reply::Prepared);
        assert!(is_good(&node.run(3, 3)[0]), "{name}");
    }
}

#[test]
fn processor_time_is_limited_apart_from_the_wall_clock() {
    let mut node = Node::start();
    assert_eq!(node.compile(&hostile("2", "", "(loop $l (br $l))")), Reply::Prepared);
    assert_eq!(node.prepare("{}", |context| context.cpu_ms_max = Some(200)), Reply::Prepared);
    node.send(&Request::Run { first: FIRST, last: LAST, careful: false });
    let ended = until_end(&mut node);
    let call = &ended.last().expect("something ended").call;
    assert_eq!(call.limits, [Limit::CpuTime]);
    let (found, text) = kind(&call.outcome);
    assert!(found == Some(TimedOut) && text.contains("200ms of processor time"), "{text}");
    assert!(text.contains("spec.resources.cpuTime") && call.wall_ns >= 190_000_000, "{text}");
    assert_eq!(node.wait().code(), Some(3));
}

#[test]
fn a_wait_uses_no_processor_time() {
    let mut node = Node::with_guest("i", |context| context.cpu_ms_max = Some(250));
    node.blobs.insert(Blob::Input("data".to_owned()), vec![1; 4]);
    node.send(&Request::Run { first: 0, last: 0, careful: false });
    // The node takes its time to answer what the guest reads.
    thread::sleep(Duration::from_millis(600));
    assert_eq!(node.until_done()[0].call.outcome, Outcome::Success(vec![1; 4]));
}

/// What a reply refuses, and with which words.
fn refused(reply: Reply) -> (Option<Limit>, String) {
    match reply {
        Reply::Broken(why) => (None, why),
        Reply::Refused { limit, why } => (Some(limit), why),
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn what_probes_its_surroundings_is_refused_by_name() {
    let mut node = Node::start();
    for import in [
        "wasi:cli/environment@0.2.6",
        "wasi:filesystem/preopens@0.2.6",
        "wasi:filesystem/types@0.2.6",
        "wasi:sockets/tcp@0.2.6",
        "wasi:clocks/wall-clock@0.2.6",
        "wasi:random/random@0.2.6",
        "wasi:io/streams@0.2.6",
        "someone:else/host@1.0.0",
    ] {
        let bytes = wat::parse_str(format!(r#"(component (import "{import}" (instance)))"#)).expect("parses");
        let (limit, why) = refused(node.compile(&bytes));
        assert!(limit.is_none() && why.contains(import) && why.contains("does not offer"), "{why}");
    }
    assert_eq!(node.compile(&guest()), Reply::Prepared, "and it lives on");
}

/// Components within components, each twice in the next: 2 to the power of `depth` core instances.
fn nested(depth: usize) -> Vec<u8> {
    let mut text = "(component $c (core module $m) (core instance (instantiate $m)))".to_owned();
    for _ in 1..depth {
        text = format!("(component $c {text} (instance (instantiate $c)) (instance (instantiate $c)))");
    }
    wat::parse_str(text).expect("parses")
}

/// One function, far longer than any that somebody wrote.
fn long_function(steps: usize) -> Vec<u8> {
    let step = "(local.set 0 (i64.mul (i64.xor (local.get 0) (local.get 1)) (i64.add (local.get 0) (i64.const 77))))
                (local.set 1 (i64.rotl (local.get 1) (local.get 0)))";
    let body = step.repeat(steps);
    hostile("2", &format!("(func $long (export \"long\") (param i64 i64) (result i64) {body} (local.get 0))"), "")
}

#[test]
fn what_cannot_be_compiled_is_refused_in_words() {
    let mut node = Node::start();
    let whole = guest();
    let cases: [(&str, Vec<u8>, Option<Limit>, &str); 8] = [
        ("nothing", Vec::new(), None, "not WebAssembly"),
        ("a program", b"\x7fELF\x02\x01\x01".to_vec(), None, "not WebAssembly"),
        ("half of a component", whole[..whole.len() / 2].to_vec(), None, "does not compile"),
        ("a component with a hole", [&whole[..200], &[0xff; 64], &whole[264..]].concat(), None, "does not compile"),
        ("a hundred instances", nested(8), Some(Limit::Instances), "core module instances"),
        (
            "five memories",
            wat::parse_str(
                format!(
                    "(component {})",
                    "(core module $m (memory 1)) (core instance (instantiate $m))".repeat(5).replace("$m", "")
                )
                .replace("(instantiate )", "(instantiate 0)"),
            )
            .expect("parses"),
            Some(Limit::Instances),
            "linear memories",
        ),
        ("a long table", hostile("2", "(table 200000 funcref)", ""), None, "does not compile"),
        (
            "threads",
            wat::parse_str("(component (core module (memory 1 1 shared)))").expect("parses"),
            None,
            "does not compile",
        ),
    ];
    for (name, bytes, limit, said) in cases {
        let (met, why) = refused(node.compile(&bytes));
        assert!(met == limit && why.contains(said), "{name}: {met:?} {why}");
        assert!(!node.compiled().exists(), "{name}");
    }
    assert_eq!(node.compile(&whole), Reply::Prepared, "and it lives on");
}

#[test]
fn a_component_beyond_its_size_is_not_even_read() {
    let mut node = Node::start();
    let path = node.folder.path().join("large");
    File::create(&path).expect("creates").set_len(300 << 20).expect("is sparse");
    let (component, compiled) = (text(&path), text(&node.compiled()));
    let (cpu_ms_max, memory_bytes_max) = (COMPILE_MS, COMPILE_BYTES);
    node.send(&Request::Compile { component, compiled, cpu_ms_max, memory_bytes_max, canonical_nans: false });
    let (limit, why) = refused(node.next());
    assert_eq!(limit, Some(Limit::ComponentSize), "{why}");
}

#[test]
fn a_compilation_ends_at_its_limits() {
    let bomb = long_function(60_000);
    for (cpu_ms, bytes, limit) in
        [(30, COMPILE_BYTES, Limit::CompileTime), (COMPILE_MS, 24 << 20, Limit::CompileMemory)]
    {
        let mut node = Node::start();
        let started = Instant::now();
        let (met, why) = refused(node.compile_within(&bomb, cpu_ms, bytes));
        assert_eq!(met, Some(limit), "{why}");
        assert!(why.contains("to compile"), "{why}");
        println!("{limit:?} after {:?}", started.elapsed());
        assert_eq!(node.wait().code(), Some(3));
        assert!(!node.compiled().exists());
    }
}

#[test]
fn components_that_multiply_are_stopped() {
    let mut node = Node::start();
    // A billion instances.
    let reply = {
        let path = node.folder.path().join("component");
        std::fs::write(&path, nested(30)).expect("writes");
        let (component, compiled) = (text(&path), text(&node.compiled()));
        node.send(&Request::Compile {
            component,
            compiled,
            cpu_ms_max: 2_000,
            memory_bytes_max: 256 << 20,
            canonical_nans: false,
        });
        node.try_next()
    };
    let (limit, why) = refused(reply.expect("it is told"));
    assert!(limit.is_some() || why.contains("does not compile"), "{why}");
}
