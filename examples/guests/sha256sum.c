// Prints the SHA-256 of each file named by the arguments, or of standard input without any.
//
// FIPS 180-4, sections 4.1.2, 5 and 6.2. The round constants are computed, not listed: they are
// the first 32 bits of the fractional parts of the cube roots of the first 64 primes.

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    uint32_t hash[8];
    uint8_t block[64];
    size_t filled;
    uint64_t length_bytes;
} Sha256;

static uint32_t round_constants[64];
static uint32_t initial_hash[8];

// The first 32 fractional bits of the square or cube root of `n`: the integer part of the root of
// n * 2^(32 * power), found by bisection, without its upper bits.
static uint32_t fraction_of_root(uint32_t n, int power) {
    uint64_t low = 0, high = (uint64_t)20 << 32; // The roots of all primes below 400.
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        // middle < 2^37, so that its cube fits in 111 bits.
        unsigned __int128 product = (unsigned __int128)middle * middle;
        if (power == 3) product *= middle;
        if (product > (unsigned __int128)n << (32 * power)) high = middle; else low = middle;
    }
    return (uint32_t)low;
}

static void fill_constants(void) {
    int found = 0;
    for (uint32_t n = 2; found < 64; n++) {
        int prime = 1;
        for (uint32_t d = 2; d * d <= n; d++) prime &= n % d != 0;
        if (!prime) continue;
        round_constants[found] = fraction_of_root(n, 3);
        if (found < 8) initial_hash[found] = fraction_of_root(n, 2);
        found++;
    }
}

static uint32_t rotated(uint32_t x, int by) {
    return x >> by | x << (32 - by);
}

static void compress(Sha256 *state) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++) {
        const uint8_t *p = state->block + 4 * i;
        w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    }
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotated(w[i - 15], 7) ^ rotated(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotated(w[i - 2], 17) ^ rotated(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t v[8];
    memcpy(v, state->hash, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotated(v[4], 6) ^ rotated(v[4], 11) ^ rotated(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t t1 = v[7] + s1 + choice + round_constants[i] + w[i];
        uint32_t s0 = rotated(v[0], 2) ^ rotated(v[0], 13) ^ rotated(v[0], 22);
        uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t1;
        v[0] = t1 + s0 + majority;
    }
    for (int i = 0; i < 8; i++) state->hash[i] += v[i];
    state->filled = 0;
}

static void start(Sha256 *state) {
    memset(state, 0, sizeof *state);
    memcpy(state->hash, initial_hash, sizeof initial_hash);
}

static void absorb(Sha256 *state, const uint8_t *bytes, size_t count) {
    state->length_bytes += count;
    while (count > 0) {
        size_t take = sizeof state->block - state->filled;
        if (take > count) take = count;
        memcpy(state->block + state->filled, bytes, take);
        state->filled += take;
        bytes += take;
        count -= take;
        if (state->filled == sizeof state->block) compress(state);
    }
}

static void finish(Sha256 *state) {
    uint64_t bits = state->length_bytes * 8;
    uint8_t tail[8], end = 0x80, zero = 0;
    for (int i = 0; i < 8; i++) tail[i] = (uint8_t)(bits >> (56 - 8 * i));
    absorb(state, &end, 1);
    while (state->filled != 56) absorb(state, &zero, 1);
    absorb(state, tail, sizeof tail);
}

static int print_sum(FILE *file, const char *name) {
    static uint8_t buffer[65536];
    Sha256 state;
    start(&state);
    size_t count;
    while ((count = fread(buffer, 1, sizeof buffer, file)) > 0) absorb(&state, buffer, count);
    if (ferror(file)) {
        fprintf(stderr, "sha256sum: %s: %s\n", name, strerror(errno));
        return 1;
    }
    finish(&state);
    for (int i = 0; i < 8; i++) printf("%08x", state.hash[i]);
    printf("  %s\n", name);
    return 0;
}

int main(int argc, char **argv) {
    fill_constants();
    if (argc < 2) return print_sum(stdin, "-");
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) {
            fprintf(stderr, "sha256sum: %s: %s\n", argv[i], strerror(errno));
            failed = 1;
            continue;
        }
        failed |= print_sum(file, argv[i]);
        fclose(file);
    }
    return failed;
}
