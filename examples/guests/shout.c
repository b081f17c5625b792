/* A skill over guest/c/aura_guest.h: a stream, in capitals; and of one input, the sum of its bytes. No library. */
#include "aura_guest.h"

AURA_STREAM(input, input_len, last, output, output_len) {
    (void)last;
    uint32_t len = input_len < output_len ? input_len : output_len;
    for (uint32_t at = 0; at < len; at++) {
        uint8_t byte = input[at];
        output[at] = byte >= 'a' && byte <= 'z' ? (uint8_t)(byte - 32) : byte;
    }
    return aura_step(len, len);
}

AURA_SKILL(sum, input, input_len, output, output_len) {
    uint64_t sum = 0;
    for (uint32_t at = 0; at < input_len; at++)
        sum += input[at];
    if (output_len < sizeof sum)
        return aura_failed(0);
    for (uint32_t byte = 0; byte < sizeof sum; byte++)
        output[byte] = (uint8_t)(sum >> 8 * byte);
    return sizeof sum;
}
