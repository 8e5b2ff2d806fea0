/* What the tests of the audit trail share: a tenant's folder, a keyring in memory, events, copies
 * of segments. */
#ifndef TEST_AUDIT_FIXTURE_H
#define TEST_AUDIT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/gate/audit.h"
#include "fs/gate/audit_read.h"
#include "fs/gate/audit_segment.h"
#include "keymgmt/base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct log_fixture {
	char path[64];
	int fd;  /* the tenant's folder */
	int dir; /* its folder audit */
	struct keyring *keys;
	struct audit_reader reader;
	struct audit_verdict verdict;
};

static inline struct log_fixture log_new(uint8_t tenant)
{
	struct log_fixture f = {.path = "/dev/shm/tenantfs-audit-XXXXXX"};
	struct keyring_owner owner = {.tenant = "acme"};
	struct err e = {0};
	memset(owner.store_uuid, 7, sizeof(owner.store_uuid));
	memset(owner.tenant_uuid, tenant, sizeof(owner.tenant_uuid));
	assert_int_equal(crypto_init(), 0);
	/* memory where there is some: thousands of flushes */
	if (access("/dev/shm", W_OK) != 0)
		snprintf(f.path, sizeof(f.path), "/tmp/tenantfs-audit-XXXXXX");
	assert_non_null(mkdtemp(f.path));
	f.fd = open(f.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(keyring_create(&owner, CRYPTO_AES256_GCM, &f.keys), 0);
	assert_int_equal(audit_create(lower_posix(), f.fd, f.keys, &e), 0);
	f.dir = openat(f.fd, "audit", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	f.reader =
		(struct audit_reader){.lower = lower_posix(), .tenant_fd = f.fd, .keyring = f.keys};
	return f;
}

static inline void empty_folder(int dir)
{
	DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY));
	struct dirent *entry;
	while ((entry = readdir(d)))
		if (entry->d_name[0] != '.')
			unlinkat(dir, entry->d_name, 0);
	closedir(d);
}

static inline void log_free(struct log_fixture *f)
{
	empty_folder(f->dir);
	unlinkat(f->fd, "audit", AT_REMOVEDIR);
	empty_folder(f->fd);
	rmdir(f->path);
	close(f->dir);
	close(f->fd);
	keyring_free(f->keys);
}

static inline int log_open(
	struct log_fixture *f, struct lower *l, uint64_t segment_bytes, struct audit **ret)
{
	struct audit_options o = {.segment_bytes = segment_bytes};
	struct err e = {0};
	return audit_open(l ? l : lower_posix(), f->fd, f->keys, &o, ret, &e);
}

static inline struct audit_event log_event(const char *path)
{
	static const uint8_t id[16] = {1, 2, 3};
	return (struct audit_event){.kind = AUDIT_ACCESS,
		.op = OP_OPEN,
		.allowed = true,
		.caller = {1000, 1001, 4242},
		.login_uid = (uid_t)-1,
		.session = (uint32_t)-1,
		.exe = "/usr/bin/cat",
		.path = path,
		.file_id = id,
		.acts = ACT_READ | ACT_WRITE,
		.rules = "payroll",
		.correlation = 9};
}

static inline int log_put(struct audit *a, enum audit_need need)
{
	struct audit_event event = log_event("/payroll/a.txt");
	return audit_write(a, &event, need);
}

/* One more session with n records, closed. */
static inline void log_session(struct log_fixture *f, unsigned n, uint64_t segment_bytes)
{
	struct audit *a;
	assert_int_equal(log_open(f, NULL, segment_bytes, &a), 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(log_put(a, AUDIT_ORDINARY), 0);
	audit_close(a);
}

static inline int log_verify(struct log_fixture *f)
{
	struct err e = {0};
	assert_int_equal(audit_read(&f->reader, NULL, NULL, &f->verdict, &e), 0);
	return f->verdict.state;
}

/* Files of the folder audit. */
static inline struct buf log_load(const struct log_fixture *f, const char *name)
{
	struct buf b = {0};
	assert_int_equal(io_read_file(f->dir, name, 1 << 24, &b), 0);
	return b;
}

static inline void log_store(
	const struct log_fixture *f, const char *name, const void *bytes, size_t len)
{
	int fd = openat(f->dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, bytes, len), 0);
	close(fd);
}

#endif
