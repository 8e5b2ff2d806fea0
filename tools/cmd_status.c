/* tenantctl status */
#include "fs/control/control.h"
#include "keymgmt/base/jsontext.h"
#include "tools/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int take_json(struct cmd *c, void *context, int option, const char *value)
{
	(void)c, (void)option, (void)value;
	*(bool *)context = true;
	return 0;
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "?";
}

static long long number_of(const json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

/* Bytes with a binary unit. */
static void put_size(long long bytes, char ret[static 32])
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	double v = (double)bytes;
	int i = 0;
	for (; v >= 1024 && i < 4; i++)
		v /= 1024;
	snprintf(ret, 32, i ? "%.1f %s" : "%.0f %s", v, units[i]);
}

static void put_time(long long seconds, char ret[static 32])
{
	time_t t = (time_t)seconds;
	struct tm tm;
	if (!gmtime_r(&t, &tm) || !strftime(ret, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(ret, 32, "?");
}

/* Nothing when all is well. */
static void print_store(const json_t *store)
{
	if (json_object_get(store, "failed"))
		printf("store:  READ-ONLY: %s failed (%s); what was not synced before may be "
		       "lost.\n"
		       "        See what the kernel says of the disk (dmesg), unmount, run "
		       "tenantctl fsck, then mount again.\n",
			text_of(store, "failed"), text_of(store, "why"));
	else if (json_is_true(json_object_get(store, "read_only")))
		printf("store:  read-only, as it was mounted\n");
}

static void print_mounted(const json_t *o)
{
	char since[32], waiting[32], done[32], used[32], room[32];
	const json_t *policy = json_object_get(o, "policy"), *keys = json_object_get(o, "keys");
	const json_t *audit = json_object_get(o, "audit"), *erase = json_object_get(o, "erase");
	const json_t *journal = json_object_get(o, "journal");
	put_time(number_of(o, "since"), since);
	put_size(number_of(erase, "bytes"), waiting);
	put_size(number_of(erase, "done_bytes"), done);
	printf("tenant %s is mounted at %s by process %lld since %s\n", text_of(o, "tenant"),
		text_of(o, "mountpoint"), number_of(o, "pid"), since);
	print_store(json_object_get(o, "store"));
	if (number_of(policy, "version"))
		printf("policy: version %lld\n", number_of(policy, "version"));
	else
		printf("policy: none, everybody is denied\n");
	printf("keys:   epoch %lld%s\n", number_of(keys, "epoch"),
		json_is_true(json_object_get(keys, "rotation_unfinished"))
			? "; a rotation is unfinished: run 'tenantkey rotate' when unmounted"
			: "");
	printf("log:    %lld records%s\n", number_of(audit, "sequence"),
		json_is_true(json_object_get(audit, "broken")) ? "; BROKEN: every access is refused"
							       : "");
	put_size(number_of(journal, "used"), used);
	put_size(number_of(journal, "bytes"), room);
	if (json_is_true(json_object_get(journal, "off")))
		printf("journal: OFF: after a kill or a power cut files may be unreadable");
	else
		printf("journal: %s of %s in use", used, room);
	if (number_of(journal, "unfinished"))
		printf("; %lld erasures unfinished", number_of(journal, "unfinished"));
	printf("\nerase:  %lld files waiting (%s), %lld erased (%s)", number_of(erase, "files"),
		waiting, number_of(erase, "done_files"), done);
	if (number_of(erase, "failed_files"))
		printf(", %lld FAILED, tried again at the next mount",
			number_of(erase, "failed_files"));
	printf("\n        assurance %s: %s\n", text_of(erase, "assurance"), text_of(erase, "why"));
}

static int print_unmounted(struct cmd *c, bool json)
{
	char clause[512] = "";
	int r = layout_holder(&c->layout, clause);
	if (r < 0)
		return err_set(&c->err, r, "cannot see who has tenant %s: %s",
			c->layout.owner.tenant, strerror(-r));
	if (json)
		printf("{\"code\": 0, \"message\": \"not mounted\"}\n");
	else if (r > 0)
		printf("tenant %s does not answer; it %s\n", c->layout.owner.tenant, clause);
	else
		printf("tenant %s is not mounted\n", c->layout.owner.tenant);
	return 0;
}

/* The daemon's answer when the store itself cannot be read: its disk is gone, which the daemon may
 * know more of. -EIO as it was, with its sentence, when nobody answers. */
static int ask_without_store(struct cmd *c, const char *argument, struct buf *ret_answer)
{
	char store[PATH_MAX], tenant[64];
	AUTO_BUF path = {0};
	if (layout_split(argument, true, store, tenant, NULL) < 0 || !layout_tenant_name_ok(tenant))
		return -EIO;
	buf_printf(&path, "%s/t/%s", store, tenant);
	AUTO_CLOSE fd = buf_ok(&path) ? open((const char *)path.data,
						O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
				      : -1;
	if (fd < 0 || control_call(fd, "status", NULL, 0, ret_answer, NULL) < 0)
		return -EIO;
	c->err.code = 0;
	return 0;
}

int cmd_status_run(struct cmd *c, int argc, char **argv)
{
	static const struct option own[] = {{"json", no_argument, NULL, 'j'}, {0}};
	bool json = false;
	char **operands;
	AUTO_BUF answer = {0};
	int r = cmd_common_options(c, argc, argv, own, take_json, &json, 1, 1, &operands);
	if (r < 0)
		return r;
	r = cmd_common_open(c, operands[0]);
	if (r == -EIO)
		r = ask_without_store(c, operands[0], &answer);
	else if (r == 0)
		r = control_call(c->layout.tenant_fd, "status", NULL, 0, &answer, &c->err);
	if (r == -ENOTCONN)
		return print_unmounted(c, json);
	if (r < 0)
		return r;
	if (json) {
		printf("%.*s\n", (int)answer.len, (const char *)answer.data);
		return 0;
	}
	json_t *root = NULL;
	r = jsontext_parse(answer.data, answer.len, &root);
	if (r == -ENOMEM)
		return err_set(&c->err, r, "not enough memory");
	if (r < 0)
		return err_set(&c->err, -EPROTO,
			"the daemon's answer cannot be read; are daemon and tool of one version?");
	print_mounted(root);
	json_decref(root);
	return 0;
}
