#include "fs/store/check_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *text_of(const struct buf *b)
{
	return b->data ? (const char *)b->data : "";
}

void check_found(struct check *c, const struct check_finding *f)
{
	struct check_finding told = *f;
	if (!told.lower)
		told.lower = text_of(&c->lower);
	if (!told.path && c->plain.len)
		told.path = text_of(&c->plain);
	if (c->holding) {
		check_live_hold(c, &told);
		return;
	}
	if (told.in_use) {
		c->counts->in_use++;
		if (c->o->found)
			c->o->found(c->o->context, &told);
		return;
	}
	c->counts->findings++;
	c->counts->waiting += told.waits;
	c->counts->damaged += told.damage;
	c->counts->corrected += told.corrected;
	c->counts->left += !told.corrected;
	if (c->o->found)
		c->o->found(c->o->context, &told);
}

int check_go_on(struct check *c)
{
	return c->o->progress ? c->o->progress(c->o->context, c->counts) : 0;
}

int check_unread(struct check *c, int r)
{
	c->incomplete |= r < 0;
	if (r == -EIO) {
		check_found(c, &(struct check_finding){.kind = "disk",
				       .detail = "the disk cannot read it",
				       .block = UINT64_MAX,
				       .damage = true});
		return 1;
	}
	/* Without repair a mode that keeps us out cannot even be lifted for a moment. */
	if (r != -EACCES && r != -EPERM && r != -EROFS)
		return r;
	c->counts->unread++;
	check_found(c, &(struct check_finding){.kind = "unread",
			       .detail = "its mode keeps it from who checks",
			       .block = UINT64_MAX});
	return 1;
}

bool check_move(struct check *c, int dirfd, const char *name, const char *kind, const char *detail,
	char ret_name[static CHECK_LOST_NAME])
{
	char why[256];
	ret_name[0] = 0;
	if (!c->o->repair)
		return false;
	snprintf(why, sizeof(why), "%s: %s", kind, detail);
	if (check_lost_move(&c->lost, dirfd, name, text_of(&c->lower), why, ret_name) < 0) {
		ret_name[0] = 0;
		return false;
	}
	c->counts->moved++;
	return true;
}

void check_attribute(struct check *c, int fd, const char *attribute, const uint8_t *file_id)
{
	char moved[CHECK_LOST_NAME] = "";
	if (c->o->repair &&
		check_lost_attribute(&c->lost, fd, attribute, text_of(&c->lower), moved) < 0)
		moved[0] = 0;
	c->counts->moved += moved[0] != 0;
	check_found(c, &(struct check_finding){.kind = "attribute",
			       .detail = "an extended attribute does not verify",
			       .file_id = file_id,
			       .block = UINT64_MAX,
			       .damage = true,
			       .corrected = moved[0] != 0,
			       .moved = moved[0] ? moved : NULL});
}

static void keep_alarm(void *context, const struct store_alarm *alarm)
{
	struct check *c = context;
	snprintf(c->alarm, sizeof(c->alarm), "%s", alarm->detail);
}

static void check_done(struct check *c)
{
	check_lost_done(&c->lost);
	check_links_done(&c->links);
	check_live_done(c);
	free(c->waiting);
	if (c->plain.data)
		crypto_wipe(c->plain.data, c->plain.cap);
	buf_done(&c->plain);
	buf_done(&c->lower);
	c->s->alarm = NULL;
	c->s->alarm_context = NULL;
}

int check_store(
	struct store *s, int tenant_fd, const struct check_options *o, struct check_counts *ret)
{
	*ret = (struct check_counts){0};
	AUTO(check_done)
	struct check c = {.s = s, .o = o, .counts = ret, .unclean_since_ns = UINT64_MAX};
	check_lost_init(&c.lost, s->lower, tenant_fd);
	s->alarm = keep_alarm;
	s->alarm_context = &c;
	/* In the order of a mount: what was announced is finished before anything is judged. */
	int r = o->settle ? check_beside(&c, tenant_fd) : check_journal(&c, tenant_fd);
	if (r == 0 && !o->settle)
		r = check_trash(&c, tenant_fd);
	if (r == 0)
		r = check_tree(&c);
	return r;
}
