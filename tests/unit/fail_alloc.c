#include "tests/unit/fail_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The real ones, by the linker's --wrap. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *text);
void __real_free(void *p);
int __real_mlock(const void *p, size_t size);
int __real_pthread_create(
	pthread_t *t, const pthread_attr_t *a, void *(*start)(void *), void *argument);
int __real_crypto_pwhash_argon2id(unsigned char *out, unsigned long long out_len,
	const char *passphrase, unsigned long long len, const unsigned char *salt,
	unsigned long long ops, size_t memory, int algorithm);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
char *__wrap_strdup(const char *text);
void __wrap_free(void *p);
int __wrap_mlock(const void *p, size_t size);
int __wrap_pthread_create(
	pthread_t *t, const pthread_attr_t *a, void *(*start)(void *), void *argument);
int __wrap_crypto_pwhash_argon2id(unsigned char *out, unsigned long long out_len,
	const char *passphrase, unsigned long long len, const unsigned char *salt,
	unsigned long long ops, size_t memory, int algorithm);
struct pool;
void *__real_pool_new(struct pool *p, size_t size);
void *__real_pool_pages_new(size_t bytes);
void *__wrap_pool_new(struct pool *p, size_t size);
void *__wrap_pool_pages_new(size_t bytes);

enum { OFF, ONE_THREAD, ALL_THREADS };
static atomic_int armed;
static pthread_t armed_thread; /* constant while armed */
static atomic_uint counted, at, failures, marked;
static const void *marker; /* constant while code under test runs */
static size_t marker_len;
static bool watching; /* constant */

void fail_alloc_arm(unsigned n, bool threads)
{
	atomic_store(&counted, 0);
	atomic_store(&at, n);
	armed_thread = pthread_self();
	atomic_store(&armed, threads ? ALL_THREADS : ONE_THREAD);
}

bool fail_alloc_disarm(void)
{
	atomic_store(&armed, OFF);
	return atomic_load(&at) && atomic_load(&counted) >= atomic_load(&at);
}

unsigned fail_alloc_failures(void)
{
	return atomic_load(&failures);
}

unsigned fail_alloc_watch(const void *bytes, size_t len)
{
	marker = bytes;
	marker_len = len;
	return atomic_exchange(&marked, 0);
}

static bool fails(void)
{
	int how = atomic_load(&armed);
	if (how == OFF || (how == ONE_THREAD && !pthread_equal(armed_thread, pthread_self())))
		return false;
	if (atomic_fetch_add(&counted, 1) + 1 != atomic_load(&at))
		return false;
	atomic_fetch_add(&failures, 1);
	errno = ENOMEM;
	return true;
}

static void look(void *p)
{
	if (!p || !marker || !watching || atomic_load(&armed) == OFF ||
		!memmem(p, malloc_usable_size(p), marker, marker_len))
		return;
	void *from[16];
	fprintf(stderr, "# plaintext in a block of %zu bytes given back by\n",
		malloc_usable_size(p));
	backtrace_symbols_fd(from, backtrace(from, 16), STDERR_FILENO);
	atomic_fetch_add(&marked, 1);
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	if (fails())
		return NULL;
	look(p); /* it may move, and leave the old block as it is */
	return __real_realloc(p, size);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	if (fails())
		return NULL;
	look(p);
	return __real_reallocarray(p, n, size);
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

void __wrap_free(void *p)
{
	look(p);
	__real_free(p);
}

int __wrap_mlock(const void *p, size_t size)
{
	return fails() ? -1 : __real_mlock(p, size);
}

void *__wrap_pool_new(struct pool *p, size_t size)
{
	return fails() ? NULL : __real_pool_new(p, size);
}

void *__wrap_pool_pages_new(size_t bytes)
{
	return fails() ? NULL : __real_pool_pages_new(bytes);
}

int __wrap_pthread_create(
	pthread_t *t, const pthread_attr_t *a, void *(*start)(void *), void *argument)
{
	return fails() ? EAGAIN : __real_pthread_create(t, a, start, argument);
}

int __wrap_crypto_pwhash_argon2id(unsigned char *out, unsigned long long out_len,
	const char *passphrase, unsigned long long len, const unsigned char *salt,
	unsigned long long ops, size_t memory, int algorithm)
{
	return fails() ? -1
		       : __real_crypto_pwhash_argon2id(
				 out, out_len, passphrase, len, salt, ops, memory, algorithm);
}

static void *libcrypto_malloc(size_t size, const char *file, int line)
{
	(void)file, (void)line;
	return __wrap_malloc(size);
}

static void *libcrypto_realloc(void *p, size_t size, const char *file, int line)
{
	(void)file, (void)line;
	return __wrap_realloc(p, size);
}

static void libcrypto_free(void *p, const char *file, int line)
{
	(void)file, (void)line;
	__wrap_free(p);
}

/* Only before its first allocation. jansson's is ours: keymgmt/base/jsontext.c. */
__attribute__((constructor)) static void take_libcrypto(void)
{
	/* Looking at what was never written is an error to valgrind. */
	watching = !getenv("TENANTFS_TEST_VALGRIND");
	if (!CRYPTO_set_mem_functions(libcrypto_malloc, libcrypto_realloc, libcrypto_free))
		abort();
}

static unsigned descriptors(void)
{
	unsigned n = 0;
	DIR *d = opendir("/proc/self/fd");
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

unsigned fail_alloc_sweep(const struct fail_alloc_case *c, void *context)
{
	unsigned failed = 0;
	bool hit = true;
	for (unsigned n = 1; hit; n++) {
		if (c->prepare)
			c->prepare(context);
		unsigned before = descriptors();
		fail_alloc_arm(n, c->threads);
		int r = c->run(context);
		hit = fail_alloc_disarm();
		failed += hit;
		if (r < 0 && !(hit && (r == -ENOMEM || (c->also && r == c->also))))
			fail_msg("%s: error %d with allocation %u failing", c->name, r, n);
		if (r < 0) {
			if (c->failed)
				c->failed(context, r);
			unsigned after = descriptors();
			/* Another thread may have one for a moment. */
			for (int wait = 0; after > before && wait < 1000; wait++) {
				usleep(1000);
				after = descriptors();
			}
			if (after > before)
				fail_msg("%s: %u descriptors before, %u after, with allocation %u "
					 "failing",
					c->name, before, after, n);
			if (c->once)
				continue;
			r = c->run(context);
			if (r < 0)
				fail_msg("%s: error %d after allocation %u had failed", c->name, r,
					n);
		}
		if (c->done)
			c->done(context);
		if (n > 20000)
			fail_msg("%s: no end", c->name);
	}
	if (getenv("TENANTFS_TEST_FIGURES"))
		print_message("# %s: %u allocations failed\n", c->name, failed);
	return failed;
}
