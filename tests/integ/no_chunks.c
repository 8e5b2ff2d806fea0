/* For LD_PRELOAD: while the file named by NO_CHUNKS is there, there is no memory for a further
 * chunk of a pool (keymgmt/base/pool.c). */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "keymgmt/base/pool.h"

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	void *(*map)(void *, size_t, int, int, int, off_t);
	const char *flag = getenv("NO_CHUNKS");
	*(void **)&map = dlsym(RTLD_NEXT, "mmap");
	bool chunk = len == POOL_CHUNK_BYTES || len == (size_t)2 * POOL_CHUNK_BYTES;
	if (flag && chunk && access(flag, F_OK) == 0) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return map(at, len, prot, flags, fd, offset);
}
