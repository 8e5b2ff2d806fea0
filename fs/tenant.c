#include "fs/tenant.h"

#include "fs/gate/policy_file.h"
#include "fs/sandbox.h"
#include "fs/serve.h"
#include "fs/store/journal.h"
#include "fs/store/recover.h"
#include "fs/store/redo.h"
#include "keymgmt/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOCK_WAIT_MS 20000
#define LOCK_PAUSE_MS 50
#define ERASE_WAIT_MS 10000 /* at unmount; what is left is in the trash for the next mount */

static void on_alarm(void *context, const struct store_alarm *a)
{
	struct tenant *t = context;
	char message[256];
	int n = snprintf(message, sizeof(message), "%s: %s, lower inode %llu", a->what, a->detail,
		(unsigned long long)a->lower_ino);
	if (a->block != UINT64_MAX && n > 0 && (size_t)n < sizeof(message))
		snprintf(message + n, sizeof(message) - (size_t)n, ", block %llu",
			(unsigned long long)a->block);
	const struct audit_event event = {.kind = AUDIT_ALARM,
		.error = -EBADMSG,
		.file_id = a->file_id,
		.message = message,
		.login_uid = (uid_t)-1,
		.session = UINT32_MAX};
	log_say(LOG_LEVEL_ERROR, "Integrity alarm: %s; the audit log has the file id.", message);
	gate_record(t->front.gate, &event, AUDIT_RESERVE);
}

static void on_receipt(void *context, const struct trash_receipt *r)
{
	struct tenant *t = context;
	char message[192];
	snprintf(message, sizeof(message), "%s, %llu bytes, assurance %c%s%s", r->method,
		(unsigned long long)r->bytes, (char)r->assurance, r->error ? ", failed: " : "",
		r->error ? strerror(-r->error) : "");
	const struct audit_event event = {.kind = AUDIT_ERASE,
		.error = r->error,
		.file_id = r->file_id,
		.bytes_written = r->bytes,
		.message = message,
		.login_uid = (uid_t)-1,
		.session = UINT32_MAX};
	gate_record(t->front.gate, &event, AUDIT_RESERVE);
}

/* What the flush of something failed makes of the mount: said once. Under locks of the store. */
static void on_trouble(void *context, const char *what, int error)
{
	struct tenant *t = context;
	char message[320];
	snprintf(message, sizeof(message),
		"%s failed (%s): this mount is read-only now, and what was not synced before may "
		"be lost; see what the kernel says of the disk (dmesg), unmount, run tenantctl "
		"fsck, then mount again",
		what, strerror(-error));
	const struct audit_event event = {.kind = AUDIT_ALARM,
		.error = error,
		.message = message,
		.login_uid = (uid_t)-1,
		.session = UINT32_MAX};
	log_say(LOG_LEVEL_ERROR, "Disk trouble: %s.", message);
	if (gate_record(t->front.gate, &event, AUDIT_RESERVE) < 0)
		log_say(LOG_LEVEL_ERROR, "The audit log could not be told of the disk trouble.");
}

static void on_trash_trouble(void *context, int error)
{
	struct tenant *t = context;
	(void)store_flushed(&t->store, "the flush of a directory", error);
}

/* Once the store is read-only nothing is erased, either. */
static bool is_halted(void *context)
{
	const struct tenant *t = context;
	return store_is_read_only(&t->store);
}

static int open_keys(struct tenant *t, struct err *e)
{
	struct slot_key key;
	AUTO_SECRET *secret = NULL;
	char prompt[128];
	t->keys_fd = layout_open_keys(t->options->keys, t->layout.owner.store_uuid, false, e);
	if (t->keys_fd < 0)
		return t->keys_fd;
	int r = keyring_load(t->keys_fd, &t->layout.owner, &t->keyring, e);
	if (r < 0)
		return r;
	snprintf(prompt, sizeof(prompt), "Passphrase for %s", t->layout.owner.tenant);
	r = source_read(&t->options->source, prompt, false, &key, &secret, e);
	if (r == 0)
		r = keyring_unlock(t->keyring, &key, e);
	if (r == 0 && keyring_suite(t->keyring) != t->layout.suite)
		r = err_set(e, -EBADMSG,
			"tenant.json names another cipher suite than the keyring: restore it from "
			"a backup.");
	return r;
}

/* The policy in force, compiled; a tenant without one denies everything. */
static int open_policy(struct tenant *t, struct policy **ret, uint64_t *ret_version, struct err *e)
{
	AUTO_BUF text = {0};
	struct policy_mistakes mistakes = {0};
	*ret_version = 0;
	int r = policy_file_load(
		lower_posix(), t->layout.tenant_fd, t->keyring, &text, ret_version, e);
	if (r == -ENOENT) {
		*ret = policy_deny_all();
		return *ret ? 0 : err_set(e, -ENOMEM, "Not enough memory.");
	}
	if (r < 0)
		return r;
	r = policy_compile((const char *)text.data, text.len, t->layout.owner.tenant,
		policy_names_system(), &mistakes, ret);
	if (r == -EBADRQC && mistakes.count)
		err_set(e, r,
			"The policy in force does not compile here: line %u, column %u: %s; mend "
			"it with tenantctl policy apply.",
			mistakes.list[0].line, mistakes.list[0].column, mistakes.list[0].text);
	policy_mistakes_done(&mistakes);
	return r < 0 ? err_default(e, r, "Cannot compile the policy: %s.", strerror(-r)) : 0;
}

/* Who mounts and unmounts is this process, started by somebody. */
static int record_own(struct tenant *t, enum audit_kind kind, const char *message)
{
	struct subject_facts facts;
	const struct op_caller self = {getuid(), getgid(), getpid()};
	gate_facts(t->front.gate, &self, &facts);
	const struct audit_event event = {.kind = kind,
		.allowed = true,
		.message = message,
		.caller = self,
		.exe = facts.exe[0] ? facts.exe : NULL,
		.login_uid = facts.login_uid,
		.session = facts.session};
	return gate_record(t->front.gate, &event, AUDIT_RESERVE);
}

static int record_mount(struct tenant *t, struct err *e)
{
	char message[PATH_MAX + 64];
	snprintf(message, sizeof(message), "mounted at %s%s", t->options->mountpoint,
		t->options->journal_off ? ", without a journal" : "");
	int r = record_own(t, AUDIT_MOUNT, message);
	return r < 0 ? err_set(e, r,
			       "Cannot write to the audit log: %s; nothing is opened without a "
			       "record.",
			       strerror(-r))
		     : 0;
}

static int open_gate(struct tenant *t, struct err *e)
{
	struct lower *l = lower_posix();
	struct gate_front calls;
	struct policy *policy = NULL;
	struct audit *audit = NULL;
	uint64_t version;
	int r = 0;
	/* A rotation that was cut short may have left these under the older metadata key. */
	if (keyring_has_old_epochs(t->keyring)) {
		r = audit_rewrap(l, t->layout.tenant_fd, t->keyring, e);
		if (r == 0)
			r = policy_file_reseal(l, t->layout.tenant_fd, t->keyring, t->keys_fd, e);
		if (r < 0)
			return r;
	}
	r = open_policy(t, &policy, &version, e);
	if (r == 0)
		r = audit_open(l, t->layout.tenant_fd, t->keyring, &t->options->audit, &audit, e);
	if (r < 0) {
		policy_put(policy);
		return r;
	}
	front_gate_calls(&t->front, &calls);
	t->front.gate = gate_new(policy, version, audit, &calls);
	if (!t->front.gate) {
		audit_close(audit);
		policy_put(policy);
		return err_set(e, -ENOMEM, "Not enough memory.");
	}
	return record_mount(t, e);
}

static void warn_of_erasing(const struct tenant *t)
{
	struct trash_status erase;
	trash_status(t->trash, &erase);
	if (erase.assurance == TRASH_C)
		log_say(LOG_LEVEL_WARNING,
			"What is deleted may stay on the disk, as ciphertext, until the keys are "
			"rotated (assurance C): %s.",
			erase.why);
}

/* What the last mount did not finish, for the log and whoever looks on. */
static void record_recovery(struct tenant *t, const struct recover_result *r)
{
	char message[RECOVER_TEXT];
	recover_describe(r, message);
	const struct audit_event event = {.kind = AUDIT_RECOVERY,
		.error = r->error,
		.bytes_written = r->bytes,
		.message = message,
		.login_uid = (uid_t)-1,
		.session = UINT32_MAX};
	log_say(r->failed || r->stale || r->unread ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING,
		"Recovery: %s.", message);
	gate_record(t->front.gate, &event, AUDIT_RESERVE);
}

static int reset_journal(struct tenant *t, struct err *e)
{
	int r = journal_reset(lower_posix(), t->layout.tenant_fd, t->keyring);
	if (r == 0)
		r = record_own(t, AUDIT_ALARM,
			"the journal was replaced by an empty one at the request of whoever "
			"mounted (journal=reset)");
	if (r == -EINVAL)
		return err_set(e, -EBADMSG,
			"What stands in the journal's place is none that could be emptied: a "
			"folder, link or pipe, or a file of a wrong size; move %s/t/%s/journal "
			"away, then mount with journal=reset again.",
			t->layout.store_path, t->layout.owner.tenant);
	return r < 0 ? err_set(e, r, "Cannot start a new journal: %s.", strerror(-r)) : 0;
}

/* Before anybody uses the tree. */
static int open_journal(struct tenant *t, struct err *e)
{
	struct recover_result result;
	struct lower *l = lower_posix();
	bool reset = t->options->journal_reset;
	int r = journal_open(l, t->layout.tenant_fd, t->keyring, reset, &t->journal, e);
	if ((r == -EBADMSG || r == -ENOENT || r == -EIO) && reset) {
		r = reset_journal(t, e);
		if (r == 0)
			r = journal_open(l, t->layout.tenant_fd, t->keyring, false, &t->journal, e);
	} else if (r > 0) {
		r = record_own(t, AUDIT_ALARM,
			"what stood in the journal behind a damaged record was given up at the "
			"request of whoever mounted (journal=reset)");
	}
	if (r < 0)
		return err_default(e, r, "Cannot write to the audit log: %s.", strerror(-r));
	t->store.journal = t->journal;
	r = recover_store(&t->store, reset, &result);
	if (r >= 0 && (result.unclean || result.entries))
		record_recovery(t, &result);
	if (r < 0 && result.unread_ino)
		return err_set(e, r,
			"Cannot finish what the last mount left unfinished: the file with lower "
			"inode number %llu cannot be read (%s). Nothing is lost: mount again once "
			"that is mended, or once with -o journal=reset to give up its last "
			"changes.",
			(unsigned long long)result.unread_ino, strerror(-r));
	if (r < 0)
		return err_set(e, r,
			"Cannot finish what the last mount left unfinished: %s; nothing is "
			"lost, mount again once that is mended.",
			strerror(-r));
	/* It stays open, so that only an orderly end says so in it. */
	if (t->options->journal_off) {
		t->store.journal = NULL;
		log_say(LOG_LEVEL_WARNING, "Without a journal: after a kill or a power cut, what "
					   "was being written may "
					   "be unreadable.");
		return 0;
	}
	const struct redo_options options = {.by_hand = false};
	r = redo_start(&t->store, &options, &t->redo);
	t->store.redo = t->redo;
	return r < 0 ? err_set(e, r, "Cannot start the journal: %s.", strerror(-r)) : 0;
}

static bool on_erase_begin(void *context, ino_t ino)
{
	struct tenant *t = context;
	return redo_forget(&t->store, ino);
}

static int on_erase_settle(void *context)
{
	struct tenant *t = context;
	return redo_checkpoint(&t->store);
}

static int open_store(struct tenant *t, struct err *e)
{
	struct trash_options trash = t->options->trash;
	trash.begin = on_erase_begin;
	trash.settle = on_erase_settle;
	trash.receipt = on_receipt;
	trash.trouble = on_trash_trouble;
	trash.halted = is_halted;
	trash.context = t;
	t->trash_fd = openat(
		t->layout.tenant_fd, "trash", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (t->trash_fd < 0)
		return err_set(e, -errno, "The tenant's folder has no trash: %s.", strerror(errno));
	int r = trash_open(lower_posix(), t->trash_fd, &trash, &t->trash, e);
	if (r < 0)
		return r;
	warn_of_erasing(t);
	r = store_init(&t->store, lower_posix(), t->keyring, t->layout.tenant_fd);
	if (r < 0)
		return err_set(e, r, "Cannot open the tenant's tree: %s.", strerror(-r));
	t->store_ready = true;
	t->store.trash = t->trash;
	t->store.as_root = geteuid() == 0;
	t->store.alarm = on_alarm;
	t->store.alarm_context = t;
	t->store.trouble = on_trouble;
	r = open_journal(t, e);
	if (r < 0)
		return r;
	t->front.store = &t->store;
	t->front.as_root = t->store.as_root;
	t->front.uid = geteuid();
	t->front.one_user = !t->options->allow_other;
	t->front.read_only = t->options->read_only;
	r = front_init(&t->front);
	if (r < 0)
		return err_set(e, r,
			"The tenant's root directory cannot be opened: %s; the audit log says what "
			"was found.",
			strerror(-r));
	t->front_ready = true;
	r = trash_resume(t->trash);
	return r < 0 ? err_set(e, r, "Cannot resume erasing what the trash holds: %s.",
			       strerror(-r))
		     : 0;
}

/*
 * An unmount returns before the daemon has finished erasing and closed its log: whoever has the
 * tenant but does not answer is on its way in or out, and is waited for.
 */
static int take_lock(struct tenant *t, struct err *e)
{
	for (int waited = 0;; waited += LOCK_PAUSE_MS) {
		const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
		AUTO_BUF answer = {0};
		int r = layout_lock(&t->layout, "mounted", t->options->mountpoint, e);
		if (r != -EBUSY || waited >= LOCK_WAIT_MS ||
			control_call(t->layout.tenant_fd, "status", "", 0, &answer, NULL) !=
				-ENOTCONN)
			return r;
		nanosleep(&pause, NULL);
	}
}

int tenant_open(struct tenant *t, const struct options *o, struct err *e)
{
	*t = (struct tenant){.options = o,
		.layout = LAYOUT_NONE,
		.keys_fd = -1,
		.trash_fd = -1,
		.since = time(NULL)};
	int r = layout_open(o->store, o->tenant, &t->layout, e);
	if (r == 0)
		r = take_lock(t, e);
	if (r == 0)
		r = open_keys(t, e);
	sandbox_block_signals(&t->signals);
	if (r == 0)
		r = open_gate(t, e);
	if (r == 0)
		r = open_store(t, e);
	if (r < 0)
		tenant_close(t);
	else
		sandbox_settle();
	return r;
}

int tenant_listen(struct tenant *t, struct err *e)
{
	return control_start(t->layout.tenant_fd, serve_request, t, &t->control, e);
}

void tenant_unlisten(struct tenant *t)
{
	control_stop(t->control);
	t->control = NULL;
}

/* Nobody else has flushed what is about to be called an orderly end. */
static void settle_without_journal(struct tenant *t)
{
	struct lower *l = lower_posix();
	int fd = l->ops->openat(l, t->store.root_fd, ".", O_RDONLY | O_DIRECTORY, 0, NULL);
	int r = fd < 0 ? fd : l->ops->syncfs(l, fd);
	if (fd >= 0)
		(void)l->ops->close(l, fd);
	if (r < 0 || store_is_read_only(&t->store))
		journal_distrust(t->journal);
}

void tenant_close(struct tenant *t)
{
	tenant_unlisten(t);
	if (t->front_ready)
		front_done(&t->front);
	if (t->trash)
		trash_close(t->trash, ERASE_WAIT_MS);
	/* What cannot be brought to its place is in the journal, for the next mount. */
	if (redo_stop(t->redo) < 0)
		log_say(LOG_LEVEL_ERROR,
			"Not everything could be written to its place; the next mount goes on with "
			"it.");
	if (t->options->journal_off && t->journal)
		settle_without_journal(t);
	journal_close(t->journal);
	if (t->front.gate) {
		/* A log that cannot take this has no end record either, and verify says so. */
		(void)!record_own(t, AUDIT_UNMOUNT, "unmounted");
		gate_free(t->front.gate);
	}
	if (t->store_ready)
		store_done(&t->store);
	keyring_free(t->keyring);
	if (t->trash_fd >= 0)
		close(t->trash_fd);
	if (t->keys_fd >= 0)
		close(t->keys_fd);
	layout_done(&t->layout);
}
