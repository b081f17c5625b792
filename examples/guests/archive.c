// A program that packs a report with `lzss.c`. The two are compiled apart, each with a memory of its own, and merged
// into one module with two memories: neither can read or change what the other keeps. No other import, no libc.

typedef unsigned char u8;
typedef unsigned int u32;

#define EXPORT(name) __attribute__((export_name(name)))
#define LZ(name) __attribute__((import_module("lzss"), import_name(name)))

LZ("lz_reset") void lz_reset(void);
LZ("lz_put") u32 lz_put(u32 byte);
LZ("lz_pack") u32 lz_pack(void);
LZ("lz_packed") u32 lz_packed(u32 at);
LZ("lz_unpack") u32 lz_unpack(void);
LZ("lz_plain") u32 lz_plain(u32 at);

static char report[256 << 10];
static u32 length;

static void text(const char *string) {
    while (*string && length < sizeof report) report[length++] = *string++;
}

static void number(u32 value) {
    char digits[11];
    u32 at = sizeof digits - 1;
    digits[at] = 0;
    do digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    text(digits + at);
}

static void write_report(u32 lines) {
    static const char *const paths[] = {"/index.html", "/style.css", "/api/items", "/api/items/search", "/logo.svg"};
    u32 random = 1;
    length = 0;
    for (u32 i = 0; i < lines; i++) {
        random = random * 1103515245u + 12345u;
        text("GET "), text(paths[(random >> 16) % 5]), text(" 200 "), number((random >> 8) % 5000), text(" us\n");
    }
}

// Packs a report of `lines` lines; the packed length.
EXPORT("pack") u32 pack(u32 lines) {
    write_report(lines);
    lz_reset();
    for (u32 i = 0; i < length; i++)
        if (!lz_put((u8)report[i])) __builtin_trap();
    return lz_pack();
}

// The length of the report that was packed.
EXPORT("length") u32 report_length(void) { return length; }

// A checksum of the packed bytes.
EXPORT("checksum") u32 checksum(void) {
    u32 a = 1, b = 0;
    for (u32 at = 0, byte; (byte = lz_packed(at)) != ~0u; at++) a = (a + byte) % 65521, b = (b + a) % 65521;
    return b << 16 | a;
}

// Unpacks and compares; whether all bytes are the report's.
EXPORT("verify") u32 verify(void) {
    if (lz_unpack() != length) return 0;
    for (u32 i = 0; i < length; i++)
        if (lz_plain(i) != (u8)report[i]) return 0;
    return 1;
}
