;; A long but finite loop must run to its end in every tier: a limit that is checked too eagerly ends it.
(module
  (func (export "count") (param i32) (result i32)
    (local i32)
    (loop $again
      (local.set 1 (i32.add (local.get 1) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get 1) (local.get 0))))
    (local.get 1)))
(assert_return (invoke "count" (i32.const 100000)) (i32.const 100000))
(assert_return (invoke "count" (i32.const 0)) (i32.const 1))
