(module (memory 1) (func (param i32) (result i32)
  (i32.store8 offset=1 (local.get 0) (i32.const 7))
  (i32.load offset=4 (local.get 0))))
