/* keymgmt/base/memory.c: the heap of a process that has its memory locked is locked again, whatever
 * happens under way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keymgmt/base/memory.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PIECES 4000
#define PIECE 4000

static bool says_enomem;        /* munlock(2), having unlocked what is there */
static unsigned fopen_fails_at; /* 1: the next */

int munlock(const void *start, size_t len)
{
	int rc = (int)syscall(SYS_munlock, start, len);
	if (!says_enomem)
		return rc;
	errno = ENOMEM;
	return -1;
}

FILE *fopen(const char *path, const char *mode)
{
	FILE *(*real)(const char *, const char *);
	*(void **)&real = dlsym(RTLD_NEXT, "fopen");
	if (fopen_fails_at && !--fopen_fails_at) {
		errno = EMFILE;
		return NULL;
	}
	return real(path, mode);
}

/* kB of the heap; *ret_locked: all of it is. Nothing from malloc. */
static unsigned long heap(bool *ret_locked)
{
	static char text[1 << 20];
	size_t len = 0;
	int fd = (int)syscall(SYS_openat, -1, "/proc/self/smaps", 0);
	for (ssize_t n = 1; n > 0 && len<sizeof(text) - 1; len += n> 0 ? (size_t)n : 0)
		n = read(fd, text + len, sizeof(text) - 1 - len);
	close(fd);
	text[len] = 0;
	unsigned long kb = 0;
	*ret_locked = true;
	for (char *at = text; (at = strstr(at, "[heap]")); at++) {
		char *flags = strstr(at, "VmFlags:"), *end = strchr(flags, '\n');
		kb += strtoul(strstr(at, "Size:") + 5, NULL, 10);
		*end = 0;
		*ret_locked = *ret_locked && strstr(flags, " lo");
		*end = '\n';
	}
	return kb;
}

/* Free memory between what is not, and behind it. */
static void make_garbage(void)
{
	static char *pieces[PIECES];
	for (size_t i = 0; i < PIECES; i++) {
		pieces[i] = malloc(PIECE);
		assert_non_null(pieces[i]);
		memset(pieces[i], 1, PIECE);
	}
	for (size_t i = 0; i < PIECES; i++)
		free(pieces[i]);
}

static void the_heap_is_locked_afterwards(void **state)
{
	static const struct {
		bool says_enomem, left_unlocked;
		unsigned fopen_fails_at;
	} rows[] = {{0}, {.says_enomem = true}, {.fopen_fails_at = 2}, {.left_unlocked = true},
		{.fopen_fails_at = 1}, {0}};
	const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	bool locked;
	(void)state;
	memory_init();
	(void)setrlimit(RLIMIT_MEMLOCK, &all);
	make_garbage(); /* there is a heap */
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0 || !heap(&locked) || !locked)
		skip(); /* not here, or a sanitizer has a heap of its own */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		make_garbage();
		unsigned long before = heap(&locked);
		assert_true(locked);
		if (rows[i].left_unlocked)
			syscall(SYS_munlock, (char *)sbrk(0) - before * 1024, before * 1024);
		says_enomem = rows[i].says_enomem;
		fopen_fails_at = rows[i].fopen_fails_at;
		memory_settle();
		says_enomem = false;
		fopen_fails_at = 0;
		unsigned long after = heap(&locked);
		if (!locked)
			fail_msg("row %zu: the heap is not locked", i);
		assert_true(after < before || rows[i].fopen_fails_at);
		make_garbage();
		assert_true(heap(&locked) && locked);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_heap_is_locked_afterwards),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
