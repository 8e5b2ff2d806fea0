/* keymgmt/secret: locked memory that is wiped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keymgmt/base/bytes.h"
#include "keymgmt/crypto.h"
#include "keymgmt/secret.h"

#include <linux/capability.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The address sanitizer turns mlock into nothing. */
#if defined(__SANITIZE_ADDRESS__)
#define MLOCK_WORKS false
#else
#define MLOCK_WORKS true
#endif

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void lengths_out_of_range_are_refused(void **state)
{
	(void)state;
	static const struct {
		size_t len;
		bool ok;
	} rows[] = {{0, false}, {1, true}, {64, true}, {65, true}, {4096, true}, {65536, true},
		{65537, false}};
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_SECRET *s = secret_new(rows[i].len);
		assert_int_equal(s != NULL, rows[i].ok);
		if (!s)
			continue;
		assert_int_equal(secret_len(s), rows[i].len);
		assert_true(bytes_all_zero(secret_peek(s), rows[i].len));
	}
}

static void a_new_secret_is_zero_and_a_freed_one_wiped(void **state)
{
	(void)state;
	struct secret *s = secret_random(64);
	const uint8_t *cell = secret_peek(s);
	assert_false(bytes_all_zero(cell, 64));
	secret_free(s);
	/* The page stays mapped; its first bytes link free cells, the rest must be gone. */
	assert_true(bytes_all_zero(cell + sizeof(void *), 64 - sizeof(void *)));
	AUTO_SECRET *again = secret_new(64);
	assert_ptr_equal(secret_peek(again), cell);
	assert_true(bytes_all_zero(secret_peek(again), 64));
}

static void copies_are_equal_and_truncation_wipes(void **state)
{
	(void)state;
	AUTO_SECRET *a = secret_random(48);
	AUTO_SECRET *b = secret_copy(a);
	assert_true(secret_equal(a, b));
	secret_truncate(b, 32);
	assert_int_equal(secret_len(b), 32);
	assert_true(bytes_all_zero(secret_peek(b) + 32, 16));
	assert_false(secret_equal(a, b));
	secret_truncate(a, 32);
	assert_true(secret_equal(a, b));
	secret_truncate(a, 100); /* never longer */
	assert_int_equal(secret_len(a), 32);
	secret_bytes(a)[31] ^= 1;
	assert_false(secret_equal(a, b));
}

static void an_id_is_never_used_twice(void **state)
{
	(void)state;
	uint64_t last = 0;
	for (int i = 0; i < 1000; i++) {
		AUTO_SECRET *s = secret_new(32); /* mostly the same address */
		assert_true(secret_id(s) > last);
		last = secret_id(s);
		secret_bytes(s)[0] = 1;
		assert_true(secret_id(s) > last);
		last = secret_id(s);
	}
}

/* The flags of the mapping that holds address, from /proc/self/smaps. */
static void mapping_flags(const void *address, char *ret, size_t size)
{
	char line[512];
	bool inside = false;
	*ret = 0;
	FILE *f = fopen("/proc/self/smaps", "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = (uintptr_t)address >= from && (uintptr_t)address < to;
		if (inside && strncmp(line, "VmFlags:", 8) == 0)
			snprintf(ret, size, "%s", line);
	}
	fclose(f);
}

static void memory_is_locked_and_not_dumped(void **state)
{
	(void)state;
	static const size_t rows[] = {32, 64, 65, 5000};
	for (size_t i = 0; i < COUNT(rows); i++) {
		char flags[512];
		AUTO_SECRET *s = secret_random(rows[i]);
		assert_non_null(s);
		mapping_flags(secret_peek(s), flags, sizeof(flags));
		assert_true(!MLOCK_WORKS || strstr(flags, " lo"));
		assert_non_null(strstr(flags, " dd"));
	}
}

/* An ordinary user may lock 8 MiB; 64,000 keys (a key each for as many open files) take half of it.
 */
static void small_secrets_are_thrifty(void **state)
{
	(void)state;
	enum { N = 64000 };
	static struct secret *all[N];
	for (int i = 0; i < N; i++) {
		all[i] = secret_new(32);
		assert_non_null(all[i]);
	}
	char line[256];
	unsigned long locked = 0;
	FILE *f = fopen("/proc/self/status", "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "VmLck: %lu", &locked) == 1)
			break;
	fclose(f);
	for (int i = 0; i < N; i++)
		secret_free(all[i]);
	assert_in_range(locked, MLOCK_WORKS ? 1 : 0, 4200);
}

static char wrong_not_zero[] = "not zero";

static void *churn(void *unused)
{
	(void)unused;
	struct secret *held[16] = {NULL};
	for (unsigned i = 0; i < 20000; i++) {
		struct secret **at = &held[i % COUNT(held)];
		if (*at && !bytes_all_zero(secret_peek(*at) + 1, 31))
			return *at; /* another thread wrote to it */
		secret_free(*at);
		*at = secret_new(32);
		if (!*at || !bytes_all_zero(secret_peek(*at), 32))
			return wrong_not_zero;
		secret_bytes(*at)[0] = (uint8_t)i;
	}
	for (size_t i = 0; i < COUNT(held); i++)
		secret_free(held[i]);
	return NULL;
}

static void threads_do_not_share_cells(void **state)
{
	(void)state;
	pthread_t threads[4];
	for (size_t i = 0; i < COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, NULL), 0);
	for (size_t i = 0; i < COUNT(threads); i++) {
		void *result;
		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_null(result);
	}
}

static void a_hardened_process_cannot_be_dumped(void **state)
{
	(void)state;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct rlimit core;
		int bad = secret_harden_process();
		bad |= prctl(PR_GET_DUMPABLE) != 0;
		bad |= getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_max != 0;
		_exit(bad != 0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Root in a container or user namespace: without CAP_IPC_LOCK, under the usual limit. */
static void what_may_not_be_locked_can_be_used(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
		struct __user_cap_data_struct caps[2];
		struct rlimit little, after;
		int bad = getrlimit(RLIMIT_MEMLOCK, &little) != 0;
		/* More than the process has by now, where that may be set. */
		little.rlim_cur = little.rlim_max = MIN(little.rlim_max, (rlim_t)256 << 20);
		bad |= syscall(SYS_capget, &header, caps) != 0;
		caps[0].effective &= ~(1u << CAP_IPC_LOCK);
		bad |= syscall(SYS_capset, &header, caps) != 0;
		bad |= setrlimit(RLIMIT_MEMLOCK, &little) != 0;
		bad |= secret_harden_process() != 0;
		bad |= getrlimit(RLIMIT_MEMLOCK, &after) != 0 || after.rlim_cur != little.rlim_cur;
		void *large = mmap(NULL, (size_t)512 << 20, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		bad |= large == MAP_FAILED;
		struct secret *s = secret_new(32);
		bad |= !s;
		secret_free(s);
		_exit(bad != 0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths_out_of_range_are_refused),
		cmocka_unit_test(a_new_secret_is_zero_and_a_freed_one_wiped),
		cmocka_unit_test(copies_are_equal_and_truncation_wipes),
		cmocka_unit_test(an_id_is_never_used_twice),
		cmocka_unit_test(memory_is_locked_and_not_dumped),
		cmocka_unit_test(small_secrets_are_thrifty),
		cmocka_unit_test(threads_do_not_share_cells),
		cmocka_unit_test(a_hardened_process_cannot_be_dumped),
		cmocka_unit_test(what_may_not_be_locked_can_be_used),
	};
	return crypto_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
