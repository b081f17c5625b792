// Dot products with 128-bit SIMD, freestanding: no import at all. The host fills the two vectors
// through `left` and `right`, or lets `fill` do it.

#include <stddef.h>
#include <stdint.h>
#include <wasm_simd128.h>

#define CAPACITY 65536
#define EXPORT(name) __attribute__((export_name(#name)))

static float left_vector[CAPACITY] __attribute__((aligned(16)));
static float right_vector[CAPACITY] __attribute__((aligned(16)));

EXPORT(capacity) uint32_t capacity(void) { return CAPACITY; }
EXPORT(left) float *left(void) { return left_vector; }
EXPORT(right) float *right(void) { return right_vector; }

static uint32_t clamped(uint32_t count) {
    return count < CAPACITY ? count : CAPACITY;
}

// Small whole numbers, so that every order of additions gives the same sum.
EXPORT(fill) void fill(uint32_t count) {
    for (uint32_t i = 0; i < clamped(count); i++) {
        left_vector[i] = (float)(i % 7);
        right_vector[i] = (float)(i % 5) - 2.0f;
    }
}

EXPORT(dot_f32) float dot_f32(uint32_t count) {
    uint32_t whole = clamped(count) & ~3u;
    v128_t sums = wasm_f32x4_const_splat(0.0f);
    for (uint32_t i = 0; i < whole; i += 4) {
        v128_t product = wasm_f32x4_mul(wasm_v128_load(left_vector + i), wasm_v128_load(right_vector + i));
        sums = wasm_f32x4_add(sums, product);
    }
    float sum = wasm_f32x4_extract_lane(sums, 0) + wasm_f32x4_extract_lane(sums, 1) +
                wasm_f32x4_extract_lane(sums, 2) + wasm_f32x4_extract_lane(sums, 3);
    for (uint32_t i = whole; i < clamped(count); i++) sum += left_vector[i] * right_vector[i];
    return sum;
}

// The same over the bytes of the two vectors, as quantised weights are multiplied: pairs of bytes
// widened, multiplied and added.
EXPORT(dot_i8) int32_t dot_i8(uint32_t count) {
    const int8_t *a = (const int8_t *)left_vector, *b = (const int8_t *)right_vector;
    uint32_t whole = (count < 4 * CAPACITY ? count : 4 * CAPACITY) & ~15u;
    v128_t sums = wasm_i32x4_const_splat(0);
    for (uint32_t i = 0; i < whole; i += 16) {
        v128_t x = wasm_v128_load(a + i), y = wasm_v128_load(b + i);
        v128_t low = wasm_i16x8_extmul_low_i8x16(x, y), high = wasm_i16x8_extmul_high_i8x16(x, y);
        sums = wasm_i32x4_add(sums, wasm_i32x4_extadd_pairwise_i16x8(low));
        sums = wasm_i32x4_add(sums, wasm_i32x4_extadd_pairwise_i16x8(high));
    }
    return wasm_i32x4_extract_lane(sums, 0) + wasm_i32x4_extract_lane(sums, 1) +
           wasm_i32x4_extract_lane(sums, 2) + wasm_i32x4_extract_lane(sums, 3);
}
