/* Input and output of a skill: the interface of guest/README.md in C. Needs no library.
 *
 *     AURA_SKILL(count, input, input_len, output, output_len) {
 *         ...
 *         return bytes_written;            // or aura_failed(NUMBER)
 *     }
 *
 *     AURA_STREAM(input, input_len, last, output, output_len) {
 *         ...
 *         return aura_step(consumed, produced);
 *     }
 *
 * The input is lent for reading and the output for writing, for the time of the call. Reading beside them, or writing
 * the input, ends the skill by a trap.
 */
#ifndef AURA_GUEST_H
#define AURA_GUEST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define AURA_EXTERN extern "C"
#else
#define AURA_EXTERN extern
#endif

#define AURA_EXPORT(name) AURA_EXTERN __attribute__((export_name(#name)))

/* A function that works on one input; returns how many bytes of output it wrote. */
#define AURA_SKILL(name, input, input_len, output, output_len)                                     \
    AURA_EXPORT(name) int64_t name(const uint8_t *, uint32_t, uint8_t *, uint32_t);                \
    int64_t name(const uint8_t *input, uint32_t input_len, uint8_t *output, uint32_t output_len)

/* The function that takes a stream piece by piece. */
#define AURA_STREAM(input, input_len, last, output, output_len)                                    \
    AURA_EXPORT(aura_stream)                                                                       \
    int64_t aura_stream(const uint8_t *, uint32_t, uint32_t, uint8_t *, uint32_t);                 \
    int64_t aura_stream(const uint8_t *input, uint32_t input_len, uint32_t last, uint8_t *output,  \
                        uint32_t output_len)

/* An error of the skill's own. */
static inline int64_t aura_failed(uint32_t number) { return -1 - (int64_t)number; }

/* What one step of a stream did. */
static inline int64_t aura_step(uint32_t consumed, uint32_t produced) {
    return (int64_t)((uint64_t)consumed | (uint64_t)(produced & 0x7fffffff) << 32);
}

#endif
