/* An owned, growing byte buffer, and a cursor that reads bytes without running over their end. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Start with {0}. After a failed allocation `failed` is set, later puts do nothing, and
 * buf_ok() is false: check once at the end. Not for secrets.
 */
struct buf {
	uint8_t *data; /* owned; always followed by a zero byte that is not counted once non-NULL */
	size_t len;    /* bytes */
	size_t cap;
	bool failed;
};

void buf_done(struct buf *b);  /* frees; b is {0} afterwards */
void buf_reset(struct buf *b); /* len = 0, keeps the memory, clears failed */
bool buf_ok(const struct buf *b);
bool buf_reserve(struct buf *b, size_t more); /* room for `more` bytes behind len */
void buf_put(struct buf *b, const void *bytes, size_t len);
void buf_put8(struct buf *b, uint8_t v);
void buf_put16(struct buf *b, uint16_t v);
void buf_put32(struct buf *b, uint32_t v);
void buf_put64(struct buf *b, uint64_t v);
void buf_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Appends s as a JSON string with its quotes. Bytes that are not valid UTF-8 become U+FFFD, so that
 * any file name gives valid JSON (RFC 8259).
 */
void buf_json(struct buf *b, const char *s);

#define AUTO_BUF __attribute__((cleanup(buf_done))) struct buf

struct cur {
	const uint8_t *at, *end;
};

/* The next len bytes, or NULL (cursor untouched) when there are fewer. */
const uint8_t *cur_take(struct cur *c, size_t len);

static inline size_t cur_left(const struct cur *c)
{
	return (size_t)(c->end - c->at);
}

#endif
