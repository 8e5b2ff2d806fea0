/*
 * What one process's part of a tree must be: its nodes (files, directories, links, fifos) and the
 * entries that name them. Directories that are everybody's are nodes of each part, and never go.
 * For the memory that processes share: numbers instead of pointers.
 */
#ifndef EXERCISE_GROVE_H
#define EXERCISE_GROVE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define GROVE_NODES 512u
#define GROVE_ENTRIES 768u
#define GROVE_COMMONS 3u /* the first nodes */
#define GROVE_NAME 256u
#define GROVE_DEPTH 6u
#define GROVE_GONE 128u

enum grove_kind { GROVE_NONE, GROVE_FILE, GROVE_DIRECTORY, GROVE_LINK, GROVE_FIFO };

struct grove_node {
	uint8_t kind;
	uint16_t links; /* names of it */
	uint16_t held;  /* handles that its process keeps */
	uint16_t mode;
	uid_t uid;       /* whose it is */
	uint16_t entry;  /* a directory's name */
	uint32_t size;   /* of a file's content, or a link's target */
	uint64_t serial; /* decides content and target */
	uint64_t ino;
};

struct grove_entry {
	bool used;
	uint16_t dir, node;
	uint64_t born; /* in operations: since when it is as it is */
	char name[GROVE_NAME];
};

struct grove_gone {
	uint16_t dir;
	uint64_t when;
	char name[GROVE_NAME];
};

struct grove {
	struct grove_node nodes[GROVE_NODES];
	struct grove_entry entries[GROVE_ENTRIES];
	struct grove_gone gone[GROVE_GONE]; /* names that went, the last ones */
	unsigned gone_count;
	unsigned node_count, entry_count;
};

void grove_init(struct grove *g, const uint64_t inos[static GROVE_COMMONS]);
/* The entry of this name, or -1. */
int grove_find(const struct grove *g, unsigned dir, const char *name);
/* A free node or entry, or -1. */
int grove_node(struct grove *g, enum grove_kind kind);
/* Names the node so. grove_room must have said yes. */
unsigned grove_add(struct grove *g, unsigned dir, const char *name, unsigned node, uint64_t now);
bool grove_room(const struct grove *g, unsigned nodes, unsigned entries);
/* The name goes; the node, too, when it has no other and nobody holds it. */
void grove_remove(struct grove *g, unsigned entry, uint64_t now);
void grove_free(struct grove *g, unsigned node); /* once it has neither name nor holder */
/* The entry gets another place; what had it must have been removed. */
void grove_move(struct grove *g, unsigned entry, unsigned dir, const char *name, uint64_t now);
void grove_exchange(struct grove *g, unsigned a, unsigned b, uint64_t now);
/* Entries in a directory; those that are directories. */
unsigned grove_children(const struct grove *g, unsigned dir, unsigned *ret_directories);
unsigned grove_depth(const struct grove *g, unsigned dir); /* 0: everybody's */
unsigned grove_height(const struct grove *g, unsigned node);
/* Whether `dir` is `node` or lies in it. */
bool grove_inside(const struct grove *g, unsigned dir, unsigned node);
/* Entries and nodes of a whole subtree; false when a link leads into it from elsewhere, or out of
 * it, or somebody holds a part: then it cannot go to another process. */
bool grove_whole(const struct grove *g, unsigned node, unsigned *ret_nodes, unsigned *ret_entries);
/* Takes a whole subtree from one part to another; its new node. The entry that named it in `from`
 * still does, and is the caller's to remove or to set. */
unsigned grove_transfer(struct grove *from, unsigned node, struct grove *to, uint64_t now);
/* The path below `top`; false when it gets too long. */
bool grove_path(const struct grove *g, const char *top, unsigned dir, const char *name,
	char path[static PATH_MAX]);
bool grove_was(const struct grove *g, unsigned dir, const char *name, uint64_t since);

#endif
