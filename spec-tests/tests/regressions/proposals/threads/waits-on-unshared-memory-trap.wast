(module
  (memory 1 1)
  (func (export "wait32") (param i32) (result i32)
    (memory.atomic.wait32 (local.get 0) (i32.const 0) (i64.const -1)))
  (func (export "wait64") (param i32) (result i32)
    (memory.atomic.wait64 (local.get 0) (i64.const 0) (i64.const -1)))
  (func (export "notify") (param i32) (result i32)
    (memory.atomic.notify (local.get 0) (i32.const -1)))
  (func (export "fence") atomic.fence))

(assert_trap (invoke "wait32" (i32.const 0)) "expected shared memory")
(assert_trap (invoke "wait64" (i32.const 0)) "expected shared memory")
(assert_trap (invoke "wait32" (i32.const 2)) "unaligned atomic")
(assert_trap (invoke "wait64" (i32.const 4)) "unaligned atomic")
(assert_trap (invoke "wait32" (i32.const 0x10000)) "out of bounds memory access")
(assert_return (invoke "notify" (i32.const 0)) (i32.const 0))
(assert_trap (invoke "notify" (i32.const 2)) "unaligned atomic")
(assert_trap (invoke "notify" (i32.const 0x10000)) "out of bounds memory access")
(assert_return (invoke "fence"))

;; The module that scripts import from has a shared memory too.
(module
  (memory (import "spectest" "shared_memory") 1 2 shared)
  (func (export "wait") (result i32) (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 1000))))
(assert_return (invoke "wait") (i32.const 2))
