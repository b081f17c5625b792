(module
  (import "m" "f" (func $f (param i32 i64) (result i64 i32)))
  (type $t (func (param f32) (result f32)))
  (table 2 funcref)
  (func $direct (param i32) (result i32) local.get 0 i64.const 2 call $f local.set 0 drop local.get 0)
  (func $indirect (param f32 i32) (result f32) local.get 0 local.get 1 call_indirect (type $t))
  (func $nested (result i64 i32) i32.const 1 i32.const 2 i64.const 3 call $f i64.extend_i32_u i64.add call $f)
)
