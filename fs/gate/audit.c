/*
 * Writing the audit trail. One mutex orders the records: format, seal, one pwrite at the end of the
 * segment, then the record key moves on. The order of steps in which a segment begins, so that a
 * stop between any two loses nothing and forges nothing, is argued in docs/audit.md, "audit/next".
 */
#include "fs/gate/audit.h"

#include "fs/gate/audit_file.h"
#include "fs/gate/audit_next.h"
#include "fs/gate/audit_record.h"
#include "fs/gate/audit_reserve.h"
#include "fs/gate/audit_segment.h"
#include "keymgmt/base/buf.h"
#include "keymgmt/base/lock.h"
#include "keymgmt/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEGMENT_BYTES_DEFAULT (64u << 20)
#define SEGMENT_BYTES_MAX (512u << 20)
#define FOLDER_CHECK_NS 100000000u
#define RECORD_ROOM 16384 /* what the buffer holds from the start */
#define OPEN_ROOM 8192    /* in a segment that is begun on a full disk: two records and the end */

struct identity {
	dev_t dev;
	ino_t ino;
};

struct audit {
	struct lower *lower;
	int tenant_fd; /* borrowed */
	const struct keyring *keys;
	struct audit_options options;
	struct secret *path_key;
	int dir_fd;
	struct identity dir;

	struct lock_mutex lock; /* guards all below; taken last of all locks */
	pthread_cond_t flushed;
	int fd; /* of the open segment */
	struct identity file;
	char name[AUDIT_SEGMENT_NAME_LEN];
	struct audit_chain chain;
	struct audit_reserve reserve;
	struct buf record;       /* head, frame, JSON, tag of the record being written */
	uint64_t rotate_above;   /* bytes */
	uint64_t folder_checked; /* when, ns */
	uint64_t durable;        /* last sequence that is on the disk */
	bool flushing;           /* one thread is in fdatasync, without the lock */
	bool broken, ended; /* ended: this segment has its end record, the next was not begun */
};

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool is_full(int r)
{
	return r == -ENOSPC || r == -EDQUOT;
}

/* Always -EIO from then on; said once. */
static int fail(struct audit *a, const char *why)
{
	if (!a->broken)
		log_say(LOG_LEVEL_ERROR,
			"audit: %s; nothing more is opened until the tenant is mounted again", why);
	a->broken = true;
	return -EIO;
}

static struct identity identity(const struct stat *st)
{
	return (struct identity){st->st_dev, st->st_ino};
}

static bool same(struct identity a, struct identity b)
{
	return a.dev == b.dev && a.ino == b.ino;
}

static int check_folder(struct audit *a)
{
	struct stat dir;
	if (a->lower->ops->fstatat(a->lower, a->tenant_fd, "audit", &dir) < 0 ||
		!same(identity(&dir), a->dir))
		return fail(a, "the folder audit was moved or replaced");
	return 0;
}

/* The segment is the file that a reader will find, and nobody else has touched its length. */
static int check_segment(struct audit *a, uint64_t now)
{
	struct stat st;
	if (now - a->folder_checked > FOLDER_CHECK_NS && check_folder(a) < 0)
		return -EIO;
	if (now - a->folder_checked > FOLDER_CHECK_NS)
		a->folder_checked = now;
	/* We hold the inode open, so that its number means this file and no later one. */
	if (a->lower->ops->fstatat(a->lower, a->dir_fd, a->name, &st) < 0 ||
		!same(identity(&st), a->file))
		return fail(a, "the open segment was removed, renamed or replaced");
	if (st.st_nlink != 1)
		return fail(a, "the open segment has a second name");
	if ((uint64_t)st.st_size != a->chain.length)
		return fail(a, "the length of the open segment was changed");
	return 0;
}

/* Opens tenant_fd/audit. */
static int open_dir(struct lower *l, int tenant_fd)
{
	return l->ops->openat(l, tenant_fd, "audit", O_RDONLY | O_DIRECTORY, 0, NULL);
}

/* What the new header signs of its predecessor, from its file: after a start. */
static int find_predecessor(struct audit *a, const struct audit_next *key, struct audit_header *h)
{
	AUTO_FREE uint8_t *bytes = NULL;
	size_t len = 0;
	char name[AUDIT_SEGMENT_NAME_LEN];
	struct audit_header pred;
	struct audit_end end;
	h->first_sequence = 1;
	if (h->number == 1)
		return 0;
	audit_segment_name(h->number - 1, name);
	/* After a mere kill we may be reading what no disk has: once signed, a power cut must not
	 * shorten it. */
	int r = audit_file_sync(a->lower, a->dir_fd, name);
	if (r == 0)
		r = audit_file_read(a->lower, a->dir_fd, name, &bytes, &len);
	if (r == -ENOENT) {
		h->flags = AUDIT_PRED_MISSING;
		log_say(LOG_LEVEL_ERROR,
			"audit: the newest segment is missing; see tenantctl audit verify");
		return 0;
	}
	if (r < 0)
		return r;
	audit_segment_scan(bytes, len, &end);
	h->flags = end.clean ? AUDIT_PRED_CLEAN : 0;
	h->pred_len = end.length;
	memcpy(h->pred_head, end.head, AUDIT_HEAD_LEN);
	if (len >= AUDIT_HEADER_LEN && audit_segment_header_parse(bytes, &pred) == 0)
		h->first_sequence = pred.first_sequence + end.records;
	if (key->ended && (key->pred_len != end.length ||
				  memcmp(key->pred_head, end.head, AUDIT_HEAD_LEN) != 0)) {
		h->flags |= AUDIT_PRED_ALTERED;
		log_say(LOG_LEVEL_ERROR, "audit: the newest segment was changed after it was "
					 "closed; see tenantctl audit verify");
	}
	return 0;
}

/* ... and while the log is open. */
static void know_predecessor(const struct audit *a, struct audit_header *h)
{
	h->flags = AUDIT_PRED_CLEAN;
	h->pred_len = a->chain.length;
	h->first_sequence = a->chain.sequence;
	memcpy(h->pred_head, a->chain.head, AUDIT_HEAD_LEN);
}

/* Seals a fresh segment key to every auditor. */
static int seal_boxes(struct audit_header *h, const struct keyring *k, struct secret **ret_key)
{
	AUTO_SECRET *key = secret_random(KEY_LEN);
	h->auditors = (unsigned)keyring_auditors(k, h->auditor);
	if (!key)
		return -ENOMEM;
	if (h->auditors == 0)
		return -ENOKEY;
	for (unsigned i = 0; i < h->auditors; i++) {
		int r = crypto_box_seal_to(h->auditor[i], key, h->box[i]);
		if (r < 0)
			return r;
	}
	*ret_key = key;
	key = NULL;
	return 0;
}

static int publish(struct audit *a, int fd, uint32_t number, const uint8_t *header)
{
	struct stat st;
	audit_segment_name(number, a->name);
	int r = audit_file_publish(a->lower, a->dir_fd, fd, a->name, header);
	if (r == 0)
		r = a->lower->ops->fstat(a->lower, fd, &st);
	if (r == 0)
		a->file = identity(&st);
	return r;
}

/* Begins the segment that `key` signs, in the file fd (taken on success). first: after a start, not
 * in a running log. */
static int begin_segment(struct audit *a, struct audit_next *key, int fd, bool first)
{
	AUTO(audit_next_auto)
	struct audit_next after = {.slot = key->slot, .version = key->version, .stale = -1};
	AUTO_SECRET *segment_key = NULL;
	uint8_t bytes[AUDIT_HEADER_LEN];
	struct audit_header h = {.number = key->number, .created_ns = now_ns()};
	const struct keyring_owner *owner = keyring_owner(a->keys);
	struct audit_chain chain;
	memcpy(h.store_uuid, owner->store_uuid, CRYPTO_ID_LEN);
	memcpy(h.tenant_uuid, owner->tenant_uuid, CRYPTO_ID_LEN);
	after.number = key->number + 1;
	if (!first)
		know_predecessor(a, &h);
	int r = first ? find_predecessor(a, key, &h) : 0;
	if (r == 0)
		r = seal_boxes(&h, a->keys, &segment_key);
	if (r == 0)
		r = crypto_sign_new(h.next_public, &after.signing);
	if (r < 0)
		return r;
	audit_segment_header_pack(&h, key->signing, bytes);
	r = audit_segment_chain_init(&chain, &h, bytes, segment_key);
	segment_key = NULL;
	if (r < 0)
		return r;
	if ((r = audit_next_store(a->lower, a->dir_fd, a->keys, &after)) < 0 ||
		(r = publish(a, fd, h.number, bytes)) < 0 ||
		(r = audit_next_shred(a->lower, a->dir_fd, key->slot)) < 0) {
		audit_segment_chain_done(&chain);
		return r;
	}
	audit_segment_chain_done(&a->chain);
	a->chain = chain;
	a->fd = fd;
	a->durable = chain.sequence - 1;
	return 0;
}

static int load_key(struct audit *a, struct audit_next *ret, struct err *e)
{
	int r = audit_next_load(a->lower, a->dir_fd, a->keys, ret, e);
	if (r == 0 && ret->stale >= 0)
		r = audit_next_shred(a->lower, a->dir_fd, (unsigned)ret->stale);
	return r;
}

/* A new key must not sign a second segment of its number, whatever audit/next was replaced by. */
static int check_unused(struct audit *a, uint32_t number, struct err *e)
{
	char name[AUDIT_SEGMENT_NAME_LEN];
	struct stat st;
	audit_segment_name(number, name);
	int r = a->lower->ops->fstatat(a->lower, a->dir_fd, name, &st);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r
		     : err_set(e, -EBADMSG,
			       "audit/next is older than segment %s; restore it with the rest of "
			       "the tenant",
			       name);
}

static int open_first(struct audit *a, struct err *e)
{
	AUTO(audit_next_auto) struct audit_next key = {.stale = -1};
	char name[AUDIT_SEGMENT_NAME_LEN];
	int r = load_key(a, &key, e);
	if (r == 0)
		r = check_unused(a, key.number, e);
	if (r < 0)
		return r;
	if (key.number > 1) {
		audit_segment_name(key.number - 1, name);
		audit_reserve_reclaim(a->lower, a->dir_fd, name);
	}
	/* A full disk must be mountable, or nothing could be removed from it. */
	int fd = audit_file_make(a->lower, a->dir_fd, OPEN_ROOM, &a->reserve);
	if (fd < 0)
		return fd;
	r = begin_segment(a, &key, fd, true);
	if (r < 0)
		a->lower->ops->close(a->lower, fd);
	return r;
}

static void free_log(struct audit *a)
{
	const struct lower_ops *ops = a->lower->ops;
	if (a->fd >= 0)
		ops->close(a->lower, a->fd);
	if (a->dir_fd >= 0)
		ops->close(a->lower, a->dir_fd);
	audit_segment_chain_done(&a->chain);
	secret_free(a->path_key);
	if (a->record.data)
		crypto_wipe(a->record.data, a->record.cap);
	buf_done(&a->record);
	pthread_cond_destroy(&a->flushed);
	lock_done(&a->lock);
	free(a);
}

static int open_log(struct audit *a, struct err *e)
{
	struct stat st;
	a->dir_fd = open_dir(a->lower, a->tenant_fd);
	if (a->dir_fd < 0)
		return a->dir_fd;
	int r = a->lower->ops->fstat(a->lower, a->dir_fd, &st);
	if (r < 0)
		return r;
	a->dir = identity(&st);
	a->path_key = audit_record_path_key(a->keys);
	if (!a->path_key || !buf_reserve(&a->record, RECORD_ROOM))
		return -ENOMEM;
	return open_first(a, e);
}

int audit_open(struct lower *l, int tenant_fd, const struct keyring *k,
	const struct audit_options *o, struct audit **ret, struct err *e)
{
	struct audit *a = malloc(sizeof(*a));
	if (!a)
		return err_set(e, -ENOMEM, "there is not enough memory for the audit trail");
	*a = (struct audit){.lower = l,
		.tenant_fd = tenant_fd,
		.keys = k,
		.options = *o,
		.dir_fd = -1,
		.fd = -1};
	lock_init(&a->lock, LOCK_AUDIT);
	pthread_cond_init(&a->flushed, NULL);
	uint64_t bytes = o->segment_bytes ? o->segment_bytes : SEGMENT_BYTES_DEFAULT;
	a->rotate_above = a->options.segment_bytes =
		bytes < SEGMENT_BYTES_MAX ? bytes : SEGMENT_BYTES_MAX;
	int r = open_log(a, e);
	if (r < 0) {
		free_log(a);
		if (is_full(r))
			return err_default(e, r,
				"the audit trail cannot be opened (%s); free some space outside "
				"the tenant",
				strerror(-r));
		return err_default(e, r,
			"the audit trail cannot be opened (%s); nothing is mounted without it",
			strerror(-r));
	}
	*ret = a;
	return 0;
}

/* Formats and seals into a->record. The frame, or NULL. */
static uint8_t *make_frame(
	struct audit *a, const struct audit_event *event, bool end, size_t *ret_len)
{
	static const uint8_t room[AUDIT_HEAD_LEN + AUDIT_FRAME_LEN];
	struct audit_stamp stamp = {.sequence = a->chain.sequence,
		.time_ns = now_ns(),
		.paths = a->options.paths,
		.path_key = a->path_key,
		.end = end};
	struct buf *b = &a->record;
	if (end || event->kind == AUDIT_HEARTBEAT)
		stamp.head = a->chain.head;
	buf_reset(b);
	buf_put(b, room, sizeof(room));
	audit_record_format(b, event, &stamp);
	if (!buf_reserve(b, CRYPTO_TAG_LEN))
		return NULL;
	uint8_t *frame = b->data + AUDIT_HEAD_LEN;
	size_t len = b->len - sizeof(room);
	if (audit_segment_seal(&a->chain, frame, len, end) < 0)
		return NULL;
	*ret_len = len + AUDIT_FRAME_EXTRA;
	return frame;
}

/* One try. A part that was written is taken back; where that fails the log is broken. */
static int append(struct audit *a, const uint8_t *frame, size_t len)
{
	ssize_t n = lower_pwrite(a->lower, a->fd, frame, len, a->chain.length);
	if (n == (ssize_t)len)
		return 0;
	a->chain.attempt++; /* part of these bytes may be on the disk: never the same nonce twice */
	if (n >= 0) {
		/* short: the next call says why */
		ssize_t more = lower_pwrite(
			a->lower, a->fd, frame + n, len - (size_t)n, a->chain.length + (size_t)n);
		if (more == (ssize_t)(len - (size_t)n))
			return 0;
		n = more < 0 ? more : -ENOSPC;
	}
	if (!is_full((int)n))
		return fail(a, "the open segment cannot be written");
	if (audit_reserve_cut(&a->reserve, a->lower, a->fd, a->chain.length) < 0)
		return fail(a, "a half-written record cannot be taken back");
	return (int)n;
}

/* Seals and writes one record; moves the chain. */
static int write_record(
	struct audit *a, const struct audit_event *event, bool end, enum audit_need need)
{
	size_t len;
	uint8_t *frame = make_frame(a, event, end, &len);
	if (!frame)
		return -ENOMEM;
	int r = audit_reserve_take(&a->reserve, a->lower, a->fd, a->chain.length + len,
		audit_reserve_floor(need, end));
	if (r < 0)
		return is_full(r) ? r : fail(a, "the open segment cannot be extended");
	r = append(a, frame, len);
	if (r == 0)
		audit_segment_advance(&a->chain, frame, len);
	return r;
}

/* Waits until nobody flushes: the segment's descriptor may then be changed. */
static void wait_flushed(struct audit *a)
{
	while (a->flushing)
		lock_wait(&a->flushed, &a->lock);
}

/* The end record, and nothing behind it. Memory can only be short before it is written. */
static int end_segment(struct audit *a)
{
	int r = write_record(a, NULL, true, AUDIT_RESERVE);
	a->ended = r == 0;
	if (r == 0)
		r = audit_reserve_cut(&a->reserve, a->lower, a->fd, a->chain.length);
	return r < 0 ? r : a->lower->ops->fsync(a->lower, a->fd, true);
}

/*
 * Closes this segment and begins the next. A disk without room for one more, or short memory, puts
 * it off; behind an end record a later call goes on here.
 */
static int rotate(struct audit *a)
{
	AUTO(audit_next_auto) struct audit_next key = {.stale = -1};
	struct audit_reserve reserve;
	wait_flushed(a);
	if (a->broken)
		return -EIO;
	if (!a->ended && a->chain.length <= a->rotate_above)
		return 0; /* another thread did it meanwhile */
	int old = a->fd, fd = audit_file_make(a->lower, a->dir_fd, AUDIT_RESERVE_BYTES, &reserve);
	int r = fd < 0 ? fd : load_key(a, &key, NULL);
	if (r == 0 && key.number != a->chain.number + 1)
		r = -EBADMSG;
	if (r == 0 && !a->ended)
		r = end_segment(a);
	if (r == 0)
		r = begin_segment(a, &key, fd, false);
	if (r < 0 && fd >= 0)
		a->lower->ops->close(a->lower, fd);
	if (r == -ENOMEM || (fd < 0 && is_full(fd))) {
		a->rotate_above = a->chain.length + AUDIT_RESERVE_BYTES;
		return a->ended ? r : 0;
	}
	if (r < 0)
		return fail(a, "a new segment cannot be begun");
	a->lower->ops->close(a->lower, old);
	a->ended = false;
	a->reserve = reserve;
	a->rotate_above = a->options.segment_bytes;
	return 0;
}

/* Returns when `sequence` is on the disk: one thread flushes for all that wait. */
static int flush(struct audit *a, uint64_t sequence)
{
	while (a->durable < sequence && !a->broken) {
		if (a->flushing) {
			lock_wait(&a->flushed, &a->lock);
			continue;
		}
		uint64_t upto = a->chain.sequence - 1;
		int fd = a->fd;
		a->flushing = true;
		lock_drop(&a->lock);
		int r = a->lower->ops->fsync(a->lower, fd, true);
		lock_take(&a->lock);
		a->flushing = false;
		if (r < 0)
			fail(a, "the open segment cannot be flushed");
		else
			a->durable = upto;
		pthread_cond_broadcast(&a->flushed);
	}
	return a->broken ? -EIO : 0;
}

/* With the lock held. */
static int write_locked(struct audit *a, const struct audit_event *event, enum audit_need need)
{
	int r;
	if (a->broken)
		return -EIO;
	if ((r = check_segment(a, now_ns())) < 0)
		return r;
	if ((a->ended || a->chain.length > a->rotate_above) && (r = rotate(a)) < 0)
		return r;
	r = write_record(a, event, false, need);
	if (r < 0)
		return r;
	if (a->options.durable || event->kind == AUDIT_HEARTBEAT)
		return flush(a, a->chain.sequence - 1);
	return 0;
}

int audit_write(struct audit *a, const struct audit_event *event, enum audit_need need)
{
	lock_take(&a->lock);
	int r = write_locked(a, event, need);
	lock_drop(&a->lock);
	return r;
}

int audit_heartbeat(struct audit *a)
{
	const struct audit_event beat = {
		.kind = AUDIT_HEARTBEAT, .login_uid = (uid_t)-1, .session = UINT32_MAX};
	return audit_write(a, &beat, AUDIT_RESERVE);
}

uint64_t audit_sequence(const struct audit *a)
{
	struct audit *mutable = (struct audit *)(uintptr_t)a;
	lock_take(&mutable->lock);
	uint64_t sequence = a->chain.sequence - 1;
	lock_drop(&mutable->lock);
	return sequence;
}

bool audit_broken(const struct audit *a)
{
	struct audit *mutable = (struct audit *)(uintptr_t)a;
	lock_take(&mutable->lock);
	bool broken = a->broken;
	lock_drop(&mutable->lock);
	return broken;
}

/* audit/next learns how the segment ended: whoever cuts it afterwards is found out. */
static int remember_end(struct audit *a)
{
	AUTO(audit_next_auto) struct audit_next key = {.stale = -1};
	int r = load_key(a, &key, NULL);
	if (r < 0)
		return r;
	unsigned used = key.slot;
	key.ended = true;
	key.pred_len = a->chain.length;
	memcpy(key.pred_head, a->chain.head, AUDIT_HEAD_LEN);
	r = audit_next_store(a->lower, a->dir_fd, a->keys, &key);
	return r < 0 ? r : audit_next_shred(a->lower, a->dir_fd, used);
}

void audit_close(struct audit *a)
{
	if (!a)
		return;
	lock_take(&a->lock);
	wait_flushed(a);
	int r = a->broken ? -EIO : check_segment(a, now_ns());
	if (r == 0 && !a->ended)
		r = end_segment(a);
	if (r == 0)
		r = remember_end(a);
	if (r == 0)
		audit_reserve_leave(a->lower, a->dir_fd);
	if (r < 0 && !a->broken)
		log_say(LOG_LEVEL_WARNING, "audit: the log could not be closed (%s)", strerror(-r));
	lock_drop(&a->lock);
	free_log(a);
}
