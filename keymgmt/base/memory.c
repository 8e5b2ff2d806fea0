#include "keymgmt/base/memory.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FREE_MIN ((size_t)1 << 20) /* as much may lie about */
#define MMAP_MIN                                                                                   \
	(256 << 10) /* what is larger is a mapping of its own, and goes at once; fixed: malloc's   \
		       own limit would rise */

void memory_init(void)
{
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, MMAP_MIN);
	mallopt(M_TRIM_THRESHOLD, 64 << 20); /* memory_settle does that */
	mallopt(M_TOP_PAD, MMAP_MIN);
}

/* Of the heap, and whether this process has its memory locked, which its stack tells: a heap may
 * have been left unlocked. False: it cannot be told. */
static bool find_heap(uintptr_t *ret_start, uintptr_t *ret_end, bool *ret_locked)
{
	char line[512];
	bool found = false, in_heap = false, in_stack = false;
	FILE *f = fopen("/proc/self/smaps", "re");
	while (f && fgets(line, sizeof(line), f)) {
		char *at;
		unsigned long start = strtoul(line, &at, 16), end;
		if (at != line && *at == '-') {
			end = strtoul(at + 1, &at, 16);
			in_heap = strstr(at, "[heap]") != NULL;
			in_stack = strstr(at, "[stack]") != NULL;
			*ret_start = in_heap && !found ? start : *ret_start;
			*ret_end = in_heap ? end : *ret_end;
			found |= in_heap;
		}
		if (in_stack && strncmp(line, "VmFlags:", 8) == 0)
			*ret_locked = strstr(line, " lo") != NULL;
	}
	if (f)
		fclose(f);
	return found;
}

void memory_settle(void)
{
	uintptr_t start = 0, end = 0;
	bool locked = false;
	if (mallinfo2().fordblks < FREE_MIN)
		return;
	locked = find_heap(&start, &end, &locked) && locked;
	/* An error says that its end has moved down since: what is there is unlocked. */
	if (locked)
		(void)munlock((void *)start, end - start);
	malloc_trim(0);
	if (!locked)
		return;
	/* Its end has moved again, and what came behind it is locked. Down: as far as it goes,
	 * which is an error, too. */
	uintptr_t now = (uintptr_t)sbrk(0);
	(void)mlock2((void *)start, (now < end && now > start ? now : end) - start, MLOCK_ONFAULT);
}
