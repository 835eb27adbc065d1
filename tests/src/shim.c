/* Stands between a daemon and the system (LD_PRELOAD): counts what the daemon changes below the given paths, kills it
 * (SIGKILL) at the operation that the test asks for, or refuses all of them as a file system does that has become
 * read-only, and sets its clock ahead. shim.rs makes it and reads its report.
 *
 * It works on Linux with 64 bits, on programs that call the C library, as Rust's standard library and SQLite do. What a
 * program changes by system calls of its own, or through memory that it shares with a file, is not seen. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* The file that test and daemon share: shim.rs knows its form. */
struct control {
    /* The process that counts: what it starts does not. */
    _Atomic int64_t pid;
    /* At which operation to kill; 0 for none. The test may set it while the daemon runs. */
    _Atomic int64_t at;
    /* Operations since then. */
    _Atomic int64_t count;
    /* 1 kills before the operation, 2 in the middle of it, if it writes; 3 refuses each one. */
    _Atomic int64_t how;
    /* Whether it has killed. */
    _Atomic int64_t fired;
    /* What it killed at, as text. */
    char what[472];
};

enum { BEFORE = 1, AMID = 2, READ_ONLY = 3 };

/* What becomes of an operation: it is done; half of it is done and then die() called; or it fails, errno being set. */
enum verdict { DONE, HALF, REFUSED };

static struct control *control;
/* Paths with colons between them, from the environment. */
static const char *below;
static int64_t ahead;

__attribute__((constructor)) static void start(void) {
    const char *seconds = getenv("SHIM_AHEAD"), *path = getenv("SHIM_CONTROL");
    ahead = seconds ? atoll(seconds) : 0;
    below = getenv("SHIM_BELOW");
    if (!path || !below)
        return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *shared = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (shared == MAP_FAILED)
        return;
    struct control *found = shared;
    int64_t nobody = 0, self = getpid();
    if (atomic_compare_exchange_strong(&found->pid, &nobody, self) || nobody == self)
        control = found;
}

static int is_below(const char *path) {
    for (const char *at = below; *at;) {
        size_t length = strcspn(at, ":");
        if (strncmp(path, at, length) == 0 && (path[length] == 0 || path[length] == '/'))
            return 1;
        at += length + (at[length] == ':');
    }
    return 0;
}

static void die(void) {
    for (;;)
        kill(getpid(), SIGKILL);
}

/* Counts an operation on a path. */
static enum verdict counts(const char *what, const char *path, int writes) {
    char absolute[PATH_MAX * 2];
    if (!control)
        return DONE;
    if (path[0] != '/') {
        char cwd[PATH_MAX];
        if (!getcwd(cwd, sizeof cwd))
            return DONE;
        snprintf(absolute, sizeof absolute, "%s/%s", cwd, path);
        path = absolute;
    }
    int64_t at = atomic_load(&control->at);
    if (at == 0 || !is_below(path))
        return DONE;
    int how = (int)atomic_load(&control->how);
    if (how == AMID && !writes)
        return DONE;
    int64_t count = atomic_fetch_add(&control->count, 1) + 1;
    if (how == READ_ONLY) {
        errno = EROFS;
        return REFUSED;
    }
    if (count != at)
        return DONE;
    snprintf(control->what, sizeof control->what, "%s %.400s", what, path);
    atomic_store(&control->fired, 1);
    if (how == AMID)
        return HALF;
    die();
    return DONE;
}

/* The same for an open file, if it has a name. */
static enum verdict counts_fd(const char *what, int fd, int writes) {
    int before = errno;
    char link[64], path[PATH_MAX];
    if (!control || atomic_load(&control->at) == 0)
        return DONE;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length <= 0 || path[0] != '/')
        return DONE;
    path[length] = 0;
    return counts(what, path, writes);
}

/* Writing. */

ssize_t write(int fd, const void *bytes, size_t length) {
    enum verdict verdict = counts_fd("write", fd, 1);
    if (verdict == REFUSED)
        return -1;
    if (verdict == HALF) {
        syscall(SYS_write, fd, bytes, length / 2);
        die();
    }
    return syscall(SYS_write, fd, bytes, length);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
    enum verdict verdict = counts_fd("pwrite", fd, 1);
    if (verdict == REFUSED)
        return -1;
    if (verdict == HALF) {
        syscall(SYS_pwrite64, fd, bytes, length / 2, offset);
        die();
    }
    return syscall(SYS_pwrite64, fd, bytes, length, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite64(fd, bytes, length, offset);
}

/* Half of several pieces is the first one's half. */
ssize_t writev(int fd, const struct iovec *pieces, int count) {
    enum verdict verdict = counts_fd("writev", fd, 1);
    if (verdict == REFUSED)
        return -1;
    if (verdict == HALF) {
        if (count > 0)
            syscall(SYS_write, fd, pieces[0].iov_base, pieces[0].iov_len / 2);
        die();
    }
    return syscall(SYS_writev, fd, pieces, count);
}

int ftruncate64(int fd, off_t length) {
    if (counts_fd("ftruncate", fd, 0) == REFUSED)
        return -1;
    return (int)syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length) {
    return ftruncate64(fd, length);
}

int fallocate64(int fd, int mode, off_t offset, off_t length) {
    if (counts_fd("fallocate", fd, 0) == REFUSED)
        return -1;
    return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
    return fallocate64(fd, mode, offset, length);
}

int posix_fallocate64(int fd, off_t offset, off_t length) {
    if (counts_fd("fallocate", fd, 0) == REFUSED)
        return errno;
    return syscall(SYS_fallocate, fd, 0, offset, length) == 0 ? 0 : errno;
}

int posix_fallocate(int fd, off_t offset, off_t length) {
    return posix_fallocate64(fd, offset, length);
}

/* Syncing. */

int fsync(int fd) {
    if (counts_fd("fsync", fd, 0) == REFUSED)
        return -1;
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    if (counts_fd("fdatasync", fd, 0) == REFUSED)
        return -1;
    return (int)syscall(SYS_fdatasync, fd);
}

/* Names. Only what has its directory as a path is seen: the daemons name no file by the descriptor of its directory. */

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    if (counts("rename", from, 0) == REFUSED)
        return -1;
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

int rename(const char *from, const char *to) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return renameat2(from_dir, from, to_dir, to, 0);
}

int unlinkat(int dir, const char *path, int flags) {
    if (counts("unlink", path, 0) == REFUSED)
        return -1;
    return (int)syscall(SYS_unlinkat, dir, path, flags);
}

int unlink(const char *path) {
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path) {
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    if (counts("link", to, 0) == REFUSED)
        return -1;
    return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

int link(const char *from, const char *to) {
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int symlinkat(const char *target, int dir, const char *path) {
    if (counts("symlink", path, 0) == REFUSED)
        return -1;
    return (int)syscall(SYS_symlinkat, target, dir, path);
}

int symlink(const char *target, const char *path) {
    return symlinkat(target, AT_FDCWD, path);
}

int mkdirat(int dir, const char *path, mode_t mode) {
    if (counts("mkdir", path, 0) == REFUSED)
        return -1;
    return (int)syscall(SYS_mkdirat, dir, path, mode);
}

int mkdir(const char *path, mode_t mode) {
    return mkdirat(AT_FDCWD, path, mode);
}

int chmod(const char *path, mode_t mode) {
    if (counts("chmod", path, 0) == REFUSED)
        return -1;
    return (int)syscall(SYS_fchmodat, AT_FDCWD, path, mode);
}

int fchmod(int fd, mode_t mode) {
    if (counts_fd("fchmod", fd, 0) == REFUSED)
        return -1;
    return (int)syscall(SYS_fchmod, fd, mode);
}

static int is_read_only(void) {
    return control && atomic_load(&control->at) != 0 && atomic_load(&control->how) == READ_ONLY;
}

/* Only what makes a file, or empties one, changes something; on a file system that is read-only nothing is opened for
 * writing either. */
static int open_at(int dir, const char *path, int flags, mode_t mode) {
    int makes = (flags & O_CREAT) && faccessat(dir, path, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
    int writes = (flags & O_ACCMODE) != O_RDONLY && is_read_only();
    if (((flags & O_TRUNC) || makes || writes) && counts("create", path, 0) == REFUSED)
        return -1;
    return (int)syscall(SYS_openat, dir, path, flags, mode);
}

#define MODE(flags, last)                                                                                              \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                             \
        va_list rest;                                                                                                  \
        va_start(rest, last);                                                                                          \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

int open64(const char *path, int flags, ...) {
    MODE(flags, flags)
    return open_at(AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...) {
    MODE(flags, flags)
    return open_at(AT_FDCWD, path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...) {
    MODE(flags, flags)
    return open_at(dir, path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...) {
    MODE(flags, flags)
    return open_at(dir, path, flags, mode);
}

int bind(int fd, const struct sockaddr *address, socklen_t length) {
    if (address->sa_family == AF_UNIX) {
        char path[sizeof(struct sockaddr_un)] = {0};
        size_t start = offsetof(struct sockaddr_un, sun_path);
        if (length > start && length <= sizeof path)
            memcpy(path, (const char *)address + start, length - start);
        if (path[0] && counts("bind", path, 0) == REFUSED)
            return -1;
    }
    return (int)syscall(SYS_bind, fd, address, length);
}

/* Time. */

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += ahead;
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    int failed = (int)syscall(SYS_gettimeofday, now, zone);
    if (!failed)
        now->tv_sec += ahead;
    return failed;
}

time_t time(time_t *where) {
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (where)
        *where = now.tv_sec;
    return now.tv_sec;
}
