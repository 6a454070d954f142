/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TESTS_ALLOCATIONS_H
#define PEERFLOW_TESTS_ALLOCATIONS_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>

/* Counts the allocations of the whole program while counting is set: for the one source file of a test that includes
 * it. Call watch_allocations first. */

static bool counting;
static unsigned allocations;

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
/* Not every compiler that has it comes with its header. */
int __sanitizer_install_malloc_and_free_hooks(void (*allocated)(const volatile void *, size_t),
                                              void (*freed)(const volatile void *));

static void
on_malloc(const volatile void *octets, size_t size)
{
	(void)octets, (void)size;
	allocations += counting;
}

static void
on_free(const volatile void *octets)
{
	(void)octets;
}

static inline void
watch_allocations(void)
{
	__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
}
#else
#define WATCHED(name, parameters, arguments) \
void * \
name parameters \
{ \
	static void *(*real) parameters; \
\
	if (!real) \
		real = (void *(*) parameters)dlsym(RTLD_NEXT, #name); \
	allocations += counting; \
	return real arguments; \
}
WATCHED(malloc, (size_t size), (size))
WATCHED(calloc, (size_t n, size_t size), (n, size))
WATCHED(realloc, (void *octets, size_t size), (octets, size))

static inline void
watch_allocations(void)
{
}
#endif

#endif
