/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Runs a fuzz target over files, or over every file of a folder: the regression run of what fuzzing once found, for
 * compilers without libFuzzer. */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
run_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	if (!file) {
		perror(path);
		return 1;
	}
	/* A buffer of the exact size, so that the sanitizer sees a read past its end. */
	static uint8_t octets[1 << 20];
	size_t size = fread(octets, 1, sizeof octets, file);
	uint8_t *copy = malloc(size ? size : 1);
	memcpy(copy, octets, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
	fclose(file);
	return 0;
}

static int
run_folder(const char *path)
{
	DIR *folder = opendir(path);
	if (!folder)
		return run_file(path);
	int failed = 0, ran = 0;
	for (struct dirent *entry; (entry = readdir(folder)); ) {
		char name[4096];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
		failed |= run_file(name);
		ran++;
	}
	closedir(folder);
	printf("%s: %d inputs\n", path, ran);
	return failed || !ran;
}

int
main(int argc, char **argv)
{
	int failed = argc < 2;
	for (int i = 1; i < argc; i++)
		failed |= run_folder(argv[i]);
	return failed;
}
