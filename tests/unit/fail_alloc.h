/*
 * "Fail the n-th allocation until it succeeds": malloc and its kin, locked memory, thread starts
 * and the memory of jansson and libcrypto, made to fail one at a time. Works in programs that are
 * linked with FAIL_ALLOC's --wrap options (tests/unit/meson.build). What a test allocates while
 * nothing is armed never fails.
 */
#ifndef TEST_FAIL_ALLOC_H
#define TEST_FAIL_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* Counts from now on; the n-th allocation fails, 0 none. threads: those of all threads, not only
 * the caller's. */
void fail_alloc_arm(unsigned n, bool threads);
/* Nothing fails any more; whether the n-th came. */
bool fail_alloc_disarm(void);
/* Allocations that failed since the program began. */
unsigned fail_alloc_failures(void);

/*
 * Memory that the code under test gives back must not hold these bytes (borrowed; NULL: look for
 * nothing). The count of blocks that did, since the last call.
 */
unsigned fail_alloc_watch(const void *bytes, size_t len);

/* One operation. context is the test's. */
struct fail_alloc_case {
	const char *name;
	/* Before each round, disarmed; may be NULL. */
	void (*prepare)(void *context);
	/* Armed. >= 0 or -errno. */
	int (*run)(void *context);
	/* After a round that failed with the error: everything is as before; may be NULL. */
	void (*failed)(void *context, int error);
	/* After one that succeeded, also though an allocation failed. Undoes it; may be NULL. */
	void (*done)(void *context);
	/* An -errno besides -ENOMEM with which the operation says that memory was short; 0 none. */
	int also;
	/* Repeating it in the same state must succeed. False: not tried, prepare makes a new state.
	 */
	bool once;
	bool threads;
};

/*
 * Runs the case with the first, second, ... allocation failing until none is left to fail: each
 * time the error is right, no descriptor stays open, and the same call succeeds afterwards. The
 * number of allocations failed. Fails the cmocka test otherwise.
 */
unsigned fail_alloc_sweep(const struct fail_alloc_case *c, void *context);

#endif
