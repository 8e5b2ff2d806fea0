#include "keymgmt/base/buf.h"

#include "keymgmt/base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_done(struct buf *b)
{
	free(b->data);
	*b = (struct buf){0};
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = false;
}

bool buf_ok(const struct buf *b)
{
	return !b->failed;
}

bool buf_reserve(struct buf *b, size_t more)
{
	size_t need, cap = b->cap ? b->cap : 64;
	if (b->failed)
		return false;
	if (__builtin_add_overflow(b->len, more, &need) || __builtin_add_overflow(need, 1, &need))
		goto fail;
	if (need <= b->cap)
		return true;
	while (cap < need)
		if (__builtin_mul_overflow(cap, 2, &cap))
			goto fail;
	uint8_t *data = realloc(b->data, cap);
	if (!data)
		goto fail;
	b->data = data;
	b->cap = cap;
	return true;
fail:
	b->failed = true;
	return false;
}

void buf_put(struct buf *b, const void *bytes, size_t len)
{
	if (!buf_reserve(b, len))
		return;
	if (len)
		memcpy(b->data + b->len, bytes, len);
	b->len += len;
	b->data[b->len] = 0;
}

void buf_put8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, 1);
}

void buf_put16(struct buf *b, uint16_t v)
{
	uint8_t p[2];
	bytes_put16(p, v);
	buf_put(b, p, sizeof(p));
}

void buf_put32(struct buf *b, uint32_t v)
{
	uint8_t p[4];
	bytes_put32(p, v);
	buf_put(b, p, sizeof(p));
}

void buf_put64(struct buf *b, uint64_t v)
{
	uint8_t p[8];
	bytes_put64(p, v);
	buf_put(b, p, sizeof(p));
}

void buf_str(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0 || !buf_reserve(b, (size_t)n)) {
		b->failed = true;
		return;
	}
	va_start(args, format);
	vsnprintf((char *)b->data + b->len, (size_t)n + 1, format, args);
	va_end(args);
	b->len += (size_t)n;
}

/* Length of the valid UTF-8 sequence at s (RFC 3629 table), 0 when there is none. */
static size_t utf8_length(const uint8_t *s)
{
	static const struct {
		uint8_t first, last, low, high;
		size_t length;
	} forms[] = {
		{0x20, 0x7f, 0, 0xff, 1},
		{0xc2, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3},
		{0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3},
		{0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4},
		{0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (s[0] < forms[i].first || s[0] > forms[i].last)
			continue;
		for (size_t k = 1; k < forms[i].length; k++) {
			uint8_t low = k == 1 ? forms[i].low : 0x80,
				high = k == 1 ? forms[i].high : 0xbf;
			if (s[k] < low || s[k] > high)
				return 0;
		}
		return forms[i].length;
	}
	return 0;
}

void buf_json(struct buf *b, const char *s)
{
	const uint8_t *p = (const uint8_t *)s;
	buf_put8(b, '"');
	while (*p) {
		size_t n = utf8_length(p);
		if (*p == '"' || *p == '\\')
			buf_printf(b, "\\%c", *p++);
		else if (*p < 0x20)
			buf_printf(b, "\\u%04x", *p++);
		else if (n) {
			buf_put(b, p, n);
			p += n;
		} else {
			buf_str(b, "\xef\xbf\xbd");
			p++;
		}
	}
	buf_put8(b, '"');
}

const uint8_t *cur_take(struct cur *c, size_t len)
{
	const uint8_t *p = c->at;
	if (cur_left(c) < len)
		return NULL;
	c->at += len;
	return p;
}
