#include "keymgmt/base/lock.h"

#include "keymgmt/base/log.h"

#include <stdint.h>
#include <stdlib.h>

#if LOCK_ORDER

#define HELD_MAX 32 /* more than there are ranks; several are four at most */

/* What a thread holds, in the order of ranks and addresses: that of taking, since nothing else is
 * allowed. */
struct held {
	const void *lock; /* NULL: a floor */
	enum lock_rank rank;
	const char *function; /* that took it */
};

static _Thread_local struct {
	unsigned aside, count; /* those below `aside` do not count */
	struct held list[HELD_MAX];
} held;

static const struct {
	const char *name;
	bool several;
} kinds[LOCK_RANKS] = {
	[LOCK_NONE] = {"a lock that was never made", false},
	[LOCK_LOOP] = {"the request loop's lock", false},
	[LOCK_CURSOR] = {"a listing's cursor", false},
	[LOCK_STRIPE] = {"a stripe of inode numbers", true},
	[LOCK_RENAME] = {"the rename lock", false},
	[LOCK_DIR] = {"a directory's lock", true},
	[LOCK_JOURNAL_GATE] = {"the journal's gate", false},
	[LOCK_FILE] = {"a file's lock", false},
	[LOCK_FILE_CACHE] = {"a file's cache lock", false},
	[LOCK_FILES] = {"the table of files", false},
	[LOCK_JOURNAL] = {"the journal's lock", false},
	[LOCK_ERASER] = {"the eraser's thread", false},
	[LOCK_TRASH] = {"the trash's queue", false},
	[LOCK_TRASH_LINKS] = {"the trash's links", false},
	[LOCK_NOTIFY] = {"the queue for the kernel", false},
	[LOCK_HANDLES] = {"the list of handles", false},
	[LOCK_POLICY] = {"the policy's lock", false},
	[LOCK_INODES] = {"the table of inodes", false},
	[LOCK_STATES] = {"the policy's states", false},
	[LOCK_FOLD] = {"the folded denials", false},
	[LOCK_AUDIT] = {"the log's lock", false},
	[LOCK_CALLERS] = {"what is known of callers", false},
	[LOCK_SECRETS] = {"the pool of locked memory", false},
};

_Static_assert(sizeof(kinds) / sizeof(kinds[0]) == LOCK_RANKS, "a name for each rank");

static struct held *last(void)
{
	return held.count > held.aside ? &held.list[held.count - 1] : NULL;
}

static struct held *find(const void *lock)
{
	for (unsigned i = held.count; i-- > held.aside;)
		if (held.list[i].lock == lock)
			return &held.list[i];
	return NULL;
}

void lock_push(const void *lock, enum lock_rank rank, const char *function)
{
	const struct held *before = last();
	const char *wrong = NULL;
	if (rank == LOCK_NONE)
		wrong = "nobody made it";
	else if (held.count == HELD_MAX)
		wrong = "that is one too many";
	else if (before && find(lock))
		wrong = "it holds that already";
	else if (before && before->rank == rank && !kinds[rank].several)
		wrong = "only one of these may be held";
	else if (before && before->rank == rank && (uintptr_t)before->lock > (uintptr_t)lock)
		wrong = "these are taken by ascending address";
	else if (before && before->rank > rank)
		wrong = "that one comes later";
	if (wrong) {
		log_say(LOG_LEVEL_ERROR,
			"Lock order: %s() takes %s while it holds %s, taken by %s(): %s "
			"(docs/locks.md).",
			function, kinds[rank].name, before ? kinds[before->rank].name : "nothing",
			before ? before->function : "nobody", wrong);
		abort();
	}
	held.list[held.count++] = (struct held){lock, rank, function};
}

void lock_pop(const void *lock, enum lock_rank rank, const char *function)
{
	struct held *h = find(lock);
	if (!h) {
		log_say(LOG_LEVEL_ERROR,
			"Lock order: %s() drops %s, which its thread does not hold.", function,
			kinds[rank].name);
		abort();
	}
	held.count--;
	for (; h < &held.list[held.count]; h++)
		*h = h[1];
}

void lock_must_be_last(const void *lock, enum lock_rank rank, const char *function)
{
	const struct held *h = last();
	if (h && h->lock == lock)
		return;
	log_say(LOG_LEVEL_ERROR,
		"Lock order: %s() waits with %s while the lock taken last is %s, taken by %s().",
		function, kinds[rank].name, h ? kinds[h->rank].name : "none",
		h ? h->function : "nobody");
	abort();
}

void lock_must_be_free(const void *lock, enum lock_rank rank, const char *function)
{
	const struct held *h = find(lock);
	if (!h)
		return;
	log_say(LOG_LEVEL_ERROR, "Lock order: %s() ends %s, which %s() has taken.", function,
		kinds[rank].name, h->function);
	abort();
}

void lock_must_be_below(enum lock_rank rank, const char *function)
{
	const struct held *h = last();
	if (!h || h->rank < rank)
		return;
	log_say(LOG_LEVEL_ERROR,
		"Lock order: %s() may not be called with %s, taken by %s(): only with what comes "
		"before %s (docs/locks.md).",
		function, kinds[h->rank].name, h->function, kinds[rank].name);
	abort();
}

unsigned lock_aside(void)
{
	unsigned before = held.aside;
	held.aside = held.count;
	return before;
}

void lock_back(unsigned before)
{
	lock_must_be_below(LOCK_CURSOR, __func__);
	held.aside = before;
}

#else

_Static_assert(sizeof(struct lock_mutex) == sizeof(pthread_mutex_t), "a mutex and nothing else");
_Static_assert(sizeof(struct lock_rw) == sizeof(pthread_rwlock_t), "a lock and nothing else");

#endif
