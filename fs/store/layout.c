#include "fs/store/layout.h"

#include "keymgmt/base/buf.h"
#include "keymgmt/base/jsontext.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void json_auto(json_t **j)
{
	json_decref(*j);
}
#define AUTO_JSON AUTO(json_auto) json_t

static void lower_close(const int *fd)
{
	struct lower *l = lower_posix();
	if (*fd >= 0)
		(void)l->ops->close(l, *fd);
}
#define AUTO_LOWER_CLOSE AUTO(lower_close) int

void layout_uuid_text(const uint8_t uuid[static 16], char ret[static LAYOUT_UUID_TEXT])
{
	size_t at = 0;
	for (size_t i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			ret[at++] = '-';
		snprintf(ret + at, 3, "%02x", uuid[i]);
		at += 2;
	}
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int layout_uuid_parse(const char *text, uint8_t ret[static 16])
{
	uint8_t uuid[16];
	size_t at = 0;
	if (strlen(text) != LAYOUT_UUID_TEXT - 1)
		return -EBADMSG;
	for (size_t i = 0; i < 16; i++) {
		if ((i == 4 || i == 6 || i == 8 || i == 10) && text[at++] != '-')
			return -EBADMSG;
		int high = hex_digit(text[at]), low = hex_digit(text[at + 1]);
		if (high < 0 || low < 0)
			return -EBADMSG;
		uuid[i] = (uint8_t)(high << 4 | low);
		at += 2;
	}
	memcpy(ret, uuid, sizeof(uuid));
	return 0;
}

const char *layout_suite_name(enum crypto_suite suite)
{
	switch (suite) {
	case CRYPTO_AES256_GCM:
		return "aes-256-gcm";
	case CRYPTO_XCHACHA20_POLY1305:
		return "xchacha20-poly1305";
	}
	return NULL;
}

int layout_suite(const char *name)
{
	for (int suite = CRYPTO_AES256_GCM; suite <= CRYPTO_XCHACHA20_POLY1305; suite++)
		if (strcmp(name, layout_suite_name((enum crypto_suite)suite)) == 0)
			return suite;
	return 0;
}

bool layout_tenant_name_ok(const char *tenant)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t len = strlen(tenant);
	return len >= 1 && len <= 63 && strchr(first, tenant[0]) && strspn(tenant, rest) == len;
}

int layout_split(const char *argument, bool tenant_needed, char ret_store[static PATH_MAX],
	char ret_tenant[static 64], struct err *e)
{
	const char *hash = strrchr(argument, '#');
	size_t store_len = hash ? (size_t)(hash - argument) : strlen(argument);
	const char *tenant = hash ? hash + 1 : "";
	if (tenant_needed && !hash)
		return err_set(e, -EINVAL,
			"'%s' names no tenant: write STORE#TENANT (quote it for the shell)",
			argument);
	if (store_len == 0 || store_len >= PATH_MAX)
		return err_set(e, -EINVAL, "'%s' names no store: write STORE#TENANT", argument);
	if (hash && !layout_tenant_name_ok(tenant))
		return err_set(e, -EINVAL,
			"'%s' is no tenant name: use 1 to 63 of a-z 0-9 . _ - and begin with a "
			"letter or digit",
			tenant);
	memcpy(ret_store, argument, store_len);
	ret_store[store_len] = 0;
	snprintf(ret_tenant, 64, "%s", tenant);
	return 0;
}

/* The JSON object in the open file. -EBADMSG for anything else. */
static int read_object(int fd, json_t **ret)
{
	struct lower *l = lower_posix();
	struct stat st;
	int r = l->ops->fstat(l, fd, &st);
	if (r < 0)
		return r;
	if (!S_ISREG(st.st_mode) || st.st_size < 2 || st.st_size > LAYOUT_JSON_MAX)
		return -EBADMSG;
	AUTO_FREE void *text = malloc((size_t)st.st_size);
	if (!text)
		return -ENOMEM;
	r = lower_read_all(l, fd, text, (size_t)st.st_size, 0);
	if (r < 0)
		return r;
	json_t *j = NULL;
	r = jsontext_parse(text, (size_t)st.st_size, &j);
	if (r < 0)
		return r;
	if (!json_is_object(j)) {
		json_decref(j);
		return -EBADMSG;
	}
	*ret = j;
	return 0;
}

/* dirfd/name as an object of our format. what: "store.json of /srv/store". */
static int load_described(
	int dirfd, const char *name, const char *what, json_t **ret, struct err *e)
{
	struct lower *l = lower_posix();
	AUTO_JSON *j = NULL;
	AUTO_LOWER_CLOSE fd = l->ops->openat(l, dirfd, name, O_RDONLY | O_NONBLOCK, 0, NULL);
	if (fd < 0)
		return fd == -ELOOP
			       ? err_set(e, -EBADMSG, "%s is a link: somebody replaced it", what)
			       : fd;
	int r = read_object(fd, &j);
	json_t *format = r < 0 ? NULL : json_object_get(j, "format");
	if (r == -EBADMSG ||
		(r == 0 && (!json_is_integer(format) || json_integer_value(format) < 1)))
		return err_set(e, -EBADMSG, "%s is damaged: restore it from a backup", what);
	if (r < 0)
		return err_set(e, r, "cannot read %s: %s", what, strerror(-r));
	if (json_integer_value(format) > LAYOUT_FORMAT)
		return err_set(e, -EPROTONOSUPPORT,
			"%s has format %lld and this program knows up to %d: use a newer tenantfs",
			what, (long long)json_integer_value(format), LAYOUT_FORMAT);
	*ret = j;
	j = NULL;
	return 0;
}

static const char *text_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));
	return s ? s : "";
}

static int open_store(const char *store, struct layout *ret, struct err *e)
{
	AUTO_JSON *j = NULL;
	char what[PATH_MAX + 32];
	if (!realpath(store, ret->store_path))
		return err_set(e, -errno, "cannot open store %s: %s", store, strerror(errno));
	ret->store_fd = open(ret->store_path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (ret->store_fd < 0)
		return err_set(e, -errno, "cannot open store %s: %s", store, strerror(errno));
	snprintf(what, sizeof(what), "store.json of %s", ret->store_path);
	int r = load_described(ret->store_fd, "store.json", what, &j, e);
	if (r == -ENOENT)
		return err_set(e, r,
			"%s is not a tenantfs store (it has no store.json): make one with "
			"'tenantkey init'",
			ret->store_path);
	if (r < 0)
		return err_default(e, r, "cannot read %s: %s", what, strerror(-r));
	if (layout_uuid_parse(text_of(j, "store_uuid"), ret->owner.store_uuid) < 0)
		return err_set(e, -EBADMSG, "%s is damaged: restore it from a backup", what);
	return 0;
}

static int open_tenant_folder(struct layout *l, const char *tenant)
{
	struct lower *lower = lower_posix();
	AUTO_LOWER_CLOSE t_fd =
		lower->ops->openat(lower, l->store_fd, "t", O_PATH | O_DIRECTORY, 0, NULL);
	return t_fd < 0 ? t_fd
			: lower->ops->openat(lower, t_fd, tenant, O_PATH | O_DIRECTORY, 0, NULL);
}

static int open_tenant(const char *tenant, struct layout *ret, struct err *e)
{
	AUTO_JSON *j = NULL;
	char what[PATH_MAX + 96];
	snprintf(what, sizeof(what), "t/%s/tenant.json of %s", tenant, ret->store_path);
	ret->tenant_fd = open_tenant_folder(ret, tenant);
	if (ret->tenant_fd == -ENOENT)
		return err_set(e, -ENOENT,
			"store %s has no tenant %s: make it with 'tenantkey create'",
			ret->store_path, tenant);
	if (ret->tenant_fd < 0)
		return err_set(e, ret->tenant_fd, "cannot open tenant %s of store %s: %s", tenant,
			ret->store_path, strerror(-ret->tenant_fd));
	int r = load_described(ret->tenant_fd, "tenant.json", what, &j, e);
	if (r == -ENOENT)
		return err_set(e, -EBADMSG, "%s is missing: restore it from a backup", what);
	if (r < 0)
		return err_default(e, r, "cannot read %s: %s", what, strerror(-r));
	if (strcmp(text_of(j, "tenant"), tenant) != 0)
		return err_set(e, -EBADMSG,
			"%s names another tenant: the folder was renamed or exchanged", what);
	int suite = layout_suite(text_of(j, "suite"));
	if (layout_uuid_parse(text_of(j, "tenant_uuid"), ret->owner.tenant_uuid) < 0)
		return err_set(e, -EBADMSG, "%s is damaged: restore it from a backup", what);
	if (!suite)
		return err_set(e, -EPROTONOSUPPORT,
			"%s names a cipher suite that this program does not know: use a newer "
			"tenantfs",
			what);
	ret->suite = (enum crypto_suite)suite;
	snprintf(ret->owner.tenant, sizeof(ret->owner.tenant), "%s", tenant);
	snprintf(ret->created, sizeof(ret->created), "%s", text_of(j, "created"));
	return 0;
}

int layout_open(const char *store, const char *tenant, struct layout *ret, struct err *e)
{
	*ret = (struct layout)LAYOUT_NONE;
	ret->lower = lower_posix();
	if (tenant[0] && !layout_tenant_name_ok(tenant))
		return err_set(e, -EINVAL, "'%s' is no tenant name", tenant);
	int r = open_store(store, ret, e);
	if (r == 0 && tenant[0])
		r = open_tenant(tenant, ret, e);
	if (r < 0)
		layout_done(ret);
	return r;
}

void layout_done(struct layout *l)
{
	lower_close(&l->lock_fd);
	lower_close(&l->tenant_fd);
	lower_close(&l->store_fd);
	l->lock_fd = l->tenant_fd = l->store_fd = -1;
}

/* What stands in the lock file was written by others and goes to a terminal. */
static void put_printable(struct buf *b, const char *s, size_t max)
{
	for (size_t i = 0; s[i] && i < max; i++)
		buf_put8(b, s[i] >= 0x20 && s[i] < 0x7f ? (uint8_t)s[i] : '?');
}

static void describe_holder(int fd, char ret[static 512])
{
	AUTO_JSON *j = NULL;
	AUTO_BUF b = {0};
	snprintf(ret, 512, "is in use by another program");
	if (read_object(fd, &j) < 0)
		return;
	const char *mountpoint = text_of(j, "mountpoint");
	buf_str(&b, mountpoint[0] ? "is mounted at " : "is in use by ");
	put_printable(&b, mountpoint[0] ? mountpoint : text_of(j, "purpose"), 200);
	buf_printf(&b, " (process %lld on host ",
		(long long)json_integer_value(json_object_get(j, "pid")));
	put_printable(&b, text_of(j, "host"), 64);
	buf_str(&b, ", since ");
	put_printable(&b, text_of(j, "since"), 32);
	buf_str(&b, ")");
	if (buf_ok(&b))
		snprintf(ret, 512, "%s", (const char *)b.data);
}

static uint64_t old_generation(int fd)
{
	AUTO_JSON *j = NULL;
	if (read_object(fd, &j) < 0)
		return 0;
	json_int_t generation = json_integer_value(json_object_get(j, "generation"));
	/* Behind the largest one the next would be no JSON integer any more. */
	return generation > 0 && generation < INT64_MAX ? (uint64_t)generation : 0;
}

static int write_holder(int fd, const char *purpose, const char *mountpoint)
{
	struct lower *l = lower_posix();
	AUTO_BUF b = {0};
	char host[65] = "", since[32];
	time_t now = time(NULL);
	struct tm tm;
	if (gethostname(host, sizeof(host) - 1) < 0)
		snprintf(host, sizeof(host), "unknown");
	strftime(since, sizeof(since), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	buf_printf(&b, "{\"pid\": %d, \"purpose\": ", (int)getpid());
	buf_json(&b, purpose);
	buf_str(&b, ", \"mountpoint\": ");
	buf_json(&b, mountpoint ? mountpoint : "");
	buf_str(&b, ", \"host\": ");
	buf_json(&b, host);
	buf_printf(&b, ", \"since\": \"%s\", \"generation\": %llu}\n", since,
		(unsigned long long)old_generation(fd) + 1);
	if (!buf_ok(&b))
		return -ENOMEM;
	int r = lower_write_all(l, fd, b.data, b.len, 0);
	if (r == 0)
		r = l->ops->ftruncate(l, fd, b.len);
	return r < 0 ? r : l->ops->fsync(l, fd, false);
}

/* -EBADMSG for a pipe or a device in its place. */
static int is_file(int fd)
{
	struct lower *l = lower_posix();
	struct stat st;
	int r = l->ops->fstat(l, fd, &st);
	return r == 0 && !S_ISREG(st.st_mode) ? -EBADMSG : r;
}

static int not_our_lock(const struct layout *l, struct err *e)
{
	return err_set(e, -EBADMSG,
		"t/%s/lock of %s is no file: somebody replaced it; remove it when nobody has the "
		"tenant open",
		l->owner.tenant, l->store_path);
}

int layout_lock(struct layout *l, const char *purpose, const char *mountpoint, struct err *e)
{
	struct lower *lower = lower_posix();
	char holder[512];
	AUTO_LOWER_CLOSE fd =
		lower->ops->openat(lower, l->tenant_fd, "lock", O_RDWR | O_CREAT, 0600, NULL);
	if (fd == -ELOOP || fd == -EISDIR || fd == -ENXIO)
		return not_our_lock(l, e);
	if (fd < 0)
		return err_set(e, fd, "cannot open the lock of tenant %s: %s", l->owner.tenant,
			strerror(-fd));
	int r = is_file(fd);
	if (r == 0)
		r = lower->ops->lock(lower, fd);
	if (r == -EBADMSG)
		return not_our_lock(l, e);
	if (r == -EAGAIN) {
		describe_holder(fd, holder);
		return err_set(e, -EBUSY, "tenant %s %s: unmount or end that first",
			l->owner.tenant, holder);
	}
	if (r == 0)
		r = write_holder(fd, purpose, mountpoint);
	if (r < 0)
		return err_set(e, r, "cannot lock tenant %s: %s", l->owner.tenant, strerror(-r));
	l->lock_fd = fd;
	fd = -1;
	return 0;
}

int layout_holder(const struct layout *l, char ret_clause[static 512])
{
	struct lower *lower = lower_posix();
	AUTO_LOWER_CLOSE fd = lower->ops->openat(lower, l->tenant_fd, "lock", O_RDWR, 0, NULL);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	int r = lower->ops->lock(lower, fd);
	if (r != -EAGAIN)
		return r;
	describe_holder(fd, ret_clause);
	return 1;
}

int layout_keys_path(const char *keys_dir, char ret[static PATH_MAX], struct err *e)
{
	const char *home = getenv("HOME");
	int n;
	if (keys_dir) {
		n = snprintf(ret, PATH_MAX, "%s", keys_dir);
	} else if (geteuid() == 0) {
		n = snprintf(ret, PATH_MAX, "/var/lib/tenantfs/keys");
	} else {
		const struct passwd *pw = home && home[0] == '/' ? NULL : getpwuid(geteuid());
		if (pw)
			home = pw->pw_dir;
		if (!home || home[0] != '/')
			return err_set(e, -ENOENT, "you have no home directory: give --keys DIR");
		n = snprintf(ret, PATH_MAX, "%s/.local/share/tenantfs/keys", home);
	}
	if (n >= PATH_MAX)
		return err_set(e, -ENAMETOOLONG, "the path of the key directory is too long");
	return 0;
}

/* mkdir -p with mode 0700; the folders above are fsynced, since a lost one would lose keys. */
static int make_folders(const char *path)
{
	char at[PATH_MAX];
	snprintf(at, sizeof(at), "%s", path);
	for (char *slash = at + 1; slash;) {
		slash = strchr(slash, '/');
		if (slash)
			*slash = 0;
		if (mkdir(at, 0700) == 0) {
			AUTO_CLOSE fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			AUTO_CLOSE up =
				fd < 0 ? -1 : openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			if (fd < 0 || up < 0 || fsync(fd) < 0 || fsync(up) < 0)
				return -errno;
		} else if (errno != EEXIST) {
			return -errno;
		}
		if (slash)
			*slash++ = '/';
	}
	return 0;
}

/* Whether what is at the path, or will be, lies in a store, whose backups would hold the keys: by
 * the folders that are there, links followed. */
static int refuse_in_store(const char *path, struct err *e)
{
	char at[PATH_MAX + LAYOUT_UUID_TEXT + 1], real[PATH_MAX],
		mark[PATH_MAX + sizeof("/store.json")];
	snprintf(at, sizeof(at), "%s", path);
	while (!realpath(at, real)) {
		char *slash = strrchr(at, '/');
		if (errno != ENOENT)
			return -errno;
		if (!slash)
			snprintf(at, sizeof(at), ".");
		else
			slash[slash == at] = 0;
	}
	for (char *end = real + strlen(real); end; end = strrchr(real, '/')) {
		*end = 0;
		snprintf(mark, sizeof(mark), "%s/store.json", real);
		if (access(mark, F_OK) == 0)
			return err_set(e, -EPERM,
				"key directory %s lies in the store %s, whose backups must not "
				"hold keys: give "
				"one elsewhere with --keys",
				path, real);
	}
	return 0;
}

/* Descriptor of a folder that nobody else may read or write. */
static int open_private(const char *path, struct err *e)
{
	struct stat st;
	AUTO_CLOSE fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(e, -EPERM,
			"key directory %s belongs to somebody else: use one of your own", path);
	if (st.st_mode & 077)
		return err_set(e, -EPERM, "others may enter key directory %s: run 'chmod 700 %s'",
			path, path);
	int ret = fd;
	fd = -1;
	return ret;
}

int layout_open_keys(
	const char *keys_dir, const uint8_t store_uuid[static 16], bool create, struct err *e)
{
	char path[PATH_MAX], full[PATH_MAX + LAYOUT_UUID_TEXT + 1], uuid[LAYOUT_UUID_TEXT];
	int r = layout_keys_path(keys_dir, path, e);
	if (r < 0)
		return r;
	layout_uuid_text(store_uuid, uuid);
	if (snprintf(full, sizeof(full), "%s/%s", path, uuid) >= PATH_MAX)
		return err_set(e, -ENAMETOOLONG, "the path of the key directory is too long");
	r = refuse_in_store(full, e);
	if (r < 0)
		return err_default(e, r, "cannot open key directory %s: %s", path, strerror(-r));
	r = create ? make_folders(path) : 0;
	AUTO_CLOSE keys = r < 0 ? r : open_private(path, e);
	if (keys == -ENOENT)
		return err_set(e, keys,
			"key directory %s does not exist: give the right one with --keys", path);
	if (keys < 0)
		return err_default(
			e, keys, "cannot open key directory %s: %s", path, strerror(-keys));
	r = create ? make_folders(full) : 0;
	int fd = r < 0 ? r : open_private(full, e);
	if (fd == -ENOENT)
		return err_set(e, fd,
			"key directory %s has no keys of this store (%s): give the right one with "
			"--keys",
			path, uuid);
	if (fd < 0)
		return err_default(e, fd, "cannot open key directory %s: %s", full, strerror(-fd));
	return fd;
}
