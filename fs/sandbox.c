#include "fs/sandbox.h"

#include "fs/lower/lower.h"
#include "keymgmt/base/memory.h"
#include "keymgmt/secret.h"

#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#if !defined(PR_SET_IO_FLUSHER)
#define PR_SET_IO_FLUSHER 57 /* linux/prctl.h since 5.6 */
#endif

/* Directories are kept open for their names, and every open file costs one: take what the hard
 * limit gives. */
static void raise_descriptors(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	if (geteuid() == 0 && limit.rlim_max < 1048576)
		limit.rlim_max = 1048576;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int sandbox_enter(struct err *e)
{
	raise_descriptors();
	memory_init();
	int r = secret_harden_process();
	if (r < 0)
		return err_set(e, r, "Cannot forbid core dumps of this process: %s.", strerror(-r));
	/* Refused to ordinary users; then a reclaim may wait for us, as for any process. */
	if (geteuid() == 0)
		prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	r = lower_posix_prepare();
	if (r < 0 && r != -EPERM)
		return err_set(
			e, r, "Cannot prepare to create files for others: %s.", strerror(-r));
	return 0;
}

void sandbox_block_signals(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGTERM);
	sigaddset(ret, SIGINT);
	sigaddset(ret, SIGHUP);
	pthread_sigmask(SIG_BLOCK, ret, NULL);
}

/* Pages of a file that nobody writes to: its code, and what only the dynamic linker reads. */
static int give_back(struct dl_phdr_info *of, size_t size, void *context)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	(void)size;
	(void)context;
	for (size_t n = 0; n < of->dlpi_phnum; n++) {
		const ElfW(Phdr) *h = &of->dlpi_phdr[n];
		uintptr_t start = (of->dlpi_addr + h->p_vaddr) & ~(page - 1);
		uintptr_t end = (of->dlpi_addr + h->p_vaddr + h->p_memsz) & ~(page - 1);
		/* The kernel's own object is none that it gives back: refused, and no matter. */
		if (h->p_type == PT_LOAD && !(h->p_flags & PF_W) && end > start &&
			munlock((void *)start, end - start) == 0)
			(void)madvise((void *)start, end - start, MADV_DONTNEED);
	}
	return 0;
}

void sandbox_settle(void)
{
	dl_iterate_phdr(give_back, NULL);
	memory_settle();
}
