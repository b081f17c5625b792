(module
  (memory 1)
  (data $d "abc")
  (func $scalar (param i32 i64) (result i64)
    local.get 0 local.get 1 i64.store offset=8
    local.get 0 local.get 0 i32.load8_u offset=1 i32.store16
    local.get 0 i64.load32_s)
  (func $lanes (param i32 v128) (result v128)
    local.get 0 local.get 1 v128.store8_lane offset=4 3
    local.get 0 local.get 1 v128.load16_lane 2
    local.get 1 i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23
    local.get 1 i32x4.extract_lane 1 i32x4.replace_lane 2
    v128.const i64x2 1 2 i64x2.add)
  (func $bulk (param i32)
    local.get 0 i32.const 1 local.get 0 memory.copy
    local.get 0 i32.const 1 local.get 0 memory.fill
    local.get 0 i32.const 1 local.get 0 memory.init $d
    data.drop $d)
  (func $grow (param i32) (result i32) local.get 0 memory.grow memory.size i32.add)
)
