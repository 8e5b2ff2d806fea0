/*
 * The audit trail on a full disk: what each kind of record may use of the reserve, starts, new
 * segments, filesystems that cannot reserve.
 */
#include "tests/unit/audit_fixture.h"

#include "keymgmt/base/bytes.h"

#define RESERVE (1 << 20)
#define FILES 64

/* A disk with so much free space, counted by the blocks of the files of the log. */
struct small_disk {
	struct lower base;
	struct lower_ops ops;
	struct lower *under;
	int64_t free;
	bool partial;   /* a fallocate that does not fit takes what there is, as ext4's does */
	bool cannot;    /* no fallocate */
	bool cut_short; /* the next write that does not fit is done by half */
	bool stopped;   /* nothing changes any more */
	unsigned tries; /* of fallocate */
	struct {
		ino_t ino;
		int64_t blocks; /* bytes */
	} file[FILES];
	unsigned files;
};

static int64_t *blocks_of(struct small_disk *d, const struct stat *st)
{
	for (unsigned i = 0; i < d->files; i++)
		if (d->file[i].ino == st->st_ino)
			return &d->file[i].blocks;
	assert_true(d->files < FILES);
	d->file[d->files].ino = st->st_ino;
	d->file[d->files].blocks = (st->st_size + 4095) / 4096 * 4096;
	return &d->file[d->files++].blocks;
}

/* Up to `upto` if there is room; what it lacks is not taken. */
static bool use(struct small_disk *d, int fd, uint64_t upto)
{
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	int64_t *blocks = blocks_of(d, &st),
		more = (int64_t)((upto + 4095) / 4096 * 4096) - *blocks;
	if (more <= 0)
		return true;
	if (more > d->free)
		return false;
	d->free -= more;
	*blocks += more;
	return true;
}

static ssize_t small_pwritev(
	struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	struct small_disk *d = (struct small_disk *)l;
	struct iovec half = {iov[0].iov_base, iov[0].iov_len / 2};
	assert_int_equal(n, 1);
	if (d->stopped)
		return -EIO;
	if (use(d, fd, offset + iov[0].iov_len))
		return d->under->ops->pwritev(d->under, fd, iov, n, offset);
	if (!d->cut_short)
		return -ENOSPC;
	d->cut_short = false;
	return d->under->ops->pwritev(d->under, fd, &half, 1, offset);
}

static int small_ftruncate(struct lower *l, int fd, uint64_t size)
{
	struct small_disk *d = (struct small_disk *)l;
	struct stat st;
	if (d->stopped)
		return -EIO;
	assert_int_equal(fstat(fd, &st), 0);
	int64_t *blocks = blocks_of(d, &st),
		less = *blocks - (int64_t)((size + 4095) / 4096 * 4096);
	if (less > 0) {
		d->free += less;
		*blocks -= less;
	}
	return d->under->ops->ftruncate(d->under, fd, size);
}

static int small_fallocate(struct lower *l, int fd, int mode, uint64_t offset, uint64_t len)
{
	struct small_disk *d = (struct small_disk *)l;
	struct stat st;
	d->tries++;
	if (d->stopped || d->cannot)
		return d->cannot ? -EOPNOTSUPP : -EIO;
	assert_int_equal(mode, FALLOC_FL_KEEP_SIZE);
	assert_int_equal(fstat(fd, &st), 0);
	int64_t *blocks = blocks_of(d, &st);
	/* blocks are counted from the start: no holes */
	assert_true(offset <= (uint64_t)*blocks || offset <= AUDIT_HEADER_LEN);
	if (use(d, fd, offset + len))
		return d->under->ops->fallocate(d->under, fd, mode, offset, len);
	if (d->partial) {
		*blocks += d->free / 4096 * 4096;
		d->free %= 4096;
	}
	return -ENOSPC;
}

static int small_unlinkat(struct lower *l, int dir, const char *name, int flags)
{
	struct small_disk *d = (struct small_disk *)l;
	struct stat st;
	if (d->stopped)
		return -EIO;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_nlink == 1) {
		d->free += *blocks_of(d, &st);
		*blocks_of(d, &st) = 0;
	}
	return d->under->ops->unlinkat(d->under, dir, name, flags);
}

static void small_init(struct small_disk *d, int64_t free_bytes)
{
	*d = (struct small_disk){.under = lower_posix(), .free = free_bytes};
	d->ops = *lower_posix()->ops;
	d->ops.pwritev = small_pwritev;
	d->ops.ftruncate = small_ftruncate;
	d->ops.fallocate = small_fallocate;
	d->ops.unlinkat = small_unlinkat;
	d->base.ops = &d->ops;
}

/* What is reserved behind the end of a segment. */
static int64_t behind(struct small_disk *d, struct log_fixture *f, const char *name)
{
	struct stat st;
	assert_int_equal(fstatat(f->dir, name, &st, 0), 0);
	return *blocks_of(d, &st) - st.st_size;
}

/* As many of a kind as can be had. */
static unsigned put_all(struct audit *a, enum audit_need need)
{
	int r;
	unsigned n = 0;
	while ((r = log_put(a, need)) == 0)
		n++;
	assert_int_equal(r, -ENOSPC);
	assert_false(audit_broken(a));
	return n;
}

static void levels(void **state)
{
	(void)state;
	static const struct {
		enum audit_need need;
		int64_t left;
	} level[] = {{AUDIT_ORDINARY, RESERVE}, {AUDIT_READING, RESERVE / 2},
		{AUDIT_SHRINKING, RESERVE / 4}, {AUDIT_RESERVE, 4096}};
	for (int partial = 0; partial < 2; partial++) {
		struct log_fixture f = log_new(1);
		struct small_disk d;
		struct audit *a;
		small_init(&d, 8 << 20);
		assert_int_equal(log_open(&f, &d.base, 0, &a), 0);
		assert_true(behind(&d, &f, "00000001.seg") >= RESERVE);
		d.partial = partial;
		d.free = partial ? 20000 : 0;
		for (size_t i = 0; i < sizeof(level) / sizeof(level[0]); i++) {
			for (size_t k = 0; k < i; k++)
				assert_int_equal(log_put(a, level[k].need), -ENOSPC);
			assert_true(put_all(a, level[i].need) > 100);
			assert_in_range(behind(&d, &f, "00000001.seg"), level[i].left,
				level[i].left + 1000);
		}
		d.free = 64 * 4096 + 500; /* some space: for the log first, and only for removals */
		assert_int_equal(log_put(a, AUDIT_READING), -ENOSPC);
		assert_int_equal(log_put(a, AUDIT_RESERVE), 0);
		assert_true(behind(&d, &f, "00000001.seg") > 63 * 4096);
		d.free += 8 << 20;
		assert_int_equal(log_put(a, AUDIT_READING), 0); /* makes the reserve whole */
		d.free = 0;
		assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
		put_all(a, AUDIT_RESERVE);
		audit_close(a); /* the end record has room all the same */
		assert_int_equal(log_verify(&f), AUDIT_INTACT);
		log_free(&f);
	}
}

/* Whoever takes all that becomes free does not stop removals: each gives the log its part first. */
static void greedy(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct small_disk d;
	struct audit *a;
	small_init(&d, 8 << 20);
	assert_int_equal(log_open(&f, &d.base, 0, &a), 0);
	d.free = 0;
	put_all(a, AUDIT_SHRINKING);
	for (int i = 0; i < 5000; i++) {
		assert_int_equal(log_put(a, AUDIT_RESERVE), 0); /* the removal */
		d.free = 4096;
		assert_int_equal(log_put(a, AUDIT_RESERVE), 0); /* the receipt */
		d.free = 0;
	}
	audit_close(a);
	assert_int_equal(log_verify(&f), AUDIT_INTACT);
	log_free(&f);
}

/* A full disk can be mounted, after a clean end and after a stop, again and again. */
static void full_at_open(void **state)
{
	(void)state;
	for (int stop = 0; stop < 2; stop++) {
		struct log_fixture f = log_new(1);
		struct small_disk d;
		struct audit *a;
		struct stat st;
		small_init(&d, 8 << 20);
		assert_int_equal(log_open(&f, &d.base, 0, &a), 0);
		assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
		d.free = 0;
		for (int i = 0; i < 10; i++) {
			d.stopped = stop;
			audit_close(a);
			d.stopped = false;
			assert_int_equal(fstatat(f.dir, "reserve", &st, 0), stop ? -1 : 0);
			if (!stop) {
				assert_true(*blocks_of(&d, &st) >= RESERVE / 2 + 8192);
				assert_true(d.free >= 0);
			}
			assert_int_equal(log_open(&f, &d.base, 0, &a), 0);
			assert_int_equal(fstatat(f.dir, "reserve", &st, 0), -1);
			d.free = 0;
			assert_int_equal(log_put(a, AUDIT_READING), 0);
			assert_int_equal(log_put(a, AUDIT_RESERVE), 0);
		}
		audit_close(a);
		assert_int_equal(log_verify(&f), stop ? AUDIT_UNCLEAN : AUDIT_INTACT);
		/* nothing left for the log: says so, takes nothing, and goes on when there is */
		unlinkat(f.dir, "reserve", 0);
		d.free = 4096;
		assert_int_equal(log_open(&f, &d.base, 0, &a), -ENOSPC);
		assert_int_equal(d.free, 4096);
		d.free = 8 << 20;
		assert_int_equal(log_open(&f, &d.base, 0, &a), 0);
		assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
		audit_close(a);
		assert_true(log_verify(&f) != AUDIT_BROKEN);
		log_free(&f);
	}
}

/* A segment that is due waits until the next one's reserve can be had, and loses none of its own.
 */
static void full_at_switch(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct small_disk d;
	struct audit *a;
	struct stat st;
	small_init(&d, 8 << 20);
	assert_int_equal(log_open(&f, &d.base, 5000, &a), 0);
	d.free = 500000; /* not a whole reserve */
	for (int i = 0; i < 200; i++)
		assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
	assert_int_equal(fstatat(f.dir, "00000002.seg", &st, 0), -1);
	assert_int_equal(fstatat(f.dir, "new", &st, 0), -1);
	assert_true(behind(&d, &f, "00000001.seg") >= RESERVE);
	d.free = 8 << 20;
	for (int i = 0; i < 8000 && fstatat(f.dir, "00000002.seg", &st, 0) < 0; i++)
		assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
	assert_true(behind(&d, &f, "00000002.seg") >= RESERVE);
	assert_true(behind(&d, &f, "00000001.seg") < 4096);
	audit_close(a);
	assert_true(behind(&d, &f, "00000002.seg") < 4096);
	assert_int_equal(log_verify(&f), AUDIT_INTACT);
	log_free(&f);
}

/* Where nothing can be reserved the log works, and a record that does not fit is refused whole. */
static void no_fallocate(void **state)
{
	(void)state;
	for (int cut_short = 0; cut_short < 2; cut_short++) {
		struct log_fixture f = log_new(1);
		struct small_disk d;
		struct audit *a;
		struct stat before, after;
		small_init(&d, 8192);
		d.cannot = true;
		assert_int_equal(log_open(&f, &d.base, 0, &a), 0);
		while (assert_int_equal(fstatat(f.dir, "00000001.seg", &before, 0), 0),
			before.st_size < 8192 - 600)
			assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
		while (d.cut_short = cut_short, log_put(a, AUDIT_RESERVE) == 0)
			fstatat(f.dir, "00000001.seg", &before, 0);
		fstatat(f.dir, "00000001.seg", &after, 0);
		assert_int_equal(before.st_size, after.st_size); /* nothing half-written */
		assert_false(audit_broken(a));
		assert_int_equal(d.tries, 1);
		uint64_t sequence = audit_sequence(a);
		d.free = 8192;
		assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
		assert_int_equal(audit_sequence(a), sequence + 1);
		audit_close(a);
		/* the record that failed at first was sealed anew, under another nonce */
		AUTO_BUF b = log_load(&f, "00000001.seg");
		assert_true(bytes_get32(b.data + before.st_size + 4) > 0);
		assert_int_equal(log_verify(&f), AUDIT_INTACT);
		log_free(&f);
	}
}

static void plant_long(struct log_fixture *f, const char *name)
{
	static const uint8_t bytes[AUDIT_HEADER_LEN + 1];
	log_store(f, name, bytes, sizeof(bytes));
}

static void plant_linked(struct log_fixture *f, const char *name)
{
	log_store(f, name, "x", 1);
	assert_int_equal(linkat(f->dir, name, f->fd, "mine", 0), 0);
}

static void plant_open(struct log_fixture *f, const char *name)
{
	log_store(f, name, "x", 1);
	assert_int_equal(fchmodat(f->dir, name, 0666, 0), 0);
}

static void plant_symlink(struct log_fixture *f, const char *name)
{
	assert_int_equal(symlinkat("../mine", f->dir, name), 0);
}

static void plant_fifo(struct log_fixture *f, const char *name)
{
	assert_int_equal(mkfifoat(f->dir, name, 0600), 0);
}

/* What lies in the place of the reserve is used only if it is one. */
static void planted(void **state)
{
	(void)state;
	static void (*const plants[])(struct log_fixture *, const char *) = {
		plant_long, plant_linked, plant_open, plant_symlink, plant_fifo};
	static const char *const names[] = {"reserve", "new"};
	for (size_t i = 0; i < sizeof(plants) / sizeof(plants[0]) * 2; i++) {
		struct log_fixture f = log_new(1);
		struct stat st, segment;
		struct audit *a;
		plants[i / 2](&f, names[i % 2]);
		assert_int_equal(fstatat(f.dir, names[i % 2], &st, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(log_open(&f, NULL, 0, &a), 0);
		assert_int_equal(fstatat(f.dir, "00000001.seg", &segment, AT_SYMLINK_NOFOLLOW), 0);
		assert_true(S_ISREG(segment.st_mode) && (segment.st_mode & 0777) == 0600);
		assert_int_equal(segment.st_nlink, 1);
		assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
		audit_close(a);
		assert_int_equal(log_verify(&f), AUDIT_INTACT);
		log_free(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(levels),
		cmocka_unit_test(greedy),
		cmocka_unit_test(full_at_open),
		cmocka_unit_test(full_at_switch),
		cmocka_unit_test(no_fallocate),
		cmocka_unit_test(planted),
	};
	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
