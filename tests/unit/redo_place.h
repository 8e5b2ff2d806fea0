/*
 * A tenant's tree with a redo journal for tests of what is written over: on the real disk, with
 * nothing made durable, which takes long, but counted. The process "crashes" when everything in
 * memory is dropped and nothing more is written; what of the page cache a power cut would lose, the
 * tests take out themselves.
 */
#ifndef TEST_REDO_PLACE_H
#define TEST_REDO_PLACE_H

#include "fs/store/block_map.h"
#include "fs/store/file.h"
#include "fs/store/journal_internal.h"
#include "fs/store/recover.h"
#include "tests/unit/store_place.h"

#include <errno.h>
#include <unistd.h>

#define PAGE 4096u

/* What a test sees of the disk; one at a time. */
struct redo_place_disk {
	struct lower_ops ops;
	struct lower lower;
	ino_t journal;                    /* its inode */
	atomic_uint journal_syncs, syncs; /* flushes of the journal, of anything */
	atomic_uint unflushed;            /* writes to the journal since its last flush */
	atomic_uint in_place; /* other writes, since the last flush that carries times, too */
	void (*sees)(int fd, uint64_t at); /* NULL, or told of each write */
	unsigned sync_us;                  /* that a flush takes */
	unsigned fail_in;                  /* calls that are not the journal's; 0: none fails */
	int error;                         /* with this */
	unsigned failed;                   /* so many did */
	bool full;                         /* nothing can be written but to the journal */
	ino_t unreadable;                  /* an inode whose first page does not read */
};
static struct redo_place_disk redo_place_disk;

static inline bool redo_place_is_journal(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && st.st_ino == redo_place_disk.journal;
}

static inline int redo_place_fault(int fd)
{
	struct redo_place_disk *d = &redo_place_disk;
	if (!d->fail_in || redo_place_is_journal(fd) || --d->fail_in)
		return 0;
	d->failed++;
	return d->error;
}

static inline int redo_place_fsync(struct lower *l, int fd, bool data_only)
{
	struct redo_place_disk *d = &redo_place_disk;
	bool journal = redo_place_is_journal(fd);
	unsigned before = atomic_load(&d->unflushed);
	(void)l;
	/* ENOSPC from a flush is the end of a mount. */
	int rc = redo_place_fault(fd);
	if (rc)
		return rc == -ENOSPC ? -ENOMEM : rc;
	atomic_fetch_add(&d->syncs, 1);
	if (d->sync_us)
		usleep(d->sync_us);
	if (!journal && !data_only)
		atomic_store(&d->in_place, 0);
	if (journal) {
		atomic_fetch_add(&d->journal_syncs, 1);
		atomic_fetch_sub(&d->unflushed, before);
	}
	return 0;
}

static inline int redo_place_syncfs(struct lower *l, int fd)
{
	return redo_place_fsync(l, fd, false);
}

static inline ssize_t redo_place_pwritev(
	struct lower *l, int fd, const struct iovec *iov, int n, uint64_t at)
{
	int rc = redo_place_fault(fd);
	if (rc)
		return rc;
	if (redo_place_is_journal(fd))
		atomic_fetch_add(&redo_place_disk.unflushed, 1);
	else if (redo_place_disk.full)
		return -ENOSPC;
	else if (redo_place_disk.sees)
		redo_place_disk.sees(fd, at);
	if (!redo_place_is_journal(fd))
		atomic_fetch_add(&redo_place_disk.in_place, 1);
	return lower_posix()->ops->pwritev(l, fd, iov, n, at);
}

static inline ssize_t redo_place_preadv(
	struct lower *l, int fd, const struct iovec *iov, int n, uint64_t at)
{
	struct stat st;
	int rc = redo_place_fault(fd);
	if (redo_place_disk.unreadable && at < 4096 && fstat(fd, &st) == 0 &&
		st.st_ino == redo_place_disk.unreadable)
		rc = -EIO;
	return rc ? rc : lower_posix()->ops->preadv(l, fd, iov, n, at);
}

static inline int redo_place_ftruncate(struct lower *l, int fd, uint64_t size)
{
	int rc = redo_place_fault(fd);
	return rc ? rc : lower_posix()->ops->ftruncate(l, fd, size);
}

static inline int redo_place_fallocate(
	struct lower *l, int fd, int mode, uint64_t offset, uint64_t len)
{
	int rc = redo_place_fault(fd);
	return rc ? rc : lower_posix()->ops->fallocate(l, fd, mode, offset, len);
}

static inline int redo_place_futimens(struct lower *l, int fd, const struct timespec ts[2])
{
	int rc = redo_place_fault(fd);
	return rc ? rc : lower_posix()->ops->futimens(l, fd, ts);
}

static inline int redo_place_fstat(struct lower *l, int fd, struct stat *ret)
{
	int rc = redo_place_fault(fd);
	return rc ? rc : lower_posix()->ops->fstat(l, fd, ret);
}

static inline void redo_place_open_journal(struct store_place *p)
{
	struct stat st;
	struct err e = {0};
	if (fstatat(p->tenant_fd, "journal", &st, 0) < 0)
		abort();
	redo_place_disk.journal = st.st_ino;
	int rc = journal_open(&p->fail.base, p->tenant_fd, p->keys, false, &p->store.journal, &e);
	if (rc)
		fail_msg("the journal does not open: %s", e.text);
}

/* cmocka set-up and tear-down. */
static inline int redo_place_make(void **state)
{
	struct redo_place_disk *d = &redo_place_disk;
	if (store_place_make(state) < 0)
		return -1;
	struct store_place *p = *state;
	memset(d, 0, sizeof(*d));
	d->ops = *lower_posix()->ops;
	d->ops.fsync = redo_place_fsync;
	d->ops.syncfs = redo_place_syncfs;
	d->ops.pwritev = redo_place_pwritev;
	d->ops.preadv = redo_place_preadv;
	d->ops.ftruncate = redo_place_ftruncate;
	d->ops.fallocate = redo_place_fallocate;
	d->ops.futimens = redo_place_futimens;
	d->ops.fstat = redo_place_fstat;
	d->lower.ops = &d->ops;
	p->fail.under = &d->lower;
	if (journal_create(&p->fail.base, p->tenant_fd, p->keys, JOURNAL_BYTES_MIN) < 0)
		return -1;
	redo_place_open_journal(p);
	store_place_redo(p);
	return 0;
}

/* Everything to its place, in order; then without a journal. */
static inline void redo_place_end(struct store_place *p)
{
	struct redo *r = p->store.redo;
	if (r)
		assert_int_equal(redo_stop(r), 0);
	p->store.redo = NULL;
	journal_close(p->store.journal);
	p->store.journal = NULL;
}

/* Nothing more is written. The files are the open ones; they are gone with it. */
static inline void redo_place_crash(struct store_place *p, struct file **files, size_t count)
{
	fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 1, -EIO, false);
	for (size_t i = 0; i < count; i++) {
		if (files[i])
			file_put(files[i]);
		files[i] = NULL;
	}
	if (p->store.redo)
		(void)!redo_stop(p->store.redo);
	p->store.redo = NULL;
	journal_close(p->store.journal);
	p->store.journal = NULL;
	fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
	store_place_mended(p);
}

/* As a mount does, with recovery. */
static inline struct recover_result redo_place_mount(struct store_place *p)
{
	struct recover_result r;
	redo_place_open_journal(p);
	assert_int_equal(recover_store(&p->store, false, &r), 0);
	store_place_redo(p);
	return r;
}

static inline int redo_place_remove(void **state)
{
	struct store_place *p = *state;
	memset(&redo_place_disk.fail_in, 0, sizeof(redo_place_disk.fail_in));
	redo_place_crash(p, NULL, 0);
	return store_place_remove(state);
}

static inline struct name redo_place_name(struct store_place *p, const char *name)
{
	struct name n;
	assert_int_equal(name_seal(p->root, name, &n), 0);
	return n;
}

static inline struct file *redo_place_create(struct store_place *p, const char *name)
{
	struct name n = redo_place_name(p, name);
	struct file *f = NULL;
	struct stat st;
	assert_int_equal(file_create(p->root, &n, 0640, NULL, &f, &st), 0);
	return f;
}

static inline struct file *redo_place_open(struct store_place *p, const char *name)
{
	struct file *f = NULL;
	assert_int_equal(file_open(p->root, redo_place_name(p, name).lower, &f), 0);
	return f;
}

static inline int redo_place_fd(struct store_place *p, const char *name)
{
	int fd = openat(p->root->fd, redo_place_name(p, name).lower, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* The lower file's bytes, and how many. */
static inline size_t redo_place_raw(
	struct store_place *p, const char *name, uint8_t *bytes, size_t room)
{
	AUTO_CLOSE fd = redo_place_fd(p, name);
	memset(bytes, 0, room);
	ssize_t n = pread(fd, bytes, room, 0);
	assert_true(n >= 0);
	return (size_t)n;
}

static inline void redo_place_pattern(uint8_t *bytes, size_t len, unsigned seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
	for (size_t i = 0; i < len; i++) {
		if (i % 8 == 0)
			x = x * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (uint8_t)(x >> (8 * (i % 8)));
	}
}

static inline void redo_place_write(struct file *f, const void *bytes, size_t len, uint64_t offset)
{
	assert_int_equal(file_write(f, bytes, len, offset), len);
}

static inline void redo_place_expect(struct file *f, const void *bytes, size_t len)
{
	uint8_t *got = malloc(len + 1);
	struct stat st;
	assert_non_null(got);
	assert_int_equal(file_stat(f, &st), 0);
	assert_int_equal(st.st_size, len);
	assert_int_equal(file_read(f, got, len + 1, 0), len);
	assert_memory_equal(got, bytes, len);
	free(got);
}

static inline struct journal_status redo_place_status(struct store_place *p)
{
	struct journal_status s;
	journal_status(p->store.journal, &s);
	return s;
}

#endif
