/* utf8.c - see utf8.h. */
#include "base/utf8.h"

size_t dcam_utf8_character(const char *text, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80) {
        *code = p[0];
        return 1;
    }
    if (p[0] < 0xc2 || p[0] > 0xf4) return 0;
    const size_t n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t value = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        value = value << 6 | (p[i] & 0x3f);
    }
    if (value < least[n] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return 0;
    *code = value;
    return n;
}

bool dcam_utf8_is_valid(const char *text)
{
    uint32_t code;
    while (*text) {
        const size_t n = dcam_utf8_character(text, &code);
        if (n == 0) return false;
        text += n;
    }
    return true;
}

void dcam_utf8_escape(uint32_t code, char out[DCAM_UTF8_ESCAPE_BYTES])
{
    static const char digits[] = "0123456789ABCDEF";
    out[0] = '\\';
    out[1] = 'u';
    for (int i = 0; i < 4; i++) out[2 + i] = digits[code >> (12 - 4 * i) & 15];
}

size_t dcam_utf8_next(const char *text, bool *misleads)
{
    uint32_t code = (unsigned char)*text;
    const size_t n = dcam_utf8_character(text, &code);
    *misleads = dcam_utf8_misleads(code);
    return n ? n : 1;
}
