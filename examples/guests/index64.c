// An index of words for a machine with 64-bit addresses: a hash table that grows, over an arena that takes
// pages from the memory as it needs them. No import, no libc. Every pointer and every size has 64 bits.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

_Static_assert(sizeof(void *) == 8 && sizeof(u64) == 8, "this program is for 64-bit memories");

#define EXPORT(name) __attribute__((export_name(name)))
#define PAGE 65536ul

extern u8 __heap_base;

static u64 top;

// Never gives memory back: what is outgrown stays until the instance ends.
static void *allocate(u64 size) {
    if (top == 0) top = (u64)&__heap_base;
    u64 at = (top + 15) & ~15ul;
    top = at + size;
    u64 have = __builtin_wasm_memory_size(0) * PAGE;
    if (top > have && __builtin_wasm_memory_grow(0, (top - have + PAGE - 1) / PAGE) == ~0ul) __builtin_trap();
    return (void *)at;
}

struct word {
    const u8 *text;
    u64 length;
    u64 hash;
    u64 count;
};

static struct word *slots;
static u64 capacity, words;

static u64 hash_of(const u8 *text, u64 length) {
    u64 hash = 0xcbf29ce484222325ul;
    for (u64 i = 0; i < length; i++) hash = (hash ^ text[i]) * 0x100000001b3ul;
    return hash;
}

static int same(const struct word *word, const u8 *text, u64 length, u64 hash) {
    if (word->hash != hash || word->length != length) return 0;
    for (u64 i = 0; i < length; i++)
        if (word->text[i] != text[i]) return 0;
    return 1;
}

static struct word *find(const u8 *text, u64 length, u64 hash) {
    for (u64 i = hash;; i++) {
        struct word *word = &slots[i & (capacity - 1)];
        if (word->count == 0 || same(word, text, length, hash)) return word;
    }
}

static void grow(void) {
    struct word *old = slots;
    u64 old_capacity = capacity;
    capacity = capacity ? 2 * capacity : 16;
    slots = allocate(capacity * sizeof *slots);
    __builtin_memset(slots, 0, capacity * sizeof *slots);
    for (u64 i = 0; i < old_capacity; i++)
        if (old[i].count) *find(old[i].text, old[i].length, old[i].hash) = old[i];
}

static void add(const u8 *text, u64 length) {
    if (4 * (words + 1) > 3 * capacity) grow();
    u64 hash = hash_of(text, length);
    struct word *word = find(text, length, hash);
    if (word->count++) return;
    u8 *copy = allocate(length);
    __builtin_memcpy(copy, text, length);
    *word = (struct word){copy, length, hash, 1};
    words++;
}

// Indexes `n` numbers written as words of the digits' names; numbers repeat, words are many.
EXPORT("fill") u64 fill(u32 n) {
    static const char *const names[] = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"};
    u32 random = 12345;
    for (u32 i = 0; i < n; i++) {
        random = random * 1664525u + 1013904223u;
        u8 text[64];
        u64 length = 0;
        for (u32 number = random >> 12; length < sizeof text - 8; number /= 10) {
            const char *name = names[number % 10];
            while (*name) text[length++] = (u8)*name++;
            if (number < 10) break;
        }
        add(text, length);
    }
    return words;
}

// The count of the word that was met most often.
EXPORT("most") u64 most(void) {
    u64 best = 0;
    for (u64 i = 0; i < capacity; i++)
        if (slots[i].count > best) best = slots[i].count;
    return best;
}

// A sum over the index that depends on every byte of it, and not on where things lie.
EXPORT("digest") u64 digest(void) {
    u64 sum = 0;
    for (u64 i = 0; i < capacity; i++)
        if (slots[i].count) sum += hash_of(slots[i].text, slots[i].length) * slots[i].count;
    return sum;
}

// Bytes in use, from the first of the memory.
EXPORT("used") u64 used(void) { return top; }
