// The disk of package disk, below a program that was started with LD_PRELOAD: what the program syncs by libc's fsync and
// fdatasync. Files outside of the folder are synced as ever. The comments of type Disk say what the variables mean.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// within says whether fd is a file right in the folder, and which.
static int within(int fd, const char *folder, char name[NAME_MAX + 1]) {
	char link[64], path[PATH_MAX];
	struct stat st;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_nlink == 0)
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof path - 1);
	if (n <= 0)
		return 0;
	path[n] = 0;
	char *slash = strrchr(path, '/');
	if (!slash || strlen(slash + 1) > NAME_MAX)
		return 0;
	*slash = 0;
	strcpy(name, slash + 1);
	return strcmp(path, folder) == 0;
}

static off_t length(int fd) {
	struct stat st;
	if (fstat(fd, &st) != 0)
		abort();
	return st.st_size;
}

// copy copies as much as the file has when it begins. If the file is truncated meanwhile, it begins anew: a file system truncates at
// once.
static void copy(int from, const char *to) {
	char buf[1 << 16];
	off_t at, end;
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (out < 0)
		abort();
	do {
		if (ftruncate(out, 0) != 0)
			abort();
		end = length(from);
		for (at = 0; at < end;) {
			ssize_t n = pread(from, buf, end - at < (off_t)sizeof buf ? end - at : (off_t)sizeof buf, at);
			if (n < 0)
				abort();
			if (n == 0)
				break;
			if (pwrite(out, buf, n, at) != n)
				abort();
			at += n;
		}
	} while (at < end || length(from) < end);
	if (close(out) != 0)
		abort();
}

// keep puts aside what a file has when its sync begins. No image is taken meanwhile.
static void keep(int fd, const char *shadow, const char *name) {
	char lock[PATH_MAX], part[PATH_MAX], whole[PATH_MAX];
	if (snprintf(lock, sizeof lock, "%s/lock", shadow) >= (int)sizeof lock ||
	    snprintf(part, sizeof part, "%s/%s.part", shadow, name) >= (int)sizeof part ||
	    snprintf(whole, sizeof whole, "%s/%s", shadow, name) >= (int)sizeof whole)
		abort();
	int l = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (l < 0)
		abort();
	while (flock(l, LOCK_EX) != 0)
		if (errno != EINTR)
			abort();
	copy(fd, part);
	if (rename(part, whole) != 0)
		abort();
	close(l);
}

static int synced(int fd, long call) {
	const char *folder = getenv("GROUPCOMMIT_DISK_FOLDER"), *shadow = getenv("GROUPCOMMIT_DISK_SHADOW"),
	           *fails = getenv("GROUPCOMMIT_DISK_FAILS"), *takes = getenv("GROUPCOMMIT_DISK_TAKES");
	char name[NAME_MAX + 1];
	if (!folder || !within(fd, folder, name))
		return syscall(call, fd);
	if (fails && *fails && access(fails, F_OK) == 0) {
		errno = EIO;
		return -1;
	}
	if (shadow && *shadow)
		keep(fd, shadow, name);
	long long ns = takes ? atoll(takes) : 0;
	struct timespec left = {ns / 1000000000, ns % 1000000000};
	while (ns > 0 && nanosleep(&left, &left) != 0 && errno == EINTR)
		;
	return 0;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }
