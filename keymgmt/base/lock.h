/*
 * The locks of the programs, and the one order in which a thread may take them.
 *
 * Each lock has a rank, and a thread takes it only while all that it holds have lower ones; of the
 * ranks that say "several" it may hold more than one, taken by ascending address. So no two threads
 * can wait for each other. docs/locks.md says what each guards, and why the order is this one.
 *
 * Builds with assertions (LOCK_ORDER in config.h) keep a list of what each thread holds. What is
 * taken out of order, dropped without being held, waited for or freed while it must not be, ends
 * the process by abort() after one sentence in the log that names the locks and the functions: at
 * once, in whatever thread, whether or not anybody waits. Other builds have the pthread calls and
 * nothing else.
 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include "config.h"

#include "keymgmt/base/cleanup.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

/* In the order in which they are taken. */
enum lock_rank {
	LOCK_NONE,         /* was never made */
	LOCK_LOOP,         /* loop.lock */
	LOCK_CURSOR,       /* handle.cursor_lock */
	LOCK_STRIPE,       /* inode_table.stripes; several */
	LOCK_RENAME,       /* store.rename_lock */
	LOCK_DIR,          /* dir.lock; several */
	LOCK_ERASER,       /* no lock: the floor of the eraser's thread */
	LOCK_JOURNAL_GATE, /* shared by whatever changes files */
	LOCK_FILE,         /* file.lock */
	LOCK_FILE_CACHE,   /* file.cache_lock */
	LOCK_FILES,        /* the table of files that the journal knows */
	LOCK_JOURNAL,      /* journal.lock */
	LOCK_TRASH,        /* trash.lock */
	LOCK_TRASH_LINKS,  /* eraser.links */
	LOCK_NOTIFY,       /* notify.lock */
	LOCK_HANDLES,      /* handle_list.lock */
	LOCK_POLICY,       /* gate.lock */
	LOCK_INODES,       /* inode_table.lock */
	LOCK_STATES,       /* policy_automaton.lock */
	LOCK_FOLD,         /* fold.lock */
	LOCK_AUDIT,        /* audit.lock */
	LOCK_CALLERS,      /* known.lock */
	LOCK_SECRETS,      /* the pool of locked memory */
	LOCK_RANKS
};

struct lock_mutex {
	pthread_mutex_t mutex;
#if LOCK_ORDER
	enum lock_rank rank;
#endif
};

/* Shared by readers, held alone by a writer. */
struct lock_rw {
	pthread_rwlock_t rwlock;
#if LOCK_ORDER
	enum lock_rank rank;
#endif
};

#if LOCK_ORDER
#define LOCK_CHECK(call) call
#define LOCK_MUTEX(RANK)                                                                           \
	{                                                                                          \
		PTHREAD_MUTEX_INITIALIZER, RANK                                                    \
	}
#else
#define LOCK_CHECK(call) (void)function
#define LOCK_MUTEX(RANK)                                                                           \
	{                                                                                          \
		PTHREAD_MUTEX_INITIALIZER                                                          \
	}
#endif

/* For the functions below; nobody else calls these. */
void lock_push(const void *lock, enum lock_rank rank, const char *function);
void lock_pop(const void *lock, enum lock_rank rank, const char *function);
void lock_must_be_last(const void *lock, enum lock_rank rank, const char *function);
void lock_must_be_free(const void *lock, enum lock_rank rank, const char *function);
void lock_must_be_below(enum lock_rank rank, const char *function);

static inline void lock_init(struct lock_mutex *m, enum lock_rank rank)
{
	/* Neither this nor lock_rw_init fails on Linux. */
	pthread_mutex_init(&m->mutex, NULL);
#if LOCK_ORDER
	m->rank = rank;
#else
	(void)rank;
#endif
}

/* waiting_writers_first: a stream of readers does not keep a writer waiting; no thread may share it
 * twice, which the ranks forbid anyway. */
static inline void lock_rw_init(struct lock_rw *l, enum lock_rank rank, bool waiting_writers_first)
{
	pthread_rwlockattr_t attributes;
	pthread_rwlockattr_init(&attributes);
	if (waiting_writers_first)
		pthread_rwlockattr_setkind_np(
			&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&l->rwlock, &attributes);
	pthread_rwlockattr_destroy(&attributes);
#if LOCK_ORDER
	l->rank = rank;
#else
	(void)rank;
#endif
}

/* Nobody holds it or will take it. */
#define lock_done(m) lock_done_in(m, __func__)
static inline void lock_done_in(struct lock_mutex *m, const char *function)
{
	LOCK_CHECK(lock_must_be_free(m, m->rank, function));
	pthread_mutex_destroy(&m->mutex);
}

#define lock_rw_done(l) lock_rw_done_in(l, __func__)
static inline void lock_rw_done_in(struct lock_rw *l, const char *function)
{
	LOCK_CHECK(lock_must_be_free(l, l->rank, function));
	pthread_rwlock_destroy(&l->rwlock);
}

#define lock_take(m) lock_take_in(m, __func__)
static inline void lock_take_in(struct lock_mutex *m, const char *function)
{
	LOCK_CHECK(lock_push(m, m->rank, function));
	pthread_mutex_lock(&m->mutex);
}

#define lock_drop(m) lock_drop_in(m, __func__)
static inline void lock_drop_in(struct lock_mutex *m, const char *function)
{
	LOCK_CHECK(lock_pop(m, m->rank, function));
	pthread_mutex_unlock(&m->mutex);
}

#define lock_rw_read(l) lock_rw_read_in(l, __func__)
static inline void lock_rw_read_in(struct lock_rw *l, const char *function)
{
	LOCK_CHECK(lock_push(l, l->rank, function));
	pthread_rwlock_rdlock(&l->rwlock);
}

#define lock_rw_write(l) lock_rw_write_in(l, __func__)
static inline void lock_rw_write_in(struct lock_rw *l, const char *function)
{
	LOCK_CHECK(lock_push(l, l->rank, function));
	pthread_rwlock_wrlock(&l->rwlock);
}

#define lock_rw_drop(l) lock_rw_drop_in(l, __func__)
static inline void lock_rw_drop_in(struct lock_rw *l, const char *function)
{
	LOCK_CHECK(lock_pop(l, l->rank, function));
	pthread_rwlock_unlock(&l->rwlock);
}

/* Waits for the condition without m, which must be the lock taken last: taking it again is then in
 * order whatever else is held. May return early, as pthread_cond_wait. */
#define lock_wait(condition, m) lock_wait_in(condition, m, __func__)
static inline void lock_wait_in(
	pthread_cond_t *condition, struct lock_mutex *m, const char *function)
{
	LOCK_CHECK(lock_must_be_last(m, m->rank, function));
	pthread_cond_wait(condition, &m->mutex);
}

/* The same, at most until the condition's clock says `until`: then -ETIMEDOUT, else 0. */
#define lock_wait_until(condition, m, until) lock_wait_until_in(condition, m, until, __func__)
MUST_USE static inline int lock_wait_until_in(pthread_cond_t *condition, struct lock_mutex *m,
	const struct timespec *until, const char *function)
{
	LOCK_CHECK(lock_must_be_last(m, m->rank, function));
	return pthread_cond_timedwait(condition, &m->mutex, until) == ETIMEDOUT ? -ETIMEDOUT : 0;
}

/* This thread holds nothing of this rank or above: what follows may take any of them, or waits for
 * a thread with that floor. LOCK_CURSOR: it holds nothing that a request takes. */
#define lock_below(rank) lock_below_in(rank, __func__)
static inline void lock_below_in(enum lock_rank rank, const char *function)
{
	(void)rank;
	LOCK_CHECK(lock_must_be_below(rank, function));
}

/* From its start to its end this thread takes only what is above: others may wait for it who
 * hold less than that (lock_below). */
#define lock_floor(rank) lock_floor_in(rank, __func__)
static inline void lock_floor_in(enum lock_rank rank, const char *function)
{
	(void)rank;
	LOCK_CHECK(lock_push(NULL, rank, function));
}

/* For tests that play another process in the middle of a call: what this thread holds does not
 * count until lock_back gets what lock_aside returned. */
#if LOCK_ORDER
unsigned lock_aside(void);
void lock_back(unsigned before);
#else
static inline unsigned lock_aside(void)
{
	return 0;
}

static inline void lock_back(unsigned before)
{
	(void)before;
}
#endif

#endif
