/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The module's benchmark of itself: that it runs, and what it counts. Its times mean nothing here.
 */

#include "harness.h"

#include <fcntl.h>
#include <unistd.h>

#define FILE_PATH "/sys/kernel/debug/vmm/selfbench"
#define SINGLES 256

static char table[8192];

static int
run(const char *what)
{
	const int fd = open(FILE_PATH, O_WRONLY);
	int error = 0;

	KT_CHECK(fd >= 0, "%s: %s", FILE_PATH, strerror(errno));
	if (write(fd, what, strlen(what)) < 0)
		error = -errno;
	close(fd);
	return error;
}

static void
read_table(void)
{
	FILE *const f = fopen(FILE_PATH, "r");
	size_t n;

	KT_CHECK(f != NULL, "%s: %s", FILE_PATH, strerror(errno));
	n = fread(table, 1, sizeof(table) - 1, f);
	table[n] = '\0';
	fclose(f);
}

/* The line of a row; NULL if there is none. */
static const char *
row(const char *name)
{
	char head[64];

	snprintf(head, sizeof(head), "{\"row\":\"%s\",", name);
	return strstr(table, head);
}

static uint64_t
count(const char *name, const char *what)
{
	const char *const line = row(name);
	char key[64];
	const char *at;

	KT_CHECK(line != NULL, "no row %s in: %s", name, table);
	snprintf(key, sizeof(key), "\"%s\":", what);
	at = strstr(line, key);
	KT_CHECK(at != NULL && at < strchr(line, '\n'), "no %s in row %s", what, name);
	return strtoull(at + strlen(key), NULL, 10);
}

static void
counts(void)
{
	const uint64_t pages = 8 * MIB / PAGE;

	KT_OK(run("8"));
	read_table();
	KT_EQ(count("fault.seq", "units"), pages);
	KT_EQ(count("fault.seq", "shootdowns"), 0);
	KT_EQ(count("fault.seq", "resident"), pages);
	KT_TRUE(count("fault.seq", "tables") >= 4 + 3); /* four leaf tables and those above */

	KT_EQ(count("harvest.dense", "found"), pages);
	KT_EQ(count("harvest.dense", "shootdowns"), 1);
	KT_EQ(count("harvest.none", "found"), 0);
	KT_EQ(count("harvest.none", "shootdowns"), 0);
	KT_EQ(count("harvest.sparse", "found"), pages / 64);
	KT_EQ(count("harvest.sparse", "shootdowns"), 1);

	KT_EQ(count("unmap.4k", "shootdowns"), 1);
	KT_EQ(count("unmap.4k", "resident"), 0);
	if (row("map.2m")) {
		KT_TRUE(kt_platform()->superpages);
		KT_EQ(count("map.2m", "resident"), pages);
		KT_EQ(count("map.2m", "shootdowns"), 0);
		KT_EQ(count("unmap.2m", "shootdowns"), 1);
		KT_EQ(count("unmap.2m", "found"), pages); /* their M is not lost */
	} else {
		KT_TRUE(!kt_platform()->superpages);
	}
	kt_note("%s", table);
}

static void
shootdowns(void)
{
	KT_OK(run("2"));
	read_table();
	KT_EQ(count("inv.elide", "shootdowns"), 0);
	KT_EQ(count("inv.elide", "elided"), SINGLES);
	KT_EQ(count("inv.entry", "shootdowns"), 0);
	KT_EQ(count("inv.entry", "found"), 1); /* flushes: at the first entry */
	KT_EQ(count("inv.out", "shootdowns"), SINGLES);
	KT_EQ(count("inv.out", "kicks"), 0);
	if (kt_platform()->cpus < 2) {
		KT_TRUE(row("inv.in") == NULL);
		kt_not_applicable("there is one CPU only");
	}
	KT_EQ(count("inv.in", "shootdowns"), SINGLES);
	/* Nobody is kicked twice, and who Linux itself has just called out is not kicked. */
	KT_TRUE(count("inv.in", "kicks") <= SINGLES);
	KT_TRUE(count("inv.in", "kicks") >= SINGLES * 3 / 4);
	KT_TRUE(count("inv.in", "found") >= SINGLES);
}

/* What is refused leaves the results of before. */
static void
refused(void)
{
	static const char *const wrong[] = {"0", "1", "3", "1026", "-2", "x", "", "99999999999"};
	static char before[sizeof(table)];

	KT_OK(run("2\n"));
	read_table();
	memcpy(before, table, sizeof(table));
	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const int error = run(wrong[i]);

		KT_CHECK(error == -EINVAL || error == -ERANGE || wrong[i][0] == '\0', "'%s': %d",
			 wrong[i], error);
	}
	read_table();
	KT_TRUE(strcmp(before, table) == 0);
	KT_EQ(count("fault.seq", "units"), 2 * MIB / PAGE);
}

static const struct kt_case cases[] = {
	{"counts", counts, 0},
	{"shootdowns", shootdowns, 0},
	{"refused", refused, 0},
};
KT_MAIN(cases)
