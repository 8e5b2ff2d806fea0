/* Operations of the campaign on content and times of files. */
#include "fs/store/block_map.h"
#include "tests/sim/sim_run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>

#define BLOCK SIM_BYTES_PAGE
#define BIG_BLOCKS 140u  /* more than a group */
#define PAGES_MAX 600u   /* of a file; then no big writes any more */
#define SAMPLED_BLOCKS 6 /* of what an operation removes */
#define BEYOND_HEADER                                                                              \
	(BLOCK_MAP_FIRST_BLOCKS + (BLOCK_MAP_HEADER_GROUPS - 1ull) * BLOCK_MAP_GROUP_BLOCKS)

static uint64_t node_of(const struct run *r, const struct model_node *n)
{
	return (uint64_t)(n - r->m.nodes);
}

/* Something begins that may change content or time. */
static void begins(struct model_node *n)
{
	n->times.open = n->times.any = true;
}

static bool same(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* What was done with it is committed, once this is not uncertain. */
static void committed(struct run *r, struct model_node *n, const struct timespec *time)
{
	if (sim_steps_uncertain(r) || !n->versions)
		return;
	n->kept = model_newest(n);
	n->times.now = *time;
	n->times.open = false;
}

static int time_of(struct run *r, const struct model_node *n, struct timespec *ret)
{
	struct stat st;
	int error = file_stat(n->file, &st);
	if (error < 0)
		return sim_steps_went(r, error, "file_stat");
	*ret = st.st_mtim;
	if (!n->times.refused && n->versions && !n->times.open && !sim_steps_uncertain(r) &&
		!same(&n->times.now, &st.st_mtim))
		return sim_steps_fail(r, "a modification time that nobody changed", 0);
	return 0;
}

/* A file that never had anything has no header to lose. */
static void anchor(struct run *r, struct model_node *n)
{
	n->anchored = n->anchored || model_length(n) || r->m.states[r->m.now].xattr[node_of(r, n)];
}

static void durable_content(struct model_node *n)
{
	n->synced = n->kept = model_newest(n);
	n->times.any = n->times.open;
	n->times.count = 1;
	n->times.synced[0] = n->times.now;
}

void sim_content_all_durable(struct run *r)
{
	for (unsigned n = 1; n < MODEL_NODES; n++) {
		struct model_node *node = &r->m.nodes[n];
		if (node->type == DT_REG && node->versions && !sim_steps_uncertain(r)) {
			node->synced = node->kept = model_newest(node);
			anchor(r, node);
		}
	}
}

/* The bytes that a crash before the last life left. */
static int read_bytes(struct run *r, struct model_node *n)
{
	uint64_t len, digest;
	if (!n->unread)
		return 0;
	sim_bytes_free(&n->bytes);
	int error = sim_look_content(n->file, &len, &digest, &n->bytes);
	if (error < 0)
		return sim_steps_went(r, error, "reading"), -1;
	const struct model_version *v = &n->v[n->versions - 1];
	if (v->len != len || v->digest != digest || n->bytes.digest != digest)
		return sim_steps_fail(r, "content changed by itself", 0);
	n->unread = false;
	return 0;
}

/* A file that is open, or one by its name. *ret_opened: not before. NULL: there is none, r->why, or
 * the end. */
static struct model_node *some_file(struct run *r, bool *ret_opened)
{
	struct model_node *n = NULL;
	unsigned start = (unsigned)sim_steps_pick(r, MODEL_NODES);
	for (unsigned i = 0; !n && sim_steps_pick(r, 3) == 0 && i < MODEL_NODES; i++)
		if (r->m.nodes[(start + i) % MODEL_NODES].file)
			n = &r->m.nodes[(start + i) % MODEL_NODES];
	*ret_opened = false;
	if (!n) {
		const struct model_entry *e = sim_steps_some(r, 1u << DT_REG);
		n = e ? &r->m.nodes[e->node] : NULL;
		*ret_opened = n && !n->file;
		if (!e || sim_steps_open(r, e) < 0)
			return NULL;
	}
	return n->versions && read_bytes(r, n) == 0 ? n : NULL;
}

static void sample_page(struct run *r, int fd, int removed, uint64_t offset)
{
	static uint8_t bytes[SIM_PAGE];
	struct lower *l = sim_disk_lower(r->disk);
	ssize_t len = lower_pread(l, fd, bytes, sizeof(bytes), offset);
	for (ssize_t at = 0; at + 512 <= len; at += 512)
		model_sample(&r->m, removed, bytes + at);
}

/* What lies on the disk for bytes [from, to) must be gone once the version that comes is there. */
static void remember_part(struct run *r, struct model_node *n, uint64_t from, uint64_t to)
{
	to = to < n->bytes.len ? to : n->bytes.len;
	if (from >= to)
		return;
	uint64_t first = from / BLOCK, blocks = (to + BLOCK - 1) / BLOCK - first;
	int removed = model_remove(
		&r->m, &(struct model_removed){.node = (unsigned)node_of(r, n), .ino = n->ino});
	if (removed < 0)
		return;
	for (unsigned i = 0; i < SAMPLED_BLOCKS && i < blocks; i++) {
		uint64_t block = first + (blocks > SAMPLED_BLOCKS ? sim_steps_pick(r, blocks) : i);
		/* Where nothing is, there may be what a crash kept from being committed. */
		const uint8_t *page = sim_bytes_page(&n->bytes, block);
		if (page && sim_bytes_hash(block, page))
			sample_page(r, file_fd(n->file), removed, block_map_data_offset(block));
	}
}

/* The operation that removes it has the newest version. */
static void remembered(struct run *r, struct model_node *n)
{
	for (unsigned g = 0; g < r->m.removed_count; g++)
		if (r->m.removed[g].node == node_of(r, n) && !r->m.removed[g].version)
			r->m.removed[g].version = model_newest(n);
}

/* Elsewhere there may be what a crash kept from being committed, or what was overwritten. */
static bool has_content(const struct model_node *n, uint64_t offset)
{
	enum block_map_use use;
	uint64_t block;
	const uint8_t *page;
	if (block_map_page(offset, &use, &block) < 0 || (use != BLOCK_MAP_DATA && offset))
		return false;
	page = offset && !n->unread ? sim_bytes_page(&n->bytes, block) : NULL;
	return !offset || (page && sim_bytes_hash(block, page));
}

void sim_content_remember(struct run *r, const struct model_node *n, int fd)
{
	struct lower *l = sim_disk_lower(r->disk);
	struct lower_extent extents[16];
	int removed =
		model_remove(&r->m, &(struct model_removed){.state = n->removed, .ino = n->ino});
	int count = removed < 0 ? 0 : l->ops->fiemap(l, fd, 0, extents, 16);
	for (int i = 0; i < count; i++)
		for (uint64_t at = 0; at < extents[i].length && at < 64 * SIM_PAGE; at += SIM_PAGE)
			if (has_content(n, extents[i].logical + at))
				sample_page(r, fd, removed, extents[i].logical + at);
}

static uint8_t *random_bytes(struct run *r, size_t len)
{
	static uint8_t bytes[BIG_BLOCKS * BLOCK + 8];
	for (size_t i = 0; i < len; i += 8) {
		uint64_t x = sim_random_next(&r->random);
		memcpy(bytes + i, &x, 8);
	}
	return bytes;
}

/* A full disk refused it, in part perhaps: what is there now? */
static int refused(struct run *r, struct model_node *n, uint64_t before)
{
	uint64_t len, digest, version;
	struct stat st;
	r->c->full++;
	int error = sim_look_content(n->file, &len, &digest, NULL);
	if (error == 0)
		error = file_stat(n->file, &st);
	if (error < 0)
		return sim_steps_went(r, error, "reading after a full disk");
	if (model_version_of(n, before, len, digest, &version) < 0)
		return sim_steps_fail(r, "a full disk left what was never written", 0);
	sim_steps_trace(r, "refused, %llu bytes are there", (unsigned long long)len);
	n->times.refused = true;
	/* The numbers of what did not come about are given out again. */
	for (unsigned g = 0; g < r->m.removed_count; g++)
		if (r->m.removed[g].node == node_of(r, n) && r->m.removed[g].version > version)
			r->m.removed[g].version = UINT64_MAX;
	model_back_to(n, version);
	return 0;
}

static int changed(
	struct run *r, struct model_node *n, uint64_t before, int error, const char *what)
{
	remembered(r, n);
	n->wild = error < 0 && sim_disk_failed(r->disk);
	if (error == -ENOSPC && r->full && !sim_steps_uncertain(r))
		return refused(r, n, before);
	return sim_steps_went(r, error, what);
}

int sim_content_write(struct run *r, struct model_node *n, uint64_t offset, size_t len)
{
	uint64_t before = model_newest(n);
	const uint8_t *bytes = random_bytes(r, len);
	sim_steps_trace(r, "write %zu at %llu to %llu", len, (unsigned long long)offset,
		(unsigned long long)node_of(r, n));
	remember_part(r, n, offset, offset + len);
	begins(n);
	model_write(n, bytes, len, offset);
	ssize_t w = file_write(n->file, bytes, len, offset);
	if (w >= 0 && w < (ssize_t)len && !sim_steps_uncertain(r))
		w = -ENOSPC;
	return changed(r, n, before, w < 0 ? (int)w : 0, "file_write");
}

/* Where and how much. */
static void choose_write(struct run *r, const struct model_node *n, uint64_t *at, size_t *len)
{
	const uint64_t end = n->bytes.len;
	uint64_t kind = sim_steps_pick(r, 100);
	if (r->flavour == FLAVOUR_SPARSE && kind < 80) { /* the same few groups */
		*at = (BLOCK_MAP_FIRST_BLOCKS + 128 * sim_steps_pick(r, 3) + sim_steps_pick(r, 4)) *
		      BLOCK;
		*len = 1 + sim_steps_pick(r, 2 * BLOCK);
		return;
	}
	if (r->flavour == FLAVOUR_HEAVY && kind < 60) { /* as much as the journal takes */
		*at = 16 * BLOCK * sim_steps_pick(r, 4);
		*len = BLOCK * (20 + sim_steps_pick(r, 100));
		return;
	}
	*at = end;
	*len = 1 + sim_steps_pick(r, sim_steps_pick(r, 3) ? 6000 : 100);
	if (kind < 30)
		return;
	*at = sim_steps_pick(r, end + 1);
	if (kind < 60)
		return;
	*at -= *at % BLOCK;
	*len = BLOCK * (1 + sim_steps_pick(r, 4));
	if (kind < 78)
		return;
	*at = end + sim_steps_pick(r, 5 * BLOCK);
	*len = 1 + sim_steps_pick(r, 6000);
	if (kind < 90 || n->bytes.count > PAGES_MAX)
		return;
	*at = sim_steps_pick(r, 3) ? 0 : sim_steps_pick(r, 70 * BLOCK);
	*len = BLOCK * (8 + sim_steps_pick(r, sim_steps_pick(r, 3) ? 30 : BIG_BLOCKS - 8));
	if (kind < 94)
		return;
	uint64_t block = BLOCK_MAP_FIRST_BLOCKS + 128 * sim_steps_pick(r, 4) - 2;
	if (kind >= 98)
		block = BEYOND_HEADER + sim_steps_pick(r, 300) - 4;
	*at = block * BLOCK + sim_steps_pick(r, BLOCK);
	*len = 1 + sim_steps_pick(r, 3 * BLOCK);
}

static int step_write(struct run *r, struct model_node *n)
{
	uint64_t at;
	size_t len;
	choose_write(r, n, &at, &len);
	file_keep_time(n->file, sim_steps_pick(r, 3) == 0);
	return sim_content_write(r, n, at, len);
}

static int step_truncate(struct run *r, struct model_node *n)
{
	uint64_t before = model_newest(n), end = n->bytes.len;
	const uint64_t sizes[] = {0, 0, end, sim_steps_pick(r, end + 1),
		sim_steps_pick(r, end + 1) / BLOCK * BLOCK, end + sim_steps_pick(r, 50000),
		end > 64 * BLOCK ? 64 * BLOCK : 0, end + 600 * BLOCK};
	uint64_t size = sizes[sim_steps_pick(r, sizeof(sizes) / sizeof(sizes[0]))];
	sim_steps_trace(r, "truncate %llu from %llu to %llu", (unsigned long long)node_of(r, n),
		(unsigned long long)end, (unsigned long long)size);
	remember_part(r, n, size, end);
	begins(n);
	sim_bytes_resize(&n->bytes, size);
	model_version(n);
	return changed(r, n, before, file_truncate(n->file, size), "file_truncate");
}

static int step_range(struct run *r, struct model_node *n)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
	int mode = modes[sim_steps_pick(r, sizeof(modes) / sizeof(modes[0]))];
	uint64_t before = model_newest(n), end = n->bytes.len, at = sim_steps_pick(r, end + 1);
	uint64_t len = 1 + sim_steps_pick(r, end - at + 1 + (sim_steps_pick(r, 3) ? 0 : 3 * BLOCK));
	if (sim_steps_pick(r, 3) == 0)
		at -= at % BLOCK;
	len = len < 200 * BLOCK ? len : 200 * BLOCK;
	sim_steps_trace(r, "range of %llu, mode %d: %llu at %llu",
		(unsigned long long)node_of(r, n), mode, (unsigned long long)len,
		(unsigned long long)at);
	begins(n);
	if (mode & (FALLOC_FL_ZERO_RANGE | FALLOC_FL_PUNCH_HOLE)) {
		remember_part(r, n, at, at + len);
		if (at < end)
			sim_bytes_zero(&n->bytes, at, at + len < end ? len : end - at);
	}
	/* The size comes last. */
	model_version(n);
	if (!(mode & FALLOC_FL_KEEP_SIZE) && at + len > end)
		sim_bytes_resize(&n->bytes, at + len);
	model_version(n);
	return changed(
		r, n, before, file_range_change(n->file, mode, at, len), "file_range_change");
}

int sim_content_step(struct run *r)
{
	bool opened;
	struct model_node *n = some_file(r, &opened);
	if (!n)
		return r->why[0] ? -1 : 0;
	int result = 0;
	unsigned times = 1 + (unsigned)sim_steps_pick(r, 3);
	while (result == 0 && times-- && !sim_steps_uncertain(r) && !n->unread) {
		uint64_t kind = sim_steps_pick(r, 10);
		result = kind < 7   ? step_write(r, n)
			 : kind < 8 ? step_truncate(r, n)
				    : step_range(r, n);
	}
	/* Often closed at once, and then often opened again by the next one. */
	if (result == 0 && opened && sim_steps_pick(r, 3))
		result = sim_content_close(r, n);
	return result;
}

/* As the kernel does it: a flush, and a release when it is the last one. */
int sim_content_close(struct run *r, struct model_node *n)
{
	int error = 0, result = 0;
	bool last = n->handles == 1, tried = sim_steps_pick(r, 4);
	sim_steps_trace(
		r, "close %llu%s", (unsigned long long)node_of(r, n), last ? "" : ", not the last");
	if (tried)
		error = file_commit(n->file);
	if (error < 0)
		result = sim_steps_went(r, error, "file_commit");
	if (last && n->removed && !sim_steps_uncertain(r))
		sim_content_remember(r, n, file_fd(n->file));
	struct timespec time = n->times.now;
	if (result == 0)
		result = time_of(r, n, &time);
	n->handles--;
	file_put(n->file);
	if (last)
		n->file = NULL;
	bool clean = !n->times.open;
	if (result == 0 && (last || tried))
		committed(r, n, &time);
	/* A write that keeps the time shows another one until it is committed. */
	n->times.open = n->times.open || !(tried || clean);
	return result;
}

/* The kernel's word of the time, before what it asks for next. */
static int tell_time(struct run *r, struct model_node *n)
{
	const struct timespec t = {
		1000000 + (time_t)sim_steps_pick(r, 1u << 30), (long)sim_steps_pick(r, 1000000000)};
	if (sim_steps_pick(r, 3))
		return 0;
	sim_steps_trace(r, "tell the time of %llu", (unsigned long long)node_of(r, n));
	n->times.open = n->times.any = true;
	int error = file_tell_time(n->file, &t);
	if (error)
		return sim_steps_went(r, error, "file_tell_time");
	n->times.told = t;
	n->times.tells = true;
	return 0;
}

/* What was committed has it. */
static void told(struct run *r, struct model_node *n)
{
	if (n->times.tells && !sim_steps_uncertain(r)) {
		n->times.now = n->times.told;
		n->times.open = false;
	}
	n->times.tells = false;
}

static int sync_node(struct run *r, struct model_node *n, bool data_only)
{
	sim_steps_trace(
		r, "fsync %llu%s", (unsigned long long)node_of(r, n), data_only ? " data" : "");
	if (tell_time(r, n))
		return -1;
	struct timespec time = n->times.now;
	int error = file_sync(n->file, data_only);
	if (error == 0)
		told(r, n);
	int result = error ? sim_steps_went(r, error, "file_sync") : time_of(r, n, &time);
	if (error == 0 && !sim_steps_uncertain(r)) {
		committed(r, n, &time);
		anchor(r, n);
		if (data_only)
			n->synced = n->kept;
		else
			durable_content(n);
	}
	/* fdatasync is about content: a name that it got later may still be lost. */
	if (error == 0 && !data_only)
		sim_steps_durable(r, n->last);
	return result;
}

int sim_content_fsync(struct run *r)
{
	bool opened, data_only = sim_steps_pick(r, 4) == 0;
	struct model_node *n = some_file(r, &opened);
	if (!n)
		return r->why[0] ? -1 : 0;
	int result = sync_node(r, n, data_only);
	return opened && result == 0 ? sim_content_close(r, n) : result;
}

/* A log: a little is appended, and flushed each time. */
int sim_content_append(struct run *r)
{
	bool opened;
	struct model_node *n = some_file(r, &opened);
	if (!n)
		return r->why[0] ? -1 : 0;
	int result = 0;
	unsigned times = 3 + (unsigned)sim_steps_pick(r, 6);
	size_t records = sim_steps_pick(r, 2) ? BLOCK >> sim_steps_pick(r, 4) : 0;
	file_keep_time(n->file, sim_steps_pick(r, 2));
	while (result == 0 && times-- && !sim_steps_uncertain(r) && !n->unread) {
		/* Records that divide a block end with it now and then. */
		size_t len =
			records ? records - n->bytes.len % records
				: 1 + sim_steps_pick(r, sim_steps_pick(r, 3) ? 6000 : 3 * BLOCK);
		if (n->bytes.len > 4 * BIG_BLOCKS * BLOCK)
			break;
		result = sim_content_write(r, n, n->bytes.len, len);
		/* Now and then something else comes between, or nothing. */
		uint64_t kind = sim_steps_pick(r, 20);
		if (result == 0 && kind && !sim_steps_uncertain(r) && !n->unread)
			result = kind > 1 ? sync_node(r, n, sim_steps_pick(r, 4) == 0)
					  : step_truncate(r, n);
	}
	return result == 0 && opened && sim_steps_pick(r, 2) ? sim_content_close(r, n) : result;
}

int sim_content_open(struct run *r)
{
	const struct model_entry *e = sim_steps_some(r, 1u << DT_REG);
	if (!e)
		return 0;
	struct model_node *n = &r->m.nodes[e->node];
	if (n->file) {
		sim_steps_trace(r, "open %u once more", e->node);
		file_get(n->file);
		n->handles++;
		return 0;
	}
	sim_steps_trace(r, "open %u", e->node);
	return sim_steps_open(r, e) < 0 && r->why[0] ? -1 : 0;
}

int sim_content_release(struct run *r)
{
	unsigned start = (unsigned)sim_steps_pick(r, MODEL_NODES);
	for (unsigned n = 0; n < MODEL_NODES; n++)
		if (r->m.nodes[(start + n) % MODEL_NODES].file)
			return sim_content_close(r, &r->m.nodes[(start + n) % MODEL_NODES]);
	return 0;
}

int sim_content_commit(struct run *r)
{
	const struct model_entry *e = sim_steps_some(r, 1u << DT_REG);
	struct model_node *n = e ? &r->m.nodes[e->node] : NULL;
	if (!n || !n->file)
		return 0;
	sim_steps_trace(r, "commit %u", e->node);
	if (tell_time(r, n))
		return -1;
	struct timespec time = n->times.now;
	int error = file_commit(n->file);
	if (error == 0)
		told(r, n);
	int result = error ? sim_steps_went(r, error, "file_commit") : time_of(r, n, &time);
	if (error == 0)
		committed(r, n, &time);
	return result;
}

/* utimensat(2): what a user sets is there whatever happens in the background. */
int sim_content_times(struct run *r)
{
	bool opened;
	struct model_node *n = some_file(r, &opened);
	if (!n)
		return r->why[0] ? -1 : 0;
	const struct timespec ts[2] = {
		{.tv_nsec = UTIME_OMIT}, {1000000 + (time_t)sim_steps_pick(r, 1u << 30),
						 (long)sim_steps_pick(r, 1000000000)}};
	sim_steps_trace(r, "times of %llu", (unsigned long long)node_of(r, n));
	n->times.open = true;
	int error = file_set_times(n->file, ts);
	int result = error ? sim_steps_went(r, error, "file_set_times") : 0;
	if (error == 0 && !sim_steps_uncertain(r)) {
		n->kept = model_newest(n);
		n->times.now = ts[1];
		n->times.open = false;
		if (n->times.count < MODEL_TIMES)
			n->times.synced[n->times.count++] = ts[1];
		else
			n->times.any = true;
	} else {
		n->times.any = true;
	}
	return opened && result == 0 ? sim_content_close(r, n) : result;
}
