(module (global (import "" "g") (mut i64)) (global $h (mut f32) (f32.const 0)) (func (param i64) (result f32)
  (global.set 0 (local.get 0))
  (global.get $h)))
