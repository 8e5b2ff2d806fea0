#include "fs/store/file_internal.h"

#include <errno.h>
#include <string.h>

/* The directories in which a file has names, docs/format.md, "Homes". */

struct format_home *file_home_find(struct file *f, const uint8_t dir_id[static DIR_ID_LEN])
{
	for (size_t i = 0; i < FORMAT_HOMES; i++)
		if (f->h.homes[i].names && !memcmp(f->h.homes[i].dir_id, dir_id, DIR_ID_LEN))
			return &f->h.homes[i];
	return NULL;
}

void file_home_count(struct file *f, const uint8_t dir_id[static DIR_ID_LEN])
{
	struct format_home *home = file_home_find(f, dir_id);
	for (size_t i = 0; !home && i < FORMAT_HOMES; i++)
		if (!f->h.homes[i].names)
			home = &f->h.homes[i];
	if (!home) {
		f->h.flags |= FORMAT_MANY_HOMES;
		return;
	}
	memcpy(home->dir_id, dir_id, DIR_ID_LEN);
	if (home->names < UINT32_MAX)
		home->names++;
}

int file_home_check(struct file *f, const uint8_t dir_id[static DIR_ID_LEN], struct file_fault *ft)
{
	if (!f->has_header || f->h.flags & FORMAT_MANY_HOMES || file_home_find(f, dir_id))
		return 0;
	return file_fault_set(ft, "home", "a file was moved here behind our back", UINT64_MAX);
}

void file_home_single(struct file *f, const uint8_t dir_id[static DIR_ID_LEN])
{
	struct stat st;
	struct lower *l = f->store->lower;
	if (!(f->h.flags & FORMAT_MANY_HOMES) || f->write_fd < 0 ||
		l->ops->fstat(l, f->fd, &st) < 0 || st.st_nlink != 1)
		return;
	/* A power cut may bring back names that went a moment ago. */
	if (file_lower_sync(f, false))
		return;
	memset(f->h.homes, 0, sizeof(f->h.homes));
	f->h.flags &= (uint8_t)~FORMAT_MANY_HOMES;
	file_home_count(f, dir_id);
	f->dirty = true;
}

/* With the homes as they are now; durable. */
static int commit_homes(struct file *f)
{
	f->dirty = true;
	int rc = file_commit_now(f, FILE_COMMIT_HARD);
	if (!rc && f->store->redo)
		rc = redo_flush(f->store, f->hard);
	else if (!rc)
		rc = file_lower_sync(f, true);
	return rc;
}

/* The home of a file that has but one; NULL: none, or several. */
static struct format_home *only_home(struct file *f)
{
	struct format_home *only = NULL;
	if (f->h.flags & FORMAT_MANY_HOMES)
		return NULL;
	for (size_t i = 0; i < FORMAT_HOMES; i++) {
		if (f->h.homes[i].names && only)
			return NULL;
		if (f->h.homes[i].names)
			only = &f->h.homes[i];
	}
	return only;
}

static bool is_of(const struct format_home *home, const uint8_t dir_id[DIR_ID_LEN])
{
	return home && !memcmp(home->dir_id, dir_id, DIR_ID_LEN);
}

/* All its names are there: with another home the count decides whether this one may go. A name
 * that went and that a power cut can bring back would not be among them. */
static int recount_only_home(struct file *f, struct format_home *home)
{
	struct stat st;
	struct lower *l = f->store->lower;
	int rc = f->name_went || !f->store->redo ? file_lower_sync(f, false) : 0;
	if (!rc)
		rc = l->ops->fstat(l, f->fd, &st);
	if (rc)
		return rc;
	f->name_went = false;
	uint64_t names = st.st_nlink - (f->trash_name[0] && st.st_nlink);
	home->names = names < UINT32_MAX ? (uint32_t)names : UINT32_MAX;
	home->names += !names;
	return 0;
}

/* Of those that went; at a power cut. Without a journal their commit was flushed. */
static bool no_home_returns(const struct file *f)
{
	const struct store *s = f->store;
	return !f->home_went ||
	       (s->redo && f->home_went <= f->hard && journal_is_durable(s->journal, f->hard));
}

int file_home_add(struct file *f, const uint8_t dir_id[DIR_ID_LEN])
{
	int rc = file_begin(f, 0, 0);
	if (rc)
		return rc;
	struct format_header old = f->h;
	bool dirty = f->dirty;
	struct format_home *only = only_home(f);
	/* On the disk, too: not while another home that has gone may come back. A header that was
	 * made for this has moved the time, which must not stay. */
	bool same = is_of(only, dir_id) && no_home_returns(f) && f->h.commits > 1;
	if (only && !is_of(only, dir_id))
		rc = recount_only_home(f, only);
	if (!rc) {
		file_home_count(f, dir_id);
		f->dirty = f->dirty || f->has_header;
		rc = !f->has_header ? 0 : same ? file_commit_now(f, 0) : commit_homes(f);
	}
	if (rc) {
		memcpy(f->h.homes, old.homes, sizeof(old.homes));
		f->h.flags = old.flags;
		f->dirty = f->dirty || dirty;
	}
	file_end(f);
	return rc;
}

int file_home_remove(struct file *f, const uint8_t dir_id[DIR_ID_LEN])
{
	int rc = file_begin(f, 0, 0);
	if (rc)
		return rc;
	struct format_home *home = file_home_find(f, dir_id), *only = only_home(f);
	if (is_of(only, dir_id) && no_home_returns(f)) {
		/* It has other names, and they are there, whatever the count was before a crash. */
		only->names -= only->names > 1;
		f->name_went = true;
		f->dirty = f->dirty || f->has_header;
		rc = file_commit_now(f, 0);
		file_end(f);
		return rc;
	}
	/* A power cut that brings the name back must find its home: what became of the name first.
	 * It changed the inode, whose fsync therefore carries it. */
	rc = home && f->has_header ? file_lower_sync(f, false) : 0;
	if (home && !rc) {
		home->names -= home != only || home->names > 1;
		if (!home->names)
			memset(home, 0, sizeof(*home));
		f->dirty = f->has_header;
		f->home_went = UINT64_MAX;
		rc = file_commit_now(f, 0);
		if (!rc)
			f->home_went = f->last;
	}
	file_end(f);
	return rc;
}
