/* SPDX-License-Identifier: GPL-3.0-or-later */
/* For LD_PRELOAD: how long the program's main thread was away from poll() at a stretch, and so looked at nothing that
 * came meanwhile. The file that LONGEST_BUSY names gets the longest in ns, by the clock and of processor time; whoever
 * writes zeros there starts anew. */

#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { WALL, WORK, CLOCKS };

static const clockid_t clocks[CLOCKS] = { CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID };
static volatile uint64_t *longest;
static uint64_t since[CLOCKS];

__attribute__((constructor)) static void
map_file(void)
{
	const char *path = getenv("LONGEST_BUSY");
	const int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	void *memory = mmap(NULL, CLOCKS * sizeof *longest, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (memory != MAP_FAILED)
		longest = memory;
}

static uint64_t
now_by(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int
poll(struct pollfd *fds, nfds_t n, int timeout)
{
	const struct timespec wait = { timeout / 1000, timeout % 1000 * 1000000 };
	const int watched = longest && getpid() == (pid_t)syscall(SYS_gettid);

	for (unsigned i = 0; watched && since[i % CLOCKS] && i < CLOCKS; i++) {
		const uint64_t busy = now_by(clocks[i]) - since[i];
		if (busy > longest[i])
			longest[i] = busy;
	}
	const int result = (int)syscall(SYS_ppoll, fds, n, timeout < 0 ? NULL : &wait, NULL, 0);
	for (unsigned i = 0; watched && i < CLOCKS; i++)
		since[i] = now_by(clocks[i]);
	return result;
}
