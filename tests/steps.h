/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TESTS_STEPS_H
#define PEERFLOW_TESTS_STEPS_H

#include <sys/ptrace.h>
#include <sys/wait.h>

#include <glib.h>

/* Where a process is killed, by instruction: spread evenly over its whole way, as densely as the time allows. An
 * instruction costs some 10 us, and a process built with sanitizers has ten times as many on the same way. */
enum {
	STEPS_SECONDS = 12,
	STEPS_KILLS = 12,           /* at least, however slow the machine is */
};

struct steps {
	gint64 until;
	unsigned way;               /* instructions from the first to the last; 0 until one was seen to its end */
	unsigned kills;
};

static inline void
steps_begin(struct steps *steps)
{
	*steps = (struct steps){ .until = g_get_monotonic_time() + STEPS_SECONDS * G_USEC_PER_SEC };
}

static inline int
steps_more(const struct steps *steps)
{
	return steps->kills < STEPS_KILLS || g_get_monotonic_time() < steps->until;
}

/* Runs the stopped, traced child to where it shall be killed; the first one to its end. Multiples of the golden ratio,
 * without their integers, are spread evenly whenever they end. */
static inline void
steps_run(struct steps *steps, pid_t child)
{
	const double share = steps->kills * 0.6180339887498949;
	const unsigned most = steps->way ? (share - (unsigned)share) * steps->way : G_MAXUINT;
	unsigned done = 0;
	int status;

	while (done < most) {
		ptrace(PTRACE_SINGLESTEP, child, NULL, NULL);
		waitpid(child, &status, 0);
		if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
			break;
		done++;
	}
	steps->way = MAX(steps->way, done);
	steps->kills++;
}

#endif
