;; A splay tree that keeps its size while nodes come and go, after the benchmark of that name: every
;; access turns the tree around, so that old objects are written all the time, and what dies is old.
(module
  (type $numbers (array i32))
  (type $payload (struct
    (field $left (ref null $payload)) (field $right (ref null $payload)) (field $numbers (ref null $numbers))))
  (type $node (struct
    (field $key i32) (field $payload (ref null $payload))
    (field $left (mut (ref null $node))) (field $right (mut (ref null $node)))))

  (global $root (mut (ref null $node)) (ref.null $node))
  (global $state (mut i32) (i32.const 0))

  (func $random (result i32)
    (global.set $state (i32.add (i32.mul (global.get $state) (i32.const 1664525)) (i32.const 1013904223)))
    (i32.shr_u (global.get $state) (i32.const 8)))

  (func $make_payload (param $depth i32) (param $key i32) (result (ref $payload))
    (if (result (ref $payload)) (i32.eqz (local.get $depth))
      (then (struct.new $payload
        (ref.null $payload) (ref.null $payload) (array.new $numbers (local.get $key) (i32.const 10))))
      (else (struct.new $payload
        (call $make_payload (i32.sub (local.get $depth) (i32.const 1)) (local.get $key))
        (call $make_payload (i32.sub (local.get $depth) (i32.const 1)) (local.get $key))
        (ref.null $numbers)))))

  ;; Brings the node with this key, or a neighbour of where it would be, to the root of a tree that is not empty.
  (func $splay (param $key i32)
    (local $current (ref null $node)) (local $child (ref null $node))
    (local $rest (ref $node)) (local $less (ref null $node)) (local $more (ref null $node))
    (local.set $rest (struct.new_default $node))
    (local.set $less (local.get $rest))
    (local.set $more (local.get $rest))
    (local.set $current (global.get $root))
    (block $done
      (loop $down
        (if (i32.lt_s (local.get $key) (struct.get $node $key (local.get $current)))
          (then
            (br_if $done (ref.is_null (local.tee $child (struct.get $node $left (local.get $current)))))
            (if (i32.lt_s (local.get $key) (struct.get $node $key (local.get $child)))
              (then
                (struct.set $node $left (local.get $current) (struct.get $node $right (local.get $child)))
                (struct.set $node $right (local.get $child) (local.get $current))
                (local.set $current (local.get $child))
                (br_if $done (ref.is_null (struct.get $node $left (local.get $current))))))
            (struct.set $node $left (local.get $more) (local.get $current))
            (local.set $more (local.get $current))
            (local.set $current (struct.get $node $left (local.get $current)))
            (br $down)))
        (if (i32.gt_s (local.get $key) (struct.get $node $key (local.get $current)))
          (then
            (br_if $done (ref.is_null (local.tee $child (struct.get $node $right (local.get $current)))))
            (if (i32.gt_s (local.get $key) (struct.get $node $key (local.get $child)))
              (then
                (struct.set $node $right (local.get $current) (struct.get $node $left (local.get $child)))
                (struct.set $node $left (local.get $child) (local.get $current))
                (local.set $current (local.get $child))
                (br_if $done (ref.is_null (struct.get $node $right (local.get $current))))))
            (struct.set $node $right (local.get $less) (local.get $current))
            (local.set $less (local.get $current))
            (local.set $current (struct.get $node $right (local.get $current)))
            (br $down)))))
    (struct.set $node $right (local.get $less) (struct.get $node $left (local.get $current)))
    (struct.set $node $left (local.get $more) (struct.get $node $right (local.get $current)))
    (struct.set $node $left (local.get $current) (struct.get $node $right (local.get $rest)))
    (struct.set $node $right (local.get $current) (struct.get $node $left (local.get $rest)))
    (global.set $root (local.get $current)))

  ;; Whether the key was new.
  (func $insert (param $key i32) (result i32)
    (local $node (ref null $node))
    (if (i32.eqz (ref.is_null (global.get $root)))
      (then
        (call $splay (local.get $key))
        (if (i32.eq (local.get $key) (struct.get $node $key (global.get $root))) (then (return (i32.const 0))))))
    (local.set $node (struct.new $node
      (local.get $key) (call $make_payload (i32.const 4) (local.get $key)) (ref.null $node) (ref.null $node)))
    (if (i32.eqz (ref.is_null (global.get $root)))
      (then (if (i32.gt_s (local.get $key) (struct.get $node $key (global.get $root)))
        (then
          (struct.set $node $left (local.get $node) (global.get $root))
          (struct.set $node $right (local.get $node) (struct.get $node $right (global.get $root)))
          (struct.set $node $right (global.get $root) (ref.null $node)))
        (else
          (struct.set $node $right (local.get $node) (global.get $root))
          (struct.set $node $left (local.get $node) (struct.get $node $left (global.get $root)))
          (struct.set $node $left (global.get $root) (ref.null $node))))))
    (global.set $root (local.get $node))
    (i32.const 1))

  ;; Removes the root of a tree with at least two nodes.
  (func $remove_root
    (local $left (ref null $node)) (local $right (ref null $node)) (local $key i32)
    (local.set $key (struct.get $node $key (global.get $root)))
    (local.set $left (struct.get $node $left (global.get $root)))
    (local.set $right (struct.get $node $right (global.get $root)))
    (if (ref.is_null (local.get $left))
      (then (global.set $root (local.get $right)))
      (else
        (global.set $root (local.get $left))
        (call $splay (local.get $key))
        (struct.set $node $right (global.get $root) (local.get $right)))))

  ;; A tree of 2000 nodes, in which $n times a node is added and one near another key removed. A sum of the removed keys.
  (func (export "run") (param $n i32) (result i32)
    (local $left i32) (local $sum i32)
    (global.set $root (ref.null $node))
    (global.set $state (i32.const 1))
    (local.set $left (i32.const 2000))
    (loop $fill
      (local.set $left (i32.sub (local.get $left) (call $insert (call $random))))
      (br_if $fill (local.get $left)))
    (loop $rounds
      (loop $new (br_if $new (i32.eqz (call $insert (call $random)))))
      (call $splay (call $random))
      (local.set $sum (i32.add (local.get $sum) (struct.get $node $key (global.get $root))))
      (call $remove_root)
      (br_if $rounds (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum)))
