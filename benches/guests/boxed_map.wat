;; A hash map of boxed keys to boxed values with chains: pointers are chased, and old objects get new ones stored into them.
(module
  (type $box (struct (field $value i64)))
  (type $entry (struct (field $key (ref $box)) (field $value (mut (ref $box))) (field $next (mut (ref null $entry)))))
  (type $buckets (array (mut (ref null $entry))))

  (global $map (mut (ref null $buckets)) (ref.null $buckets))
  (global $size (mut i32) (i32.const 0))
  (global $state (mut i32) (i32.const 0))

  ;; A number below 65536 from the generator.
  (func $random (result i32)
    (global.set $state (i32.add (i32.mul (global.get $state) (i32.const 1664525)) (i32.const 1013904223)))
    (i32.shr_u (global.get $state) (i32.const 16)))

  (func $bucket (param $key i64) (result i32)
    (i32.wrap_i64 (i64.shr_u (i64.mul (local.get $key) (i64.const 0x9e3779b97f4a7c15)) (i64.const 50))))

  (func $find (param $key i64) (result (ref null $entry))
    (local $entry (ref null $entry))
    (local.set $entry (array.get $buckets (global.get $map) (call $bucket (local.get $key))))
    (block $found
      (loop $chain
        (br_if $found (ref.is_null (local.get $entry)))
        (br_if $found (i64.eq (local.get $key) (struct.get $box $value (struct.get $entry $key (local.get $entry)))))
        (local.set $entry (struct.get $entry $next (local.get $entry)))
        (br $chain)))
    (local.get $entry))

  (func $put (param $key i64) (param $value (ref $box))
    (local $entry (ref null $entry)) (local $bucket i32)
    (local.set $entry (call $find (local.get $key)))
    (if (ref.is_null (local.get $entry))
      (then
        (local.set $bucket (call $bucket (local.get $key)))
        (array.set $buckets (global.get $map) (local.get $bucket)
          (struct.new $entry
            (struct.new $box (local.get $key))
            (local.get $value)
            (array.get $buckets (global.get $map) (local.get $bucket))))
        (global.set $size (i32.add (global.get $size) (i32.const 1))))
      (else (struct.set $entry $value (local.get $entry) (local.get $value)))))

  (func $remove (param $key i64)
    (local $bucket i32) (local $entry (ref null $entry)) (local $before (ref null $entry))
    (local.set $bucket (call $bucket (local.get $key)))
    (local.set $entry (array.get $buckets (global.get $map) (local.get $bucket)))
    (loop $chain
      (if (ref.is_null (local.get $entry)) (then (return)))
      (if (i64.ne (local.get $key) (struct.get $box $value (struct.get $entry $key (local.get $entry))))
        (then
          (local.set $before (local.get $entry))
          (local.set $entry (struct.get $entry $next (local.get $entry)))
          (br $chain))))
    (global.set $size (i32.sub (global.get $size) (i32.const 1)))
    (if (ref.is_null (local.get $before))
      (then (array.set $buckets (global.get $map) (local.get $bucket) (struct.get $entry $next (local.get $entry))))
      (else (struct.set $entry $next (local.get $before) (struct.get $entry $next (local.get $entry))))))

  ;; $n rounds of: put one, add to one that is there, remove one. The size at the end and the sum of what was found.
  (func (export "run") (param $n i32) (result i32)
    (local $sum i64) (local $found (ref null $entry))
    (global.set $map (array.new_default $buckets (i32.const 16384)))
    (global.set $size (i32.const 0))
    (global.set $state (i32.const 1))
    (loop $rounds
      (call $put (i64.extend_i32_u (call $random)) (struct.new $box (i64.extend_i32_u (local.get $n))))
      (local.set $found (call $find (i64.extend_i32_u (call $random))))
      (if (i32.eqz (ref.is_null (local.get $found)))
        (then
          (local.set $sum (i64.add (local.get $sum) (struct.get $box $value (struct.get $entry $value (local.get $found)))))
          (struct.set $entry $value (local.get $found) (struct.new $box (local.get $sum)))))
      (call $remove (i64.extend_i32_u (call $random)))
      (br_if $rounds (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.xor (global.get $size) (i32.wrap_i64 (local.get $sum)))))
