;; What a branch carries is moved first; a conditional branch with moves jumps over them.
(module
  (func $plain (param i32) block local.get 0 br_if 0 nop end)
  (func $value (param i32) (result i32) block (result i32) local.get 0 local.get 0 br_if 0 drop i32.const 3 end)
  (func $in_place (param i32) (result i32) block (result i32) i32.const 7 local.get 0 br_if 0 end)
  (func $below (param i32) (result i32)
    block (result i32) i32.const 1 i32.const 2 local.get 0 br_if 0 i32.add end)
  (func $loop (param i32) (result i32)
    i32.const 0 local.get 0
    loop (param i32 i32) (result i32)
      local.tee 0 i32.add local.get 0 i32.const 1 i32.sub local.get 0 br_if 0 drop
    end)
  (func $exit_loop (param i32) block loop local.get 0 i32.eqz br_if 1 br 0 end end)
  (func $return_if (param i32) (result i32) i32.const 9 local.get 0 br_if 0)
  (func $table (param i32) (result i32)
    block $a (result i32) block $b
      local.get 0 local.get 0 br_table $a $a 2
    end i32.const 4 end)
  (func $table_plain (param i32) block block local.get 0 br_table 0 1 0 1 end end)
  (func $vectors (param v128 i32) (result i64 v128)
    block (result i64 v128) i32.const 1 i64.const 2 local.get 0 local.get 1 br_if 0 br 0 end)
  (func $refs (param externref i32) (result i32 externref)
    block (result i32 externref) local.get 0 i32.const 1 local.get 0 local.get 1 br_if 0 br 0 end)
)
