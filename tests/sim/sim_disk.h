/*
 * A disk for tests: struct lower_ops on a filesystem in memory that keeps, beside what everybody
 * sees, what a power cut would leave. No system calls but for the clock.
 *
 * The rules, and where each comes from (K: Linux kernel documentation and source, P:
 * tests/integ/test_sim_real.py, which lets the power go on real ext4 and xfs and asks this disk
 * for the same):
 *
 *  1. Changes of names, links, attributes and maps are transactions in one order. After a power
 *     cut there is a prefix of them, at least up to the last one that an fsync waited for. (K:
 *     filesystems/ext4/journal.rst; filesystems/xfs/xfs-delayed-logging-design.rst.
 *     P: directory-with-file, moved)
 *  2. fsync of an inode waits for its own last transaction (creation, links, names, attributes,
 *     map, size), and so for all before it; later ones may come along. (K: ext4_sync_file and
 *     i_sync_tid; xfs_file_fsync and ili_commit_seq. P: file-alone, renamed-then-synced)
 *  3. fdatasync waits only for creation, size and map: after a mere overwrite it commits nothing.
 *     (K: ext4 i_datasync_tid; xfs XFS_ILOG_TIMESTAMP. P: renamed-then-data)
 *     syncfs waits for every inode and every transaction. (K: ext4_sync_fs, xfs_fs_sync_fs)
 *  4. A rename, with the victim's removal, and a link, a mkdir, a symlink with its target are one
 *     transaction each. (K: ext4_rename, ext4_symlink. P: recorded)
 *  5. Data that no fsync of its inode has waited for: of each sector the old content, the newest
 *     or any in between, each sector for itself. (K: data=ordered says nothing of overwrites in
 *     place; a sector is what a disk promises to write as a whole. P: overwritten)
 *  6. Space that data is written to for the first time is found as a whole, or reads zeros.
 *     SIM_SIZE_AFTER_DATA: page and size are logged when the data is on the disk; the size at
 *     times when the write is sent or, in a page that had its place, made (K: ext4 delalloc with
 *     dioread_nolock, mpage_map_and_submit_extent, ext4_da_write_end; xfs_end_io. P: replaced,
 *     appended, appended-inside). SIM_SIZE_WITH_DATA: both are logged at the write, and the data
 *     goes to the disk before its transaction (K: ext4 nodelalloc, data=ordered).
 *     SIM_SIZE_BEFORE_DATA: the size may always be logged at the write (K: ext4 data=writeback;
 *     none of the promises is made for that mode).
 *  7. ftruncate, fallocate: size and map at once. A page cut in part is zeroed as data (rule 5).
 *     A hole is punched in two transactions. (K: ext4_punch_hole, xfs_unmap_extent. P: cut,
 *     punched, reserved)
 *  8. The kernel writes back and commits by itself between any two calls. (K:
 *     admin-guide/sysctl/vm.rst, dirty_expire_centisecs; ext4 commit=)
 *  9. The medium: an overwrite goes to the block of the old content; a freed block keeps its
 *     content until it is given out again, and that only after the transaction that freed it;
 *     data in the page cache alone is nowhere. (K: ext4_free_data, xfs busy extents. P:
 *     integ/erase_steps)
 * 10. A mere kill keeps every finished call. A write of several pages may be cut between two. (K:
 *     generic_perform_write, fatal_signal_pending)
 *
 * Deterministic for one thread: one seed, one history. Calls are thread-safe; clones of a disk
 * share memory and belong to one thread. Rights are not checked: it is root's disk. Inode numbers
 * are reused.
 */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "fs/lower/lower.h"

#define SIM_PAGE 4096u
/* Descriptors are numbers that no real one has. */
#define SIM_FD_BASE (1 << 24)

enum sim_sizes { SIM_SIZE_AFTER_DATA, SIM_SIZE_WITH_DATA, SIM_SIZE_BEFORE_DATA };

struct sim_options {
	uint64_t seed;
	unsigned sector; /* 512 or 4096 bytes: what is written as a whole */
	enum sim_sizes sizes;
	unsigned background; /* of 1024 calls so many find that the kernel wrote something by
				itself */
	uint64_t space;      /* pages; 0: no limit */
	bool trace;          /* changing calls are printed */
	int64_t fs_type;     /* what fs_type answers; 0: that of xfs */
};

struct sim_disk;

/* NULL when memory is short; later shortages abort. An empty root directory, inode 2. */
struct sim_disk *sim_disk_new(const struct sim_options *o);
/* The same disk again without open descriptors, with options of its own. Files removed while they
 * were open are there until the next end. */
struct sim_disk *sim_disk_clone(const struct sim_disk *d, const struct sim_options *o);
void sim_disk_free(struct sim_disk *d);
struct lower *sim_disk_lower(struct sim_disk *d);
/* O_PATH | O_DIRECTORY descriptor of the root. */
int sim_disk_root(struct sim_disk *d);

/*
 * The n-th changing call from now (1: the next) is the last one: it happens, in part or not at all,
 * and it and every later one say -EIO and do nothing, but for close. 0: never. Changing calls are
 * those that could matter after an end.
 */
void sim_disk_stop_at(struct sim_disk *d, uint64_t n);
bool sim_disk_stopped(const struct sim_disk *d);
/*
 * The n-th changing call from now (1: the next) says `error` and does nothing; those after it work.
 * An fsync that fails forgets what it should have written, as Linux does: the pages look clean, and
 * the medium has other content. 0: never.
 */
void sim_disk_fail_at(struct sim_disk *d, uint64_t n, int error);
bool sim_disk_failed(const struct sim_disk *d);
/* Since a flush that failed, pages look clean whose content is not on the medium: who is killed and
 * started again has no means to know. Until the next power cut. */
bool sim_disk_lies(const struct sim_disk *d);
/* Changing calls so far. */
uint64_t sim_disk_calls(const struct sim_disk *d);

/* The two ends. Descriptors and locks are gone, files without a name too; calls work again. */
void sim_disk_kill(struct sim_disk *d);
void sim_disk_power_cut(struct sim_disk *d);

/*
 * What the ends since the last sim_disk_sync took from an inode: content or size that no fsync had
 * waited for (some of it may have survived); blocks that had been found for it, so that what was
 * written to them lies in free space now.
 */
enum { SIM_LOST_CONTENT = 1, SIM_LOST_BLOCKS = 2 };
unsigned sim_disk_lost(const struct sim_disk *d, ino_t ino);
/* Pages in use, those promised included; and how many there may be from now on, 0: no limit. */
uint64_t sim_disk_used(const struct sim_disk *d);
void sim_disk_set_space(struct sim_disk *d, uint64_t pages);
/* Its time, ns since 1970, for whoever must not see another one. */
const int64_t *sim_disk_clock(const struct sim_disk *d);
/* Open descriptors: a leak of the code under test. */
unsigned sim_disk_open_files(const struct sim_disk *d);

/* The raw medium: blocks 1 .. count-1, allocated or not; NULL: never written. Blocks in use say so.
 */
uint32_t sim_disk_blocks(const struct sim_disk *d);
const uint8_t *sim_disk_block(const struct sim_disk *d, uint32_t block);
/* The inode that has the block, and which page of it that is; 0: nobody. */
ino_t sim_disk_owner(const struct sim_disk *d, uint32_t block, uint64_t *ret_page);
/* Everything that is dirty goes to the disk, and every transaction: as sync(2), and what an fsync
 * that failed forgot, too. */
void sim_disk_sync(struct sim_disk *d);
/* Every transaction, but not what is dirty. */
void sim_disk_commit(struct sim_disk *d);
/* Random numbers of this disk's own stream, for what a test wants to choose with the same seed. */
uint64_t sim_disk_random(struct sim_disk *d, uint64_t below);

#endif
