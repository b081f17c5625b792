;; Lowered with fuel: one charge for each basic block.
(module
  (import "m" "f" (func $f))
  (func $straight (param i32) (result i32) local.get 0 i32.const 1 i32.add i32.const 3 i32.div_u)
  (func $loop (param i32) loop local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0 end call $f)
  (func $empty_loop loop br 0 end)
  (func $if (param i32) (result i32) local.get 0 if (result i32) i32.const 1 else i32.const 2 i32.const 3 i32.mul end)
  (func $nothing)
)
