/*
 * Writes and checks a tree of known content in a tenant without mounting it, for scripts that test
 * the key tool. store_tool STORE TENANT KEYS PASSPHRASE_FILE fill|check|ids N fill   files f0 ..
 * f(N-1) of growing size, folders d0 .. d9 with one file each, a link of f0, an empty file, a long
 * name check  everything that fill wrote reads back byte for byte ids    lower names of f0 ..
 * f(N-1), one a line
 */
#include "fs/store/layout.h"
#include "fs/store/tree.h"
#include "keymgmt/source.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FOLDERS 10
#define SIZE_STEP 701 /* bytes a file is larger than the one before; several blocks soon */

static void die(const char *what, int r)
{
	fprintf(stderr, "store_tool: %s: %s\n", what, strerror(-r));
	exit(1);
}

static size_t size_of(unsigned n)
{
	return (size_t)SIZE_STEP * (n % 40 + 1);
}

static void content_of(unsigned n, uint8_t *bytes)
{
	for (size_t i = 0; i < size_of(n); i++)
		bytes[i] = (uint8_t)(i * 31 + n * 7 + (i >> 8));
}

static void seal(const struct dir *d, const char *plain, struct name *ret)
{
	int r = name_seal(d, plain, ret);
	if (r < 0)
		die("name_seal", r);
}

static void write_file(struct dir *d, const char *plain, unsigned n)
{
	static uint8_t bytes[SIZE_STEP * 40];
	struct name name;
	struct stat st;
	AUTO(file_auto) struct file *f = NULL;
	seal(d, plain, &name);
	int r = file_create(d, &name, 0644, NULL, &f, &st);
	if (r < 0)
		die("file_create", r);
	content_of(n, bytes);
	ssize_t put = file_write(f, bytes, size_of(n), 0);
	r = put < 0 ? (int)put : file_sync(f, false);
	if (r < 0)
		die("file_write", r);
}

static void check_file(struct dir *d, const char *plain, unsigned n)
{
	static uint8_t want[SIZE_STEP * 40], got[SIZE_STEP * 41];
	struct name name;
	AUTO(file_auto) struct file *f = NULL;
	seal(d, plain, &name);
	int r = file_open(d, name.lower, &f);
	if (r < 0)
		die(plain, r);
	content_of(n, want);
	ssize_t len = file_read(f, got, sizeof(got), 0);
	if (len < 0)
		die(plain, (int)len);
	if ((size_t)len != size_of(n) || memcmp(got, want, size_of(n)) != 0)
		die(plain, -EBADMSG);
}

static void make_empty(struct dir *root)
{
	struct name name;
	struct stat st;
	struct file *f = NULL;
	seal(root, "empty", &name);
	int r = file_create(root, &name, 0644, NULL, &f, &st);
	if (r < 0)
		die("file_create", r);
	file_put(f);
}

static void make_link(struct dir *root)
{
	struct name from, to;
	struct stat st;
	AUTO(file_auto) struct file *f = NULL;
	seal(root, "f0", &from);
	seal(root, "link", &to);
	int r = file_open(root, from.lower, &f);
	if (r == 0)
		r = tree_link(root, from.lower, f, root, &to, &st);
	if (r < 0)
		die("tree_link", r);
}

static struct dir *folder(struct dir *root, unsigned n, bool make)
{
	char plain[16];
	struct name name;
	struct stat st;
	struct dir *d = NULL;
	snprintf(plain, sizeof(plain), "d%u", n);
	seal(root, plain, &name);
	int r = make ? tree_mkdir(root, &name, 0755, NULL, &st) : 0;
	if (r == 0)
		r = dir_open(root, name.lower, &d);
	if (r < 0)
		die(plain, r);
	return d;
}

static void walk(struct dir *root, unsigned count, bool make)
{
	char plain[256];
	for (unsigned i = 0; i < count; i++) {
		snprintf(plain, sizeof(plain), "f%u", i);
		(make ? write_file : check_file)(root, plain, i);
	}
	for (unsigned i = 0; i < FOLDERS; i++) {
		AUTO(dir_auto) struct dir *d = folder(root, i, make);
		(make ? write_file : check_file)(d, "inside", i + 1000);
	}
	memset(plain, 'n', 250);
	plain[250] = 0;
	(make ? write_file : check_file)(root, plain, 77);
	if (make) {
		make_empty(root);
		make_link(root);
	} else {
		check_file(root, "link", 0);
	}
}

static void print_ids(const struct dir *root, unsigned count)
{
	char plain[16];
	struct name name;
	for (unsigned i = 0; i < count; i++) {
		snprintf(plain, sizeof(plain), "f%u", i);
		seal(root, plain, &name);
		puts(name.lower);
	}
}

static struct keyring *open_keys(const struct layout *l, const char *keys, const char *passphrase)
{
	struct source source = SOURCE_TERMINAL;
	struct keyring *k = NULL;
	struct slot_key key;
	AUTO_SECRET *secret = NULL;
	AUTO_CLOSE fd = layout_open_keys(keys, l->owner.store_uuid, false, NULL);
	if (fd < 0)
		die("key directory", fd);
	source.passphrase_file = passphrase;
	int r = keyring_load(fd, &l->owner, &k, NULL);
	if (r == 0)
		r = source_read(&source, "", false, &key, &secret, NULL);
	if (r == 0)
		r = keyring_unlock(k, &key, NULL);
	if (r < 0)
		die("keyring", r);
	return k;
}

int main(int argc, char **argv)
{
	AUTO(layout_auto) struct layout l = LAYOUT_NONE;
	struct store s;
	struct dir *root = NULL;
	if (argc != 7 || crypto_init() < 0 || lower_posix_prepare() < 0)
		return 2;
	int r = layout_open(argv[1], argv[2], &l, NULL);
	if (r < 0)
		die("layout_open", r);
	AUTO(keyring_auto) struct keyring *k = open_keys(&l, argv[3], argv[4]);
	r = store_init(&s, lower_posix(), k, l.tenant_fd);
	if (r == 0)
		r = dir_open_root(&s, &root);
	if (r < 0)
		die("tree", r);
	unsigned count = (unsigned)strtoul(argv[6], NULL, 10);
	if (strcmp(argv[5], "ids") == 0)
		print_ids(root, count);
	else
		walk(root, count, strcmp(argv[5], "fill") == 0);
	dir_put(root);
	store_done(&s);
	return 0;
}
