/* Scope-bound release of file descriptors and heap memory. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

/* Calls FN(&variable) when the variable leaves its scope. Initialise where declared. */
#define AUTO(fn) __attribute__((cleanup(fn)))

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

#define AUTO_CLOSE AUTO(cleanup_close) int
#define AUTO_FREE AUTO(cleanup_free)

#define MUST_USE __attribute__((warn_unused_result))

#endif
