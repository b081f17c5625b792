;; Calls every one of the 46 functions of WASI preview 1 as it is, with arguments that would succeed on
;; a generous host, and records what each one answered and whether it wrote anything into memory.
;;
;; `run` makes the calls but `proc_exit`, in the order of the imports, and returns the number of functions that
;; disclosed something: wrote a byte other than zero where its results go. Afterwards `errno`
;; and `disclosed` tell of the function with that number in the order of the imports. `_start` does the same
;; and ends through `proc_exit` with that number, so that a blind run exits with 0.
;;
;; Memory: page 0 holds what the calls read, page 1 is where all results go, cleared before each
;; call; page 2 holds a byte of `errno` for each function at 0 and of `disclosed` at 64.
(module $probe
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_res_get" (func $clock_res_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $fd_prestat_dir_name (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_get" (func $fd_filestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_set_flags" (func $fd_fdstat_set_flags (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_set_rights" (func $fd_fdstat_set_rights (param i32 i64 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pwrite" (func $fd_pwrite (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pread" (func $fd_pread (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_seek" (func $fd_seek (param i32 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_tell" (func $fd_tell (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_advise" (func $fd_advise (param i32 i64 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_allocate" (func $fd_allocate (param i32 i64 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_datasync" (func $fd_datasync (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_sync" (func $fd_sync (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $fd_filestat_set_size (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_times" (func $fd_filestat_set_times (param i32 i64 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_get" (func $path_filestat_get (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_readlink" (func $path_readlink (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $path_create_directory (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_set_times" (func $path_filestat_set_times (param i32 i32 i32 i32 i64 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_link" (func $path_link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename" (func $path_rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $path_symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_remove_directory" (func $path_remove_directory (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $path_unlink_file (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $sock_accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv" (func $sock_recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func $sock_send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_shutdown" (func $sock_shutdown (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_renumber" (func $fd_renumber (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))
  (import "wasi_snapshot_preview1" "proc_raise" (func $proc_raise (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  (memory (export "memory") 3)
  ;; A path, a buffer, an iovec of the results' page, and a subscription to a clock that has passed.
  (data (i32.const 0) "access.log")
  (data (i32.const 64) "\00\01\01\00\40\00\00\00")
  (data (i32.const 128) "\2a")
  (data (i32.const 144) "\01")
  (global $results i32 (i32.const 0x10000))
  (global $records i32 (i32.const 0x20000))
  (global $called (mut i32) (i32.const 0))

  ;; Records the answer of the function that has just been called, and clears the results.
  (func $note (param $errno i32)
    (i32.store8 (i32.add (global.get $records) (global.get $called)) (local.get $errno))
    (i32.store8 offset=64 (i32.add (global.get $records) (global.get $called)) (call $written))
    (memory.fill (global.get $results) (i32.const 0) (i32.const 0x10000))
    (global.set $called (i32.add (global.get $called) (i32.const 1))))

  ;; 1 if any byte of the results is not zero.
  (func $written (result i32) (local $at i32)
    (loop $next
      (if (i64.ne (i64.load (i32.add (global.get $results) (local.get $at))) (i64.const 0)) (then (return (i32.const 1))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 0x10000))))
    (i32.const 0))

  (func (export "errno") (param $function i32) (result i32)
    (i32.load8_u (i32.add (global.get $records) (i32.and (local.get $function) (i32.const 63)))))

  (func $disclosed (export "disclosed") (param $function i32) (result i32)
    (i32.load8_u offset=64 (i32.add (global.get $records) (i32.and (local.get $function) (i32.const 63)))))

  (func $total (result i32) (local $function i32) (local $sum i32)
    (loop $next
      (local.set $sum (i32.add (local.get $sum) (call $disclosed (local.get $function))))
      (local.set $function (i32.add (local.get $function) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $function) (i32.const 45))))
    (local.get $sum))

  (func (export "_start") (call $proc_exit (call $run)))

  (func $run (export "run") (result i32)
    (global.set $called (i32.const 0))
    (call $note (call $args_sizes_get (i32.const 0x10000) (i32.const 0x10004)))
    (call $note (call $args_get (i32.const 0x10008) (i32.const 0x10028)))
    (call $note (call $environ_sizes_get (i32.const 0x10000) (i32.const 0x10004)))
    (call $note (call $environ_get (i32.const 0x10008) (i32.const 0x10028)))
    (call $note (call $clock_res_get (i32.const 0) (i32.const 0x10000)))
    (call $note (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 0x10000)))
    (call $note (call $random_get (i32.const 0x10000) (i32.const 32)))
    (call $note (call $fd_prestat_get (i32.const 3) (i32.const 0x10000)))
    (call $note (call $fd_prestat_dir_name (i32.const 3) (i32.const 0x10000) (i32.const 16)))
    (call $note (call $fd_fdstat_get (i32.const 1) (i32.const 0x10000)))
    (call $note (call $fd_filestat_get (i32.const 1) (i32.const 0x10000)))
    (call $note (call $fd_fdstat_set_flags (i32.const 1) (i32.const 0)))
    (call $note (call $fd_fdstat_set_rights (i32.const 1) (i64.const 0) (i64.const 0)))
    (call $note (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 0x10000)))
    (call $note (call $fd_read (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 0x10000)))
    (call $note (call $fd_pwrite (i32.const 4) (i32.const 64) (i32.const 1) (i64.const 0) (i32.const 0x10000)))
    (call $note (call $fd_pread (i32.const 4) (i32.const 64) (i32.const 1) (i64.const 0) (i32.const 0x10000)))
    (call $note (call $fd_seek (i32.const 0) (i64.const 0) (i32.const 1) (i32.const 0x10000)))
    (call $note (call $fd_tell (i32.const 0) (i32.const 0x10000)))
    (call $note (call $fd_advise (i32.const 4) (i64.const 0) (i64.const 1) (i32.const 0)))
    (call $note (call $fd_allocate (i32.const 4) (i64.const 0) (i64.const 1)))
    (call $note (call $fd_datasync (i32.const 4)))
    (call $note (call $fd_sync (i32.const 4)))
    (call $note (call $fd_filestat_set_size (i32.const 4) (i64.const 1)))
    (call $note (call $fd_filestat_set_times (i32.const 4) (i64.const 0) (i64.const 0) (i32.const 10)))
    (call $note
      (call $fd_readdir (i32.const 3) (i32.const 0x10008) (i32.const 256) (i64.const 0) (i32.const 0x10000)))
    (call $note
      (call $path_open (i32.const 3) (i32.const 1) (i32.const 0) (i32.const 10) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 0x10000)))
    (call $note
      (call $path_filestat_get (i32.const 3) (i32.const 1) (i32.const 0) (i32.const 10) (i32.const 0x10000)))
    (call $note
      (call $path_readlink (i32.const 3) (i32.const 0) (i32.const 10) (i32.const 0x10008) (i32.const 64) (i32.const 0x10000)))
    (call $note (call $path_create_directory (i32.const 3) (i32.const 0) (i32.const 10)))
    (call $note
      (call $path_filestat_set_times (i32.const 3) (i32.const 1) (i32.const 0) (i32.const 10) (i64.const 0) (i64.const 0) (i32.const 10)))
    (call $note
      (call $path_link (i32.const 3) (i32.const 1) (i32.const 0) (i32.const 10) (i32.const 3) (i32.const 0) (i32.const 10)))
    (call $note
      (call $path_rename (i32.const 3) (i32.const 0) (i32.const 10) (i32.const 3) (i32.const 0) (i32.const 10)))
    (call $note (call $path_symlink (i32.const 0) (i32.const 10) (i32.const 3) (i32.const 0) (i32.const 10)))
    (call $note (call $path_remove_directory (i32.const 3) (i32.const 0) (i32.const 10)))
    (call $note (call $path_unlink_file (i32.const 3) (i32.const 0) (i32.const 10)))
    (call $note (call $poll_oneoff (i32.const 128) (i32.const 0x10008) (i32.const 1) (i32.const 0x10000)))
    (call $note (call $sock_accept (i32.const 3) (i32.const 0) (i32.const 0x10000)))
    (call $note
      (call $sock_recv (i32.const 3) (i32.const 64) (i32.const 1) (i32.const 0) (i32.const 0x10000) (i32.const 0x10004)))
    (call $note (call $sock_send (i32.const 3) (i32.const 64) (i32.const 1) (i32.const 0) (i32.const 0x10000)))
    (call $note (call $sock_shutdown (i32.const 3) (i32.const 3)))
    (call $note (call $fd_renumber (i32.const 2) (i32.const 9)))
    (call $note (call $fd_close (i32.const 1)))
    (call $note (call $sched_yield))
    (call $note (call $proc_raise (i32.const 0)))
    (call $total)))
