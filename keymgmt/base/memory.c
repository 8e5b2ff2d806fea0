#include "keymgmt/base/memory.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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

/* Of the heap, and whether it is locked; false: it cannot be told. */
static bool find_heap(uintptr_t *ret_start, uintptr_t *ret_end, bool *ret_locked)
{
	char line[512];
	bool found = false, in_heap = false;
	FILE *f = fopen("/proc/self/smaps", "re");
	while (f && fgets(line, sizeof(line), f)) {
		char *at;
		unsigned long start = strtoul(line, &at, 16), end;
		if (at != line && *at == '-') {
			end = strtoul(at + 1, &at, 16);
			in_heap = strstr(at, "[heap]") != NULL;
			*ret_start = in_heap && !found ? start : *ret_start;
			*ret_end = in_heap ? end : *ret_end;
			found |= in_heap;
		}
		if (in_heap && strncmp(line, "VmFlags:", 8) == 0)
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
	bool unlocked = find_heap(&start, &end, &locked) && locked &&
			munlock((void *)start, end - start) == 0;
	malloc_trim(0);
	if (!unlocked)
		return;
	/* Its end has moved down with what was free there. */
	if (find_heap(&start, &end, &locked))
		(void)mlock2((void *)start, end - start, MLOCK_ONFAULT);
}
