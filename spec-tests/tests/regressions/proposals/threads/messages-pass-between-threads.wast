;; One thread writes plain data and raises a flag, the other waits for the flag and reads the data.
;; Each thread is an OS thread with a store of its own; only the memory is the same.

(module $memory
  (memory (export "shared") 1 1 shared))

(thread $writer (shared (module $memory))
  (register "them" $memory)
  (module
    (memory (import "them" "shared") 1 10 shared)
    (func (export "run")
      (i64.store (i32.const 9) (i64.const 0x0123456789abcdef))
      (i32.atomic.store (i32.const 0) (i32.const 1))
      (drop (memory.atomic.notify (i32.const 0) (i32.const -1)))))
  (invoke "run"))

(thread $reader (shared (module $memory))
  (register "them" $memory)
  (module
    (memory (import "them" "shared") 1 1 shared)
    (func (export "run") (result i64)
      ;; 1 if the flag is up already, 0 if this waited for it.
      (if (i32.gt_u (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)) (i32.const 1))
        (then (unreachable)))
      (i64.load (i32.const 9))))
  (assert_return (invoke "run") (i64.const 0x0123456789abcdef)))

(wait $writer)
(wait $reader)

;; What a thread registered is known to that thread alone.
(assert_unlinkable
  (module (memory (import "them" "shared") 1 1 shared))
  "unknown import")

(register "mine" $memory)
(module
  (memory (import "mine" "shared") 1 1 shared)
  (func (export "seen") (result i64) (i64.load (i32.const 9))))
(assert_return (invoke "seen") (i64.const 0x0123456789abcdef))
