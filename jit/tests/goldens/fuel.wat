(module (func (param i32) (loop $l (br_if $l (local.get 0)))))
