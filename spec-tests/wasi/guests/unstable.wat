;; What an old binary does: imports `wasi_unstable`, whose seeks, file status and subscriptions have other
;; layouts than those of preview 1. Exits with 0, or with the number of the check that failed.
(module
  (import "wasi_unstable" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_unstable" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_unstable" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_unstable" "fd_seek" (func $fd_seek (param i32 i64 i32 i32) (result i32)))
  (import "wasi_unstable" "fd_filestat_get" (func $fd_filestat_get (param i32 i32) (result i32)))
  (import "wasi_unstable" "path_filestat_get" (func $path_filestat_get (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_unstable" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_unstable" "proc_exit" (func $proc_exit (param i32)))

  (memory (export "memory") 1)
  (data (i32.const 0) "old")
  (data (i32.const 16) "\00\00\00\00\03\00\00\00")
  (global $out i32 (i32.const 256))
  (global $fd (mut i32) (i32.const 0))

  (func $check (param $number i32) (param $holds i32)
    (if (i32.eqz (local.get $holds)) (then (call $proc_exit (local.get $number)))))

  (func $ok (param $number i32) (param $errno i32)
    (call $check (local.get $number) (i32.eqz (local.get $errno))))

  ;; 0 is from the position, 1 from the end, 2 from the start.
  (func $seek (param $number i32) (param $offset i64) (param $whence i32) (param $position i64)
    (call $ok (local.get $number)
      (call $fd_seek (global.get $fd) (local.get $offset) (local.get $whence) (global.get $out)))
    (call $check (local.get $number) (i64.eq (i64.load (global.get $out)) (local.get $position))))

  ;; The number of links has 32 bits, the size follows it.
  (func $stat (param $number i32)
    (call $check (local.get $number) (i32.eq (i32.load8_u offset=16 (global.get $out)) (i32.const 4)))
    (call $check (local.get $number) (i32.eq (i32.load offset=20 (global.get $out)) (i32.const 1)))
    (call $check (local.get $number) (i64.eq (i64.load offset=24 (global.get $out)) (i64.const 3)))
    (call $check (local.get $number) (i64.eq (i64.load offset=56 (global.get $out)) (i64.const 0))))

  (func (export "_start")
    (call $ok (i32.const 1) (call $fd_prestat_get (i32.const 3) (global.get $out)))
    (call $ok (i32.const 2)
      (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 3) (i32.const 1) (i64.const 0x7f) (i64.const 0) (i32.const 0) (global.get $out)))
    (global.set $fd (i32.load (global.get $out)))
    (call $ok (i32.const 3) (call $fd_write (global.get $fd) (i32.const 16) (i32.const 1) (global.get $out)))
    (call $seek (i32.const 4) (i64.const 1) (i32.const 2) (i64.const 1))
    (call $seek (i32.const 5) (i64.const 1) (i32.const 0) (i64.const 2))
    (call $seek (i32.const 6) (i64.const 0) (i32.const 1) (i64.const 3))
    (memory.fill (global.get $out) (i32.const 0) (i32.const 64))
    (call $ok (i32.const 7) (call $fd_filestat_get (global.get $fd) (global.get $out)))
    (call $stat (i32.const 8))
    (memory.fill (global.get $out) (i32.const 0) (i32.const 64))
    (call $ok (i32.const 9)
      (call $path_filestat_get (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 3) (global.get $out)))
    (call $stat (i32.const 10))
    ;; A time that has passed; its fields begin 8 bytes later than in preview 1.
    (i64.store (i32.const 512) (i64.const 77))
    (i64.store (i32.const 544) (i64.const 1))
    (i32.store16 (i32.const 560) (i32.const 1))
    (call $ok (i32.const 11) (call $poll_oneoff (i32.const 512) (i32.const 1024) (i32.const 1) (global.get $out)))
    (call $check (i32.const 12) (i32.eq (i32.load (global.get $out)) (i32.const 1)))
    (call $check (i32.const 13) (i64.eq (i64.load (i32.const 1024)) (i64.const 77)))))
