#include "fs/store/check.h"

#include <string.h>

/* Length of the UTF-8 sequence at p, and its code point; 0 when it is none. */
static size_t decode(const uint8_t *p, uint32_t *ret)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = *p < 0x80 ? 1 : *p >> 5 == 6 ? 2 : *p >> 4 == 14 ? 3 : *p >> 3 == 30 ? 4 : 0;
	if (len < 2)
		return 0;
	uint32_t c = *p & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	*ret = c;
	return c < least[len] ? 0 : len;
}

/* Letters and signs; nothing that orders other characters about or looks like nothing. */
static bool is_shown(uint32_t c)
{
	static const struct {
		uint32_t from, to;
	} hidden[] = {{0x80, 0xa0}, {0xad, 0xad}, {0x61c, 0x61c}, {0x180e, 0x180e},
		{0x2000, 0x200f}, {0x2028, 0x202f}, {0x205f, 0x206f}, {0x3000, 0x3000},
		{0xd800, 0xf8ff}, {0xfe00, 0xfe0f}, {0xfeff, 0xfeff}, {0xfff0, 0xffff},
		{0xe0000, UINT32_MAX}};
	for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
		if (c >= hidden[i].from && c <= hidden[i].to)
			return false;
	return true;
}

void check_text(struct buf *b, const char *bytes)
{
	static const char plain[] = "\a\b\t\n\v\f\r\\ ", letters[] = "abtnvfr\\ ";
	for (const uint8_t *p = (const uint8_t *)bytes; *p;) {
		uint32_t c;
		size_t len = decode(p, &c);
		const char *known = strchr(plain, *p);
		if (len && is_shown(c)) {
			buf_put(b, p, len);
			p += len;
			continue;
		}
		if (known) {
			buf_put8(b, '\\');
			buf_put8(b, (uint8_t)letters[known - plain]);
		} else if (*p > 0x20 && *p < 0x7f) {
			buf_put8(b, *p);
		} else {
			buf_printf(b, "\\%03o", *p);
		}
		p++;
	}
}
