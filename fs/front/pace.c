#include "fs/front/pace.h"

#include <linux/fuse.h>
#include <string.h>

#define MICROSECOND 1000u
#define MILLISECOND 1000000u

#define WINDOW_FIRST (10 * MICROSECOND)
#define PAUSE_FIRST (5 * MILLISECOND)
#define PAUSE_MOST (80 * MILLISECOND)

#define LARGE (32u << 10)
#define LARGE_READ 60u
#define LARGE_WRITE 61u

#define SLOW (150 * MICROSECOND)
#define VERY_SLOW (3 * MILLISECOND)
#define CROWD_MOST 32u

/* A single caller's closes, which nobody waits for, meet every third request. */
#define SHARE_ALL 1024u
#define SHARE_MANY (SHARE_ALL * 6 / 10)
#define SHARE_FEW (SHARE_ALL * 4 / 10)

void pace_window_init(struct pace_window *w, uint32_t most)
{
	*w = (struct pace_window){.most = most};
}

uint32_t pace_window_length(const struct pace_window *w, uint64_t now)
{
	return now < w->until ? 0 : w->length;
}

void pace_window_came(struct pace_window *w, uint64_t waited)
{
	if (waited <= w->length)
		return;
	if (waited > w->most)
		w->length = 0;
	else if (w->length == 0)
		w->length = WINDOW_FIRST < w->most ? WINDOW_FIRST : w->most;
	else
		w->length = w->length < w->most / 2 ? 2 * w->length : w->most;
}

void pace_window_robbed(struct pace_window *w, uint64_t now)
{
	bool again = w->pause && now < w->until + w->pause;
	w->pause = !again ? PAUSE_FIRST : w->pause < PAUSE_MOST / 2 ? 2 * w->pause : PAUSE_MOST;
	w->until = now + w->pause;
}

unsigned pace_kind(const void *request, size_t size)
{
	struct fuse_in_header h;
	struct fuse_read_in read;
	if (size < sizeof(h))
		return 0;
	memcpy(&h, request, sizeof(h));
	if (h.opcode == FUSE_WRITE && size > LARGE)
		return LARGE_WRITE;
	if (h.opcode == FUSE_READ && size >= sizeof(h) + sizeof(read)) {
		memcpy(&read, (const char *)request + sizeof(h), sizeof(read));
		return read.size > LARGE ? LARGE_READ : FUSE_READ;
	}
	return h.opcode < LARGE_READ ? h.opcode : 0;
}

void pace_init(struct pace *p)
{
	memset(p, 0, sizeof(*p));
}

uint32_t pace_expect(const struct pace *p, unsigned kind)
{
	return __atomic_load_n(&p->took[kind % PACE_KINDS], __ATOMIC_RELAXED);
}

void pace_took(struct pace *p, unsigned kind, uint64_t ns)
{
	uint32_t *at = &p->took[kind % PACE_KINDS];
	uint32_t old = __atomic_load_n(at, __ATOMIC_RELAXED);
	uint32_t now = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
	__atomic_store_n(at, old - old / 8 + now / 8, __ATOMIC_RELAXED);
}

bool pace_waits(const struct pace *p, unsigned kind)
{
	return __atomic_load_n(&p->waits[kind % PACE_KINDS], __ATOMIC_RELAXED) > SHARE_ALL / 2;
}

void pace_waited(struct pace *p, unsigned kind, bool waited)
{
	uint32_t *at = &p->waits[kind % PACE_KINDS];
	/* Writes wait for each other: more of them do not help. */
	if (kind == FUSE_WRITE || kind == LARGE_WRITE)
		return;
	uint32_t old = __atomic_load_n(at, __ATOMIC_RELAXED);
	__atomic_store_n(at, old - old / 16 + (waited ? SHARE_ALL / 16 : 0), __ATOMIC_RELAXED);
}

bool pace_hand_over(const struct pace *p, uint32_t expected)
{
	return expected >= VERY_SLOW ||
	       (expected >= SLOW && __atomic_load_n(&p->crowd, __ATOMIC_RELAXED));
}

void pace_crowd(struct pace *p, bool came)
{
	uint32_t old = __atomic_load_n(&p->crowd, __ATOMIC_RELAXED);
	__atomic_store_n(&p->crowd, came ? CROWD_MOST : old - (old > 0), __ATOMIC_RELAXED);
}

void pace_met(struct pace *p, bool others)
{
	uint32_t old = __atomic_load_n(&p->share, __ATOMIC_RELAXED);
	uint32_t now = old - old / 16 + (others ? SHARE_ALL / 16 : 0);
	bool many = pace_many(p);
	__atomic_store_n(&p->share, now, __ATOMIC_RELAXED);
	/* Not to and fro: waking and parking threads costs more than either. */
	if (many ? now < SHARE_FEW : now > SHARE_MANY)
		__atomic_store_n(&p->many, !many, __ATOMIC_RELAXED);
}

bool pace_many(const struct pace *p)
{
	return __atomic_load_n(&p->many, __ATOMIC_RELAXED);
}

void pace_rest(struct pace *p)
{
	__atomic_store_n(&p->share, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&p->many, false, __ATOMIC_RELAXED);
}
