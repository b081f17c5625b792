(module (table 8 funcref) (type $t (func (param i32) (result i32)))
  (func (param i32) (result i32) (call_indirect (type $t) (i32.const 5) (local.get 0))))
