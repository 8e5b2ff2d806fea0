/* Whatever is done to a log, verifying it says so and names the place; what a stop leaves is told
 * apart from that. */
#include "tests/unit/audit_fixture.h"
#include "tests/unit/fail_lower.h"

#include "keymgmt/base/bytes.h"
#include "keymgmt/keyring_internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define FRAMES_MAX 64

struct frames {
	size_t at[FRAMES_MAX + 1]; /* offsets; one more: the end */
	unsigned count;
};

static struct frames frames_of(const struct buf *b)
{
	struct frames f = {.at = {AUDIT_HEADER_LEN}};
	while (f.at[f.count] < b->len && f.count < FRAMES_MAX) {
		size_t len = bytes_get32(b->data + f.at[f.count]) & 0x7fffffff;
		f.at[f.count + 1] = f.at[f.count] + len + AUDIT_FRAME_EXTRA;
		f.count++;
	}
	return f;
}

static void assert_broken(struct log_fixture *f, uint32_t segment, uint64_t record)
{
	assert_int_equal(log_verify(f), AUDIT_BROKEN);
	assert_int_equal(f->verdict.segment, segment);
	assert_int_equal(f->verdict.record, record);
	assert_true(f->verdict.text[0]);
}

static void intact(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	assert_int_equal(log_verify(&f), AUDIT_INTACT); /* nothing yet */
	assert_int_equal(f.verdict.segments, 0);
	log_session(&f, 3, 0);
	log_session(&f, 40, 6000);
	log_session(&f, 0, 0);
	assert_int_equal(log_verify(&f), AUDIT_INTACT);
	assert_true(f.verdict.segments > 4);
	assert_false(f.verdict.live);
	assert_int_equal(f.verdict.records, f.verdict.last_sequence);
	assert_int_equal(f.verdict.records, 43 + f.verdict.segments);
	assert_int_equal(f.verdict.unclean_ends, 0);
	log_free(&f);
}

static void every_byte(void **state)
{
	(void)state;
	static const char *const names[] = {"00000001.seg", "00000002.seg"};
	struct log_fixture f = log_new(1);
	log_session(&f, 2, 0);
	log_session(&f, 2, 0);
	for (unsigned s = 0; s < 2; s++) {
		AUTO_BUF b = log_load(&f, names[s]);
		struct frames frames = frames_of(&b);
		assert_int_equal(frames.count, 3);
		unsigned record = 0;
		for (size_t i = 0; i < b.len; i++) {
			record += i == frames.at[record] && i >= AUDIT_HEADER_LEN;
			b.data[i] ^= (uint8_t)(1u << i % 8);
			log_store(&f, names[s], b.data, b.len);
			assert_broken(&f, s + 1, record);
			b.data[i] ^= (uint8_t)(1u << i % 8);
		}
		log_store(&f, names[s], b.data, b.len);
		assert_int_equal(log_verify(&f), AUDIT_INTACT);
	}
	log_free(&f);
}

static void every_length_byte(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	log_session(&f, 3, 0);
	AUTO_BUF b = log_load(&f, "00000001.seg");
	struct frames frames = frames_of(&b);
	for (unsigned r = 0; r < frames.count; r++)
		for (unsigned bit = 0; bit < 8 * AUDIT_FRAME_LEN; bit++) {
			b.data[frames.at[r] + bit / 8] ^= (uint8_t)(1u << bit % 8);
			log_store(&f, "00000001.seg", b.data, b.len);
			assert_broken(&f, 1, r + 1);
			b.data[frames.at[r] + bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	log_free(&f);
}

/* audit/next: a byte of the key in force. */
static void next_changed(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	log_session(&f, 1, 0);
	AUTO_BUF b = log_load(&f, "next");
	unsigned broken = 0;
	for (size_t i = 0; i < b.len; i++) {
		if (i % 4096 >= 168)
			continue;
		b.data[i] ^= 1;
		log_store(&f, "next", b.data, b.len);
		broken += log_verify(&f) == AUDIT_BROKEN;
		b.data[i] ^= 1;
	}
	assert_int_equal(broken, 168);
	unlinkat(f.dir, "next", 0);
	assert_int_equal(log_verify(&f), AUDIT_BROKEN);
	log_free(&f);
}

/* Records of one closed segment, moved about. */
static void records_moved(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	log_session(&f, 4, 0);
	AUTO_BUF b = log_load(&f, "00000001.seg");
	struct frames at = frames_of(&b);
	assert_int_equal(at.count, 5);
	for (unsigned r = 0; r < 4; r++) {
		size_t len = at.at[r + 1] - at.at[r];
		AUTO_BUF removed = {0};
		AUTO_BUF doubled = {0};
		AUTO_BUF swapped = {0};
		buf_put(&removed, b.data, at.at[r]);
		buf_put(&removed, b.data + at.at[r + 1], b.len - at.at[r + 1]);
		log_store(&f, "00000001.seg", removed.data, removed.len);
		assert_broken(&f, 1, r + 1);
		buf_put(&doubled, b.data, at.at[r + 1]);
		buf_put(&doubled, b.data + at.at[r], len);
		buf_put(&doubled, b.data + at.at[r + 1], b.len - at.at[r + 1]);
		log_store(&f, "00000001.seg", doubled.data, doubled.len);
		assert_broken(&f, 1, r + 2);
		buf_put(&swapped, b.data, at.at[r]);
		buf_put(&swapped, b.data + at.at[r + 1], at.at[r + 2] - at.at[r + 1]);
		buf_put(&swapped, b.data + at.at[r], len);
		buf_put(&swapped, b.data + at.at[r + 2], b.len - at.at[r + 2]);
		log_store(&f, "00000001.seg", swapped.data, swapped.len);
		assert_broken(&f, 1, r + 1);
	}
	buf_put(&b, "x", 1);
	log_store(&f, "00000001.seg", b.data, b.len);
	assert_broken(&f, 1, 6);
	log_free(&f);
}

/* Cut anywhere after it was closed, in the middle of the log and at its end. */
static void cut_after_close(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	log_session(&f, 2, 0);
	log_session(&f, 2, 0);
	for (unsigned s = 1; s <= 2; s++) {
		char name[AUDIT_SEGMENT_NAME_LEN];
		audit_segment_name(s, name);
		AUTO_BUF b = log_load(&f, name);
		struct frames at = frames_of(&b);
		for (size_t len = 0; len < b.len; len += len < AUDIT_HEADER_LEN ? 512 : 7) {
			unsigned whole = 0;
			while (whole < at.count && at.at[whole + 1] <= len)
				whole++;
			log_store(&f, name, b.data, len);
			assert_broken(&f, s, len < AUDIT_HEADER_LEN ? 0 : whole + 1);
		}
		log_store(&f, name, b.data, b.len);
	}
	assert_int_equal(log_verify(&f), AUDIT_INTACT);
	log_free(&f);
}

static void segments_moved(void **state)
{
	(void)state;
	static const char *const names[] = {"00000001.seg", "00000002.seg", "00000003.seg"};
	struct log_fixture f = log_new(1);
	for (int i = 0; i < 3; i++)
		log_session(&f, 2, 0);
	for (uint32_t s = 0; s < 3; s++) {
		renameat(f.dir, names[s], f.dir, "aside");
		assert_broken(&f, s + 1, 0); /* removed: also the last, which audit/next knows of */
		renameat(f.dir, "aside", f.dir, names[s]);
	}
	for (uint32_t s = 0; s < 2; s++) {
		assert_int_equal(
			renameat2(f.dir, names[s], f.dir, names[s + 1], RENAME_EXCHANGE), 0);
		assert_broken(&f, s + 1, 0);
		assert_int_equal(
			renameat2(f.dir, names[s], f.dir, names[s + 1], RENAME_EXCHANGE), 0);
	}
	renameat(f.dir, names[2], f.dir, "00000004.seg");
	assert_broken(&f, 3, 0);
	renameat(f.dir, "00000004.seg", f.dir, names[2]);
	AUTO_BUF b = log_load(&f, names[2]);
	log_store(&f, "00000004.seg", b.data, b.len);
	assert_broken(&f, 4, 0);
	unlinkat(f.dir, "00000004.seg", 0);
	log_store(&f, "99999999.seg", b.data,
		b.len); /* and at once, not after a hundred million tries */
	assert_broken(&f, 4, 0);
	unlinkat(f.dir, "99999999.seg", 0);
	for (uint32_t s = 0; s < 3; s++)
		unlinkat(f.dir, names[s], 0);
	assert_broken(&f, 1, 0);
	log_free(&f);
}

static void foreign_segment(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1), other = log_new(2);
	log_session(&f, 2, 0);
	log_session(&other, 2, 0);
	AUTO_BUF b = log_load(&other, "00000001.seg");
	AUTO_BUF next = log_load(&other, "next");
	log_store(&f, "00000001.seg", b.data, b.len);
	assert_broken(&f, 1, 0);
	log_store(&f, "next", next.data, next.len);
	assert_broken(&f, 1, 0);
	log_free(&f);
	log_free(&other);
}

/* A whole segment made by somebody who knows every public key, and sealed to the auditor. */
static void forged(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	uint8_t header[AUDIT_HEADER_LEN], room[AUDIT_HEAD_LEN + 512] = {0},
								*frame = room + AUDIT_HEAD_LEN;
	uint8_t public_key[KEY_LEN];
	static const char json[] =
		"{\"n\":1,\"t\":5,\"kind\":\"access\",\"op\":\"open\",\"allowed\":true}";
	AUTO_SECRET *signing = NULL;
	struct audit_chain chain;
	log_session(&f, 2, 0);
	AUTO_BUF b = log_load(&f, "00000001.seg");
	struct audit_header h;
	assert_int_equal(audit_segment_header_parse(b.data, &h), 0);
	struct secret *key = secret_random(KEY_LEN);
	assert_int_equal(crypto_box_seal_to(h.auditor[0], key, h.box[0]), 0);
	assert_int_equal(crypto_sign_new(public_key, &signing), 0);
	audit_segment_header_pack(&h, signing, header);
	assert_int_equal(audit_segment_chain_init(&chain, &h, header, key), 0);
	memcpy(frame + AUDIT_FRAME_LEN, json, sizeof(json) - 1);
	assert_int_equal(audit_segment_seal(&chain, frame, sizeof(json) - 1, false), 0);
	AUTO_BUF made = {0};
	buf_put(&made, header, sizeof(header));
	buf_put(&made, frame, sizeof(json) - 1 + AUDIT_FRAME_EXTRA);
	log_store(&f, "00000001.seg", made.data, made.len);
	assert_broken(&f, 1, 0);
	/* the true header before a forged record */
	memcpy(made.data, b.data, AUDIT_HEADER_LEN);
	log_store(&f, "00000001.seg", made.data, made.len);
	assert_broken(&f, 1, 1);
	audit_segment_chain_done(&chain);
	log_free(&f);
}

/* A writer that stops without a word: every call from now on fails. */
static void crash(struct fail_lower *fail, struct audit *a)
{
	fail_lower_arm(fail, FAIL_LOWER_ANY, 1, -EIO, false);
	audit_close(a);
}

static void crashed_session(struct log_fixture *f, unsigned n)
{
	struct fail_lower fail;
	struct audit *a;
	fail_lower_init(&fail, lower_posix());
	assert_int_equal(log_open(f, &fail.base, 0, &a), 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
	crash(&fail, a);
}

static void unclean_end(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	log_session(&f, 2, 0);
	crashed_session(&f, 3);
	assert_int_equal(log_verify(&f), AUDIT_UNCLEAN);
	assert_int_equal(f.verdict.unclean_ends, 1);
	assert_int_equal(f.verdict.unclean_segment, 2);
	assert_int_equal(f.verdict.unclean_time_ns, f.verdict.last_time_ns);
	assert_int_equal(f.verdict.last_sequence, 6);
	crashed_session(&f, 0);
	log_session(&f, 1, 0);
	assert_int_equal(log_verify(&f), AUDIT_UNCLEAN);
	assert_int_equal(f.verdict.unclean_ends, 2);
	assert_int_equal(f.verdict.unclean_segment, 3);
	assert_int_equal(f.verdict.unclean_time_ns, 0);
	assert_int_equal(f.verdict.last_sequence, 8);
	log_free(&f);
}

/* What a stop can leave at the end is no damage; once the next segment has signed for it, it may
 * not change again. */
static void unclean_tails(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	static const uint8_t zeros[5000];
	crashed_session(&f, 3);
	AUTO_BUF b = log_load(&f, "00000001.seg");
	struct frames at = frames_of(&b);
	assert_int_equal(at.count, 3);
	for (size_t len = AUDIT_HEADER_LEN; len <= b.len; len++) {
		unsigned whole = 0;
		while (whole < at.count && at.at[whole + 1] <= len)
			whole++;
		log_store(&f, "00000001.seg", b.data, len);
		assert_int_equal(log_verify(&f), AUDIT_UNCLEAN);
		assert_int_equal(f.verdict.records, whole);
	}
	for (size_t sector = AUDIT_HEADER_LEN; sector < b.len + 512; sector += 512) {
		AUTO_BUF torn = {0};
		buf_put(&torn, b.data, sector < b.len ? sector : b.len);
		buf_put(&torn, zeros, sizeof(zeros));
		log_store(&f, "00000001.seg", torn.data, torn.len);
		assert_int_equal(log_verify(&f), AUDIT_UNCLEAN);
	}
	AUTO_BUF odd = {0};
	buf_put(&odd, b.data, b.len);
	buf_put(&odd, "something that nobody wrote", 27);
	log_store(&f, "00000001.seg", odd.data, odd.len);
	assert_broken(&f, 1, 4);
	log_store(&f, "00000001.seg", b.data, b.len - 5);
	log_session(&f, 1, 0);
	assert_int_equal(log_verify(&f), AUDIT_UNCLEAN);
	log_store(&f, "00000001.seg", b.data, b.len - 6);
	assert_broken(&f, 1, 3);
	log_store(&f, "00000001.seg", b.data, b.len);
	assert_broken(&f, 1, 4);
	log_free(&f);
}

static size_t put_path(struct log_fixture *f, const char *path, unsigned n)
{
	struct fail_lower fail;
	struct audit *a;
	struct audit_event event = log_event(path);
	fail_lower_init(&fail, lower_posix());
	assert_int_equal(log_open(f, &fail.base, 0, &a), 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(audit_write(a, &event, AUDIT_ORDINARY), 0);
	crash(&fail, a);
	AUTO_BUF b = log_load(f, "00000001.seg");
	return b.len;
}

/* A lost sector that begins within the twelve bytes before a record. */
static void lost_in_frame(void **state)
{
	(void)state;
	static const uint8_t zeros[2000];
	struct log_fixture measured = log_new(1), f = log_new(1);
	char path[600] = "/";
	size_t len = put_path(&measured, path, 1);
	memset(path + 1, 'a', (506 + 512 - len % 512) % 512);
	assert_true(put_path(&f, path, 2) > 4096 + 512);
	AUTO_BUF b = log_load(&f, "00000001.seg");
	struct frames at = frames_of(&b);
	assert_int_equal(at.at[1] % 512, 506);
	AUTO_BUF torn = {0};
	buf_put(&torn, b.data, at.at[1] + 6);
	buf_put(&torn, zeros, sizeof(zeros));
	log_store(&f, "00000001.seg", torn.data, torn.len);
	assert_int_equal(log_verify(&f), AUDIT_UNCLEAN);
	assert_int_equal(f.verdict.records, 1);
	log_free(&measured);
	log_free(&f);
}

/* Stopped between the end record and audit/next: what is behind the end is nobody's. */
static void behind_the_end(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct fail_lower fail;
	struct audit *a;
	fail_lower_init(&fail, lower_posix());
	assert_int_equal(log_open(&f, &fail.base, 0, &a), 0);
	assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
	fail_lower_arm(&fail, FAIL_LOWER_FSYNC, 1, -EIO, false);
	audit_close(a);
	assert_int_equal(log_verify(&f), AUDIT_INTACT);
	AUTO_BUF b = log_load(&f, "00000001.seg");
	buf_put8(&b, 'x');
	log_store(&f, "00000001.seg", b.data, b.len);
	assert_broken(&f, 1, 3);
	log_free(&f);
}

/* Each byte of a log without an end, but for the tail that a stop may have cut. */
static void unclean_flips(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	crashed_session(&f, 2);
	AUTO_BUF b = log_load(&f, "00000001.seg");
	for (size_t i = 0; i < b.len; i += i < AUDIT_HEADER_LEN ? 64 : 1) {
		b.data[i] ^= 0x10;
		log_store(&f, "00000001.seg", b.data, b.len);
		assert_int_equal(log_verify(&f), AUDIT_BROKEN);
		b.data[i] ^= 0x10;
	}
	log_free(&f);
}

struct writer {
	struct audit *a;
	atomic_bool stop;
};

static void *write_on(void *context)
{
	struct writer *w = context;
	/* not faster than it is read from the beginning, again and again */
	for (int i = 0; i < 4000 && !atomic_load(&w->stop); i++) {
		if (log_put(w->a, AUDIT_ORDINARY) < 0)
			return w;
		if (i % 20 == 0)
			nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
	}
	return NULL;
}

static void while_written(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct writer w = {0};
	pthread_t thread;
	void *failed;
	log_session(&f, 2, 0);
	assert_int_equal(log_open(&f, NULL, 20000, &w.a), 0);
	assert_int_equal(log_verify(&f), AUDIT_INTACT);
	assert_true(f.verdict.live);
	assert_int_equal(pthread_create(&thread, NULL, write_on, &w), 0);
	for (int i = 0; i < 15; i++) {
		if (log_verify(&f) != AUDIT_INTACT)
			print_error("%s, segment %u record %lu\n", f.verdict.text,
				f.verdict.segment, (unsigned long)f.verdict.record);
		assert_int_equal(f.verdict.state, AUDIT_INTACT);
		nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
	}
	atomic_store(&w.stop, true);
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_true(f.verdict.segments > 3);
	/* the newest, taken away from a running log: known from audit/next */
	audit_close(w.a);
	assert_int_equal(log_verify(&f), AUDIT_INTACT);
	assert_false(f.verdict.live);
	log_free(&f);
}

static int count(void *context, const struct audit_entry *entry)
{
	unsigned *n = context;
	assert_int_equal(entry->sequence, ++*n);
	assert_false(entry->suspect);
	return *n == 5 ? 77 : 0;
}

static int count_suspect(void *context, const struct audit_entry *entry)
{
	*(unsigned *)context += entry->suspect;
	return 0;
}

/* What follows a damaged record is still shown, and marked. */
static void each_record(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct err e = {0};
	unsigned n = 0;
	log_session(&f, 4, 0);
	log_session(&f, 4, 0);
	assert_int_equal(audit_read(&f.reader, count, &n, &f.verdict, &e), 77);
	AUTO_BUF b = log_load(&f, "00000001.seg");
	b.data[frames_of(&b).at[1] + 30] ^= 1;
	log_store(&f, "00000001.seg", b.data, b.len);
	n = 0;
	assert_int_equal(audit_read(&f.reader, count_suspect, &n, &f.verdict, &e), 0);
	assert_int_equal(n, 3 + 5);
	assert_int_equal(f.verdict.records, 1);
	log_free(&f);
}

/* The auditor's secret leaves the keyring. */
static struct secret *take_auditor_secret(struct keyring *k)
{
	for (size_t i = 0; i < k->key_count; i++) {
		struct secret *secret = k->keys[i].secret;
		if (strcmp(k->keys[i].kind, KEYRING_AUDITOR) != 0)
			continue;
		k->keys[i].secret = NULL;
		k->keys[i].has_wrap = false;
		return secret;
	}
	return NULL;
}

static void auditors_keys(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct err e = {0};
	uint8_t listed[8][KEY_LEN];
	AUTO_SECRET *other = NULL;
	log_session(&f, 4, 0);
	/* An auditor who holds his own secret. */
	assert_int_equal(keyring_auditors(f.keys, listed), 1);
	AUTO_SECRET *own = take_auditor_secret(f.keys);
	assert_null(keyring_auditor_secret(f.keys, listed[0]));
	assert_int_equal(audit_read(&f.reader, NULL, NULL, &f.verdict, &e), -ENOKEY);
	assert_true(e.text[0]);
	f.reader.auditor = own;
	memcpy(f.reader.auditor_public, listed[0], KEY_LEN);
	assert_int_equal(log_verify(&f), AUDIT_INTACT);
	assert_int_equal(f.verdict.records, 5);
	assert_int_equal(f.verdict.unreadable, 0);
	/* the right public key with another secret, and another pair */
	assert_int_equal(crypto_box_new(f.reader.auditor_public, &other), 0);
	f.reader.auditor = other;
	assert_int_equal(log_verify(&f), AUDIT_INTACT); /* chained, not read */
	assert_int_equal(f.verdict.unreadable, 1);
	assert_int_equal(f.verdict.records, 0);
	memcpy(f.reader.auditor_public, listed[0], KEY_LEN);
	assert_broken(&f, 1, 0);
	log_free(&f);
}

static void not_files(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	log_session(&f, 1, 0);
	unlinkat(f.dir, "00000001.seg", 0);
	assert_int_equal(symlinkat("next", f.dir, "00000001.seg"), 0);
	assert_broken(&f, 1, 0);
	unlinkat(f.dir, "00000001.seg", 0);
	assert_int_equal(mkfifoat(f.dir, "00000001.seg", 0600), 0);
	assert_broken(&f, 1, 0); /* and does not wait for a writer */
	unlinkat(f.dir, "00000001.seg", 0);
	int fd = openat(f.dir, "00000001.seg", O_WRONLY | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, (off_t)AUDIT_SEGMENT_MAX + 1), 0);
	close(fd);
	assert_broken(&f, 1, 0);
	log_free(&f);
}

/* An error of a call is an error, never a verdict of damage. */
static void failing_calls(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct fail_lower fail;
	struct err e;
	fail_lower_init(&fail, lower_posix());
	log_session(&f, 2, 0);
	log_session(&f, 2, 0);
	f.reader.lower = &fail.base;
	for (unsigned n = 1;; n++) {
		e = (struct err){0};
		f.verdict = (struct audit_verdict){0};
		fail_lower_arm(&fail, FAIL_LOWER_ANY, n, -ENOMEM, true);
		int r = audit_read(&f.reader, NULL, NULL, &f.verdict, &e);
		if (!fail_lower_hit(&fail))
			break;
		assert_true(r == 0 || r == -ENOMEM);
		assert_true(r == 0 ? f.verdict.state == AUDIT_INTACT : e.text[0] != 0);
	}
	log_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(intact),
		cmocka_unit_test(every_byte),
		cmocka_unit_test(every_length_byte),
		cmocka_unit_test(next_changed),
		cmocka_unit_test(records_moved),
		cmocka_unit_test(cut_after_close),
		cmocka_unit_test(segments_moved),
		cmocka_unit_test(foreign_segment),
		cmocka_unit_test(forged),
		cmocka_unit_test(unclean_end),
		cmocka_unit_test(unclean_tails),
		cmocka_unit_test(unclean_flips),
		cmocka_unit_test(lost_in_frame),
		cmocka_unit_test(behind_the_end),
		cmocka_unit_test(while_written),
		cmocka_unit_test(each_record),
		cmocka_unit_test(auditors_keys),
		cmocka_unit_test(not_files),
		cmocka_unit_test(failing_calls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
