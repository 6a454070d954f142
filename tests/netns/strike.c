/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/tool.h"

#include <linux/ptrace.h>

/* Kills a process where it hurts: "strike PID --call recvmmsg --times 3 --steps 500" waits until the main thread has
 * returned from that system call three times with something done, lets it go on for so many instructions, and sends
 * SIGKILL. Moments that a kill by the clock meets once in a million are all met in this way. */

static volatile sig_atomic_t late;

static void
on_alarm(int signal)
{
	(void)signal;
	late = 1;
}

static void
take_call(const struct tool_option *option, const char *text)
{
	static const struct { const char *name; long number; } calls[] = {
		{ "recvmmsg", SYS_recvmmsg },
		{ "sendmmsg", SYS_sendmmsg },
	};

	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		if (!strcmp(calls[i].name, text)) {
			*(long *)option->target = calls[i].number;
			return;
		}
	errx(EX_USAGE, "%s: '%s' is neither recvmmsg nor sendmmsg", option->name, text);
}

/* Until the next stop of that kind; signals on the way are handed on. False if the process is gone or time is over. */
static bool
go_on(pid_t pid, int how, int stop)
{
	int status, signal = 0;

	while (ptrace(how, pid, NULL, signal) == 0 && waitpid(pid, &status, __WALL) == pid && !late) {
		if (!WIFSTOPPED(status))
			return false;
		if (WSTOPSIG(status) == stop)
			return true;
		signal = status >> 16 ? 0 : WSTOPSIG(status);
	}
	return false;
}

static bool
await_returns(pid_t pid, long call, uint64_t times)
{
	struct __ptrace_syscall_info info;
	bool inside = false;

	while (times) {
		if (!go_on(pid, PTRACE_SYSCALL, SIGTRAP | 0x80)
		    || ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) < 0)
			return false;
		if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
			inside = (long)info.entry.nr == call;
		else if (info.op == PTRACE_SYSCALL_INFO_EXIT && inside && info.exit.rval > 0)
			times--;
	}
	return true;
}

int
main(int argc, char **argv)
{
	static uint64_t times = 1, steps, patience = 3;
	static long call = SYS_recvmmsg;
	static const struct tool_option options[] = {
		{ "--call", "NAME", take_call, &call, "recvmmsg or sendmmsg (recvmmsg)" },
		{ "--times", "N", take_number, &times, "returns with something done to wait for (1)" },
		{ "--steps", "N", take_number, &steps, "instructions after that (0)" },
		{ "--patience", "SECONDS", take_number, &patience, "kills then in any case (3)" },
	};
	const size_t count = sizeof options / sizeof *options;
	struct sigaction action = { .sa_handler = on_alarm };
	int status;

	if (read_options(argc, argv, "strike PID [options]", options, count) != 1)
		show_usage("strike PID [options]", options, count, EX_USAGE);
	const pid_t pid = (pid_t)strtol(argv[1], NULL, 10);
	if (ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACESYSGOOD) < 0 || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0)
		err(EX_NOPERM, "process %d", (int)pid);
	sigaction(SIGALRM, &action, NULL);
	alarm((unsigned)patience);
	bool struck = waitpid(pid, &status, __WALL) == pid && await_returns(pid, call, times);
	for (uint64_t i = 0; i < steps && struck; i++)
		struck = go_on(pid, PTRACE_SINGLESTEP, SIGTRAP);
	kill(pid, SIGKILL);
	puts(struck ? "struck" : "late");
	return EXIT_SUCCESS;
}
