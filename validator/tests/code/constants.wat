(module
  (global $g (mut i32) (i32.const 1))
  (func (result i32 i64 f32 f64 v128) i32.const -1 i64.const -2 f32.const 1.5 f64.const nan v128.const i32x4 1 2 3 4)
  (func (result i32) global.get $g i32.const 1 i32.add global.set $g global.get $g)
  (func i32.const 1 drop)
)
