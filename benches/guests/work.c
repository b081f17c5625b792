// Programs that only compute, for comparing interpreters: what skills do most of the time, each as one
// export that takes how much to do and returns a checksum. No import; every call starts anew.

#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name)))

static uint32_t seed;
static uint32_t random_number(void) {
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

// ---- sha256: a chain of hashes ----

static const uint32_t sha_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotated(uint32_t x, int by) { return x >> by | x << (32 - by); }

static void sha_block(uint32_t state[8], const uint32_t block[16]) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++) w[i] = block[i];
    for (int i = 16; i < 64; i++) {
        uint32_t a = rotated(w[i - 15], 7) ^ rotated(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t b = rotated(w[i - 2], 17) ^ rotated(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + a + w[i - 7] + b;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
        uint32_t one = h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) + sha_constants[i] + w[i];
        uint32_t two = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

EXPORT(sha256) uint32_t sha256(uint32_t blocks) {
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint32_t block[16] = {0};
    while (blocks-- > 0) {
        for (int i = 0; i < 8; i++) block[i] ^= state[i];
        sha_block(state, block);
    }
    return state[0];
}

// ---- sort: quicksort of pseudo-random numbers ----

#define SORT_MAX 65536
static int32_t numbers[SORT_MAX];

static void sort_range(int32_t *low, int32_t *high) {
    while (low < high) {
        int32_t pivot = low[(high - low) / 2], *i = low, *j = high;
        while (i <= j) {
            while (*i < pivot) i++;
            while (*j > pivot) j--;
            if (i <= j) {
                int32_t kept = *i;
                *i++ = *j;
                *j-- = kept;
            }
        }
        if (j - low < high - i) {
            sort_range(low, j);
            low = i;
        } else {
            sort_range(i, high);
            high = j;
        }
    }
}

EXPORT(sort) uint32_t sort(uint32_t n) {
    if (n > SORT_MAX) n = SORT_MAX;
    seed = 7;
    for (uint32_t i = 0; i < n; i++) numbers[i] = (int32_t)random_number() - (1 << 23);
    sort_range(numbers, numbers + n - 1);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) sum = sum * 31 + (uint32_t)numbers[i];
    return sum;
}

// ---- matrix: products of matrices of floats ----

#define SIDE 48
static double left[SIDE][SIDE], right[SIDE][SIDE], product[SIDE][SIDE];

EXPORT(matrix) uint32_t matrix(uint32_t rounds) {
    seed = 3;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) left[i][j] = random_number() % 100, right[i][j] = random_number() % 100;
    double trace = 0;
    while (rounds-- > 0) {
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++) {
                double sum = 0;
                for (int k = 0; k < SIDE; k++) sum += left[i][k] * right[k][j];
                product[i][j] = sum;
            }
        for (int i = 0; i < SIDE; i++) trace += product[i][i], left[i][0] += 1;
    }
    return (uint32_t)(int64_t)trace;
}

// ---- map: a hash table with open addressing ----

#define MAP_SIZE 32768
static uint32_t map_keys[MAP_SIZE], map_values[MAP_SIZE];

static uint32_t map_place(uint32_t key) {
    uint32_t place = (key * 2654435769u) >> 17;
    while (map_keys[place] != 0 && map_keys[place] != key) place = (place + 1) % MAP_SIZE;
    return place;
}

EXPORT(map) uint32_t map(uint32_t operations) {
    for (uint32_t i = 0; i < MAP_SIZE; i++) map_keys[i] = 0;
    seed = 11;
    uint32_t found = 0;
    for (uint32_t i = 0; i < operations; i++) {
        uint32_t key = random_number() % 20000 + 1, place = map_place(key);
        if (map_keys[place] == key) {
            found += map_values[place]++;
        } else {
            map_keys[place] = key;
            map_values[place] = i;
        }
    }
    return found;
}

// ---- json: writes a document and reads it, token by token ----

static char text[65536];
static size_t text_length;

static void put_char(char c) { text[text_length++] = c; }
static void put_text(const char *s) {
    while (*s) put_char(*s++);
}
static void put_number(uint32_t value) {
    char digits[10];
    int count = 0;
    do digits[count++] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    while (count > 0) put_char(digits[--count]);
}

static const char *skip_space(const char *at) {
    while (*at == ' ' || *at == '\n' || *at == '\t') at++;
    return at;
}

static const char *read_value(const char *at, uint32_t *sum, uint32_t depth) {
    at = skip_space(at);
    switch (*at) {
    case '{':
    case '[': {
        char end = *at == '{' ? '}' : ']';
        at = skip_space(at + 1);
        while (*at != end) {
            if (end == '}') {
                at = read_value(at, sum, depth + 1);
                at = skip_space(at) + 1;
            }
            at = read_value(at, sum, depth + 1);
            at = skip_space(at);
            if (*at == ',') at = skip_space(at + 1);
        }
        *sum += depth;
        return at + 1;
    }
    case '"':
        for (at++; *at != '"'; at++) {
            if (*at == '\\') at++;
            *sum = *sum * 33 + (uint8_t)*at;
        }
        return at + 1;
    case 't':
        *sum += 1;
        return at + 4;
    case 'f':
    case 'n':
        return at + (*at == 'f' ? 5 : 4);
    default: {
        uint32_t value = 0;
        while (*at >= '0' && *at <= '9') value = value * 10 + (uint32_t)(*at++ - '0');
        *sum ^= value;
        return at;
    }
    }
}

EXPORT(json) uint32_t json(uint32_t rounds) {
    seed = 5, text_length = 0;
    put_char('[');
    for (int i = 0; i < 400; i++) {
        if (i > 0) put_text(",\n  ");
        put_text("{ \"id\": ");
        put_number(random_number());
        put_text(", \"name\": \"entry \\\"");
        put_number((uint32_t)i);
        put_text("\\\"\", \"tags\": [\"red\", \"green\", null, true], \"on\": ");
        put_text(random_number() % 2 ? "true" : "false");
        put_text(" }");
    }
    put_text("]");
    put_char(0);
    uint32_t sum = 0;
    while (rounds-- > 0) read_value(text, &sum, 0);
    return sum;
}

// ---- base64: there and back ----

static uint8_t plain[12288], coded[16384], decoded[12288];
static int8_t code_of[256];

EXPORT(base64) uint32_t base64(uint32_t rounds) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 64; i++) code_of[(uint8_t)alphabet[i]] = (int8_t)i;
    seed = 9;
    for (size_t i = 0; i < sizeof plain; i++) plain[i] = (uint8_t)random_number();
    uint32_t sum = 0;
    while (rounds-- > 0) {
        for (size_t i = 0, o = 0; i < sizeof plain; i += 3) {
            uint32_t bits = (uint32_t)plain[i] << 16 | (uint32_t)plain[i + 1] << 8 | plain[i + 2];
            for (int shift = 18; shift >= 0; shift -= 6) coded[o++] = (uint8_t)alphabet[bits >> shift & 63];
        }
        for (size_t i = 0, o = 0; i < sizeof coded; i += 4) {
            uint32_t bits = 0;
            for (int j = 0; j < 4; j++) bits = bits << 6 | (uint32_t)code_of[coded[i + (size_t)j]];
            decoded[o++] = (uint8_t)(bits >> 16), decoded[o++] = (uint8_t)(bits >> 8), decoded[o++] = (uint8_t)bits;
        }
        sum = sum * 17 + decoded[rounds % sizeof decoded];
        plain[rounds % sizeof plain]++;
    }
    return sum;
}

// ---- machine: an interpreter of a small instruction set ----

enum { PUSH, ADD, SUB, MUL, LOAD, STORE, LESS, JUMP_IF, DUP, XOR, HALT };

EXPORT(machine) uint32_t machine(uint32_t count) {
    // i = 0; x = 1; do { x = x * 3 + i ^ 5; i = i + 1 } while (i < count)
    const uint32_t program[] = {PUSH, 0, STORE, 0, PUSH, 1, STORE, 1,
        LOAD, 1, PUSH, 3, MUL, LOAD, 0, ADD, PUSH, 5, XOR, STORE, 1,
        LOAD, 0, PUSH, 1, ADD, DUP, STORE, 0, PUSH, count, LESS, JUMP_IF, 8, LOAD, 1, HALT};
    uint32_t stack[16], variables[4], *top = stack, at = 0;
    for (;;) {
        switch (program[at++]) {
        case PUSH: *top++ = program[at++]; break;
        case ADD: top--, top[-1] += *top; break;
        case SUB: top--, top[-1] -= *top; break;
        case MUL: top--, top[-1] *= *top; break;
        case XOR: top--, top[-1] ^= *top; break;
        case LESS: top--, top[-1] = top[-1] < *top; break;
        case LOAD: *top++ = variables[program[at++] & 3]; break;
        case STORE: variables[program[at++] & 3] = *--top; break;
        case DUP: *top = top[-1], top++; break;
        case JUMP_IF: at = *--top ? program[at] : at + 1; break;
        default: return top[-1];
        }
    }
}

// ---- lists: linked lists that are built, turned around, merged and searched ----

typedef struct Node {
    struct Node *next;
    int32_t value;
} Node;

static Node nodes[4096];

static Node *merge(Node *a, Node *b) {
    Node head, *last = &head;
    while (a && b) {
        Node **from = a->value <= b->value ? &a : &b;
        last->next = *from, last = *from, *from = (*from)->next;
    }
    last->next = a ? a : b;
    return head.next;
}

static Node *merge_sorted(Node *list) {
    if (!list || !list->next) return list;
    Node *slow = list, *fast = list->next;
    while (fast && fast->next) slow = slow->next, fast = fast->next->next;
    Node *half = slow->next;
    slow->next = NULL;
    return merge(merge_sorted(list), merge_sorted(half));
}

EXPORT(lists) uint32_t lists(uint32_t rounds) {
    uint32_t sum = 0;
    seed = 13;
    while (rounds-- > 0) {
        Node *list = NULL;
        for (size_t i = 0; i < 4096; i++) {
            nodes[i].value = (int32_t)random_number();
            nodes[i].next = list, list = &nodes[i];
        }
        list = merge_sorted(list);
        Node *turned = NULL;
        while (list) {
            Node *next = list->next;
            list->next = turned, turned = list, list = next;
        }
        for (Node *node = turned; node; node = node->next) sum = sum * 3 + (uint32_t)node->value;
    }
    return sum;
}

// ---- copy: moves of memory, by words and by the bulk instruction ----

static uint64_t words_from[4096], words_to[4096];

EXPORT(copy) uint32_t copy(uint32_t rounds) {
    for (size_t i = 0; i < 4096; i++) words_from[i] = i * 0x9e3779b97f4a7c15u;
    uint64_t sum = 0;
    while (rounds-- > 0) {
        for (size_t i = 0; i < 4096; i++) {
            words_to[i] = words_from[4095 - i] + rounds;
            __asm__ volatile("" ::: "memory");
        }
        __builtin_memcpy(words_from, words_to, sizeof words_to);
        sum = sum * 3 + words_from[rounds % 4096];
    }
    return (uint32_t)sum;
}
