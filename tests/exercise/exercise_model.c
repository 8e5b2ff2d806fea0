#include "tests/exercise/exercise_model.h"

#include <string.h>

/* Groups 0 to 3; the last group whose presence is in the header, and the first in a page;
 * somewhere; the last group of the first presence page, and the first of the second. */
const struct model_window model_windows[MODEL_WINDOWS] = {
	{0, 512, 0},
	{(64 + 1023 * 128ull) * MODEL_BLOCK - 128 * MODEL_BLOCK, 256, 512},
	{(1ull << 30) - 16 * MODEL_BLOCK, 64, 768},
	{(64 + (1023 + 32512) * 128ull) * MODEL_BLOCK - 64 * MODEL_BLOCK, 128, 832},
};

static uint64_t window_end(const struct model_window *w)
{
	return w->start + (uint64_t)w->blocks * MODEL_BLOCK;
}

const struct model_window *model_window(uint64_t offset)
{
	for (unsigned i = 0; i < MODEL_WINDOWS; i++)
		if (offset >= model_windows[i].start && offset < window_end(&model_windows[i]))
			return &model_windows[i];
	return NULL;
}

/* Bytes from offset on to the end of its window, or to the beginning of the next. */
static uint64_t region(uint64_t offset)
{
	for (unsigned i = 0; i < MODEL_WINDOWS; i++) {
		if (offset < model_windows[i].start)
			return model_windows[i].start - offset;
		if (offset < window_end(&model_windows[i]))
			return window_end(&model_windows[i]) - offset;
	}
	return UINT64_MAX;
}

static size_t place(const struct model_window *w, uint64_t offset)
{
	return (size_t)w->base * MODEL_BLOCK + (size_t)(offset - w->start);
}

const uint8_t *model_at(const struct model *m, uint64_t offset, size_t len, size_t *ret_run)
{
	const struct model_window *w = model_window(offset);
	uint64_t run = region(offset);
	*ret_run = run < len ? (size_t)run : len;
	return w ? m->bytes + place(w, offset) : NULL;
}

static size_t nonzero(const uint8_t *bytes, size_t len)
{
	size_t i = 0;
	for (uint64_t word; i + 8 <= len; i += 8) {
		memcpy(&word, bytes + i, 8);
		if (word)
			break;
	}
	while (i < len && !bytes[i])
		i++;
	return i;
}

size_t model_differs(const struct model *m, const uint8_t *got, uint64_t offset, size_t len)
{
	for (size_t done = 0, run; done < len; done += run) {
		const uint8_t *want = model_at(m, offset + done, len - done, &run);
		size_t same = 0;
		if (!want)
			same = nonzero(got + done, run);
		else if (memcmp(want, got + done, run) == 0)
			same = run;
		else
			while (want[same] == got[done + same])
				same++;
		if (same < run)
			return done + same;
	}
	return len;
}

void model_copy(const struct model *m, uint8_t *to, uint64_t offset, size_t len)
{
	for (size_t done = 0, run; done < len; done += run) {
		const uint8_t *from = model_at(m, offset + done, len - done, &run);
		if (from)
			memcpy(to + done, from, run);
		else
			memset(to + done, 0, run);
	}
}

/* Of the blocks that [offset, end) touches, in windows. */
static void mark(struct model *m, uint64_t offset, uint64_t end, bool written)
{
	for (unsigned i = 0; i < MODEL_WINDOWS; i++) {
		const struct model_window *w = &model_windows[i];
		uint64_t from = offset > w->start ? offset : w->start;
		uint64_t to = end < window_end(w) ? end : window_end(w);
		for (; from < to; from = (from / MODEL_BLOCK + 1) * MODEL_BLOCK)
			m->written[place(w, from) / MODEL_BLOCK] = written;
	}
}

static void zeros(struct model *m, uint64_t offset, uint64_t end)
{
	for (unsigned i = 0; i < MODEL_WINDOWS; i++) {
		const struct model_window *w = &model_windows[i];
		uint64_t from = offset > w->start ? offset : w->start;
		uint64_t to = end < window_end(w) ? end : window_end(w);
		if (from < to)
			memset(m->bytes + place(w, from), 0, (size_t)(to - from));
	}
}

void model_write(struct model *m, const uint8_t *from, uint64_t offset, size_t len)
{
	if (!len)
		return;
	memcpy(m->bytes + place(model_window(offset), offset), from, len);
	mark(m, offset, offset + len, true);
	if (m->size < offset + len)
		m->size = offset + len;
}

static uint64_t up(uint64_t offset)
{
	return (offset + MODEL_BLOCK - 1) / MODEL_BLOCK * MODEL_BLOCK;
}

void model_resize(struct model *m, uint64_t size)
{
	if (size < m->size) {
		zeros(m, size, m->size);
		mark(m, up(size), UINT64_MAX / 2, false);
	}
	m->size = size;
}

void model_zero(struct model *m, uint64_t offset, uint64_t end)
{
	uint64_t first = up(offset), last = end / MODEL_BLOCK * MODEL_BLOCK;
	if (end >= m->size)
		last = up(end);
	zeros(m, offset, end);
	if (first < last)
		mark(m, first, last, false);
}

bool model_written(const struct model *m, uint64_t offset)
{
	const struct model_window *w = model_window(offset);
	return w && m->written[place(w, offset) / MODEL_BLOCK];
}

uint64_t model_seek(const struct model *m, uint64_t offset, bool data)
{
	for (uint64_t at = offset, run; at < m->size; at += run) {
		if (model_written(m, at) == data)
			return at;
		run = model_window(at) ? MODEL_BLOCK - at % MODEL_BLOCK : region(at);
		if (run > m->size - at)
			break;
	}
	return data ? UINT64_MAX : m->size;
}

unsigned model_count(const struct model *m)
{
	unsigned n = 0;
	for (unsigned i = 0; i < MODEL_BLOCKS; i++)
		n += m->written[i];
	return n;
}
