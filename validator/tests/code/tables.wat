(module
  (table $f 1 funcref)
  (table $e 1 externref)
  (elem $s func $grow)
  (elem declare func $grow)
  (global $g (mut externref) (ref.null extern))
  (func $get (param i32) (result funcref externref) local.get 0 table.get $f local.get 0 table.get $e)
  (func $set (param i32 externref) local.get 0 ref.func $grow table.set $f local.get 0 local.get 1 table.set $e)
  (func $grow (param externref i32) (result i32) local.get 0 local.get 1 table.grow $e table.size $f i32.add)
  (func $bulk (param i32 externref)
    local.get 0 local.get 1 local.get 0 table.fill $e
    local.get 0 local.get 0 local.get 0 table.copy $f $f
    local.get 0 local.get 0 local.get 0 table.init $f $s
    elem.drop $s)
  (func $null (result i32) ref.null extern ref.is_null ref.null func ref.is_null i32.and)
  (func $global (param externref) (result externref) global.get $g local.get 0 global.set $g)
)
