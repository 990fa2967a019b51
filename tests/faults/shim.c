/* Ends a process at its n-th change to files below a folder, like `kill -9` or a full disk.
 *
 * This library is preloaded, because Python's hooks do not see the writes of C++ libraries (pyarrow, DuckDB). The processes
 * of a build share a counter in a mapped file. At the armed point the process group is killed; a write is half done first.
 *
 *   FAULT_ROOT   folder whose changes count
 *   FAULT_STATE  file of 64-bit numbers: armed point (-1: none), points passed, errno (0: kill), and a counter per kind
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE, RENAME, REMOVE, SYNC, CREATE, KINDS };

static struct { int64_t armed, passed, error, kinds[KINDS]; } *state;
static const char *root;

__attribute__((constructor)) static void start(void) {
    const char *file = getenv("FAULT_STATE");
    root = getenv("FAULT_ROOT");
    if (!file || !root) return;
    int fd = open(file, O_RDWR | O_CLOEXEC);
    void *found = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    state = found == MAP_FAILED ? NULL : found;
}

static int counts(const char *path) {
    return path && strncmp(path, root, strlen(root)) == 0;
}

static int counts_fd(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return counts(path);
}

static int counts_at(int dir, const char *path) {
    if (path[0] == '/') return counts(path);
    if (dir != AT_FDCWD) return counts_fd(dir);
    char cwd[PATH_MAX];
    return counts(getcwd(cwd, sizeof cwd));
}

/* Returns 1 if this is the armed point. */
static int reached(int kind, int relevant) {
    if (!state || !relevant) return 0;
    __sync_fetch_and_add(&state->kinds[kind], 1);
    return __sync_fetch_and_add(&state->passed, 1) == state->armed;
}

static void end(void) {
    if (state->error) { errno = (int)state->error; return; }
    kill(0, SIGKILL);
    for (;;) pause();
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAIL_IF(kind, relevant) \
    if (reached(kind, state && (relevant))) { end(); return -1; }

ssize_t write(int fd, const void *data, size_t n) {
    REAL(write);
    if (reached(WRITE, state && counts_fd(fd))) {
        if (n > 1) real(fd, data, n / 2);
        end();
        return -1;
    }
    return real(fd, data, n);
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    REAL(pwrite);
    if (reached(WRITE, state && counts_fd(fd))) {
        if (n > 1) real(fd, data, n / 2, at);
        end();
        return -1;
    }
    return real(fd, data, n, at);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off_t at) { return pwrite(fd, data, n, at); }
ssize_t writev(int fd, const struct iovec *parts, int n) {
    REAL(writev);
    FAIL_IF(WRITE, counts_fd(fd))
    return real(fd, parts, n);
}
int ftruncate(int fd, off_t n) { REAL(ftruncate); FAIL_IF(WRITE, counts_fd(fd)) return real(fd, n); }
int ftruncate64(int fd, off_t n) { return ftruncate(fd, n); }
int fsync(int fd) { REAL(fsync); FAIL_IF(SYNC, counts_fd(fd)) return real(fd); }
int fdatasync(int fd) { REAL(fdatasync); FAIL_IF(SYNC, counts_fd(fd)) return real(fd); }
int rename(const char *a, const char *b) { REAL(rename); FAIL_IF(RENAME, counts_at(AT_FDCWD, b)) return real(a, b); }
int renameat(int x, const char *a, int y, const char *b) {
    REAL(renameat);
    FAIL_IF(RENAME, counts_at(y, b))
    return real(x, a, y, b);
}
int unlink(const char *path) { REAL(unlink); FAIL_IF(REMOVE, counts_at(AT_FDCWD, path)) return real(path); }
int unlinkat(int dir, const char *path, int flags) {
    REAL(unlinkat);
    FAIL_IF(REMOVE, counts_at(dir, path))
    return real(dir, path, flags);
}
int rmdir(const char *path) { REAL(rmdir); FAIL_IF(REMOVE, counts_at(AT_FDCWD, path)) return real(path); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); FAIL_IF(CREATE, counts_at(AT_FDCWD, path)) return real(path, mode); }
int mkdirat(int dir, const char *path, mode_t mode) {
    REAL(mkdirat);
    FAIL_IF(CREATE, counts_at(dir, path))
    return real(dir, path, mode);
}

#define OPENING(flags) ((flags) & (O_CREAT | O_TRUNC))
#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
int open(const char *path, int flags, ...) {
    REAL(open);
    MODE(flags)
    FAIL_IF(CREATE, OPENING(flags) && counts_at(AT_FDCWD, path))
    return real(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    REAL(open64);
    MODE(flags)
    FAIL_IF(CREATE, OPENING(flags) && counts_at(AT_FDCWD, path))
    return real(path, flags, mode);
}
int openat(int dir, const char *path, int flags, ...) {
    REAL(openat);
    MODE(flags)
    FAIL_IF(CREATE, OPENING(flags) && counts_at(dir, path))
    return real(dir, path, flags, mode);
}
int openat64(int dir, const char *path, int flags, ...) {
    REAL(openat64);
    MODE(flags)
    FAIL_IF(CREATE, OPENING(flags) && counts_at(dir, path))
    return real(dir, path, flags, mode);
}
