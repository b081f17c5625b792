//! Programs that compute for as long as they are told: `name(rounds)` gives a check sum.
//!
//! Each stands for a kind of inner loop: list walks, matrices and state machines as CoreMark has them, hashes, floating
//! point, calls, calls through pointers, dispatch by tables, bytes, sorting.
//!
//! # Safety
//! The statics are those of a guest with one thread, and no function that uses one calls another that does.

#![allow(static_mut_refs)]

use std::hint::black_box;

struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}

fn crc16(mut byte: u8, mut crc: u16) -> u16 {
    for _ in 0..8 {
        let carry = (byte & 1) as u16 ^ (crc & 1);
        byte >>= 1;
        crc >>= 1;
        if carry == 1 {
            crc ^= 0xa001;
        }
    }
    crc
}

/// Lists, a matrix and a state machine with a check sum over all, in the shares CoreMark has them.
#[unsafe(no_mangle)]
pub extern "C" fn core_mix(rounds: i32) -> i32 {
    const NODES: usize = 64;
    const SIDE: usize = 12;
    let mut next = [0u16; NODES];
    let mut value = [0u16; NODES];
    let mut random = Random(0x1234_5678);
    for i in 0..NODES {
        next[i] = ((i + 1) % NODES) as u16;
        value[i] = random.next() as u16;
    }
    let (mut a, mut b, mut c) = ([[0i16; SIDE]; SIDE], [[0i16; SIDE]; SIDE], [[0i32; SIDE]; SIDE]);
    for i in 0..SIDE {
        for j in 0..SIDE {
            a[i][j] = random.next() as i16;
            b[i][j] = random.next() as i16;
        }
    }
    let text = *b"5012,+122,-100,0x12,1.23e5,-9e+3,T0.3e-1F,x,+0.5,12345678,.5,,99+";
    let mut crc = 0u16;
    for round in 0..rounds {
        // Find, reverse and sort by insertion.
        let mut at = (round as usize) % NODES;
        for _ in 0..NODES {
            at = next[at] as usize;
            if value[at] & 0xff == (round & 0xff) as u16 {
                crc = crc16(value[at] as u8, crc);
            }
            value[at] = value[at].rotate_left(1) ^ round as u16;
        }
        let (mut here, mut before) = (0usize, next.iter().position(|&n| n == 0).unwrap_or(0));
        for _ in 0..NODES {
            let after = next[here] as usize;
            next[here] = before as u16;
            (before, here) = (here, after);
        }
        // Matrix by matrix, with bit extraction.
        for i in 0..SIDE {
            for j in 0..SIDE {
                let mut sum = 0i32;
                for k in 0..SIDE {
                    let product = a[i][k] as i32 * b[k][j] as i32;
                    sum = sum.wrapping_add((product >> 2 & 15) * (product >> 5 & 127));
                }
                c[i][j] = sum;
            }
        }
        crc = crc16(c[round as usize % SIDE][3] as u8, crc);
        // What kind of number is each word?
        let mut counts = [0u8; 8];
        let mut state = 0usize;
        for &byte in &text {
            state = match (state, byte) {
                (_, b',') => {
                    counts[state] += 1;
                    0
                }
                (0, b'+' | b'-') => 1,
                (0 | 1, b'0'..=b'9') => 2,
                (0..=2, b'.') => 3,
                (2, b'0'..=b'9') => 2,
                (3, b'0'..=b'9') => 3,
                (2 | 3, b'e' | b'E') => 4,
                (4, b'+' | b'-') => 5,
                (4..=6, b'0'..=b'9') => 6,
                _ => 7,
            };
        }
        for count in counts {
            crc = crc16(count, crc);
        }
    }
    crc as i32
}

const K: [u32; 64] = {
    // The first 32 bits of the fractional parts of cube roots, as a plain sequence stands in for them: the work is the same.
    let mut k = [0u32; 64];
    let mut i = 0;
    let mut x = 0x428a_2f98u32;
    while i < 64 {
        k[i] = x;
        x = x.wrapping_mul(0x9e37_79b1).wrapping_add(0x7137_4491);
        i += 1;
    }
    k
};

/// The rounds of SHA-256 over blocks.
#[unsafe(no_mangle)]
pub extern "C" fn hash(rounds: i32) -> i32 {
    let mut h = [0x6a09e667u32, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
    let mut w = [0u32; 64];
    for round in 0..rounds {
        for (i, word) in w.iter_mut().take(16).enumerate() {
            *word = (round as u32).wrapping_mul(i as u32 + 1);
        }
        for i in 16..64 {
            let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ w[i - 15] >> 3;
            let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ w[i - 2] >> 10;
            w[i] = w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1);
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut hh] = h;
        for i in 0..64 {
            let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let t1 = hh.wrapping_add(s1).wrapping_add(e & f ^ !e & g).wrapping_add(K[i]).wrapping_add(w[i]);
            let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let t2 = s0.wrapping_add(a & b ^ a & c ^ b & c);
            (hh, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
        }
        for (old, new) in h.iter_mut().zip([a, b, c, d, e, f, g, hh]) {
            *old = old.wrapping_add(new);
        }
    }
    h.iter().fold(0, |sum, &word| sum ^ word) as i32
}

/// Matrices of 64 by 64 doubles.
#[unsafe(no_mangle)]
pub extern "C" fn matrix(rounds: i32) -> i32 {
    const N: usize = 64;
    static mut A: [[f64; N]; N] = [[0.0; N]; N];
    static mut B: [[f64; N]; N] = [[0.0; N]; N];
    static mut C: [[f64; N]; N] = [[0.0; N]; N];
    // SAFETY: a guest has one thread, and no function of it calls itself: this is the only reference.
    let (a, b, c) = unsafe { (&mut A, &mut B, &mut C) };
    for i in 0..N {
        for j in 0..N {
            a[i][j] = (i * j % 7) as f64;
            b[i][j] = (i + j) as f64 * 0.5;
        }
    }
    for _ in 0..rounds {
        for i in 0..N {
            for j in 0..N {
                let mut sum = 0.0;
                for k in 0..N {
                    sum += a[i][k] * b[k][j];
                }
                c[i][j] = sum;
            }
        }
        a[0][0] += c[1][2] * 1e-9;
    }
    c.iter().flatten().sum::<f64>() as i32
}

/// Bodies that attract each other.
#[unsafe(no_mangle)]
pub extern "C" fn bodies(rounds: i32) -> i32 {
    const N: usize = 5;
    let mut p = [[0.0f64; 3]; N];
    let mut v = [[0.0f64; 3]; N];
    let m = [39.47, 0.037, 0.011, 0.0017, 0.002];
    for i in 0..N {
        for k in 0..3 {
            p[i][k] = (i * 3 + k) as f64 * 1.7 - 4.0;
            v[i][k] = (k as f64 - 1.0) * 0.3;
        }
    }
    for _ in 0..rounds {
        for i in 0..N {
            for j in i + 1..N {
                let d = [p[i][0] - p[j][0], p[i][1] - p[j][1], p[i][2] - p[j][2]];
                let square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
                let pull = 0.001 / (square * square.sqrt());
                for k in 0..3 {
                    v[i][k] -= d[k] * m[j] * pull;
                    v[j][k] += d[k] * m[i] * pull;
                }
            }
        }
        for i in 0..N {
            for k in 0..3 {
                p[i][k] += 0.001 * v[i][k];
            }
        }
    }
    (p[0][0] * 1e6) as i32
}

#[inline(never)]
fn fib(n: u32) -> u32 {
    if black_box(n) < 2 { n } else { fib(n - 1).wrapping_add(fib(n - 2)) }
}

/// Calls.
#[unsafe(no_mangle)]
pub extern "C" fn calls(rounds: i32) -> i32 {
    (0..rounds).fold(0, |sum, _| sum ^ fib(20) as i32)
}

/// Primes below 32768.
#[unsafe(no_mangle)]
pub extern "C" fn sieve(rounds: i32) -> i32 {
    const N: usize = 1 << 15;
    static mut COMPOSITE: [u8; N] = [0; N];
    // SAFETY: a guest has one thread, and no function of it calls itself: this is the only reference.
    let composite = unsafe { &mut COMPOSITE };
    let mut count = 0;
    for _ in 0..rounds {
        composite.fill(0);
        count = 0;
        for i in 2..N {
            if composite[i] == 0 {
                count += 1;
                let mut j = i * 2;
                while j < N {
                    composite[j] = 1;
                    j += i;
                }
            }
        }
    }
    count
}

/// A machine of bytes, dispatched by a table.
#[unsafe(no_mangle)]
pub extern "C" fn dispatch(rounds: i32) -> i32 {
    let program = *b"\x01\x05\x02\x03\x04\x06\x01\x07\x08\x02\x05\x03\x09\x0a\x04\x0b\x06\x0c\x0d\x00";
    let program = black_box(program);
    let (mut acc, mut x, mut y, mut left) = (1u32, 2u32, 3u32, rounds as u32 * 64);
    let mut pc = 0usize;
    while left > 0 {
        let op = program[pc];
        pc += 1;
        match op {
            0 => {
                pc = 0;
                left -= 1;
            }
            1 => acc = acc.wrapping_add(x),
            2 => acc ^= y,
            3 => x = x.rotate_left(3),
            4 => y = y.wrapping_mul(5).wrapping_add(1),
            5 => x = x.wrapping_sub(acc),
            6 => std::mem::swap(&mut x, &mut y),
            7 => acc = acc.rotate_right(7),
            8 => x |= 1,
            9 => y &= acc | 0xff,
            10 => acc = acc.wrapping_mul(x | 1),
            11 => y ^= x >> 3,
            12 => {
                if acc & 1 == 1 {
                    pc += 1;
                }
            }
            _ => acc = acc.wrapping_add(left),
        }
    }
    (acc ^ x ^ y) as i32
}

type Step = fn(u32) -> u32;

/// Calls through pointers.
#[unsafe(no_mangle)]
pub extern "C" fn pointers(rounds: i32) -> i32 {
    let steps: [Step; 4] = black_box([
        |x| x.wrapping_mul(3).wrapping_add(1),
        |x| x ^ x >> 5,
        |x| x.rotate_left(9),
        |x| x.wrapping_sub(0x1234_5677),
    ]);
    let mut x = 1u32;
    for i in 0..rounds as usize * 256 {
        x = steps[(x as usize ^ i) & 3](x);
    }
    x as i32
}

/// Sorting numbers.
#[unsafe(no_mangle)]
pub extern "C" fn sort(rounds: i32) -> i32 {
    const N: usize = 4096;
    static mut NUMBERS: [u32; N] = [0; N];
    // SAFETY: a guest has one thread, and no function of it calls itself: this is the only reference.
    let numbers = unsafe { &mut NUMBERS };
    let mut random = Random(7);
    let mut sum = 0u32;
    for _ in 0..rounds {
        numbers.iter_mut().for_each(|number| *number = random.next());
        quicksort(numbers);
        sum ^= numbers[N / 2] ^ numbers[10];
    }
    sum as i32
}

fn quicksort(numbers: &mut [u32]) {
    if numbers.len() < 12 {
        for i in 1..numbers.len() {
            let mut j = i;
            while j > 0 && numbers[j - 1] > numbers[j] {
                numbers.swap(j - 1, j);
                j -= 1;
            }
        }
        return;
    }
    let pivot = numbers[numbers.len() / 2];
    let (mut low, mut high) = (0, numbers.len() - 1);
    loop {
        while numbers[low] < pivot {
            low += 1;
        }
        while numbers[high] > pivot {
            high -= 1;
        }
        if low >= high {
            break;
        }
        numbers.swap(low, high);
        low += 1;
        high -= 1;
    }
    let (left, right) = numbers.split_at_mut(low);
    quicksort(left);
    quicksort(right);
}

/// Words of a text, counted in a table by hash.
#[unsafe(no_mangle)]
pub extern "C" fn words(rounds: i32) -> i32 {
    const SLOTS: usize = 1024;
    static mut KEYS: [u64; SLOTS] = [0; SLOTS];
    static mut COUNTS: [u32; SLOTS] = [0; SLOTS];
    static mut TEXT: [u8; 4096] = [0; 4096];
    // SAFETY: a guest has one thread, and no function of it calls itself: this is the only reference.
    let (keys, counts, text) = unsafe { (&mut KEYS, &mut COUNTS, &mut TEXT) };
    let mut random = Random(99);
    for byte in text.iter_mut() {
        let n = random.next() >> 8;
        *byte = if n % 6 == 0 { b' ' } else { b'a' + (n >> 4) as u8 % 5 };
    }
    let mut most = 0;
    for _ in 0..rounds {
        let mut key = 0u64;
        for &byte in text.iter() {
            if byte != b' ' {
                key = key << 8 | u64::from(byte);
                continue;
            }
            let mut slot = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize;
            while keys[slot] != key && keys[slot] != 0 {
                slot = (slot + 1) % SLOTS;
            }
            keys[slot] = key;
            counts[slot] += 1;
            most = most.max(counts[slot]);
            key = 0;
        }
    }
    most as i32
}

/// Points of a plane that stay.
#[unsafe(no_mangle)]
pub extern "C" fn mandelbrot(rounds: i32) -> i32 {
    let mut inside = 0;
    for round in 0..rounds {
        let y0 = f64::from(round % 64) / 32.0 - 1.0;
        for column in 0..64 {
            let x0 = f64::from(column) / 24.0 - 2.0;
            let (mut x, mut y, mut n) = (0.0, 0.0, 0);
            while n < 200 && x * x + y * y <= 4.0 {
                (x, y) = (x * x - y * y + x0, 2.0 * x * y + y0);
                n += 1;
            }
            inside += n;
        }
    }
    inside
}
