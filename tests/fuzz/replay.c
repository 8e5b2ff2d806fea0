/*
 * Runs every file of the given folders through the fuzz target it is linked to, without libFuzzer:
 *   replay-NAME FOLDER...
 * or, with --seeds, writes the target's own inputs into a folder:
 *   replay-NAME --seeds FOLDER
 * Prints one line "ok - fuzz/replay/NAME: N inputs". A property that does not hold ends the
 * process.
 */
#include "keymgmt/base/io.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>

static const char *seed_folder;

void fuzz_seed(const char *name, const void *bytes, size_t len)
{
	AUTO_CLOSE dir = open(seed_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(dir >= 0);
	fuzz_write(dir, name, bytes, len);
}

static void run(int dirfd, const char *name)
{
	AUTO_BUF b = {0};
	FUZZ_CHECK(io_read_file(dirfd, name, 1 << 20, &b) == 0);
	/* An allocation of exactly this length, so that a sanitizer sees what is read behind it. */
	AUTO_FREE uint8_t *bytes = malloc(b.len ? b.len : 1);
	FUZZ_CHECK(bytes);
	if (b.len)
		memcpy(bytes, b.data, b.len);
	fprintf(stderr, "%s\n", name);
	LLVMFuzzerTestOneInput(bytes, b.len);
}

static unsigned run_folder(const char *path)
{
	unsigned count = 0;
	struct dirent *entry;
	DIR *d = opendir(path);
	FUZZ_CHECK(d);
	while ((entry = readdir(d)))
		if (entry->d_name[0] != '.') {
			run(dirfd(d), entry->d_name);
			count++;
		}
	closedir(d);
	return count;
}

int main(int argc, char **argv)
{
	const char *name = strstr(argv[0], "replay-");
	unsigned count = 0;
	if (argc == 3 && strcmp(argv[1], "--seeds") == 0) {
		seed_folder = argv[2];
		fuzz_begin();
		fuzz_seeds();
		return 0;
	}
	if (argc < 2) {
		fprintf(stderr, "usage: %s FOLDER...\n", argv[0]);
		return 2;
	}
	LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	for (int i = 1; i < argc; i++)
		count += run_folder(argv[i]);
	printf("ok - fuzz/replay/%s: %u inputs\n", name ? name + strlen("replay-") : "", count);
	return 0;
}
