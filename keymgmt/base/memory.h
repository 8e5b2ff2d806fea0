/*
 * What malloc(3) gives goes back to the system, also from a process that has its memory locked.
 *
 * There the kernel refuses to take back single pages (MADV_DONTNEED of what is locked), so that
 * malloc_trim(3) does nothing, and a heap stays as large as it ever was. And each thread would have
 * a heap of its own, as large as it ever was.
 */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

/* One heap for all threads. Before there are any. */
void memory_init(void);

/*
 * Gives free memory back. While it does so, milliseconds, the heap is not locked; secrets
 * (secret.h) are not in the heap. Cheap when little is free. Any thread, any locks; malloc waits
 * meanwhile. Where the process has its memory locked (its stack tells), the heap is locked at the
 * return, also one that was not.
 */
void memory_settle(void);

#endif
