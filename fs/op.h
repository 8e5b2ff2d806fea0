/* The vocabulary that front and gate share: operations, actions of a policy, callers, objects. */
#ifndef FS_OP_H
#define FS_OP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum op {
	OP_LOOKUP,
	OP_GETATTR,
	OP_ACCESS,
	OP_READLINK,
	OP_OPEN,
	OP_OPENDIR,
	OP_READDIR,
	OP_CREATE,
	OP_MKDIR,
	OP_MKNOD,
	OP_SYMLINK,
	OP_LINK,
	OP_UNLINK,
	OP_RMDIR,
	OP_RENAME,
	OP_TRUNCATE,
	OP_CHMOD,
	OP_CHOWN,
	OP_UTIMENS,
	OP_GETXATTR,
	OP_LISTXATTR,
	OP_SETXATTR,
	OP_REMOVEXATTR,
	OP_FALLOCATE,
	OP_CLOSE,
	OP_COUNT
};

/* Actions of a policy, as bits. */
enum act {
	ACT_LIST = 1,
	ACT_READ = 2,
	ACT_WRITE = 4,
	ACT_CREATE = 8,
	ACT_DELETE = 16,
	ACT_MANAGE = 32,
	ACT_ANY = 63
};

/* Who calls, as the kernel says. pid 0: unknown. */
struct op_caller {
	uid_t uid;
	gid_t gid;
	pid_t pid;
};

#endif
