;; Dead code is skipped whatever it nests; code after a block is live only if something branches to its end.
(module
  (func $after_return (result i32) i32.const 1 return i32.add drop block loop i32.const 0 if else end end end i32.const 2)
  (func $after_br (param i32) (result i32) block local.get 0 br_if 0 br 0 i32.const 1 drop end i32.const 2)
  (func $dead_end (result i32) block unreachable end i32.const 2)
  (func $dead_loop loop br 0 end)
  (func $dead_else (param i32) unreachable if else end)
)
