;; A task whose index 7 does harm and whose other indexes answer their number. The words in capitals are put in by the
;; tests: how many pages of memory it has, what it declares, and what index 7 does.
(module
  (import "processdistro:task/host@1.0.0" "log" (func $log (param i32 i32 i32)))
  (import "processdistro:task/host@1.0.0" "progress" (func $progress (param i64 i64)))
  (import "processdistro:task/host@1.0.0" "found" (func $found (param i64)))
  (import "processdistro:task/host@1.0.0" "read-input" (func $read_input (param i32 i32 i64 i32 i32)))
  (import "processdistro:task/host@1.0.0" "write-result" (func $write_result (param i32 i32)))
  (import "processdistro:task/kernels@1.0.0" "gemm-f64"
    (func $gemm (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "processdistro:task/kernels@1.0.0" "sha256" (func $sha256 (param i32 i32 i32 i32 i32 i32 i32 i32)))
  (memory (export "memory") PAGES)
  (global $heap (mut i32) (i32.const 32768))
  (global $liar (mut i32) (i32.const 0))
  (type $none (func))
  (data (i32.const 1000) "panicked at guest.rs:1: boom")
  (data (i32.const 1100) "data")
  (data (i32.const 1200) "\ff\fe\fd")
  HEAD

  ;; A bump allocator, which lies (1) or calls the host when it must not (2).
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (if (i32.eq (global.get $liar) (i32.const 1)) (then (return (i32.const -16))))
    (if (i32.eq (global.get $liar) (i32.const 2)) (then (call $progress (i64.const 1) (i64.const 1))))
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (local.get $at))

  (func $recurse (param i32) (result i32)
    (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (i32.load (i32.const 0))))

  ;; An answer at 16: ok (0) with a list, or a failure (1) with a kind and a text.
  (func $answer (param $kind i32) (param $a i32) (param $b i32) (param $c i32) (result i32)
    (i32.store (i32.const 16) (local.get $kind))
    (i32.store (i32.const 20) (local.get $a))
    (i32.store (i32.const 24) (local.get $b))
    (i32.store (i32.const 28) (local.get $c))
    (i32.const 16))

  (func (export "processdistro:task/contract@1.0.0#plan") (param i32 i32) (result i32) unreachable)
  (func (export "processdistro:task/contract@1.0.0#merge") (param i32 i32 i64) (result i32) unreachable)
  (func (export "processdistro:task/contract@1.0.0#run") (param i32 i32) (param $index i64) (result i32)
    (local $n i32)
    (if (i64.eq (local.get $index) (i64.const 7)) (then HARM))
    (i64.store (i32.const 8) (local.get $index))
    (call $answer (i32.const 0) (i32.const 8) (i32.const 8) (i32.const 0)))
)
