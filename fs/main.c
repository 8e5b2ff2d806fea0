/*
 * tenantfs: mounts one tenant of a store.
 *
 * Map of the folder: options.c argv; sandbox.c what the process gives up; tenant.c everything
 * between argv and the kernel, in its order of starting and stopping; serve.c the control socket's
 * verbs; here: background, kernel session, signals. front/ talks FUSE, gate/ decides and records,
 * store/ is the tree, erase/ overwrites what is freed, lower/ makes the system calls, control/ is
 * the socket.
 *
 * Start: parse, go into the background (the parent waits), sandbox, tenant_open (lock, keys,
 * policy, log, trash, store), mount, threads, answer the kernel's handshake, tell the parent. Stop:
 * the reverse; dirty pages of open files are asked for first.
 */
#include "fs/front/front.h"
#include "fs/front/loop.h"
#include "fs/front/wire.h"
#include "fs/options.h"
#include "fs/sandbox.h"
#include "fs/tenant.h"

#include "config.h"
#include "keymgmt/base/io.h"
#include "keymgmt/base/log.h"
#include "keymgmt/crypto.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Shared by the main thread, the kernel's handshake and the thread that waits for signals. */
struct session {
	struct tenant tenant;
	struct fuse_session *fuse;
	struct loop *loop;
	pthread_t stopper;
	dev_t device;           /* of the mount, 0: not known */
	int parent;             /* pipe to the waiting parent, -1 none */
	bool foreground, ended; /* ended: atomic */
};

static void complain(const struct err *e)
{
	fprintf(stderr, "tenantfs: %s\n", e->text);
}

/* The parent prints nothing: what failed has been said by us, on the same standard error. */
static void tell_parent(int *parent, int status)
{
	uint8_t byte = (uint8_t)status;
	if (*parent < 0)
		return;
	if (io_write_full(*parent, &byte, 1) < 0)
		log_say(LOG_LEVEL_WARNING, "The process that started the mount is gone.");
	close(*parent);
	*parent = -1;
}

/* The kernel has shaken hands: from now on the mount answers. */
static void on_ready(void *context)
{
	struct session *s = context;
	if (!s->foreground) {
		AUTO_CLOSE null = open("/dev/null", O_RDWR | O_CLOEXEC);
		log_init("tenantfs", true);
		for (int fd = 0; null >= 0 && fd <= 2; fd++)
			dup2(null, fd);
	}
	tell_parent(&s->parent, EXIT_OK);
}

/* In the child: the descriptor of the pipe. In the parent: never returns. -errno when it cannot
 * fork. */
static int go_background(void)
{
	int ends[2];
	uint8_t status = EXIT_FAILED;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pid_t child = fork();
	if (child < 0)
		return -errno;
	if (child == 0) {
		close(ends[0]);
		return ends[1];
	}
	close(ends[1]);
	if (io_read_full(ends[0], &status, 1) != 1) {
		int ended;
		/* It died without a word: a signal, or memory was short. */
		if (waitpid(child, &ended, 0) == child && WIFEXITED(ended) && WEXITSTATUS(ended))
			status = (uint8_t)WEXITSTATUS(ended);
		else
			fprintf(stderr, "tenantfs: The daemon ended before the mount answered.\n");
	}
	_exit(status);
}

static int check_mountpoint(const struct options *o, struct err *e)
{
	struct stat at, above;
	char parent[PATH_MAX + 4];
	if (stat(o->mountpoint, &at) < 0)
		return err_set(e, -errno, "Cannot use the mount point %s: %s.", o->mountpoint,
			strerror(errno));
	if (!S_ISDIR(at.st_mode))
		return err_set(e, -ENOTDIR, "The mount point %s is not a folder.", o->mountpoint);
	snprintf(parent, sizeof(parent), "%s/..", o->mountpoint);
	if (o->nonempty)
		return 0;
	if (stat(parent, &above) == 0 && above.st_dev != at.st_dev)
		return err_set(e, -EBUSY,
			"The mount point %s is in use: something is mounted there; unmount it "
			"first.",
			o->mountpoint);
	DIR *d = opendir(o->mountpoint);
	int entries = 0;
	while (d && entries < 3 && readdir(d))
		entries++;
	if (d)
		closedir(d);
	return entries < 3
		       ? 0
		       : err_set(e, -EBUSY,
				 "The mount point %s is in use: it is not empty; choose another "
				 "or mount with -o nonempty.",
				 o->mountpoint);
}

static int check_fuse(struct err *e)
{
	AUTO_CLOSE fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd >= 0 || (geteuid() != 0 && errno == EACCES))
		return 0;
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		return err_set(e, -ENODEV,
			"/dev/fuse is missing; load the module with modprobe fuse, or give the "
			"container that device.");
	return err_set(e, -ENODEV, "/dev/fuse cannot be opened: %s; give this process that device.",
		strerror(errno));
}

/* Options as libfuse reads them: "," and "\" in a value are escaped. */
static void put_escaped(struct buf *b, const char *text)
{
	for (; *text; text++) {
		if (*text == ',' || *text == '\\')
			buf_put8(b, '\\');
		buf_put8(b, (uint8_t)*text);
	}
}

/* Of what is mounted there, without asking whoever serves it; 0: cannot be told. */
static dev_t device_at(const char *path)
{
	struct statx st;
	return statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW, 0, &st) < 0
		       ? 0
		       : makedev(st.stx_dev_major, st.stx_dev_minor);
}

/* Unmounted, with another mount namespace keeping it, something else may be seen there. */
static bool is_ours(const struct session *s)
{
	return !s->device || device_at(s->tenant.options->mountpoint) == s->device;
}

/* The kernel reads ahead 128 KiB of any FUSE mount unless its administrator raises it; then several
 * requests are under way at once (decisions/0007). Without root it stays so. */
static void raise_readahead(dev_t device)
{
	char path[64];
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(device),
		minor(device));
	AUTO_CLOSE fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1024", 4) != 4)
		return; /* slower, and nothing else */
}

static int make_session(struct session *s, const struct options *o, struct err *e)
{
	struct fuse_lowlevel_ops ops;
	AUTO_BUF words = {0};
	buf_str(&words, "subtype=tenantfs,default_permissions,fsname=");
	put_escaped(&words, s->tenant.layout.store_path);
	buf_printf(&words, "#%s%s%s%s%s%s", o->tenant, o->allow_other ? ",allow_other" : "",
		o->read_only ? ",ro" : "", o->suid ? ",suid" : ",nosuid",
		o->dev ? ",dev" : ",nodev", o->noexec ? ",noexec" : "");
	if (!buf_ok(&words))
		return err_set(e, -ENOMEM, "Not enough memory.");
	char name[] = "tenantfs", flag[] = "-o";
	char *argv[] = {name, flag, (char *)words.data, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	front_operations(&ops);
	s->tenant.front.ready = on_ready;
	s->tenant.front.ready_context = s;
	s->fuse = fuse_session_new(&args, &ops, sizeof(ops), &s->tenant.front);
	fuse_opt_free_args(&args);
	if (!s->fuse)
		return err_set(e, -EINVAL, "libfuse refuses the mount's options.");
	errno = 0;
	if (fuse_session_mount(s->fuse, o->mountpoint) < 0) {
		int code = errno ? -errno : -EPERM;
		fuse_session_destroy(s->fuse);
		s->fuse = NULL;
		return err_set(e, code, "The kernel or fusermount3 refuses to mount at %s: %s.",
			o->mountpoint, strerror(-code));
	}
	s->device = device_at(o->mountpoint);
	raise_readahead(s->device);
	int r = wire_attach(s->fuse);
	if (r < 0) {
		fuse_session_unmount(s->fuse);
		fuse_session_destroy(s->fuse);
		s->fuse = NULL;
		return err_set(e, r, "Not enough memory.");
	}
	return 0;
}

/* Data that applications wrote is in the kernel's pages still: asked for before the end. */
static void settle(const struct session *s)
{
	AUTO_CLOSE fd = open(s->tenant.options->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && syncfs(fd) < 0)
		log_say(LOG_LEVEL_WARNING, "Not everything could be written before the end: %s",
			strerror(errno));
}

static bool ended_within(const struct session *s, unsigned milliseconds)
{
	const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
	bool ended = false;
	for (unsigned waited = 0; waited <= milliseconds && !ended; waited += 20) {
		if (waited)
			nanosleep(&pause, NULL);
		ended = __atomic_load_n(&s->ended, __ATOMIC_ACQUIRE);
	}
	return ended;
}

/* Waits for SIGTERM, SIGINT, SIGHUP; then ends the session. An unmount from outside ends it without
 * us. */
static void *wait_for_signal(void *context)
{
	struct session *s = context;
	int got;
	if (sigwait(&s->tenant.signals, &got) || __atomic_load_n(&s->ended, __ATOMIC_ACQUIRE))
		return NULL;
	bool unmounted = !is_ours(s);
	if (!unmounted)
		settle(s);
	/* Nobody inside: the kernel writes back what is left while it unmounts, and the session
	 * ends by itself. Unless another mount namespace, or a bind mount, has it, too: that one
	 * loses it. */
	if (!unmounted && geteuid() == 0)
		unmounted = umount2(s->tenant.options->mountpoint, UMOUNT_NOFOLLOW) == 0;
	if (unmounted && ended_within(s, 2000))
		return NULL;
	if (unmounted)
		log_say(LOG_LEVEL_WARNING, "Another mount namespace, or a bind mount, still had "
					   "the mount: its processes have lost it.");
	loop_stop(s->loop);
	return NULL;
}

static int start_stopper(struct session *s)
{
	const struct sigaction action = {.sa_handler = SIG_IGN};
	sigaction(SIGPIPE, &action, NULL);
	return -pthread_create(&s->stopper, NULL, wait_for_signal, s);
}

static void run_loop(struct session *s)
{
	loop_run(s->loop);
	__atomic_store_n(&s->ended, true, __ATOMIC_RELEASE);
	pthread_kill(s->stopper, SIGTERM);
	pthread_join(s->stopper, NULL);
}

/* libfuse unmounts whatever it finds at the mount point, unless the descriptor tells that there is
 * nothing to unmount: so does the end of a pipe that nobody reads. */
static void unmount(struct session *s)
{
	int ends[2];
	if (!is_ours(s) && pipe2(ends, O_CLOEXEC) == 0) {
		close(ends[0]);
		dup2(ends[1], fuse_session_fd(s->fuse));
		close(ends[1]);
	}
	fuse_session_unmount(s->fuse);
}

static int serve(struct session *s, const struct options *o, struct err *e)
{
	int r = make_session(s, o, e);
	if (r < 0)
		return r;
	r = notify_start(&s->tenant.front, s->fuse, &s->tenant.front.notify);
	if (r < 0)
		err_set(e, r, "Cannot start a thread: %s.", strerror(-r));
	if (r == 0)
		r = tenant_listen(&s->tenant, e);
	if (r == 0) {
		r = loop_new(&s->tenant.front, s->fuse, o->poll_us, &s->loop);
		if (r < 0)
			err_set(e, r, "Cannot prepare to answer requests: %s.", strerror(-r));
	}
	if (r == 0) {
		r = start_stopper(s);
		if (r < 0)
			err_set(e, r, "Cannot start a thread: %s.", strerror(-r));
	}
	if (r == 0) {
		if (!s->foreground && setsid() >= 0 && chdir("/") < 0)
			log_say(LOG_LEVEL_WARNING, "Cannot change to /: %s", strerror(errno));
		run_loop(s);
	}
	unmount(s);
	tenant_unlisten(&s->tenant); /* its requests use the thread that stops next */
	notify_stop(s->tenant.front.notify);
	s->tenant.front.notify = NULL;
	loop_free(s->loop);
	fuse_session_destroy(s->fuse);
	return r;
}

int main(int argc, char **argv)
{
	struct options o;
	struct err e = {0};
	struct session s = {.parent = -1};
	log_init("tenantfs", false);
	int r = options_parse(argc, argv, &o, &e);
	if (r == 0 && (o.help || o.version)) {
		printf("%s", o.help ? options_usage : "tenantfs " TENANTFS_VERSION "\n");
		options_done(&o);
		return EXIT_OK;
	}
	if (r == 0)
		r = check_mountpoint(&o, &e);
	if (r == 0)
		r = check_fuse(&e);
	s.foreground = o.foreground;
	if (r == 0 && !o.foreground) {
		s.parent = go_background();
		if (s.parent < 0)
			r = err_set(
				&e, s.parent, "Cannot start a process: %s.", strerror(-s.parent));
	}
	if (r == 0)
		r = sandbox_enter(&e);
	if (r == 0 && crypto_init() < 0)
		r = err_set(&e, -EIO, "The cryptographic libraries refuse to work.");
	if (r == 0)
		r = tenant_open(&s.tenant, &o, &e);
	if (r == 0) {
		r = serve(&s, &o, &e);
		tenant_close(&s.tenant);
	}
	if (r < 0)
		complain(&e);
	tell_parent(&s.parent, err_exit_status(r));
	options_done(&o);
	return err_exit_status(r);
}
