/* The conformance suite: what POSIX and the Linux manual pages say of each call, as a program that
 * prints one line for each assertion:
 *
 *     GROUP: WHAT WAS DONE <tab> ANSWER <tab> ok | not ok, documented: ANSWERS | -
 *
 * The answer is an errno's name or what was observed, in a form that two runs on two filesystems
 * can be compared by. The documented answer stands in the test; "-" where the documents leave it
 * open and only the comparison counts. tests/integ/test_posix.sh runs and compares it. */
#ifndef TESTS_POSIX_SUITE_H
#define TESTS_POSIX_SUITE_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Who acts. Ann has the group `SHARED`, too; Ben has none but his own. */
enum who { ROOT, ANN, BEN, USERS };
enum { ANN_ID = 61001, BEN_ID = 61002, SHARED = 61010 };
extern const char *const who_name[USERS];
extern const uid_t who_id[USERS];
/* By raw system calls, so that the way back to root stays open. Real, effective and filesystem ids
 * and the groups change. */
void be(enum who);
/* Only the effective ids: the real ones are root's. */
void be_effective(enum who);

enum kind { REG, FOLDER, LINK, FIFO, SOCKET, CHAR, BLOCK, KINDS };
extern const char *const kind_name[KINDS];
/* Makes a node as whoever acts, with exactly this mode. A link points to "target"; device numbers
 * are those of /dev/null and of nothing. Failure ends the program: it is no assertion. */
void make(enum kind, const char *path, mode_t mode);
/* As root, with an owner and group. */
void make_for(enum kind, const char *path, mode_t mode, uid_t uid, gid_t gid);
/* A regular file with these bytes. */
void put(const char *path, const char *bytes, size_t count, mode_t mode);

/* What must succeed for the test to make sense; else the program ends with a message. */
void must(long r, const char *what);

/* A string of up to 511 bytes in a ring of 1024: for names and answers that are soon used. */
const char *str(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "ok", or the name of errno. opened closes. */
const char *answer(long r);
const char *opened(int fd);

/* Starts a group of assertions in a fresh folder (root's, 0777), which is the working directory
 * then. umask is 0. */
void group(const char *call);
/* The same where nothing can be made: in the base itself. */
void group_here(const char *call);
/* A fresh folder with this mode in it, and into it. */
void fresh(mode_t mode);
/* One assertion. `want`: alternatives with '|' between them, or NULL for "-". */
void say(const char *want, const char *got, const char *name, ...)
	__attribute__((format(printf, 3, 4)));

/* Waits until the filesystem's clock has moved on. */
void tick(void);
/* "amc", with '-' for each time that is as it was and '<' for one that went back. */
const char *advanced(const struct stat *before, const struct stat *after);
struct stat look(const char *path); /* lstat that must succeed */

/* "reg 0644 root:root links 1 size 0": or the errno's name. */
const char *what(const char *path);
const char *mode_of(const char *path);  /* "0644" */
const char *owner_of(const char *path); /* "ann:shared" */
bool exists(const char *path);
const char *id_name(unsigned id);

/* Runs f in a child and returns what it returned: the child's answer. */
const char *in_child(const char *(*f)(const void *), const void *argument);

/* The groups. */
void paths_run(void), paths_read_only(void), create_run(void), permission_run(void), open_run(void),
	names_run(void), rename_run(void), sticky_run(void), modes_run(void), owners_run(void),
	sizes_run(void), times_run(void), lists_run(void), attributes_run(void), acls_run(void),
	locks_run(void), busy_run(void), limits_run(void);

#endif
