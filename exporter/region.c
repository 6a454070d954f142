/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

enum {
	HEADER_OCTETS = 4096,
	PATIENCE = 2000,            /* ms for a process that was killed to be gone for good */
	PAUSE = 20,
};

static const char magic[8] = "peerflow";

/* The first page of the file. What is compared comes first, what is of this process only behind it. */
struct header {
	struct identity {
		char magic[8];
		uint64_t size;
		uint64_t network;       /* inode of the network namespace */
		char boot[40];
		uint32_t layout;
		uint32_t reserved;
	} identity;
	int32_t fd;                 /* holds the lock, of the process that has the region open */
};

G_STATIC_ASSERT(sizeof(struct header) <= HEADER_OCTETS);

static bool
fail(const char *path, const char *what, GError **error)
{
	g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "%s: %s: %s", path, what, g_strerror(errno));
	return false;
}

static bool
identify(struct identity *identity, size_t size, uint32_t layout, GError **error)
{
	static const char boot_path[] = "/proc/sys/kernel/random/boot_id", network_path[] = "/proc/self/ns/net";
	struct stat network;
	int fd = open(boot_path, O_RDONLY | O_CLOEXEC);

	memset(identity, 0, sizeof *identity);
	ssize_t n = fd < 0 ? -1 : read(fd, identity->boot, sizeof identity->boot);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return fail(boot_path, "cannot be read", error);
	if (stat(network_path, &network) < 0)
		return fail(network_path, "cannot be read", error);
	memcpy(identity->magic, magic, sizeof magic);
	identity->size = size;
	identity->network = network.st_ino;
	identity->layout = layout;
	return true;
}

/* A killed process lets go only when it is gone for good, and the next one may be there before. */
static bool
lock(int fd, const char *path, GError **error)
{
	int tries = PATIENCE / PAUSE;

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return fail(path, "cannot be locked", error);
		if (!tries--) {
			g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "%s: another peerflowd uses it; each needs a "
			            "runtime-directory of its own", path);
			return false;
		}
		g_usleep(PAUSE * 1000);
	}
	return true;
}

/* Whoever may write to the directory could have put anything there. */
static bool
open_file(int *fd, const char *path, GError **error)
{
	struct stat file;

	*fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (*fd < 0 || fstat(*fd, &file) < 0)
		return fail(path, "cannot be opened", error);
	if (!S_ISREG(file.st_mode) || file.st_uid != geteuid() || file.st_nlink != 1) {
		g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "%s: is not a file of our own", path);
		return false;
	}
	return lock(*fd, path, error);
}

static bool
is_usable(int fd, const struct identity *identity)
{
	struct identity there;
	struct stat file;

	return fstat(fd, &file) == 0 && (uint64_t)file.st_size == HEADER_OCTETS + identity->size
	       && pread(fd, &there, sizeof there, 0) == sizeof there && memcmp(&there, identity, sizeof there) == 0;
}

/* The header last: a file that was not finished has none. */
static bool
make_fresh(int fd, const char *path, const struct identity *identity, GError **error)
{
	if (ftruncate(fd, 0) < 0)
		return fail(path, "cannot be emptied", error);
	errno = posix_fallocate(fd, 0, HEADER_OCTETS + identity->size);
	if (errno)
		return fail(path, "there is no room for it", error);
	if (fchmod(fd, 0600) < 0 || pwrite(fd, identity, sizeof *identity, 0) != sizeof *identity)
		return fail(path, "cannot be written", error);
	return true;
}

/* A child keeps neither the mapping nor, if it closes its descriptors, the lock: it may outlive us. */
static void *
map(int fd, const char *path, size_t size, GError **error)
{
	struct header *header = mmap(NULL, HEADER_OCTETS + size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

	if (header == MAP_FAILED || madvise(header, HEADER_OCTETS + size, MADV_DONTFORK) < 0) {
		fail(path, "cannot be mapped", error);
		return NULL;
	}
	header->fd = fd;
	return (char *)header + HEADER_OCTETS;
}

static void *
open_region(int *fd, const char *path, const struct identity *identity, bool *fresh, GError **error)
{
	if (!open_file(fd, path, error))
		return NULL;
	*fresh = !is_usable(*fd, identity);
	if (*fresh && !make_fresh(*fd, path, identity, error))
		return NULL;
	return map(*fd, path, identity->size, error);
}

void *
region_open(const char *directory, const char *name, size_t size, uint32_t layout, bool *fresh, GError **error)
{
	g_autofree char *path = g_build_filename(directory, name, NULL);
	struct identity identity;
	int fd = -1;

	if (!identify(&identity, size, layout, error))
		return NULL;
	if (mkdir(directory, 0755) < 0 && errno != EEXIST) {
		fail(directory, "the runtime-directory cannot be made", error);
		return NULL;
	}
	void *region = open_region(&fd, path, &identity, fresh, error);
	if (!region && fd >= 0)
		close(fd);
	return region;
}

static struct header *
header_of(void *region)
{
	return (struct header *)((char *)region - HEADER_OCTETS);
}

bool
region_pin(void *region)
{
	return mlock(region, header_of(region)->identity.size) == 0;
}

void
region_close(void *region)
{
	if (!region)
		return;
	int fd = header_of(region)->fd;
	munmap(header_of(region), HEADER_OCTETS + header_of(region)->identity.size);
	close(fd);
}
