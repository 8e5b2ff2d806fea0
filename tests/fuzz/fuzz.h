/*
 * What the fuzz targets share. A target fuzz_NAME.c defines LLVMFuzzerTestOneInput and fuzz_seeds;
 * it is linked to libFuzzer (meson -Dc_args=-fsanitize=fuzzer-no-link, clang) or to replay.c, which
 * runs the files of tests/fuzz/corpus/NAME. Random bytes are the same in every run, so that what
 * was sealed for the corpus can be opened.
 */
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include "fs/store/dir.h"
#include "keymgmt/base/buf.h"
#include "keymgmt/base/bytes.h"
#include "keymgmt/keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A property that must hold whatever the input; not compiled away. */
#define FUZZ_CHECK(condition) ((condition) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #condition))
_Noreturn void fuzz_fail(const char *file, int line, const char *condition);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
/* Calls fuzz_seed for inputs made from real structures. */
void fuzz_seeds(void);
/* One input, into the folder that `replay --seeds` was given. */
void fuzz_seed(const char *name, const void *bytes, size_t len);

/* Once per process, from the first input on: libraries, random bytes. Later calls begin the same
 * random bytes again. */
void fuzz_begin(void);

/* The next byte or number, 0 behind the end. */
uint8_t fuzz_u8(struct cur *c);
uint16_t fuzz_u16(struct cur *c);
uint64_t fuzz_u64(struct cur *c);
/* len bytes, padded with zeros. */
void fuzz_bytes(struct cur *c, void *ret, size_t len);
/* What is left, followed by a zero byte that is not counted. Free it. */
char *fuzz_rest(struct cur *c, size_t *ret_len);
/* Up to max bytes behind a 16-bit length; the same. */
char *fuzz_part(struct cur *c, size_t max, size_t *ret_len);
void fuzz_put_part(struct buf *b, const void *bytes, size_t len);

/* A scratch folder of this process (in TMPDIR, or in memory), removed at its end. Descriptor, owned
 * by the process. */
int fuzz_place(void);
const char *fuzz_place_path(void);
/* dirfd/name is a file with these bytes. Bytes of an existing one are replaced. */
void fuzz_write(int dirfd, const char *name, const void *bytes, size_t len);
/* dirfd/name is a link with this target; nothing when the target is empty or has a zero byte. False
 * then. */
bool fuzz_link(int dirfd, const char *name, const char *target, size_t len);
void fuzz_unlink(int dirfd, const char *name);

/* An open keyring of the tenant "acme", and a tree with an open root on fuzz_place(). */
extern const struct keyring_owner fuzz_owner;
struct keyring *fuzz_keyring(void);
struct fuzz_tree {
	struct store store;
	struct dir *root;
	unsigned alarms;
};
struct fuzz_tree *fuzz_tree(void);

#endif
