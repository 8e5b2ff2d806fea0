/* tenantkey escrow export STORE#TENANT FILE */
#include "keymgmt/base/io.h"
#include "keymgmt/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* FILE as folder descriptor and name. Keyrings in the store would be in all of its backups:
 * refused. */
static int open_target(struct cmd *c, char ret_name[static NAME_MAX + 1], int *ret_dir)
{
	char folder[PATH_MAX], resolved[PATH_MAX];
	const char *slash = strrchr(c->operand, '/');
	const char *name = slash ? slash + 1 : c->operand;
	size_t len = strlen(c->layout.store_path);
	if (!name[0] || strlen(name) > NAME_MAX - 4 ||
		snprintf(folder, sizeof(folder), "%s", slash ? c->operand : ".") >= PATH_MAX)
		return err_set(&c->err, -EINVAL, "'%s' is no file name", c->operand);
	if (slash)
		folder[slash == c->operand ? 1 : slash - c->operand] = 0;
	if (!realpath(folder, resolved))
		return err_set(&c->err, -errno, "cannot open %s: %s", folder, strerror(errno));
	if (strncmp(resolved, c->layout.store_path, len) == 0 &&
		(resolved[len] == '/' || resolved[len] == 0))
		return err_set(&c->err, -EPERM,
			"%s lies in the store, whose backups must not hold keys: give a file "
			"elsewhere",
			c->operand);
	int fd = open(resolved, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(&c->err, -errno, "cannot open %s: %s", folder, strerror(errno));
	snprintf(ret_name, NAME_MAX + 1, "%s", name);
	*ret_dir = fd;
	return 0;
}

/* In the register first: a copy that nobody knows of would be worse than an entry without a copy.
 */
static int copy_keyring(struct cmd *c, int dir, const char *name, char ret_id[static 24])
{
	AUTO_BUF b = {0};
	int r = keyring_escrow_add(c->keyring, ret_id);
	if (r == 0)
		r = keyring_store(c->keyring, c->keys_fd, &c->err);
	if (r < 0)
		return err_default(&c->err, r, "cannot register the copy: %s", strerror(-r));
	r = keyring_dump(c->keyring, &b);
	if (r == 0)
		r = io_write_file(dir, name, 0600, b.data, b.len, true);
	if (r == 0)
		return 0;
	err_set(&c->err, r, "cannot write %s: %s", c->operand, strerror(-r));
	if (keyring_escrow_retire(c->keyring, ret_id) == 0)
		(void)!keyring_store(c->keyring, c->keys_fd, NULL);
	return r;
}

int cmd_escrow_run_export(struct cmd *c)
{
	char name[NAME_MAX + 1], message[128], id[24];
	AUTO_CLOSE dir = -1;
	struct stat st;
	/* Opening it first shows that the copy will be of use. */
	int r = cmd_common_begin(c);
	if (r == 0)
		r = open_target(c, name, &dir);
	if (r < 0)
		return r;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(&c->err, -EEXIST, "%s exists already: give a new name", c->operand);
	snprintf(message, sizeof(message), "escrow export: keyring generation %llu",
		(unsigned long long)keyring_generation(c->keyring) + 1);
	r = cmd_common_log(c, message, 0);
	if (r < 0)
		return r;
	r = copy_keyring(c, dir, name, id);
	if (r < 0)
		return r;
	cmd_common_say(c,
		"%s holds copy %s of the keyring, sealed by the same passphrases and key files. "
		"Keep it away from the "
		"store.\nIt opens nothing after the next rotation, slot removal or passwd: export "
		"a new one "
		"then.",
		c->operand, id);
	return 0;
}
