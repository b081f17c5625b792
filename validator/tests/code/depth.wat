(module
  (func $leaf (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (func $early (param i32) (result i32) (local i64 externref)
    (if (local.get 0) (then (return (i32.const 7))))
    (drop (br_if 0 (call $leaf (local.get 0)) (local.get 0)))
    (call $leaf (i32.const 3)))
  (func $never (unreachable)))
