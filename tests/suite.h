/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TESTS_SUITE_H
#define PEERFLOW_TESTS_SUITE_H

#include <CUnit/Basic.h>
#include <stdlib.h>

/* Runs one static table of tests as the program's only suite; the exit status is the verdict. */
static inline int
run_suite(const char *name, CU_TestInfo *tests)
{
	CU_SuiteInfo suites[] = {
		{ .pName = name, .pTests = tests },
		CU_SUITE_INFO_NULL,
	};

	if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
		return EXIT_FAILURE;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	unsigned failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
