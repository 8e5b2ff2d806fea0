#include "fs/store/check_internal.h"

#include <errno.h>
#include <string.h>

void check_links_done(struct check_links *l)
{
	for (size_t i = 0; i < l->size; i++)
		if (l->slots[i]) {
			free(l->slots[i]->lower);
			free(l->slots[i]->plain);
			free(l->slots[i]->seen);
			free(l->slots[i]);
		}
	free(l->slots);
	*l = (struct check_links){0};
}

/* Open addressing: where it is, or where it belongs. */
static struct check_link **place(const struct check_links *l, uint64_t ino)
{
	size_t at = (size_t)(ino * 0x9e3779b97f4a7c15u >> 20) & (l->size - 1);
	while (l->slots[at] && l->slots[at]->ino != ino)
		at = (at + 1) & (l->size - 1);
	return &l->slots[at];
}

static bool grow(struct check_links *l)
{
	struct check_links larger = {.size = l->size ? l->size * 2 : 256, .used = l->used};
	larger.slots = calloc(larger.size, sizeof(struct check_link *));
	if (!larger.slots)
		return false;
	for (size_t i = 0; i < l->size; i++)
		if (l->slots[i])
			*place(&larger, l->slots[i]->ino) = l->slots[i];
	free(l->slots);
	*l = larger;
	return true;
}

struct check_link *check_links_get(struct check_links *l, uint64_t ino)
{
	if (l->used * 2 >= l->size && !grow(l))
		return NULL;
	struct check_link **at = place(l, ino);
	if (!*at) {
		*at = calloc(1, sizeof(**at));
		if (!*at)
			return NULL;
		(*at)->ino = ino;
		l->used++;
	}
	return *at;
}

void check_links_renew(struct check_link *link, const struct stat *st, bool again)
{
	bool as_before = link->changed.tv_sec == st->st_ctim.tv_sec &&
			 link->changed.tv_nsec == st->st_ctim.tv_nsec;
	if (!as_before || again) {
		free(link->lower);
		free(link->plain);
		free(link->seen);
		*link = (struct check_link){.ino = link->ino};
	}
	link->changed = st->st_ctim;
}

int check_links_seen(struct check_link *link, const uint8_t dir_id[static DIR_ID_LEN])
{
	for (size_t i = 0; i < link->seen_count; i++)
		if (!memcmp(link->seen[i].dir_id, dir_id, DIR_ID_LEN)) {
			link->seen[i].names++;
			return 0;
		}
	struct format_home *more =
		reallocarray(link->seen, link->seen_count + 1, sizeof(*link->seen));
	if (!more)
		return -ENOMEM;
	link->seen = more;
	memcpy(more[link->seen_count].dir_id, dir_id, DIR_ID_LEN);
	more[link->seen_count++].names = 1;
	return 0;
}
