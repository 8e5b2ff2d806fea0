#include "fs/store/check_internal.h"

#include "fs/lower/walk.h"
#include "fs/store/journal.h"
#include "fs/store/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static void path_is(struct check *c, const char *lower)
{
	buf_reset(&c->plain);
	buf_reset(&c->lower);
	buf_str(&c->lower, lower);
}

/* A new journal in the place of one that cannot be read, which is kept. */
static bool replace_journal(struct check *c, int tenant_fd, char ret_moved[static CHECK_LOST_NAME])
{
	struct lower *l = c->s->lower;
	struct stat st;
	int r = l->ops->fstatat(l, tenant_fd, "journal", &st);
	uint64_t bytes = r == 0 && S_ISREG(st.st_mode) && st.st_size % 4096 == 0 &&
					 st.st_size >= JOURNAL_BYTES_MIN &&
					 st.st_size <= JOURNAL_BYTES_MAX
				 ? (uint64_t)st.st_size
				 : JOURNAL_BYTES_DEFAULT;
	ret_moved[0] = 0;
	if (r == 0 &&
		!check_move(c, tenant_fd, "journal", "journal", "it cannot be read", ret_moved))
		return false;
	return journal_create(l, tenant_fd, c->s->keys, bytes) == 0 &&
	       l->ops->fsync(l, tenant_fd, false) >= 0;
}

static int finish_journal(struct check *c, struct journal *j)
{
	struct recover_result result = {0};
	const struct journal_entry *entries;
	char detail[96];
	uint64_t since;
	size_t pending = journal_entries(j, &entries);
	bool done = false;
	int r = 0;
	if ((pending || journal_was_unclean(j, &since)) && c->o->repair) {
		c->s->journal = j;
		r = recover_store(c->s, &result);
		c->s->journal = NULL;
		done = r == 0 && result.failed == 0;
	}
	snprintf(detail, sizeof(detail), "%zu entr%s for the next mount", pending,
		pending == 1 ? "y waits" : "ies wait");
	if (pending)
		check_found(c, &(struct check_finding){.kind = "journal",
				       .detail = detail,
				       .block = UINT64_MAX,
				       .corrected = done});
	return r == -ENOMEM ? r : 0;
}

int check_journal(struct check *c, int tenant_fd)
{
	struct journal *j = NULL;
	char moved[CHECK_LOST_NAME] = "";
	path_is(c, "journal");
	int r = journal_open(c->s->lower, tenant_fd, c->s->keys, &j, NULL);
	if (r == 0) {
		r = finish_journal(c, j);
		journal_close(j);
		return r;
	}
	if (r == -ENOMEM || r == -EPROTONOSUPPORT)
		return r;
	if (r != -EBADMSG && r != -ENOENT && r != -ELOOP) {
		r = check_unread(c, r);
		return r < 0 ? r : 0;
	}
	bool mended = c->o->repair && replace_journal(c, tenant_fd, moved);
	check_found(c, &(struct check_finding){.kind = "journal",
			       .detail = r == -ENOENT ? "it is missing" : "it cannot be read",
			       .block = UINT64_MAX,
			       .damage = true,
			       .corrected = mended,
			       .moved = moved[0] ? moved : NULL});
	return 0;
}

static int count_file(void *context, const struct walk_entry *e)
{
	*(unsigned long *)context += e->name[0] != '.' && strlen(e->name) < TRASH_NAME_LEN;
	return 0;
}

/* Whether it is empty now. */
static bool empty_trash(struct check *c, int fd)
{
	const struct trash_options options = {.require = TRASH_C,
		.by_hand = true,
		.receipt = c->o->receipt,
		.context = c->o->context};
	struct trash *t = NULL;
	struct trash_status status;
	if (trash_open(c->s->lower, fd, &options, &t, NULL) < 0)
		return false;
	int r = trash_resume(t);
	if (r >= 0)
		r = trash_drain(t, -1);
	trash_status(t, &status);
	trash_close(t, 0);
	return r >= 0 && !status.files && !status.failed_files;
}

int check_trash(struct check *c, int tenant_fd)
{
	struct lower *l = c->s->lower;
	char detail[96];
	path_is(c, "trash");
	AUTO_LOWER_HELD fd = {
		l, l->ops->openat(l, tenant_fd, "trash", O_RDONLY | O_DIRECTORY, 0, NULL)};
	if (fd.fd == -ENOENT || fd.fd == -ENOTDIR || fd.fd == -ELOOP) {
		bool made = c->o->repair && l->ops->mkdirat(l, tenant_fd, "trash", 0700, NULL) == 0;
		check_found(c, &(struct check_finding){.kind = "trash",
				       .detail = "the folder is missing",
				       .block = UINT64_MAX,
				       .damage = true,
				       .corrected = made});
		return 0;
	}
	unsigned long files = 0;
	int r = fd.fd < 0 ? fd.fd : walk_names(l, fd.fd, count_file, &files);
	if (r < 0 || !files)
		return r < 0 && check_unread(c, r) < 0 ? r : 0;
	snprintf(detail, sizeof(detail), "%lu removed file%s still to be erased", files,
		files == 1 ? " is" : "s are");
	bool done = c->o->repair && empty_trash(c, fd.fd);
	check_found(c,
		&(struct check_finding){
			.kind = "trash", .detail = detail, .block = UINT64_MAX, .corrected = done});
	return 0;
}
