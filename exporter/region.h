/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_REGION_H
#define PEERFLOW_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

/* Memory that survives the process: a file in the runtime directory, mapped shared. What was stored there before a
 * SIGKILL, by us or by the kernel on our behalf, the next process finds. It does not outlive the machine's boot, nor is
 * it of use in another network namespace, where other flows are: such a file, and one that an older or newer program
 * laid out in another way, is replaced by a fresh one, which is all zero.
 *
 * The directory belongs on a file system in memory (tmpfs, as /run is): elsewhere the kernel may make us wait for a
 * disk. All of the memory is reserved when the region is opened, so that none can be missing later. */

/* Maps size octets of DIRECTORY/NAME, making both if they are not there. layout says what is inside; *fresh, whether
 * it is all zero. The memory is aligned to a page and belongs to the caller: region_close. A child made by fork does not
 * have it. Fails with EX_OSERR, also if another process has the same region open after two seconds' wait. */
void *region_open(const char *directory, const char *name, size_t size, uint32_t layout, bool *fresh, GError **error);

/* Keeps the region in memory, whatever else lacks memory. For what the kernel writes in the middle of a system call:
 * were the page away then, a kill could make it give up. False if the limit RLIMIT_MEMLOCK forbids it. */
bool region_pin(void *region);

/* Unmaps and unlocks; the file stays. NULL is fine. */
void region_close(void *region);

#endif
