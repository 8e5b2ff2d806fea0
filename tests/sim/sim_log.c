/* The journal of the simulated filesystem, backwards: each record says how something was before. */
#include "tests/sim/sim_internal.h"

#include <string.h>

void sim_log_begin(struct sim_disk *d)
{
	d->txn++;
}

static struct sim_record *add(struct sim_disk *d, struct sim_inode *i, enum sim_what what)
{
	if (d->log_end == d->log_room) {
		size_t n = d->log_end - d->log_first;
		if (d->log_first > d->log_room / 2) {
			memmove(d->log, d->log + d->log_first, n * sizeof(*d->log));
		} else {
			d->log_room = d->log_room ? d->log_room * 2 : 256;
			struct sim_record *more = sim_disk_memory(d->log_room * sizeof(*more));
			if (n)
				memcpy(more, d->log + d->log_first, n * sizeof(*more));
			free(d->log);
			d->log = more;
		}
		d->log_first = 0;
		d->log_end = n;
	}
	struct sim_record *r = &d->log[d->log_end++];
	*r = (struct sim_record){.txn = d->txn, .ino = i->ino, .what = (uint8_t)what};
	i->meta = d->txn;
	return r;
}

void sim_log_core(struct sim_disk *d, struct sim_inode *i, bool data)
{
	add(d, i, SIM_CORE)->core = i->core;
	if (data)
		i->data = d->txn;
}

void sim_log_map(struct sim_disk *d, struct sim_inode *i, const struct sim_page *p, bool frees)
{
	struct sim_record *r = add(d, i, SIM_MAP);
	r->map.index = p->index;
	r->map.phys = p->phys;
	r->map.state = p->state;
	r->frees = frees && p->phys;
	i->data = d->txn;
}

void sim_log_entry(
	struct sim_disk *d, struct sim_inode *dir, struct sim_text *name, const struct sim_entry *e)
{
	struct sim_record *r = add(d, dir, SIM_ENTRY);
	if (e)
		r->entry = *e;
	r->entry.name = sim_tree_hold(name);
}

void sim_log_xattr(
	struct sim_disk *d, struct sim_inode *i, struct sim_text *name, struct sim_text *value)
{
	struct sim_record *r = add(d, i, SIM_XATTR);
	r->xattr.name = sim_tree_hold(name);
	r->xattr.value = value ? sim_tree_hold(value) : NULL;
}

void sim_log_born(struct sim_disk *d, struct sim_inode *i)
{
	add(d, i, SIM_BORN);
	i->data = d->txn;
}

void sim_log_gone(struct sim_disk *d, struct sim_inode *i)
{
	add(d, i, SIM_GONE);
	i->gone = true;
}

static void let(struct sim_record *r)
{
	if (r->what == SIM_ENTRY) {
		sim_tree_let(r->entry.name);
	} else if (r->what == SIM_XATTR) {
		sim_tree_let(r->xattr.name);
		sim_tree_let(r->xattr.value);
	}
}

void sim_log_commit(struct sim_disk *d, uint64_t upto)
{
	while (d->log_first < d->log_end && d->log[d->log_first].txn <= upto) {
		struct sim_record *r = &d->log[d->log_first++];
		struct sim_inode *i = sim_tree_inode(d, r->ino);
		if (r->what == SIM_MAP && r->map.state <= SIM_DELAYED)
			sim_pages_order(d, i, r->map.index);
		if (r->what == SIM_MAP && r->frees)
			sim_pages_free_block(d, r->map.phys);
		if (r->what == SIM_GONE)
			sim_tree_free_inode(d, i);
		let(r);
	}
	if (upto > d->committed)
		d->committed = upto;
}

static void undo(struct sim_disk *d, struct sim_record *r)
{
	struct sim_inode *i = sim_tree_inode(d, r->ino);
	switch ((enum sim_what)r->what) {
	case SIM_ENTRY:
		sim_tree_restore(i, &r->entry);
		break;
	case SIM_CORE:
		if (i->core.disk_size != r->core.disk_size)
			i->lost |= SIM_LOST_CONTENT;
		i->core = r->core;
		break;
	case SIM_MAP:
		i->lost |= SIM_LOST_CONTENT;
		sim_pages_restore(d, i, r->map.index, r->map.state, r->map.phys);
		break;
	case SIM_XATTR:
		sim_tree_set_xattr(i, r->xattr.name, r->xattr.value);
		break;
	case SIM_BORN:
		sim_pages_drop(d, i);
		sim_tree_free_inode(d, i);
		break;
	case SIM_GONE:
		i->gone = false;
		break;
	}
	let(r);
}

void sim_log_undo(struct sim_disk *d, uint64_t downto)
{
	while (d->log_end > d->log_first && d->log[d->log_end - 1].txn > downto)
		undo(d, &d->log[--d->log_end]);
}

void sim_log_copy(struct sim_disk *to, const struct sim_disk *from)
{
	size_t n = from->log_end - from->log_first;
	to->log_room = to->log_end = n;
	to->log = n ? sim_disk_memory(n * sizeof(*to->log)) : NULL;
	for (size_t at = 0; at < n; at++) {
		struct sim_record *r = &to->log[at];
		*r = from->log[from->log_first + at];
		if (r->what == SIM_ENTRY) {
			sim_tree_hold(r->entry.name);
		} else if (r->what == SIM_XATTR) {
			sim_tree_hold(r->xattr.name);
			if (r->xattr.value)
				sim_tree_hold(r->xattr.value);
		}
	}
}
