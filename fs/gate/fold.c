#include "fs/gate/fold.h"

#include "keymgmt/base/lock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

struct folded {
	uint64_t key;            /* 0: free */
	time_t since;            /* CLOCK_MONOTONIC seconds of the record that was written */
	uint32_t written, count; /* denials since then: in full, and folded */
	enum op op;
	int error;
	unsigned acts;
	struct op_caller caller;
	char *path;
};

struct fold {
	struct lock_mutex lock; /* guards slots */
	struct folded slots[FOLD_SLOTS];
};

struct fold *fold_new(void)
{
	struct fold *f = calloc(1, sizeof(*f));
	if (f)
		lock_init(&f->lock, LOCK_FOLD);
	return f;
}

void fold_free(struct fold *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < FOLD_SLOTS; i++)
		free(f->slots[i].path);
	lock_done(&f->lock);
	free(f);
}

static time_t monotonic_seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static uint64_t key_of(const struct audit_event *e)
{
	const uint64_t fixed[4] = {e->op, e->caller.uid, e->acts, (uint64_t)(unsigned)e->error};
	uint64_t seed = XXH3_64bits(fixed, sizeof(fixed));
	uint64_t key =
		XXH3_64bits_withSeed(e->path ? e->path : "", e->path ? strlen(e->path) : 0, seed);
	return key ? key : 1;
}

/* The key alone must not decide: a path can be made to collide. */
static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool fold_denial(struct fold *f, const struct audit_event *e)
{
	uint64_t key = key_of(e);
	struct folded *s = &f->slots[key % FOLD_SLOTS];
	bool folded = false;
	lock_take(&f->lock);
	if (s->key == key && same_text(s->path, e->path) &&
		monotonic_seconds() - s->since < FOLD_SECONDS) {
		folded = s->written >= FOLD_FREE;
		s->written += !folded;
		s->count += folded;
	} else if (s->count == 0) {
		free(s->path);
		*s = (struct folded){.key = key,
			.since = monotonic_seconds(),
			.written = 1,
			.op = e->op,
			.error = e->error,
			.acts = e->acts,
			.caller = e->caller,
			.path = e->path ? strdup(e->path) : NULL};
	}
	lock_drop(&f->lock);
	return folded;
}

void fold_flush(struct fold *f, struct audit *a, bool all)
{
	time_t now = monotonic_seconds();
	for (size_t i = 0; i < FOLD_SLOTS; i++) {
		lock_take(&f->lock);
		struct folded s = f->slots[i];
		bool over = s.key && (all || now - s.since >= FOLD_SECONDS);
		if (over)
			f->slots[i] = (struct folded){0};
		lock_drop(&f->lock);
		if (!over)
			continue;
		struct audit_event event = {.kind = AUDIT_ACCESS,
			.op = s.op,
			.error = s.error,
			.acts = s.acts,
			.caller = s.caller,
			.login_uid = (uid_t)-1,
			.session = UINT32_MAX,
			.path = s.path,
			.count = s.count};
		/* A record that cannot be written marks the log broken: nothing more to do here. */
		bool written = !s.count || audit_write(a, &event, AUDIT_RESERVE) == 0;
		free(s.path);
		if (!written)
			break;
	}
}
