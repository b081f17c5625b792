;; local.get is an alias, local.set retargets, a pending alias is saved before its local changes.
(module
  (func $add (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func $retarget (param i32) (local i32) local.get 0 i32.const 1 i32.add local.set 1)
  (func $swap (param i32 i32) (result i32 i32) local.get 0 local.get 1 local.set 0 local.set 1 local.get 0 local.get 1)
  (func $pending (param i32) (result i32) local.get 0 i32.const 5 local.set 0 local.get 0 i32.sub)
  (func $tee (param i32) (result i32) (local i32) local.get 0 i32.eqz local.tee 1 local.get 1 i32.mul)
  (func $tee_alias (param i32) (result i32) (local i32) local.get 0 local.tee 1 local.get 1 i32.mul)
  (func $self (param i32) local.get 0 local.set 0)
  (func $classes (param i64 externref v128 f32) (result externref) (local i32 i32 externref funcref)
    local.get 1 local.set 6 local.get 6)
)
