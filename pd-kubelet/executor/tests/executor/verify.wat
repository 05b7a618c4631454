
  ;; result<bool, failure> at 16: ok
  (func $says (param $yes i32) (result i32)
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (local.get $yes))
    (i32.const 16))

  ;; The rest of `guest.wat` where it can check outputs: what it does is chosen by the first character of the output.
  (func (export "processdistro:task/checks@1.0.0#verify")
    (param $params i32) (param $len i32) (param $index i64) (param $out i32) (param $out_len i32) (param $seed i64)
    (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    ;; with params that are JSON: whether it is the index as eight bytes
    (if (call $is (local.get $params) (i32.const 0x7b)) (then
      (if (i32.ne (local.get $out_len) (i32.const 8)) (then (return (call $says (i32.const 0)))))
      (return (call $says (i64.eq (i64.load (local.get $out)) (local.get $index))))))
    ;; 'y': says hello, and yes; 'n': no
    (if (call $is (local.get $out) (i32.const 0x79)) (then
      (call $log (i32.const 1) (i32.const 1160) (i32.const 5))
      (return (call $says (i32.const 1)))))
    (if (call $is (local.get $out) (i32.const 0x6e)) (then (return (call $says (i32.const 0)))))
    ;; 'g': finds its index, and yes
    (if (call $is (local.get $out) (i32.const 0x67)) (then
      (call $found (local.get $index))
      (return (call $says (i32.const 1)))))
    ;; 's': the last bit of the seed
    (if (call $is (local.get $out) (i32.const 0x73)) (then
      (return (call $says (i32.wrap_i64 (i64.and (local.get $seed) (i64.const 1)))))))
    ;; 'r': a failure
    (if (call $is (local.get $out) (i32.const 0x72)) (then
      (return (call $failure (i32.const 0) (i32.const 1110) (i32.const 5)))))
    ;; 'm': 1000 pages more
    (if (call $is (local.get $out) (i32.const 0x6d)) (then
      (drop (memory.grow (i32.const 1000)))
      (return (call $says (i32.const 1)))))
    ;; 'l': runs for ever
    (if (call $is (local.get $out) (i32.const 0x6c)) (then (loop $forever (br $forever))))
    (call $boom)
    unreachable)
