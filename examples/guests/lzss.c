// A compressor as a library that trusts nobody with its memory: bytes go in and come out one by one, as arguments
// and results, so that it can be merged into a program that has a memory of its own. No import, no libc.
//
// The stream: groups of eight items, each behind a byte of flags; an item is a byte as it is, or a match of 3 to
// 18 bytes up to 4,096 bytes back in two bytes.

typedef unsigned char u8;
typedef unsigned int u32;

#define EXPORT(name) __attribute__((export_name(name)))
#define CAPACITY (256u << 10)
#define WINDOW 4096u
#define SHORTEST 3u
#define LONGEST 18u

static u8 plain[CAPACITY], packed[CAPACITY + CAPACITY / 8 + 1];
static u32 plain_length, packed_length;
static u32 last_at[1u << 12], before[CAPACITY];

EXPORT("lz_reset") void lz_reset(void) {
    plain_length = packed_length = 0;
    __builtin_memset(last_at, 0, sizeof last_at);
}

// Whether there was room.
EXPORT("lz_put") u32 lz_put(u32 byte) {
    if (plain_length == CAPACITY) return 0;
    plain[plain_length++] = (u8)byte;
    return 1;
}

static u32 key(u32 at) {
    u32 three = plain[at] | (u32)plain[at + 1] << 8 | (u32)plain[at + 2] << 16;
    return (three * 2654435761u) >> 20;
}

static void remember(u32 at) {
    if (at + SHORTEST > plain_length) return;
    u32 k = key(at);
    before[at] = last_at[k];
    last_at[k] = at + 1;
}

static u32 longest_match(u32 at, u32 *distance) {
    if (at + SHORTEST > plain_length) return 0;
    u32 best = 0, tries = 32;
    for (u32 next = last_at[key(at)]; next != 0 && tries-- != 0; next = before[next - 1]) {
        u32 from = next - 1, length = 0;
        if (at - from > WINDOW) break;
        while (length < LONGEST && at + length < plain_length && plain[from + length] == plain[at + length]) length++;
        if (length > best) best = length, *distance = at - from;
    }
    return best;
}

// Packs what was put; the packed length.
EXPORT("lz_pack") u32 lz_pack(void) {
    packed_length = 0;
    u32 at = 0, flags = 0, items = 8;
    while (at < plain_length) {
        if (items == 8) flags = packed_length++, packed[flags] = 0, items = 0;
        u32 distance = 0, length = longest_match(at, &distance);
        if (length < SHORTEST) {
            packed[packed_length++] = plain[at];
            length = 1;
        } else {
            u32 item = (distance - 1) << 4 | (length - SHORTEST);
            packed[flags] |= (u8)(1u << items);
            packed[packed_length++] = (u8)item, packed[packed_length++] = (u8)(item >> 8);
        }
        items++;
        for (u32 end = at + length; at < end; at++) remember(at);
    }
    return packed_length;
}

EXPORT("lz_packed") u32 lz_packed(u32 at) { return at < packed_length ? packed[at] : ~0u; }

// Forgets what was put and unpacks what was packed; the length.
EXPORT("lz_unpack") u32 lz_unpack(void) {
    plain_length = 0;
    u32 at = 0;
    while (at < packed_length) {
        u32 flags = packed[at++];
        for (u32 item = 0; item < 8 && at < packed_length; item++, flags >>= 1) {
            if ((flags & 1) == 0) {
                plain[plain_length++] = packed[at++];
                continue;
            }
            u32 match = packed[at] | (u32)packed[at + 1] << 8;
            at += 2;
            u32 from = plain_length - (match >> 4) - 1;
            for (u32 length = (match & 15) + SHORTEST; length != 0; length--) plain[plain_length++] = plain[from++];
        }
    }
    return plain_length;
}

EXPORT("lz_plain") u32 lz_plain(u32 at) { return at < plain_length ? plain[at] : ~0u; }
