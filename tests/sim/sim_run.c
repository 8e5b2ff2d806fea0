/* Lives and ends of a run, and what must be true after each end. */
#include "tests/sim/sim_run.h"

#include "tests/sim/sim_entropy.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OUTCOMES 4 /* crash states of one end */
#define LIVES 3

/* What was removed by what was found: nothing of it may be on the medium. */
static bool must_be_gone(const struct run *r, unsigned g, unsigned state)
{
	const struct model_removed *gone = &r->m.removed[g];
	if (!gone->version)
		return gone->state && gone->state <= state;
	return model_links(&r->m.states[state], gone->node) &&
	       r->m.nodes[gone->node].found >= gone->version;
}

static int check_gone(struct run *r, const struct sim_disk *d, unsigned state, const bool *excused)
{
	uint32_t from = sim_steps_pick(r, 16) ? r->c->base_blocks : 1;
	unsigned checked = 0;
	for (unsigned g = 0; g < r->m.removed_count; g++)
		checked += must_be_gone(r, g, state) && !excused[g];
	r->c->gone_checked += checked;
	for (uint32_t b = from; checked && b < sim_disk_blocks(d); b++) {
		const uint8_t *bytes = sim_disk_block(d, b);
		for (size_t at = 0; bytes && at < SIM_PAGE; at += 512) {
			const struct model_removed *gone = model_is_sample(&r->m, bytes + at);
			unsigned g = gone ? (unsigned)(gone - r->m.removed) : 0;
			if (!gone || excused[g] || !must_be_gone(r, g, state))
				continue;
			uint64_t page = 0;
			ino_t owner = sim_disk_owner(d, b, &page);
			snprintf(r->why, sizeof(r->why),
				"inode %u: what was removed by state %u or version %llu is on the "
				"disk: block %u, sector %zu, which is page %llu of inode %llu; "
				"found were %u and %llu",
				gone->ino, gone->state, (unsigned long long)gone->version, b,
				at / 512, (unsigned long long)page, (unsigned long long)owner,
				state, (unsigned long long)r->m.nodes[gone->node].found);
			return -1;
		}
	}
	return 0;
}

static void end_disk(struct run *r, struct sim_disk *d, bool cut, bool *excused)
{
	if (cut)
		sim_disk_power_cut(d);
	else
		sim_disk_kill(d);
	for (unsigned g = 0; cut && g < r->m.removed_count; g++)
		excused[g] = excused[g] || sim_disk_lost(d, r->m.removed[g].ino) & SIM_LOST_BLOCKS;
}

int sim_run_mount(struct run *r, struct sim_disk *d)
{
	sim_entropy_clock(sim_disk_clock(d));
	struct sim_store_options o = {.sync = sim_steps_pick(r, 4) == 0};
	if (r->c->mistake >= 0) {
		sim_mistakes_init(&r->mistakes, sim_disk_lower(d), (unsigned)r->c->mistake);
		o.lower = &r->mistakes.fail.base;
	}
	return sim_store_mount(&r->s, d, r->c->keys, &o);
}

/* Mounts what the end left, ended again on the way now and then. */
static int recover(struct run *r, struct sim_disk *d, bool *cut, bool *excused)
{
	for (int attempt = 0;; attempt++) {
		bool again = attempt < 2 && sim_steps_pick(r, 3) == 0 && !r->c->calm;
		if (again)
			sim_disk_stop_at(d, 1 + sim_steps_pick(r, 60));
		int error = sim_run_mount(r, d);
		if (!sim_disk_stopped(d)) {
			sim_disk_stop_at(d, 0);
			return error < 0 ? sim_steps_fail(r, "mount", error) : 0;
		}
		sim_store_unmount(&r->s, false);
		/* What a failed flush took out of sight nobody can bring back. */
		bool power = sim_steps_pick(r, 3) && !sim_disk_lies(d);
		*cut = *cut || power;
		r->c->inner++;
		sim_steps_trace(r, "%s in recovery", power ? "power cut" : "kill");
		end_disk(r, d, power, excused);
	}
}

/* With one seed: why what was found is no state. */
static void tell(const struct run *r, const struct look *seen, bool cut)
{
	for (unsigned e = 0; e < seen->count; e++)
		sim_steps_trace(r, "found %u/%u = inode %u", seen->entries[e].parent,
			seen->entries[e].name, seen->entries[e].ino);
	for (unsigned at = cut ? r->m.floor : r->m.now; at <= r->m.now + r->m.maybe; at++)
		for (unsigned e = 0; e < r->m.states[at].count; e++) {
			const struct model_entry *x = &r->m.states[at].entries[e];
			sim_steps_trace(r, "in state %u: %u/%u = %u, inode %u", at,
				r->m.nodes[x->parent].ino, x->name, x->node,
				r->m.nodes[x->node].ino);
		}
	for (unsigned i = 0; i < seen->inodes; i++)
		for (unsigned at = 1; at < MODEL_NODES; at++) {
			const struct look_inode *x = &seen->inode[i];
			const struct model_node *n = &r->m.nodes[at];
			uint64_t version = 0;
			if (n->type != DT_REG || n->ino != x->ino)
				continue;
			int known = model_version_of(
				n, cut ? n->synced : n->kept, x->len, x->hash, &version);
			if (known < 0)
				known = model_version_of(n, 0, x->len, x->hash, &version);
			sim_steps_trace(r,
				"inode %u = %u: xattr %u%s, %llu bytes, time %lld.%09ld, %s %llu "
				"of %llu; kept "
				"%llu, synced %llu; time %lld.%09ld%s%s",
				x->ino, at, x->xattr, n->anchored ? " (anchored)" : "",
				(unsigned long long)x->len, (long long)x->time.tv_sec,
				x->time.tv_nsec, known < 0 ? "no version" : "version",
				(unsigned long long)version, (unsigned long long)model_newest(n),
				(unsigned long long)n->kept, (unsigned long long)n->synced,
				(long long)n->times.now.tv_sec, n->times.now.tv_nsec,
				n->times.open ? ", open" : "", n->times.any ? ", any" : "");
		}
}

/* 0: the model goes on from what was found. */
static int check(struct run *r, struct sim_disk *d, bool cut, const bool *excused, bool adopt)
{
	struct look *seen = &r->seen;
	if (sim_look(&r->s, seen, r->why) < 0)
		return -1;
	int state = model_match(&r->m, seen, !cut);
	if (state < 0) {
		tell(r, seen, cut);
		snprintf(r->why, sizeof(r->why),
			"%u names found, which is no state from %u on (of %u%s)", seen->count,
			cut ? r->m.floor : r->m.now, r->m.now, r->m.maybe ? " and one begun" : "");
		return -1;
	}
	if (r->s.bad_receipts || sim_store_in_trash(&r->s) != 0)
		return sim_steps_fail(r, "the trash is not empty", 0);
	/* What failed to get to the disk did not get over what is there. */
	if (!sim_disk_lies(d) && check_gone(r, d, (unsigned)state, excused) < 0)
		return -1;
	if (adopt)
		model_adopt(&r->m, seen, (unsigned)state);
	return 0;
}

/* What a recovery has made of a power cut is on the disk: another one finds the same. */
static int again(struct run *r, struct sim_disk *d, bool *excused)
{
	struct look seen;
	r->c->again++;
	sim_steps_trace(r, "another power cut after it");
	sim_store_unmount(&r->s, false);
	end_disk(r, d, true, excused);
	bool cut = true;
	if (recover(r, d, &cut, excused) < 0 || sim_look(&r->s, &seen, r->why) < 0)
		return -1;
	if (look_same(&r->seen, &seen))
		return 0;
	tell(r, &r->seen, true);
	tell(r, &seen, true);
	return sim_steps_fail(r, "a second recovery has another result", 0);
}

/* Nothing for fsck to mend. */
static int fsck(struct run *r)
{
	char what[200];
	r->c->checked++;
	int error = sim_store_check(&r->s, what);
	if (error == 0)
		return 0;
	snprintf(r->why, sizeof(r->why), "fsck: %s", error < 0 ? strerror(-error) : what);
	return -1;
}

static int one_outcome(struct run *r, struct sim_disk *d, bool adopt)
{
	bool excused[MODEL_REMOVED] = {false};
	bool cut = sim_steps_pick(r, 4) && !r->c->calm;
	r->c->states++;
	r->c->powercuts += cut;
	r->c->kills += !cut;
	end_disk(r, d, cut, excused);
	sim_steps_trace(r, "%s, floor %u%s", cut ? "power cut" : "kill", r->m.floor,
		r->m.maybe ? ", the last step not finished" : "");
	if (recover(r, d, &cut, excused) < 0)
		return -1;
	r->cut = cut;
	if (check(r, d, cut, excused, adopt) < 0)
		return -1;
	if (adopt)
		return 0;
	if (cut && sim_steps_pick(r, 6) == 0 && again(r, d, excused) < 0)
		return -1;
	return sim_steps_pick(r, 24) == 0 ? fsck(r) : 0;
}

static struct sim_options options(struct run *r)
{
	static const unsigned background[] = {0, 20, 200};
	return (struct sim_options){
		.seed = sim_random_next(&r->random),
		.sector = sim_steps_pick(r, 2) ? 512 : 4096,
		.sizes = sim_steps_pick(r, 2) ? SIM_SIZE_AFTER_DATA : SIM_SIZE_WITH_DATA,
		.background = background[sim_steps_pick(r, 3)],
		.trace = r->c->calls,
	};
}

/* All outcomes but the last on copies of the disk. */
static int outcomes(struct run *r)
{
	for (int n = 1; n < OUTCOMES; n++) {
		struct sim_options o = options(r);
		if (r->full && sim_steps_pick(r, 2))
			o.space = sim_disk_used(r->disk);
		struct sim_disk *copy = sim_disk_clone(r->disk, &o);
		int result = one_outcome(r, copy, false);
		sim_store_unmount(&r->s, false);
		if (result == 0 && sim_disk_open_files(copy))
			result = sim_steps_fail(r, "descriptors are left open after recovery", 0);
		sim_entropy_clock(sim_disk_clock(r->disk));
		sim_disk_free(copy);
		if (result < 0)
			return result;
	}
	return one_outcome(r, r->disk, true);
}

static int one_life(struct run *r)
{
	uint64_t steps_left = r->c->brief ? 2 + sim_steps_pick(r, 6) : 3 + sim_steps_pick(r, 45);
	uint64_t last = 1 + sim_steps_pick(r, 10 + 4 * steps_left);
	if (r->c->calm) {
		/* Nothing happens to the disk. */
	} else if (sim_steps_pick(r, 4)) {
		sim_disk_stop_at(r->disk, last);
	} else {
		sim_disk_fail_at(r->disk, last, sim_steps_pick(r, 2) ? -EIO : -ENOSPC);
		sim_steps_trace(r, "call %llu will fail", (unsigned long long)last);
	}
	r->refused = false;
	r->full = sim_steps_pick(r, 12) == 0;
	sim_disk_set_space(r->disk, r->full ? sim_disk_used(r->disk) + sim_steps_pick(r, 200) : 0);
	while (steps_left-- && !sim_steps_uncertain(r) && !r->m.maybe)
		if (sim_steps_run(r) < 0)
			return -1;
	r->c->faults += sim_disk_failed(r->disk);
	/* No step came to an end with the disk: the end comes now. */
	if (!sim_disk_stopped(r->disk) && !sim_disk_failed(r->disk) && !r->c->calm)
		sim_disk_stop_at(r->disk, 1);
	sim_steps_end(r);
	sim_store_unmount(&r->s, false);
	/* It may have been what sets a time back. */
	for (unsigned n = 0; n < MODEL_NODES && sim_disk_failed(r->disk); n++)
		r->m.nodes[n].times.refused = true;
	if (sim_disk_open_files(r->disk))
		return sim_steps_fail(r, "descriptors are left open", 0);
	if (outcomes(r) < 0)
		return -1;
	return sim_steps_clear(r);
}

int sim_run_one(struct campaign *c, uint64_t seed)
{
	struct run *r = malloc(sizeof(*r));
	if (!r)
		abort();
	*r = (struct run){.c = c, .seed = seed, .random.state = seed};
	uint64_t flavour = sim_steps_pick(r, 8);
	if (c->sparse || flavour == 0)
		r->flavour = FLAVOUR_SPARSE;
	else if (flavour == 1)
		r->flavour = FLAVOUR_HEAVY;
	const struct sim_options o = options(r);
	sim_entropy_seed(~seed);
	crypto_forget();
	r->disk = sim_disk_clone(c->base, &o);
	int result = sim_run_mount(r, r->disk);
	struct stat st;
	if (result == 0)
		result = r->s.lower->ops->fstat(r->s.lower, r->s.root->fd, &st);
	if (result < 0)
		sim_steps_fail(r, "first mount", result);
	else
		model_init(&r->m, (uint32_t)st.st_ino);
	for (int life = 0; result == 0 && life < (c->brief ? 1 : LIVES); life++)
		result = one_life(r);
	if (result < 0)
		snprintf(c->why, sizeof(c->why), "%s", r->why);
	if (result < 0 && !c->quiet)
		printf("not ok - sim %s: seed 0x%016llx: %s\n# again: sim-names --seed "
		       "0x%016llx%s%s%s%s\n",
			c->content ? "content" : "names", (unsigned long long)seed, r->why,
			(unsigned long long)seed, c->content ? " --content" : "",
			c->sparse ? " --sparse" : "", c->calm ? " --calm" : "",
			c->brief ? " --brief" : "");
	sim_steps_end(r);
	sim_store_unmount(&r->s, false);
	model_done(&r->m);
	sim_entropy_clock(NULL);
	sim_disk_free(r->disk);
	free(r);
	return result;
}
