;; A narrow compare-exchange compares what is left of the expected value after it is cut to the width.

(module
  (memory 1)
  (func (export "byte") (param i32 i32) (result i32)
    (i32.store (i32.const 0) (i32.const 0x44332211))
    (i32.atomic.rmw8.cmpxchg_u (i32.const 0) (local.get 0) (local.get 1)))
  (func (export "half") (param i64 i64) (result i64)
    (i32.store (i32.const 0) (i32.const 0x44332211))
    (i64.atomic.rmw16.cmpxchg_u (i32.const 0) (local.get 0) (local.get 1)))
  (func (export "memory") (result i32) (i32.load (i32.const 0))))

(assert_return (invoke "byte" (i32.const 0xffffff11) (i32.const 0xaaaaaabb)) (i32.const 0x11))
(assert_return (invoke "memory") (i32.const 0x443322bb))
(assert_return (invoke "byte" (i32.const 0x00000012) (i32.const 0xaaaaaabb)) (i32.const 0x11))
(assert_return (invoke "memory") (i32.const 0x44332211))
(assert_return (invoke "half" (i64.const -57071) (i64.const -1)) (i64.const 0x2211))
(assert_return (invoke "half" (i64.const 0x7777777777772211) (i64.const -1)) (i64.const 0x2211))
(assert_return (invoke "memory") (i32.const 0x4433ffff))
