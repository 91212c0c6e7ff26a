// Loaded into the program before libc (LD_PRELOAD): system calls on chosen files fail as they do on a disk that dies. For what faults.js
// cannot reach: SQLite, and reads of files that were opened while all was well.
//
// SICK_DISK names a directory. A file `read`, `write` or `sync` in it makes that kind of call fail, for as long as it is there: it holds an
// errno, the first byte of the file that is meant, and the end of its path: `5 0 /catalogue.sqlite-wal`.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/** Offsets: where the file stands; no part of it. */
#define HERE -1
#define WHOLE -2

static int sick(const char *kind, int fd, off64_t at) {
  const char *orders = getenv("SICK_DISK");
  if (!orders || fd < 3) return 0;
  char path[4096], text[512], file[4096];
  snprintf(path, sizeof path, "%s/%s", orders, kind);
  // None of our own calls may come through here again.
  long order = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
  if (order < 0) return 0;
  long length = syscall(SYS_read, order, text, sizeof text - 1);
  syscall(SYS_close, order);
  if (length <= 0) return 0;
  text[length] = 0;
  char *end;
  int code = (int)strtol(text, &end, 10);
  off64_t from = strtoll(end, &end, 10);
  if (at != WHOLE && (at == HERE ? syscall(SYS_lseek, fd, 0, SEEK_CUR) : at) < from) return 0;
  const char *wanted = end + strspn(end, " ");
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  long size = syscall(SYS_readlinkat, AT_FDCWD, path, file, sizeof file - 1);
  if (size <= 0) return 0;
  file[size] = 0;
  size_t many = strlen(wanted);
  if ((size_t)size < many || strcmp(file + size - many, wanted) != 0) return 0;
  errno = code;
  return 1;
}

#define CALL(kind, type, name, place, parameters, arguments)                                                                             \
  type name parameters {                                                                                                                 \
    static type(*real) parameters;                                                                                                       \
    if (sick(kind, fd, place)) return -1;                                                                                                \
    if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                                                       \
    return real arguments;                                                                                                               \
  }

CALL("read", ssize_t, read, HERE, (int fd, void *to, size_t size), (fd, to, size))
CALL("read", ssize_t, pread, at, (int fd, void *to, size_t size, off_t at), (fd, to, size, at))
CALL("read", ssize_t, pread64, at, (int fd, void *to, size_t size, off64_t at), (fd, to, size, at))
CALL("read", ssize_t, preadv, at, (int fd, const struct iovec *to, int count, off_t at), (fd, to, count, at))
CALL("read", ssize_t, preadv64, at, (int fd, const struct iovec *to, int count, off64_t at), (fd, to, count, at))
CALL("write", ssize_t, write, HERE, (int fd, const void *from, size_t size), (fd, from, size))
CALL("write", ssize_t, pwrite, at, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
CALL("write", ssize_t, pwrite64, at, (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at))
CALL("sync", int, fsync, WHOLE, (int fd), (fd))
CALL("sync", int, fdatasync, WHOLE, (int fd), (fd))
