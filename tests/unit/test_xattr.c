/* fs/store/xattr: names and values of every length, flags and errors as the system calls have them,
 * nothing in the clear. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/xattr.h"
#include "tests/unit/store_place.h"

#include <errno.h>
#include <sys/xattr.h>

static struct file *make_file(struct store_place *p)
{
	struct name n;
	struct file *f;
	struct stat st;
	assert_int_equal(name_seal(p->root, "file", &n), 0);
	assert_int_equal(file_create(p->root, &n, 0600, NULL, &f, &st), 0);
	return f;
}

/* A lower descriptor on which fgetxattr(2) works. */
static int open_path(struct file *f, struct dir *d)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", f ? file_fd(f) : d->fd);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void check_one(struct file *f, struct dir *d, size_t name_len, size_t value_len)
{
	char name[256] = "user.", list[1024];
	char *value = malloc(value_len + 1), *got = malloc(value_len + 1);
	memset(name + 5, 'n', name_len - 5);
	name[name_len] = 0;
	memset(value, 'v', value_len);
	assert_int_equal(xattr_get(f, d, name, got, value_len), -ENODATA);
	assert_int_equal(xattr_set(f, d, name, value, value_len, XATTR_REPLACE), -ENODATA);
	assert_int_equal(xattr_set(f, d, name, value, value_len, XATTR_CREATE), 0);
	assert_int_equal(xattr_set(f, d, name, value, value_len, XATTR_CREATE), -EEXIST);
	assert_int_equal(xattr_set(f, d, name, value, value_len, 0), 0);
	assert_int_equal(xattr_get(f, d, name, NULL, 0), value_len);
	assert_int_equal(xattr_get(f, d, name, got, value_len + 1), value_len);
	assert_memory_equal(got, value, value_len);
	if (value_len > 1)
		assert_int_equal(xattr_get(f, d, name, got, value_len - 1), -ERANGE);
	assert_int_equal(xattr_list(f, d, NULL, 0), name_len + 1);
	assert_int_equal(xattr_list(f, d, list, name_len), -ERANGE);
	assert_int_equal(xattr_list(f, d, list, sizeof(list)), name_len + 1);
	assert_string_equal(list, name);
	AUTO_CLOSE fd = open_path(f, d);
	ssize_t n = flistxattr(fd, list, sizeof(list));
	assert_true(n > 0);
	assert_null(memmem(list, (size_t)n, "nnnn", 4));
	assert_int_equal(xattr_remove(f, d, name), 0);
	assert_int_equal(xattr_remove(f, d, name), -ENODATA);
	assert_int_equal(xattr_list(f, d, list, sizeof(list)), 0);
	free(value);
	free(got);
}

static void every_length(void **state)
{
	struct store_place *p = *state;
	static const size_t names[] = {6, 7, 20, 172, 173, 174, 175, 254, 255};
	static const size_t values[] = {0, 1, 100, 2000};
	struct file *f = make_file(p);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		for (size_t j = 0; j < sizeof(values) / sizeof(*values); j++) {
			check_one(f, NULL, names[i], values[j]);
			check_one(NULL, p->root, names[i], values[j]);
		}
	file_put(f);
	assert_int_equal(p->alarms, 0);
}

static void what_is_not_ours(void **state)
{
	struct store_place *p = *state;
	struct file *f = make_file(p);
	uint8_t id[FILE_ID_LEN], zero[FILE_ID_LEN] = {0};
	static const char *const names[] = {
		"security.selinux", "trusted.x", "system.other", "nothing", "user", ""};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		assert_int_equal(xattr_get(f, NULL, names[i], NULL, 0), -EOPNOTSUPP);
		assert_int_equal(xattr_set(f, NULL, names[i], "x", 1, 0), -EOPNOTSUPP);
		assert_int_equal(xattr_remove(NULL, p->root, names[i]), -EOPNOTSUPP);
	}
	assert_int_equal(xattr_set(f, NULL, "user.", "x", 1, 0), -EINVAL);
	assert_int_equal(xattr_get(f, NULL, "user.x", NULL, 0), -ENODATA);
	assert_int_equal(xattr_remove(f, NULL, "user.x"), -ENODATA);
	assert_int_equal(xattr_list(f, NULL, NULL, 0), 0);
	file_id(f, id);
	assert_memory_equal(id, zero, sizeof(id)); /* asking makes no header */
	file_put(f);
}

/* A fifo has no key: ACLs, and nothing else. */
static void what_has_no_key(void **state)
{
	static const uint8_t acl[] = {2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 232,
		3, 0, 0, 4, 0, 0, 0, 255, 255, 255, 255, 16, 0, 6, 0, 255, 255, 255, 255, 32, 0, 0,
		0, 255, 255, 255, 255};
	static const char name[] = "system.posix_acl_access";
	static const char *const others[] = {
		"user.x", "user.", "security.selinux", "trusted.x", ""};
	struct store_place *p = *state;
	struct lower *l = p->root->store->lower;
	uint8_t got[sizeof(acl)];
	char list[64];
	assert_int_equal(l->ops->mknodat(l, p->root->fd, "fifo", S_IFIFO | 0600, 0, NULL), 0);
	AUTO_LOWER_HELD at = {l, l->ops->openat(l, p->root->fd, "fifo", O_PATH, 0, NULL)};
	assert_true(at.fd >= 0);
	assert_int_equal(xattr_list_keyless(l, at.fd, NULL, 0), 0);
	assert_int_equal(xattr_get_keyless(l, at.fd, name, got, sizeof(got)), -ENODATA);
	assert_int_equal(xattr_set_keyless(l, at.fd, name, acl, sizeof(acl), 0), 0);
	assert_int_equal(xattr_get_keyless(l, at.fd, name, NULL, 0), sizeof(acl));
	assert_int_equal(xattr_get_keyless(l, at.fd, name, got, sizeof(got)), sizeof(acl));
	assert_memory_equal(got, acl, sizeof(acl));
	assert_int_equal(xattr_get_keyless(l, at.fd, name, got, 8), -ERANGE);
	assert_int_equal(xattr_list_keyless(l, at.fd, NULL, 0), sizeof(name));
	assert_int_equal(xattr_list_keyless(l, at.fd, list, sizeof(name) - 1), -ERANGE);
	assert_int_equal(xattr_list_keyless(l, at.fd, list, sizeof(list)), sizeof(name));
	assert_string_equal(list, name);
	assert_int_equal(xattr_remove_keyless(l, at.fd, name), 0);
	assert_int_equal(xattr_get_keyless(l, at.fd, name, got, sizeof(got)), -ENODATA);
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		assert_int_equal(xattr_get_keyless(l, at.fd, others[i], NULL, 0), -EOPNOTSUPP);
		assert_int_equal(xattr_set_keyless(l, at.fd, others[i], "x", 1, 0), -EOPNOTSUPP);
		assert_int_equal(xattr_remove_keyless(l, at.fd, others[i]), -EOPNOTSUPP);
	}
}

static void they_outlive_the_handle_and_the_content(void **state)
{
	struct store_place *p = *state;
	struct name n;
	char got[8];
	struct file *f = make_file(p);
	assert_int_equal(xattr_set(f, NULL, "user.first", "value", 5, 0), 0);
	assert_int_equal(file_write(f, "abc", 3, 0), 3);
	assert_int_equal(file_truncate(f, 0), 0);
	file_put(f);
	assert_int_equal(name_seal(p->root, "file", &n), 0);
	assert_int_equal(file_open(p->root, n.lower, &f), 0);
	assert_int_equal(xattr_get(f, NULL, "user.first", got, sizeof(got)), 5);
	assert_memory_equal(got, "value", 5);
	file_put(f);
	assert_int_equal(p->alarms, 0);
}

static void damage_is_refused(void **state)
{
	struct store_place *p = *state;
	struct file *f = make_file(p);
	char list[512];
	uint8_t value[512];
	assert_int_equal(xattr_set(f, NULL, "user.a", "one", 3, 0), 0);
	AUTO_CLOSE fd = open_path(f, NULL);
	assert_true(flistxattr(fd, list, sizeof(list)) > 0);
	ssize_t n = fgetxattr(fd, list, value, sizeof(value));
	assert_int_equal(n, 16 + 16 + 3 + 3);
	value[20] ^= 1;
	assert_int_equal(fsetxattr(fd, list, value, (size_t)n, 0), 0);
	assert_int_equal(xattr_get(f, NULL, "user.a", NULL, 0), -EBADMSG);
	assert_string_equal(p->what, "xattr");
	/* Under another's name. */
	value[20] ^= 1;
	assert_int_equal(xattr_set(f, NULL, "user.b", "two", 3, 0), 0);
	assert_int_equal(fsetxattr(fd, list, value, (size_t)n, 0), 0);
	assert_int_equal(xattr_get(f, NULL, "user.a", NULL, 0), 3);
	char all[512];
	ssize_t len = flistxattr(fd, all, sizeof(all));
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(all + at) + 1)
		if (strcmp(all + at, list) != 0)
			assert_int_equal(fsetxattr(fd, all + at, value, (size_t)n, 0), 0);
	assert_int_equal(xattr_get(f, NULL, "user.b", NULL, 0), -EBADMSG);
	assert_int_equal(fsetxattr(fd, "user.tfs.AAAA", "x", 1, 0), 0);
	assert_int_equal(xattr_list(f, NULL, NULL, 0), -EBADMSG);
	assert_int_equal(p->alarms, 3);
	file_put(f);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, store_place_make, store_place_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_length),
		TEST(what_is_not_ours),
		TEST(what_has_no_key),
		TEST(they_outlive_the_handle_and_the_content),
		TEST(damage_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
