/*
 * What should be in a tenant's tree: every state since the last certain one, so that what is found
 * after an end can be told to be one of them or none. A state follows from the one before by one
 * operation on names or attributes; content has versions of its own, a list a file.
 */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include "fs/store/file.h"
#include "tests/sim/sim_bytes.h"

#define MODEL_NODES 256
#define MODEL_ENTRIES 40
#define MODEL_STATES 80
#define MODEL_NAMES 8
#define MODEL_TIMES 8
#define MODEL_SAMPLES 4096 /* a power of two */
#define MODEL_REMOVED 256
#define MODEL_LONG_AGO UINT32_MAX

struct model_version {
	uint64_t len, digest; /* as struct sim_bytes has them */
};

/*
 * The modification time. A kill must leave `now` unless something that may change it has begun
 * since (`open`); a power cut one of `synced`, unless `any`.
 */
struct model_times {
	bool open, any;
	bool refused; /* something failed: nobody promises anything */
	unsigned count;
	struct timespec now, synced[MODEL_TIMES];
	struct timespec told; /* by the kernel, to go with the next commit: */
	bool tells;
};

struct model_node {
	uint8_t type; /* DT_*; 0: not in use */
	uint32_t ino; /* 0: not known, its creation was cut short */
	uint32_t seed;
	unsigned last; /* state that its inode changed with for the last time */
	/* Content; versions count on from the first that the file ever had. */
	uint64_t first;        /* that of v[0] */
	uint64_t kept, synced; /* that a kill, a power cut must leave, or a later one */
	uint64_t found;        /* by the last model_match */
	unsigned versions, room;
	struct model_version *v;
	struct sim_bytes bytes; /* the newest one */
	bool unread;            /* but that must be read from the store first */
	struct model_times times;
	bool wild;         /* what changed its content said an error: it is anything between */
	bool anchored;     /* its header survives a power cut, and so its attributes */
	unsigned handles;  /* references that the steps have */
	unsigned removed;  /* state that took its last name while it was open, or 0 */
	uint64_t id;       /* of a directory, hash of what it was opened with; 0: not yet */
	unsigned made;     /* a directory: by this state, or MODEL_LONG_AGO */
	struct dir *dir;   /* open */
	struct file *file; /* open */
};

struct model_entry {
	uint16_t parent, node;
	uint8_t name;
};

struct model_state {
	unsigned count;
	struct model_entry entries[MODEL_ENTRIES];
	uint32_t xattr[MODEL_NODES]; /* value by node, 0: none */
};

/*
 * What must be gone from the medium: a file that lost its last name with a state, or (node) bytes
 * that a file lost with a version of its content.
 */
struct model_removed {
	unsigned state, node;
	uint32_t ino;
	uint64_t version;
};

/* A sector: some bytes of it to look for, and a hash of all. */
struct model_sample {
	uint64_t key, hash; /* key 0: none */
	unsigned removed;
};

struct model {
	struct model_node nodes[MODEL_NODES]; /* 0: the root */
	struct model_state states[MODEL_STATES];
	unsigned now;   /* the newest state; states[now + 1] when `maybe`: cut short */
	unsigned floor; /* what a power cut must leave, or a later one */
	bool maybe;
	struct model_removed removed[MODEL_REMOVED];
	unsigned removed_count, sample_count;
	struct model_sample samples[MODEL_SAMPLES]; /* by key */
};

/* What was found. */
struct look_inode {
	uint32_t ino;
	uint8_t type;
	int status; /* of reading it: 0 or -errno */
	uint64_t len;
	uint64_t hash; /* of content, target, or a directory's id */
	struct timespec time;
	int xattr_status;
	uint32_t xattr;
};
struct look_entry {
	uint32_t parent, ino;
	uint8_t name;
};
struct look {
	unsigned count, inodes;
	struct look_entry entries[MODEL_ENTRIES + 1];
	struct look_inode inode[MODEL_ENTRIES + 1];
};

/* The same names of the same inodes with the same content, times included. */
bool look_same(const struct look *a, const struct look *b);

void model_init(struct model *m, uint32_t root_ino);
/* Frees contents; nothing is open. */
void model_done(struct model *m);
/* states[now + 1], a copy of states[now] to be changed. NULL: no room. */
struct model_state *model_next(struct model *m);
/* The operation that makes states[now + 1] is done, or was cut short. */
void model_did(struct model *m, bool done);
/* Frees its content; it is not in use any more. */
void model_forget(struct model_node *n);
/* A free node of that type, or -1. */
int model_node(struct model *m, uint8_t type, uint32_t seed);
/* Its bytes are a new version. */
void model_version(struct model_node *n);
/* Writes, and a version for each page of it: a write that is cut short leaves whole pages. */
void model_write(struct model_node *n, const uint8_t *bytes, size_t len, uint64_t offset);
uint64_t model_newest(const struct model_node *n);
/* Of the newest version; 0 when there is none. */
uint64_t model_length(const struct model_node *n);
/* It is none of the versions behind this one. The bytes must be read again. */
void model_back_to(struct model_node *n, uint64_t version);
/* The first version from `from` on that it is. 0 or -1. */
int model_version_of(
	const struct model_node *n, uint64_t from, uint64_t len, uint64_t digest, uint64_t *ret);
/* What the medium must not have; bytes: 512. */
int model_remove(struct model *m, const struct model_removed *gone);
void model_sample(struct model *m, int removed, const uint8_t *bytes);
/* What it is when it must be gone, else NULL. */
const struct model_removed *model_is_sample(const struct model *m, const uint8_t *bytes);
int model_find(const struct model_state *s, unsigned parent, unsigned name); /* entry, or -1 */
void model_add(struct model_state *s, unsigned parent, unsigned name, unsigned node);
void model_drop(struct model_state *s, unsigned parent, unsigned name);
unsigned model_links(const struct model_state *s, unsigned node);
bool model_inside(const struct model_state *s, unsigned node, unsigned top);
bool model_empty(const struct model_state *s, unsigned dir);

/* The length of a link's target follows from its seed. */
#define MODEL_TARGET 3200
uint32_t model_target(uint32_t seed, char ret[static MODEL_TARGET]);
uint64_t model_hash(const void *bytes, size_t len);

/*
 * The first state from `floor` on that what was found can be, or -1. killed: nothing that was
 * finished may be missing.
 */
int model_match(struct model *m, const struct look *seen, bool killed);
/* Goes on from there: one state, one version a file. Nodes that are not in it are free again. Those
 * whose content is none of theirs get no version. */
void model_adopt(struct model *m, const struct look *seen, unsigned state);

#endif
