/*
 * Writing the audit trail: what stops it for good, stops between any two calls, the secrets it
 * leaves behind. A full disk: test_audit_space.c.
 */
#include "tests/unit/audit_fixture.h"
#include "tests/unit/fail_lower.h"

#include "fs/gate/audit_next.h"
#include "keymgmt/base/bytes.h"

#include <pthread.h>
#include <time.h>

static void sequences(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct audit *a;
	assert_int_equal(log_open(&f, NULL, 0, &a), 0);
	assert_int_equal(audit_sequence(a), 0);
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
		assert_int_equal(audit_sequence(a), i);
	}
	assert_int_equal(audit_heartbeat(a), 0);
	assert_int_equal(audit_sequence(a), 4);
	assert_false(audit_broken(a));
	audit_close(a);
	assert_int_equal(log_open(&f, NULL, 0, &a), 0);
	assert_int_equal(audit_sequence(a), 5); /* the end record */
	audit_close(a);
	audit_close(NULL);
	assert_int_equal(log_verify(&f), AUDIT_INTACT);
	log_free(&f);
}

static void created_once(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct err e = {0};
	uint8_t before[KEY_LEN], after[KEY_LEN];
	keyring_audit_root(f.keys, before);
	assert_int_equal(audit_create(lower_posix(), f.fd, f.keys, &e), -EEXIST);
	keyring_audit_root(f.keys, after);
	assert_memory_equal(before, after, KEY_LEN);
	log_free(&f);
}

/* What somebody does to the open segment. */
static void act_unlink(struct log_fixture *f, const char *name)
{
	unlinkat(f->dir, name, 0);
}

static void act_rename(struct log_fixture *f, const char *name)
{
	renameat(f->dir, name, f->dir, "gone");
}

static void act_replace(struct log_fixture *f, const char *name)
{
	AUTO_BUF b = log_load(f, name);
	unlinkat(f->dir, name, 0);
	log_store(f, name, b.data, b.len);
}

static void act_link(struct log_fixture *f, const char *name)
{
	assert_int_equal(linkat(f->dir, name, f->dir, "second", 0), 0);
}

static void act_cut(struct log_fixture *f, const char *name)
{
	AUTO_CLOSE fd = openat(f->dir, name, O_WRONLY);
	assert_int_equal(ftruncate(fd, 5000), 0);
}

static void act_extend(struct log_fixture *f, const char *name)
{
	AUTO_CLOSE fd = openat(f->dir, name, O_WRONLY | O_APPEND);
	assert_int_equal(io_write_full(fd, "x", 1), 0);
}

static void act_folder(struct log_fixture *f, const char *name)
{
	(void)name;
	renameat(f->fd, "audit", f->fd, "elsewhere");
	mkdirat(f->fd, "audit", 0700);
	nanosleep(&(struct timespec){.tv_nsec = 150000000}, NULL);
}

static void tampered_while_open(void **state)
{
	(void)state;
	static void (*const acts[])(struct log_fixture *, const char *) = {
		act_unlink, act_rename, act_replace, act_link, act_cut, act_extend, act_folder};
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		struct log_fixture f = log_new(1);
		struct audit *a;
		assert_int_equal(log_open(&f, NULL, 0, &a), 0);
		for (int n = 0; n < 8; n++)
			assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
		acts[i](&f, "00000001.seg");
		assert_int_equal(log_put(a, AUDIT_ORDINARY), -EIO);
		assert_true(audit_broken(a));
		unlinkat(f.dir, "second", 0);
		if (acts[i] == act_rename)
			renameat(f.dir, "gone", f.dir, "00000001.seg");
		assert_int_equal(log_put(a, AUDIT_RESERVE),
			-EIO); /* for good, though it is in order again */
		assert_int_equal(audit_heartbeat(a), -EIO);
		audit_close(a);
		if (acts[i] == act_folder) {
			unlinkat(f.fd, "audit", AT_REMOVEDIR);
			renameat(f.fd, "elsewhere", f.fd, "audit");
		}
		log_free(&f);
	}
}

/* A cut of the open segment that its writer noticed, and one after a crash: the next header tells.
 */
static void tampered_while_closed(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	log_session(&f, 5, 0);
	AUTO_BUF b = log_load(&f, "00000001.seg");
	log_store(&f, "00000001.seg", b.data, b.len - 100);
	log_session(&f, 1, 0);
	assert_int_equal(log_verify(&f),
		AUDIT_BROKEN); /* not an unclean end: audit/next knew how it ended */
	assert_int_equal(f.verdict.segment, 1);
	log_store(&f, "00000001.seg", b.data, b.len); /* what was there, put back too late */
	assert_int_equal(log_verify(&f), AUDIT_BROKEN);
	assert_int_equal(f.verdict.segment, 1);
	unlinkat(f.dir, "00000002.seg", 0);
	log_session(&f, 1, 0);
	assert_int_equal(log_verify(&f), AUDIT_BROKEN);
	log_free(&f);
}

static ino_t watched;
static bool watched_is_durable, durable_when_signed;

static int watch_fsync(struct lower *l, int fd, bool data_only)
{
	struct stat st;
	int r = lower_posix()->ops->fsync(l, fd, data_only);
	if (r == 0 && fstat(fd, &st) == 0 && st.st_ino == watched)
		watched_is_durable = true;
	return r;
}

static int watch_renameat(
	struct lower *l, int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	if (!strcmp(to, "00000002.seg"))
		durable_when_signed = watched_is_durable;
	return lower_posix()->ops->renameat(l, from_fd, from, to_fd, to, flags);
}

/* A mere kill leaves records that no disk has: signed, they may not go with the power. */
static void durable_when_it_is_signed(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct lower_ops ops = *lower_posix()->ops;
	struct lower watching = *lower_posix();
	struct fail_lower fail;
	struct audit *a;
	struct stat st;
	fail_lower_init(&fail, lower_posix());
	assert_int_equal(log_open(&f, &fail.base, 0, &a), 0);
	assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
	fail_lower_arm(&fail, FAIL_LOWER_ANY, 1, -EIO, false);
	audit_close(a);
	assert_int_equal(fstatat(f.dir, "00000001.seg", &st, 0), 0);
	watched = st.st_ino;
	watched_is_durable = durable_when_signed = false;
	ops.fsync = watch_fsync;
	ops.renameat = watch_renameat;
	watching.ops = &ops;
	assert_int_equal(log_open(&f, &watching, 0, &a), 0);
	audit_close(a);
	assert_true(durable_when_signed);
	assert_int_equal(log_verify(&f), AUDIT_UNCLEAN);
	log_free(&f);
}

static void write_errors(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct fail_lower fail;
	struct audit *a;
	fail_lower_init(&fail, lower_posix());
	assert_int_equal(log_open(&f, &fail.base, 0, &a), 0);
	fail_lower_arm(&fail, FAIL_LOWER_PWRITEV, 1, -EIO, true);
	assert_int_equal(log_put(a, AUDIT_ORDINARY), -EIO);
	assert_int_equal(log_put(a, AUDIT_ORDINARY), -EIO);
	audit_close(a);
	assert_int_equal(log_open(&f, &fail.base, 0, &a), 0);
	fail_lower_arm(&fail, FAIL_LOWER_FSYNC, 1, -EIO, true);
	assert_int_equal(audit_heartbeat(a), -EIO);
	assert_true(audit_broken(a));
	audit_close(a);
	assert_int_equal(log_verify(&f), AUDIT_UNCLEAN);
	log_free(&f);
}

enum stage { OPEN, ROTATE, CLOSE, STAGES };

/* One life of a log in which everything from the n-th call of a stage on fails. True when that
 * came. */
static bool live_and_die(struct log_fixture *f, enum stage stage, unsigned n, bool once)
{
	struct fail_lower fail;
	struct audit *a;
	fail_lower_init(&fail, lower_posix());
	if (stage == OPEN)
		fail_lower_arm(&fail, FAIL_LOWER_ANY, n, -EIO, once);
	if (log_open(f, &fail.base, 5000, &a) < 0)
		return true;
	if (stage == ROTATE)
		fail_lower_arm(&fail, FAIL_LOWER_ANY, n, -EIO, once);
	bool hit = false;
	for (int i = 0; i < 7 && !hit; i++)
		hit = log_put(a, AUDIT_ORDINARY) < 0;
	hit = hit || (stage != CLOSE && fail_lower_hit(&fail));
	if (stage == CLOSE)
		fail_lower_arm(&fail, FAIL_LOWER_ANY, n, -EIO, once);
	if (stage != CLOSE && hit && !once)
		fail_lower_arm(&fail, FAIL_LOWER_ANY, 1, -EIO, false);
	audit_close(a);
	return hit || fail_lower_hit(&fail);
}

/* No stop loses the log: it opens again, goes on, and shows an unclean end at worst. */
static void stops_anywhere(void **state)
{
	(void)state;
	for (int once = 0; once < 2; once++)
		for (enum stage stage = OPEN; stage < STAGES; stage++) {
			bool hit = true;
			unsigned n = 1, limit = stage == OPEN ? 200 : 100;
			for (; hit && n < limit; n++) {
				struct log_fixture f = log_new(1);
				log_session(&f, 2, 0);
				hit = live_and_die(&f, stage, n, once);
				assert_true(log_verify(&f) != AUDIT_BROKEN);
				log_session(&f, 1, 0);
				if (log_verify(&f) == AUDIT_BROKEN)
					print_error(
						"stage %d call %u: %s\n", stage, n, f.verdict.text);
				assert_true(f.verdict.state != AUDIT_BROKEN);
				assert_true(hit || f.verdict.state == AUDIT_INTACT);
				log_free(&f);
			}
			assert_true(n > 5 && n < limit);
		}
}

/* audit_create that fails leaves the keyring as it was. */
static void create_fails(void **state)
{
	(void)state;
	for (unsigned n = 1;; n++) {
		struct log_fixture f = log_new(1);
		struct fail_lower fail;
		struct err e = {0};
		uint8_t before[KEY_LEN], after[KEY_LEN];
		empty_folder(f.dir);
		unlinkat(f.fd, "audit", AT_REMOVEDIR);
		keyring_audit_root(f.keys, before);
		fail_lower_init(&fail, lower_posix());
		fail_lower_arm(&fail, FAIL_LOWER_ANY, n, -EDQUOT, true);
		int r = audit_create(&fail.base, f.fd, f.keys, &e);
		bool hit = fail_lower_hit(&fail);
		keyring_audit_root(f.keys, after);
		assert_int_equal(memcmp(before, after, KEY_LEN) == 0, r < 0);
		assert_int_equal(r < 0, e.text[0] != 0);
		close(f.dir);
		f.dir = openat(f.fd, "audit", O_RDONLY | O_DIRECTORY);
		if (f.dir < 0) {
			mkdirat(f.fd, "audit", 0700);
			f.dir = openat(f.fd, "audit", O_RDONLY | O_DIRECTORY);
		}
		log_free(&f);
		if (!hit) {
			assert_int_equal(r, 0);
			break;
		}
	}
}

struct thread_work {
	struct audit *a;
	int failures;
};

static void *put_many(void *context)
{
	struct thread_work *w = context;
	for (int i = 0; i < 200; i++)
		w->failures += log_put(w->a, AUDIT_ORDINARY) < 0;
	return NULL;
}

/* Group commit: all are durable, with far fewer flushes than records. */
static void durable_together(void **state)
{
	(void)state;
	enum { THREADS = 8 };
	struct log_fixture f = log_new(1);
	struct fail_lower fail;
	struct err e = {0};
	struct audit *a;
	struct thread_work work[THREADS];
	pthread_t threads[THREADS];
	const struct audit_options o = {.durable = true, .segment_bytes = 100000};
	fail_lower_init(&fail, lower_posix());
	assert_int_equal(audit_open(&fail.base, f.fd, f.keys, &o, &a, &e), 0);
	unsigned before = fail.total[FAIL_LOWER_FSYNC];
	assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
	assert_int_equal(fail.total[FAIL_LOWER_FSYNC], before + 1);
	for (int i = 0; i < THREADS; i++) {
		work[i] = (struct thread_work){.a = a};
		assert_int_equal(pthread_create(&threads[i], NULL, put_many, &work[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(work[i].failures, 0);
	}
	assert_true(fail.total[FAIL_LOWER_FSYNC] <= before + THREADS * 200 + 100);
	audit_close(a);
	assert_int_equal(log_verify(&f), AUDIT_INTACT);
	assert_true(f.verdict.records > THREADS * 200);
	log_free(&f);
}

/* Once a record is sealed, the key that sealed it is in no part of the chain. */
static void keys_forgotten(void **state)
{
	(void)state;
	struct audit_header h = {.number = 1, .first_sequence = 1};
	struct audit_chain c;
	uint8_t header[AUDIT_HEADER_LEN] = {0}, room[AUDIT_HEAD_LEN + 64 + AUDIT_FRAME_EXTRA] = {0};
	uint8_t *frame = room + AUDIT_HEAD_LEN;
	AUTO_SECRET *first = secret_random(KEY_LEN);
	assert_int_equal(audit_segment_chain_init(&c, &h, header, secret_copy(first)), 0);
	AUTO_SECRET *before = secret_copy(c.key);
	for (int i = 0; i < 5; i++) {
		const struct secret *cells[] = {c.key, c.spare};
		AUTO_SECRET *next = crypto_derive(before, "audit-record", "", 0, KEY_LEN);
		memset(frame + AUDIT_FRAME_LEN, 'a', 64);
		assert_int_equal(audit_segment_seal(&c, frame, 64, false), 0);
		audit_segment_advance(&c, frame, 64 + AUDIT_FRAME_EXTRA);
		for (int k = 0; k < 2; k++)
			assert_false(secret_equal(cells[k], before));
		static const uint8_t zeros[KEY_LEN];
		assert_memory_equal(secret_peek(c.spare), zeros, KEY_LEN);
		assert_true(secret_equal(c.key, next)); /* the documented step */
		secret_free(before);
		before = secret_copy(c.key);
	}
	audit_segment_chain_done(&c);
}

/* The record before cannot be opened with what a running writer still has. */
static void only_forwards(void **state)
{
	(void)state;
	struct audit_header h = {.number = 1, .first_sequence = 1};
	struct audit_chain c;
	uint8_t header[AUDIT_HEADER_LEN] = {0}, room[AUDIT_HEAD_LEN + 64 + AUDIT_FRAME_EXTRA] = {0},
		out[64];
	uint8_t *frame = room + AUDIT_HEAD_LEN;
	size_t len;
	bool end;
	assert_int_equal(audit_segment_chain_init(&c, &h, header, secret_random(KEY_LEN)), 0);
	assert_int_equal(audit_segment_seal(&c, frame, 64, false), 0);
	assert_int_equal(audit_segment_frame(&c, frame, 64 + AUDIT_FRAME_EXTRA, &len, &end),
		AUDIT_FRAME_WHOLE);
	assert_int_equal(audit_segment_open(&c, frame, len, out), 0);
	audit_segment_advance(&c, frame, len);
	assert_int_equal(audit_segment_frame(&c, frame, len, &len, &end), AUDIT_FRAME_BAD);
	assert_int_equal(audit_segment_open(&c, frame, 64 + AUDIT_FRAME_EXTRA, out), -EBADMSG);
	/* a try that failed is never sealed under the same nonce again */
	uint8_t first[64 + AUDIT_FRAME_EXTRA];
	memset(frame + AUDIT_FRAME_LEN, 0, 64);
	assert_int_equal(audit_segment_seal(&c, frame, 64, false), 0);
	memcpy(first, frame, sizeof(first));
	c.attempt++;
	memset(frame + AUDIT_FRAME_LEN, 0, 64);
	assert_int_equal(audit_segment_seal(&c, frame, 64, false), 0);
	assert_memory_not_equal(first + AUDIT_FRAME_LEN, frame + AUDIT_FRAME_LEN, 64);
	audit_segment_chain_done(&c);
}

/* audit/next holds one key at rest, and never one that has signed. */
static void next_holds_one(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct err e = {0};
	uint32_t expected = 1;
	for (int i = 0; i < 4; i++) {
		AUTO(audit_next_auto) struct audit_next next = {.stale = -1};
		assert_int_equal(audit_next_load(lower_posix(), f.dir, f.keys, &next, &e), 0);
		assert_int_equal(next.number, expected++);
		assert_int_equal(next.stale, -1);
		AUTO_BUF before = log_load(&f, "next");
		log_session(&f, 1, 0);
		AUTO_BUF after = log_load(&f, "next");
		/* the slot that was used is random now, and the key of before opens nowhere */
		assert_memory_not_equal(
			before.data + 4096 * next.slot, after.data + 4096 * next.slot, 168);
	}
	struct audit *a;
	{ /* and while the log is open too */
		AUTO(audit_next_auto) struct audit_next next = {.stale = -1};
		assert_int_equal(log_open(&f, NULL, 0, &a), 0);
		assert_int_equal(audit_next_load(lower_posix(), f.dir, f.keys, &next, &e), 0);
		assert_int_equal(next.stale, -1);
		assert_int_equal(next.number, expected + 1);
		audit_close(a);
	}
	AUTO_BUF old = log_load(&f, "next");
	log_session(&f, 1, 0);
	log_store(&f, "next", old.data, old.len); /* an old copy put back */
	assert_int_equal(log_open(&f, NULL, 0, &a), -EBADMSG);
	assert_int_equal(log_verify(&f), AUDIT_BROKEN);
	log_free(&f);
}

static void hidden_in_the_log(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct audit *a;
	log_session(&f, 3, 0);
	assert_int_equal(log_open(&f, NULL, 0, &a), 0);
	assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
	for (uint32_t n = 1; n <= 2; n++) {
		char name[AUDIT_SEGMENT_NAME_LEN];
		audit_segment_name(n, name);
		AUTO_BUF b = log_load(&f, name);
		assert_null(memmem(b.data, b.len, "payroll", 7));
		assert_null(memmem(b.data, b.len, "kind", 4));
	}
	audit_close(a);
	log_free(&f);
}

static int look_at_path(void *context, const struct audit_entry *entry)
{
	if (!entry->end)
		snprintf(context, 64, "%s", entry->event.path ? entry->event.path : "none");
	return 0;
}

static void path_options(void **state)
{
	(void)state;
	static const char *const starts[] = {"/payroll/a.txt", "/", "none"};
	for (int paths = AUDIT_PATH_CLEAR; paths <= AUDIT_PATH_NONE; paths++) {
		struct log_fixture f = log_new(1);
		struct err e = {0};
		struct audit *a;
		char path[64] = "";
		struct audit_options o = {.paths = paths};
		assert_int_equal(audit_open(lower_posix(), f.fd, f.keys, &o, &a, &e), 0);
		assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
		audit_close(a);
		assert_int_equal(audit_read(&f.reader, look_at_path, path, &f.verdict, &e), 0);
		assert_int_equal(strncmp(path, starts[paths], strlen(starts[paths])), 0);
		assert_int_equal(strstr(path, "payroll") != NULL, paths == AUDIT_PATH_CLEAR);
		log_free(&f);
	}
}

/* A rotation of the keys takes audit/next with it; without that the new keys cannot open the log.
 */
static void rewrapped(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct err e = {0};
	log_session(&f, 1, 0);
	for (unsigned n = 1;; n++) {
		struct fail_lower fail;
		fail_lower_init(&fail, lower_posix());
		assert_int_equal(keyring_rotate_begin(f.keys), 0);
		fail_lower_arm(&fail, FAIL_LOWER_ANY, n, -EIO, false);
		int r = audit_rewrap(&fail.base, f.fd, f.keys, &e);
		if (r < 0)
			assert_int_equal(audit_rewrap(lower_posix(), f.fd, f.keys, &e), 0);
		keyring_retire_done(f.keys);
		log_session(&f, 1, 0);
		assert_int_equal(log_verify(&f), AUDIT_INTACT);
		assert_int_equal(
			audit_rewrap(lower_posix(), f.fd, f.keys, &e), 0); /* nothing to do */
		if (!fail_lower_hit(&fail))
			break;
	}
	assert_int_equal(keyring_rotate_begin(f.keys), 0);
	log_session(&f, 1, 0); /* in between both keys open it */
	keyring_retire_done(f.keys);
	log_session(&f, 1, 0);
	assert_int_equal(keyring_rotate_begin(f.keys), 0);
	keyring_retire_done(f.keys);
	struct audit *a;
	e = (struct err){0};
	assert_int_equal(log_open(&f, NULL, 0, &a), -EBADMSG);
	log_free(&f);
}

static void missing(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct err e = {0};
	struct audit *a;
	const struct audit_options o = {0};
	unlinkat(f.dir, "next", 0);
	assert_int_equal(audit_open(lower_posix(), f.fd, f.keys, &o, &a, &e), -ENOENT);
	assert_true(e.text[0]);
	log_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sequences),
		cmocka_unit_test(created_once),
		cmocka_unit_test(tampered_while_open),
		cmocka_unit_test(tampered_while_closed),
		cmocka_unit_test(durable_when_it_is_signed),
		cmocka_unit_test(write_errors),
		cmocka_unit_test(stops_anywhere),
		cmocka_unit_test(create_fails),
		cmocka_unit_test(durable_together),
		cmocka_unit_test(keys_forgotten),
		cmocka_unit_test(only_forwards),
		cmocka_unit_test(next_holds_one),
		cmocka_unit_test(hidden_in_the_log),
		cmocka_unit_test(path_options),
		cmocka_unit_test(rewrapped),
		cmocka_unit_test(missing),
	};
	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
