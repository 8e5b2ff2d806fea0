#include "tests/sim/sim_store.h"

#include "fs/lower/lower_readonly.h"
#include "fs/store/check.h"
#include "fs/store/layout_create.h"
#include "fs/store/recover.h"
#include "fs/store/redo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define JOURNAL_BYTES (1u << 20)

static void need(int r, const char *what)
{
	if (r >= 0)
		return;
	printf("not ok - %s: %s\n", what, strerror(-r));
	exit(1);
}

struct keyring *sim_store_keys(void)
{
	struct keyring *keys = NULL;
	struct keyring_owner owner = {.tenant = "acme"};
	crypto_random(owner.store_uuid, CRYPTO_ID_LEN);
	crypto_random(owner.tenant_uuid, CRYPTO_ID_LEN);
	need(keyring_create(&owner, CRYPTO_AES256_GCM, &keys), "keys");
	return keys;
}

struct sim_disk *sim_store_base(const struct keyring *keys)
{
	const struct sim_options o = {.seed = 1, .sector = 512};
	const struct layout_create wanted = {.journal_bytes = JOURNAL_BYTES};
	struct sim_disk *d = sim_disk_new(&o);
	need(d ? 0 : -ENOMEM, "disk");
	struct lower *l = sim_disk_lower(d);
	struct layout layout = LAYOUT_NONE;
	int root = sim_disk_root(d);
	layout.lower = l;
	layout.owner = *keyring_owner(keys);
	layout.suite = keyring_suite(keys);
	need(l->ops->mkdirat(l, root, "tenant", 0700, NULL), "tenant");
	layout.tenant_fd = l->ops->openat(l, root, "tenant", O_PATH | O_DIRECTORY, 0, NULL);
	need(layout.tenant_fd, "tenant");
	need(layout_create_fill(&layout, keys, &wanted, NULL), "layout_create_fill");
	sim_disk_sync(d);
	return d;
}

static void on_alarm(void *context, const struct store_alarm *alarm)
{
	struct sim_store *s = context;
	s->alarms++;
	snprintf(s->what, sizeof(s->what), "%s", alarm->what);
	snprintf(s->detail, sizeof(s->detail), "%s", alarm->detail);
}

static void on_receipt(void *context, const struct trash_receipt *receipt)
{
	struct sim_store *s = context;
	s->bad_receipts += receipt->error != 0;
}

static void on_trouble(void *context, int error)
{
	struct sim_store *s = context;
	(void)store_flushed(&s->store, "the flush of a directory", error);
}

static bool is_halted(void *context)
{
	const struct sim_store *s = context;
	return store_is_read_only(&s->store);
}

static bool on_begin(void *context, ino_t ino)
{
	struct sim_store *s = context;
	return redo_forget(&s->store, ino);
}

static int on_settle(void *context)
{
	struct sim_store *s = context;
	return redo_checkpoint(&s->store);
}

static int open_trash(struct sim_store *s, bool sync)
{
	const struct trash_options options = {.sync = sync,
		.require = TRASH_C,
		.by_hand = true,
		.begin = on_begin,
		.settle = on_settle,
		.receipt = on_receipt,
		.trouble = on_trouble,
		.halted = is_halted,
		.context = s};
	s->trash_fd = s->lower->ops->openat(
		s->lower, s->tenant_fd, "trash", O_RDONLY | O_DIRECTORY, 0, NULL);
	return s->trash_fd < 0 ? s->trash_fd
			       : trash_open(s->lower, s->trash_fd, &options, &s->trash, NULL);
}

int sim_store_mount(struct sim_store *s, struct sim_disk *disk, const struct keyring *keys,
	const struct sim_store_options *o)
{
	struct lower *l = o->lower ? o->lower : sim_disk_lower(disk);
	*s = (struct sim_store){
		.disk = disk, .lower = l, .keys = keys, .tenant_fd = -1, .trash_fd = -1};
	AUTO_LOWER_HELD top = {l, sim_disk_root(disk)};
	s->tenant_fd = l->ops->openat(l, top.fd, "tenant", O_PATH | O_DIRECTORY, 0, NULL);
	if (s->tenant_fd < 0)
		return s->tenant_fd;
	int r = open_trash(s, o->sync);
	if (r == 0)
		r = store_init(&s->store, l, keys, s->tenant_fd);
	if (r < 0)
		return r;
	s->ready = true;
	s->store.as_root = true;
	s->store.trash = s->trash;
	s->store.alarm = on_alarm;
	s->store.alarm_context = s;
	struct recover_result result;
	r = journal_open(l, s->tenant_fd, keys, false, &s->journal, NULL);
	if (r < 0)
		return r;
	s->store.journal = s->journal;
	const struct redo_options by_hand = {.by_hand = true};
	r = recover_store(&s->store, false, &result);
	if (r == 0 && o->no_journal)
		s->store.journal = NULL;
	else if (r == 0)
		r = redo_start(&s->store, &by_hand, &s->redo);
	s->store.redo = s->redo;
	if (r == 0)
		r = dir_open_root(&s->store, &s->root);
	if (r == 0)
		r = trash_resume(s->trash);
	if (r >= 0)
		r = trash_drain(s->trash, -1);
	return r;
}

int sim_store_tick(struct sim_store *s, unsigned seconds)
{
	struct journal_status status;
	bool late = seconds > 5;
	while (seconds--)
		redo_tick(s->redo);
	journal_status(s->journal, &status);
	return late && !status.failed && !store_is_read_only(&s->store);
}

int sim_store_unmount(struct sim_store *s, bool orderly)
{
	int r = 0;
	if (orderly && s->trash)
		r = trash_drain(s->trash, -1);
	dir_put(s->root);
	trash_close(s->trash, 0);
	int stopped = redo_stop(s->redo);
	r = r ? r : stopped;
	s->redo = s->store.redo = NULL;
	journal_close(s->journal);
	s->journal = NULL;
	if (s->ready)
		store_done(&s->store);
	if (s->trash_fd >= 0)
		s->lower->ops->close(s->lower, s->trash_fd);
	if (s->tenant_fd >= 0)
		s->lower->ops->close(s->lower, s->tenant_fd);
	s->root = NULL;
	s->trash = NULL;
	s->ready = false;
	s->trash_fd = s->tenant_fd = -1;
	return r;
}

struct checking {
	char *what;
	bool found;
};

static void on_finding(void *context, const struct check_finding *f)
{
	struct checking *k = context;
	/* A crash may leave what is no damage, for the next change of it. */
	if (!f->damage && strcmp(f->kind, "length") != 0)
		return;
	if (!k->found)
		snprintf(k->what, 200, "%s: %s (%.90s)%s", f->kind, f->detail, f->lower,
			f->damage ? ", damage" : "");
	k->found = true;
}

int sim_store_check(struct sim_store *s, char what[static 200])
{
	struct sim_disk *disk = s->disk;
	const struct keyring *keys = s->keys;
	struct checking k = {what, false};
	const struct check_options o = {.found = on_finding, .context = &k};
	struct check_counts counts;
	struct lower_readonly readonly;
	int r = sim_store_unmount(s, true);
	if (r < 0)
		return r;
	struct lower *l = sim_disk_lower(disk);
	AUTO_LOWER_HELD top = {l, sim_disk_root(disk)};
	AUTO_LOWER_HELD tenant = {
		l, l->ops->openat(l, top.fd, "tenant", O_PATH | O_DIRECTORY, 0, NULL)};
	if (tenant.fd < 0)
		return tenant.fd;
	lower_readonly_init(&readonly, l);
	AUTO(store_done) struct store store;
	r = store_init(&store, &readonly.base, keys, tenant.fd);
	if (r < 0)
		return r;
	store.as_root = true;
	r = check_store(&store, tenant.fd, &o, &counts);
	return r < 0 ? r : k.found;
}

int sim_store_in_trash(const struct sim_store *s)
{
	struct lower *l = sim_disk_lower(s->disk);
	_Alignas(struct dirent64) char bytes[4096];
	int count = 0;
	AUTO_LOWER_HELD list = {
		l, l->ops->openat(l, s->trash_fd, ".", O_RDONLY | O_DIRECTORY, 0, NULL)};
	ssize_t n = list.fd;
	while (n >= 0 && (n = l->ops->getdents(l, list.fd, bytes, sizeof(bytes))) > 0)
		for (ssize_t at = 0; at < n;
			at += ((struct dirent64 *)(void *)(bytes + at))->d_reclen)
			count += ((struct dirent64 *)(void *)(bytes + at))->d_name[0] != '.';
	return n < 0 ? (int)n : count;
}
