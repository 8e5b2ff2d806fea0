/* After the keys were renewed, a saved keyring with its passphrase opens what was written before
 * and nothing since. */
#include "tests/unit/audit_fixture.h"

#include "fs/gate/audit_next.h"
#include "fs/gate/policy_file.h"

static const char some_policy[] = "tenant acme\n";

struct tenant {
	struct log_fixture log;
	char path[64];
	int keys_fd;
	struct buf saved;       /* the keyring's file from before */
	struct keyring *before; /* the same, open */
};

static struct secret *words(const char *text)
{
	struct secret *s = secret_new(strlen(text));
	assert_non_null(s);
	memcpy(secret_bytes(s), text, strlen(text));
	return s;
}

static void add_slot(struct keyring *k, const char *name, const char *passphrase)
{
	static const struct slot_cost cheap = {.iterations = 1, .memory_kib = 64};
	AUTO_SECRET *s = words(passphrase);
	const struct slot_key key = {SLOT_PASSPHRASE, s};
	assert_int_equal(keyring_slot_add(k, name, &key, &cheap, NULL), 0);
}

static struct keyring *load_as(const struct tenant *t, const char *passphrase)
{
	struct keyring *k = NULL;
	AUTO_SECRET *s = words(passphrase);
	const struct slot_key key = {SLOT_PASSPHRASE, s};
	assert_int_equal(keyring_load(t->keys_fd, keyring_owner(t->log.keys), &k, NULL), 0);
	assert_int_equal(keyring_unlock(k, &key, NULL), 0);
	return k;
}

/* Segment 1 and policy 1 are from before. */
static struct tenant tenant_new(void)
{
	struct tenant t = {.log = log_new(1), .path = "/tmp/tenantfs-keys-XXXXXX"};
	uint64_t version;
	assert_non_null(mkdtemp(t.path));
	t.keys_fd = open(t.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	add_slot(t.log.keys, "eva", "eva's");
	add_slot(t.log.keys, "max", "max's");
	assert_int_equal(policy_file_apply(lower_posix(), t.log.fd, t.log.keys, t.keys_fd,
				 some_policy, sizeof(some_policy) - 1, &version, NULL),
		0);
	assert_int_equal(io_read_file(t.keys_fd, "acme.json", 1 << 20, &t.saved), 0);
	t.before = load_as(&t, "eva's");
	log_session(&t.log, 3, 0);
	return t;
}

static void tenant_free(struct tenant *t)
{
	unlinkat(t->keys_fd, "trash", AT_REMOVEDIR);
	unlinkat(t->keys_fd, "acme.json", 0);
	rmdir(t->path);
	close(t->keys_fd);
	buf_done(&t->saved);
	keyring_free(t->before);
	log_free(&t->log);
}

static void by_rotation(struct keyring *k)
{
	assert_int_equal(keyring_rotate_begin(k), 0);
}

static void by_passphrase(struct keyring *k)
{
	static const struct slot_cost cheap = {.iterations = 1, .memory_kib = 64};
	AUTO_SECRET *s = words("eva's new one");
	const struct slot_key key = {SLOT_PASSPHRASE, s};
	assert_int_equal(keyring_slot_replace(k, "eva", &key, &cheap, NULL), 0);
}

static void by_removal(struct keyring *k)
{
	assert_int_equal(keyring_slot_remove(k, "max", NULL), 0);
}

/* Neither slot of audit/next. */
static void assert_next_closed(const struct tenant *t, const struct keyring *old)
{
	AUTO(audit_next_auto) struct audit_next next = {.stale = -1};
	assert_int_equal(audit_next_load(lower_posix(), t->log.dir, old, &next, NULL), -EBADMSG);
}

/* Steps as tenantkey takes them. mounted: in between, as after an interruption. */
static void renew(struct tenant *t, void (*begin)(struct keyring *), bool mounted)
{
	struct keyring *k = t->log.keys;
	begin(k);
	assert_int_equal(keyring_store(k, t->keys_fd, NULL), 0);
	if (mounted)
		log_session(&t->log, 2, 0);
	assert_int_equal(audit_rewrap(lower_posix(), t->log.fd, k, NULL), 0);
	assert_next_closed(t, t->before);
	assert_int_equal(policy_file_reseal(lower_posix(), t->log.fd, k, t->keys_fd, NULL), 0);
	log_session(&t->log, 1, 0);
	keyring_retire_done(k);
	assert_int_equal(keyring_store(k, t->keys_fd, NULL), 0);
	log_session(&t->log, 2, 400); /* several segments in one go */
}

static struct keyring *restore_saved(struct tenant *t, const char *passphrase)
{
	int fd = openat(t->keys_fd, "acme.json", O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, t->saved.data, t->saved.len), 0);
	close(fd);
	return load_as(t, passphrase);
}

static int only_before(void *context, const struct audit_entry *entry)
{
	(void)context;
	assert_int_equal(entry->segment, 1);
	return 0;
}

/* Nothing of today opens with `old`, even for somebody who ignores what a program checks first. */
static void assert_outside(struct tenant *t, struct keyring *old)
{
	AUTO_BUF text = {0};
	uint8_t hash[32];
	uint64_t version;
	struct audit *a = NULL;
	const struct audit_options o = {0};
	struct audit_verdict v;
	const struct audit_reader reader = {
		.lower = lower_posix(), .tenant_fd = t->log.fd, .keyring = old};
	assert_int_equal(audit_read(&reader, only_before, NULL, &v, NULL), 0);
	assert_int_equal(v.state, AUDIT_BROKEN);
	assert_int_equal(v.records, 4);
	assert_int_equal(v.last_sequence, 4);
	assert_int_equal(v.unreadable, v.segments - 1);
	assert_non_null(strstr(v.text, "a copy from before the keys were renewed"));
	assert_int_equal(audit_open(lower_posix(), t->log.fd, old, &o, &a, NULL), -EBADMSG);
	assert_next_closed(t, old);
	assert_int_equal(
		policy_file_load(lower_posix(), t->log.fd, old, &text, &version, NULL), -EBADMSG);
	keyring_policy_hash(t->log.keys, hash);
	keyring_set_policy_hash(old, hash);
	assert_int_equal(
		policy_file_load(lower_posix(), t->log.fd, old, &text, &version, NULL), -EBADMSG);
	assert_int_equal(text.len, 0);
	assert_int_equal(faccessat(t->log.fd, "policy.old", F_OK, 0), -1);
	assert_int_equal(faccessat(t->log.fd, "policy.new", F_OK, 0), -1);
}

static const struct way {
	void (*begin)(struct keyring *);
	bool mounted;
	const char *now, *before; /* passphrases that open the keyring of today and the saved one */
} ways[] = {
	{by_rotation, false, "eva's", "eva's"},
	{by_rotation, true, "max's", "max's"},
	{by_passphrase, false, "eva's new one", "eva's"},
	{by_passphrase, true, "max's", "max's"},
	{by_removal, false, "eva's", "max's"},
	{by_removal, true, "eva's", "eva's"},
};

static void a_saved_keyring_opens_nothing_new(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		const struct way *way = &ways[i];
		struct tenant t = tenant_new();
		AUTO_BUF text = {0};
		uint64_t version;
		renew(&t, way->begin, way->mounted);
		/* The keyring of today, as it is on the disk, reads all of it. */
		struct keyring *now = load_as(&t, way->now);
		keyring_free(t.log.keys);
		t.log.keys = now;
		t.log.reader.keyring = t.log.keys;
		assert_int_equal(log_verify(&t.log), AUDIT_INTACT);
		assert_int_equal(t.log.verdict.unreadable, 0);
		assert_true(t.log.verdict.segments >= 3);
		assert_int_equal(t.log.verdict.records, t.log.verdict.last_sequence);
		assert_int_equal(policy_file_load(lower_posix(), t.log.fd, t.log.keys, &text,
					 &version, NULL),
			0);
		AUTO(keyring_auto) struct keyring *old = restore_saved(&t, way->before);
		assert_outside(&t, old);
		tenant_free(&t);
	}
}

/* Two renewals: a copy from between them opens what was written until the second. */
static void each_copy_reads_to_its_time(void **state)
{
	(void)state;
	struct tenant t = tenant_new();
	struct audit_verdict v;
	renew(&t, by_rotation, false);
	assert_int_equal(log_verify(&t.log), AUDIT_INTACT);
	const struct audit_verdict between = t.log.verdict;
	buf_reset(&t.saved);
	assert_int_equal(io_read_file(t.keys_fd, "acme.json", 1 << 20, &t.saved), 0);
	renew(&t, by_rotation, false);
	assert_int_equal(log_verify(&t.log), AUDIT_INTACT);
	assert_true(t.log.verdict.segments > between.segments);
	AUTO(keyring_auto) struct keyring *old = restore_saved(&t, "eva's");
	const struct audit_reader reader = {
		.lower = lower_posix(), .tenant_fd = t.log.fd, .keyring = old};
	assert_int_equal(audit_read(&reader, NULL, NULL, &v, NULL), 0);
	assert_int_equal(v.state, AUDIT_BROKEN);
	assert_int_equal(v.records, between.records);
	assert_int_equal(v.unreadable, t.log.verdict.segments - between.segments);
	tenant_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_saved_keyring_opens_nothing_new),
		cmocka_unit_test(each_copy_reads_to_its_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
