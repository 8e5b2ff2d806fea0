/* tenantkey create STORE#TENANT */
#include "fs/gate/audit.h"
#include "fs/gate/policy_file.h"
#include "fs/store/layout_create.h"
#include "keymgmt/base/bytes.h"
#include "keymgmt/base/io.h"
#include "keymgmt/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct owner {
	struct lower_cred cred;
	char policy[256]; /* first policy */
};

/* Signals are held back while a tenant is half made; looked at between the steps. */
static void ending_signals(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGINT);
	sigaddset(ret, SIGTERM);
	sigaddset(ret, SIGHUP);
}

static int interrupted(struct cmd *c)
{
	const struct timespec now = {0};
	sigset_t ending;
	ending_signals(&ending);
	return sigtimedwait(&ending, NULL, &now) > 0
		       ? err_set(&c->err, -ECANCELED, "interrupted: nothing was made")
		       : 0;
}

/* A number, with or without '#', for who has no account here. */
static bool numeric_uid(const char *text, uid_t *ret)
{
	const char *digits = text[0] == '#' ? text + 1 : text;
	char *end;
	errno = 0;
	unsigned long uid = strtoul(digits, &end, 10);
	if (errno || digits[0] < '0' || digits[0] > '9' || *end || uid >= UINT32_MAX)
		return false;
	*ret = (uid_t)uid;
	return true;
}

static int find_owner(struct cmd *c, const char *tenant, struct owner *ret)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	char id[32];
	uid_t uid = 0;
	const struct passwd *pw = getpwnam(c->owner);
	bool named = pw && strspn(c->owner, plain) == strlen(c->owner) && strlen(c->owner) < 64;
	if (pw)
		uid = pw->pw_uid;
	else if (!numeric_uid(c->owner, &uid))
		return err_set(&c->err, -ENOENT, "there is no user '%s'", c->owner);
	else
		pw = getpwuid(uid);
	if (geteuid() != 0 && uid != geteuid())
		return err_set(&c->err, -EPERM, "only root can give a tenant to another user");
	snprintf(id, sizeof(id), "#%u", (unsigned)uid);
	ret->cred.uid = uid;
	ret->cred.gid = pw ? pw->pw_gid : geteuid() == 0 ? (gid_t)uid : getegid();
	snprintf(ret->policy, sizeof(ret->policy),
		"tenant %s\npermit owner: user:%s to any on /**\n", tenant, named ? c->owner : id);
	return 0;
}

static void keyring_name(const char *tenant, char ret[static 80])
{
	snprintf(ret, 80, "%s.json", tenant);
}

static int remove_keyring(int keys_fd, const char *tenant)
{
	char name[80];
	keyring_name(tenant, name);
	AUTO_CLOSE fd = openat(keys_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	int r = io_shred(fd);
	if (r == 0 && (unlinkat(keys_fd, name, 0) < 0 || fsync(keys_fd) < 0))
		r = -errno;
	return r;
}

/* Goes only when it is the keyring of the half-made tenant that a crash left: any other one may be
 * somebody's only key. */
static int remove_leftover_keyring(struct cmd *c, const char *tenant)
{
	struct keyring_owner owner = c->layout.owner;
	AUTO(keyring_auto) struct keyring *k = NULL;
	int r = layout_create_leftover(&c->layout, tenant, owner.tenant_uuid);
	if (r < 0)
		return err_set(
			&c->err, r, "cannot read store %s: %s", c->layout.store_path, strerror(-r));
	if (r == 0 || bytes_all_zero(owner.tenant_uuid, sizeof(owner.tenant_uuid)))
		return 0;
	snprintf(owner.tenant, sizeof(owner.tenant), "%s", tenant);
	if (keyring_load(c->keys_fd, &owner, &k, NULL) < 0)
		return 0;
	r = remove_keyring(c->keys_fd, tenant);
	return r < 0 ? err_set(&c->err, r,
			       "cannot remove the keyring of an interrupted creation: %s",
			       strerror(-r))
		     : 0;
}

static int refuse_foreign_keyring(struct cmd *c, const char *tenant)
{
	char name[80];
	struct stat st;
	keyring_name(tenant, name);
	if (fstatat(c->keys_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(&c->err, -EEXIST,
			"the key directory holds a keyring of another tenant %s of this store: if "
			"its data is "
			"gone for good, move the keyring away",
			tenant);
	return errno == ENOENT ? 0
			       : err_set(&c->err, -errno, "cannot look into the key directory: %s",
					 strerror(errno));
}

static int begin(struct cmd *c, struct owner *owner)
{
	char store[PATH_MAX], tenant[64];
	int r = layout_split(c->argument, true, store, tenant, &c->err);
	if (r == 0 && c->owner)
		r = find_owner(c, tenant, owner);
	if (r == 0)
		r = layout_open(store, "", &c->layout, &c->err);
	if (r == 0)
		r = layout_create_lock(&c->layout, &c->err);
	if (r < 0)
		return r;
	c->keys_fd = layout_open_keys(c->keys_dir, c->layout.owner.store_uuid, true, &c->err);
	if (c->keys_fd < 0)
		return c->keys_fd;
	r = remove_leftover_keyring(c, tenant);
	if (r < 0)
		return r;
	r = layout_create_begin(&c->layout, tenant, c->suite, &c->err);
	return r < 0 ? r : refuse_foreign_keyring(c, tenant);
}

/* --new-key-file and its like, or without "new", since there is no other secret yet. */
static int first_slot(struct cmd *c)
{
	struct slot_key key;
	AUTO_SECRET *secret = NULL;
	if (!source_given(&c->new_secret))
		c->new_secret = c->secret;
	else if (source_given(&c->secret))
		return err_set(
			&c->err, -EINVAL, "give the passphrase or key file of the new tenant once");
	int r = cmd_common_new_key(c, &key, &secret);
	if (r < 0)
		return r;
	r = keyring_create(&c->layout.owner, c->layout.suite, &c->keyring);
	if (r == 0)
		r = keyring_slot_add(
			c->keyring, c->slot ? c->slot : "main", &key, &c->cost, &c->err);
	return r < 0 ? err_default(&c->err, r, "cannot make keys: %s", strerror(-r)) : 0;
}

static int check_policy(struct cmd *c, const struct owner *owner)
{
	struct policy_mistakes mistakes = {0};
	struct policy *p = NULL;
	int r = policy_compile(owner->policy, strlen(owner->policy), c->layout.owner.tenant,
		policy_names_system(), &mistakes, &p);
	if (r == -EBADRQC && mistakes.count > 0)
		err_set(&c->err, r, "cannot write a policy for user %s: %s", c->owner,
			mistakes.list[0].text);
	policy_mistakes_done(&mistakes);
	policy_put(p);
	return r;
}

static int write_policy_and_keyring(struct cmd *c, const struct owner *owner)
{
	uint64_t version;
	if (!c->owner)
		return keyring_store(c->keyring, c->keys_fd, &c->err);
	int r = check_policy(c, owner);
	if (r < 0)
		return r;
	return policy_file_apply(lower_posix(), c->layout.tenant_fd, c->keyring, c->keys_fd,
		owner->policy, strlen(owner->policy), &version, &c->err);
}

static int build(struct cmd *c, const struct owner *owner)
{
	const struct layout_create wanted = {
		.journal_bytes = c->journal_bytes,
		.owner = c->owner ? &owner->cred : NULL,
	};
	int r = layout_create_fill(&c->layout, c->keyring, &wanted, &c->err);
	if (r == 0)
		r = interrupted(c);
	if (r == 0)
		r = audit_create(lower_posix(), c->layout.tenant_fd, c->keyring, &c->err);
	return r;
}

/* From here on a keyring may lie in the key directory. */
static int finish(struct cmd *c, const struct owner *owner)
{
	int r = write_policy_and_keyring(c, owner);
	if (r == 0)
		r = cmd_common_log(c,
			c->owner ? "tenant created, policy 1 for its owner" : "tenant created", 0);
	if (r == 0)
		r = interrupted(c);
	return r < 0 ? r : layout_create_commit(&c->layout, &c->err);
}

static void tell(struct cmd *c)
{
	char keys[PATH_MAX], uuid[LAYOUT_UUID_TEXT];
	if (layout_keys_path(c->keys_dir, keys, NULL) < 0)
		return;
	layout_uuid_text(c->layout.owner.store_uuid, uuid);
	cmd_common_say(c, "Tenant %s is ready.", c->layout.owner.tenant);
	cmd_common_say(c,
		"Its keyring is %s/%s/%s.json: outside the store, so no backup of the store holds "
		"it.\n"
		"Without it the data is lost. Keep a copy elsewhere: tenantkey escrow export '%s' "
		"FILE",
		keys, uuid, c->layout.owner.tenant, c->argument);
	if (c->owner)
		cmd_common_say(c,
			"Policy 1 permits everything to user %s, and nothing to anybody else.",
			c->owner);
	else
		cmd_common_say(c,
			"It has no policy yet, so everybody is denied: tenantctl policy apply '%s' "
			"FILE",
			c->argument);
}

int cmd_create_run(struct cmd *c)
{
	struct owner owner = {0};
	sigset_t ending, before;
	bool keyring_may_be = false;
	ending_signals(&ending);
	sigprocmask(SIG_BLOCK, &ending, &before);
	int r = begin(c, &owner);
	if (r == 0)
		r = first_slot(c);
	if (r == 0)
		r = interrupted(c);
	if (r == 0)
		r = build(c, &owner);
	if (r == 0) {
		keyring_may_be = true;
		r = finish(c, &owner);
	}
	if (r < 0) {
		int undone =
			keyring_may_be ? remove_keyring(c->keys_fd, c->layout.owner.tenant) : 0;
		if (undone == 0)
			undone = layout_create_abort(&c->layout);
		if (undone < 0)
			fprintf(stderr,
				"tenantkey: what was half made could not be removed (%s): the next "
				"'create' of this tenant will remove it\n",
				strerror(-undone));
	} else {
		tell(c);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}
