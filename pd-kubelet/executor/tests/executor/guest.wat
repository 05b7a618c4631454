;; A task whose behaviour is chosen by the first character of its params.
(module
  (import "processdistro:task/host@1.0.0" "log" (func $log (param i32 i32 i32)))
  (import "processdistro:task/host@1.0.0" "progress" (func $progress (param i64 i64)))
  (import "processdistro:task/host@1.0.0" "cancelled" (func $cancelled (result i32)))
  (import "processdistro:task/host@1.0.0" "found" (func $found (param i64)))
  (import "processdistro:task/host@1.0.0" "input-size" (func $input_size (param i32 i32 i32)))
  (import "processdistro:task/host@1.0.0" "read-input" (func $read_input (param i32 i32 i64 i32 i32)))
  (import "processdistro:task/host@1.0.0" "state-size" (func $state_size (result i64)))
  (import "processdistro:task/host@1.0.0" "read-state" (func $read_state (param i64 i32 i32)))
  (import "processdistro:task/host@1.0.0" "part-size" (func $part_size (param i64 i32)))
  (import "processdistro:task/host@1.0.0" "read-part" (func $read_part (param i64 i64 i32 i32)))
  (import "processdistro:task/host@1.0.0" "write-result" (func $write_result (param i32 i32)))
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 32768))
  (global $calls (mut i32) (i32.const 0))
  (data (i32.const 1000) "panicked at guest.rs:1: boom")
  (data (i32.const 1100) "never")
  (data (i32.const 1110) "later")
  (data (i32.const 1120) "data")
  (data (i32.const 1130) "text/plain")
  (data (i32.const 1150) "seed")
  (data (i32.const 1160) "hello")

  ;; A bump allocator: an instance lives for one call.
  (func $realloc (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32) (local $end i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (local.set $end (i32.add (local.get $at) (local.get $size)))
    (global.set $heap (local.get $end))
    (if (i32.gt_u (local.get $end) (i32.mul (memory.size) (i32.const 65536)))
      (then
        (drop (memory.grow (i32.add (i32.const 1) (i32.div_u
          (i32.sub (local.get $end) (i32.mul (memory.size) (i32.const 65536))) (i32.const 65536)))))))
    (local.get $at))

  (func $recurse (param i32) (result i32)
    (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (i32.load (i32.const 0))))

  (func $boom unreachable)

  ;; result<list<u8>, failure> at 16: ok
  (func $ok (param $ptr i32) (param $len i32) (result i32)
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (local.get $ptr))
    (i32.store (i32.const 24) (local.get $len))
    (i32.const 16))
  ;; the same at 16: retryable (0) or permanent (1) with five letters
  (func $failure (param $kind i32) (param $ptr i32) (param $len i32) (result i32)
    (i32.store (i32.const 16) (i32.const 1))
    (i32.store (i32.const 20) (local.get $kind))
    (i32.store (i32.const 24) (local.get $ptr))
    (i32.store (i32.const 28) (local.get $len))
    (i32.const 16))

  (func $is (param $params i32) (param $letter i32) (result i32)
    (i32.eq (i32.load8_u (local.get $params)) (local.get $letter)))

  (func (export "processdistro:task/contract@1.0.0#plan") (param $params i32) (param $len i32) (result i32)
    ;; '{': asks for an input first, and does not mind
    (if (call $is (local.get $params) (i32.const 0x7b)) (then
      (call $input_size (i32.const 1120) (i32.const 4) (i32.const 64))
      (call $read_input (i32.const 1120) (i32.const 4) (i64.const 0) (i32.const 4) (i32.const 64))))
    ;; 'l': runs for ever
    (if (call $is (local.get $params) (i32.const 0x6c)) (then (loop $forever (br $forever))))
    ;; 'p': permanent, where the payload of this result is at 24
    (if (call $is (local.get $params) (i32.const 0x70)) (then
      (i32.store (i32.const 16) (i32.const 1))
      (i32.store (i32.const 24) (i32.const 1))
      (i32.store (i32.const 28) (i32.const 1100))
      (i32.store (i32.const 32) (i32.const 5))
      (return (i32.const 16))))
    ;; three subtasks, goal 2, state "seed"
    (i32.store (i32.const 16) (i32.const 0))
    (i64.store (i32.const 24) (i64.const 3))
    (i32.store (i32.const 32) (i32.const 1130))
    (i32.store (i32.const 36) (i32.const 10))
    (i32.store (i32.const 40) (i32.const 1))
    (i64.store (i32.const 48) (i64.const 2))
    (i32.store (i32.const 56) (i32.const 1150))
    (i32.store (i32.const 60) (i32.const 4))
    (i32.const 16))

  (func (export "processdistro:task/contract@1.0.0#run") (param $params i32) (param $len i32) (param $index i64) (result i32)
    (local $count i32)
    ;; 'e' and '{': its index as eight bytes
    (if (i32.or (call $is (local.get $params) (i32.const 0x65)) (call $is (local.get $params) (i32.const 0x7b))) (then
      (i64.store (i32.const 8) (local.get $index))
      (return (call $ok (i32.const 8) (i32.const 8)))))
    ;; 'N': nothing divided by nothing, as eight bytes
    (if (call $is (local.get $params) (i32.const 0x4e)) (then
      (f64.store (i32.const 8) (f64.div
        (f64.sub (f64.convert_i64_u (local.get $index)) (f64.convert_i64_u (local.get $index)))
        (f64.sub (f64.convert_i64_u (local.get $index)) (f64.convert_i64_u (local.get $index)))))
      (return (call $ok (i32.const 8) (i32.const 8)))))
    ;; 'l': index 2 says hello and runs for ever
    (if (call $is (local.get $params) (i32.const 0x6c)) (then
      (if (i64.eq (local.get $index) (i64.const 2)) (then
        (call $log (i32.const 1) (i32.const 1160) (i32.const 5))
        (loop $forever (br $forever))))
      (return (call $ok (i32.const 0) (i32.const 1)))))
    ;; 'm': 1000 pages more
    (if (call $is (local.get $params) (i32.const 0x6d)) (then
      (drop (memory.grow (i32.const 1000)))
      (return (call $ok (i32.const 0) (i32.const 1)))))
    ;; 'u': a panic as the SDK reports it
    (if (call $is (local.get $params) (i32.const 0x75)) (then
      (call $log (i32.const 3) (i32.const 1000) (i32.const 28))
      (call $boom)))
    ;; 's': recursion without end
    (if (call $is (local.get $params) (i32.const 0x73)) (then (drop (call $recurse (i32.const 0)))))
    ;; 'o': 65536 bytes; 'O': an output that is not in its memory
    (if (call $is (local.get $params) (i32.const 0x6f)) (then (return (call $ok (i32.const 0) (i32.const 65536)))))
    (if (call $is (local.get $params) (i32.const 0x4f)) (then (return (call $ok (i32.const 131000) (i32.const 65536)))))
    ;; 'H': 2 MiB, where the limit of a host call is 1 MiB
    (if (call $is (local.get $params) (i32.const 0x48)) (then
      (drop (memory.grow (i32.const 32)))
      (return (call $ok (i32.const 0) (i32.const 2097152)))))
    ;; 'f': 10000 lines
    (if (call $is (local.get $params) (i32.const 0x66)) (then
      (loop $lines
        (call $log (i32.const 2) (i32.const 1160) (i32.const 5))
        (local.set $count (i32.add (local.get $count) (i32.const 1)))
        (br_if $lines (i32.lt_u (local.get $count) (i32.const 10000))))
      (return (call $ok (i32.const 0) (i32.const 1)))))
    ;; 'g': finds its index, twice
    (if (call $is (local.get $params) (i32.const 0x67)) (then
      (call $found (local.get $index))
      (call $found (local.get $index))
      (return (call $ok (i32.const 0) (i32.const 1)))))
    ;; 'i': four bytes of the input "data" from four times its index
    (if (call $is (local.get $params) (i32.const 0x69)) (then
      (call $read_input (i32.const 1120) (i32.const 4) (i64.mul (local.get $index) (i64.const 4)) (i32.const 4) (i32.const 64))
      (return (call $ok (i32.load (i32.const 64)) (i32.load (i32.const 68))))))
    ;; 'I': up to 4 GiB of it
    (if (call $is (local.get $params) (i32.const 0x49)) (then
      (call $read_input (i32.const 1120) (i32.const 4) (i64.const 0) (i32.const -1) (i32.const 64))
      (return (call $ok (i32.load (i32.const 64)) (i32.load (i32.const 68))))))
    ;; 'S': the state
    (if (call $is (local.get $params) (i32.const 0x53)) (then
      (call $read_state (i64.const 0) (i32.wrap_i64 (call $state_size)) (i32.const 64))
      (return (call $ok (i32.load (i32.const 64)) (i32.load (i32.const 68))))))
    ;; 'r' and 'p': failures
    (if (call $is (local.get $params) (i32.const 0x72)) (then (return (call $failure (i32.const 0) (i32.const 1110) (i32.const 5)))))
    (if (call $is (local.get $params) (i32.const 0x70)) (then (return (call $failure (i32.const 1) (i32.const 1100) (i32.const 5)))))
    ;; 'c': says how far it is until it is cancelled
    (if (call $is (local.get $params) (i32.const 0x63)) (then
      (loop $wait
        (call $progress (i64.const 1) (i64.const 2))
        (br_if $wait (i32.eqz (call $cancelled))))
      (return (call $ok (i32.const 0) (i32.const 1)))))
    ;; 'n': how many calls this instance has had, as one byte; index 5 panics, index 8 takes 10 MiB
    (if (call $is (local.get $params) (i32.const 0x6e)) (then
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (if (i64.eq (local.get $index) (i64.const 5)) (then (call $boom)))
      (if (i64.eq (local.get $index) (i64.const 8)) (then (drop (memory.grow (i32.const 160)))))
      (i32.store8 (i32.const 8) (global.get $calls))
      (return (call $ok (i32.const 8) (i32.const 1)))))
    ;; 't': takes some milliseconds
    (if (call $is (local.get $params) (i32.const 0x74)) (then
      (loop $turn
        (local.set $count (i32.add (local.get $count) (i32.const 1)))
        (br_if $turn (i32.lt_u (local.get $count) (i32.const 20000000))))
      (return (call $ok (i32.const 0) (i32.const 1)))))
    ;; 'w': a result outside merge
    (if (call $is (local.get $params) (i32.const 0x77)) (then
      (call $write_result (i32.const 0) (i32.const 4))
      (return (call $ok (i32.const 0) (i32.const 1)))))
    unreachable)

  (func (export "processdistro:task/contract@1.0.0#merge") (param $params i32) (param $len i32) (param $subtasks i64) (result i32)
    (local $index i64)
    ;; every part that is there, one after the other
    (block $end
      (loop $parts
        (br_if $end (i64.ge_u (local.get $index) (local.get $subtasks)))
        (call $part_size (local.get $index) (i32.const 64))
        (if (i32.load8_u (i32.const 64)) (then
          (call $read_part (local.get $index) (i64.const 0) (i32.load (i32.const 72)) (i32.const 80))
          (call $write_result (i32.load (i32.const 80)) (i32.load (i32.const 84)))
          (global.set $heap (i32.const 32768))))
        (local.set $index (i64.add (local.get $index) (i64.const 1)))
        (br $parts)))
    ;; 'p': fails at the end
    (if (call $is (local.get $params) (i32.const 0x70)) (then (return (call $failure (i32.const 1) (i32.const 1100) (i32.const 5)))))
    (i32.store (i32.const 16) (i32.const 0))
    (i32.const 16))
)
