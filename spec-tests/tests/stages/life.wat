;; A module that meets every step of a module's life: an import, a memory with data, a global, a loop, a call.
(module $life
  (import "host" "scale" (func $scale (param i32) (result i32)))
  (memory (export "memory") 1 2)
  (data (i32.const 8) "\01\02\03\04")
  (global $calls (mut i32) (i32.const 0))
  (func $sum (export "sum") (param $from i32) (param $count i32) (result i32) (local $total i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $total (i32.add (local.get $total) (i32.load8_u (local.get $from))))
        (local.set $from (i32.add (local.get $from) (i32.const 1)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (call $scale (local.get $total))))
