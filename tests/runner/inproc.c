/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A main for Criterion tests that runs all of them in this process.
 *
 * Criterion runs each test in a worker process, which reports success before it exits. What
 * Valgrind or a sanitizer finds on exit of the worker (leaks), or prints without ending it (races),
 * comes too late to count: the run stays green. TSan and Criterion's worker arena do not get along
 * at all. So programs under such tools are linked with this file: it walks the section in which
 * Criterion's macros collect the tests, and defines the library functions that they call, in its
 * place.
 *
 * What it does not do: tests that expect a signal or an exit code need a process of their own; they
 * are left to the boxed run and named in the closing line as "left out". Timeouts are the caller's.
 * Theories are refused.
 *
 * Exit: 0 all passed, 1 a test failed, or none ran. The line "cases: ..." is read by tally.py.
 */

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <criterion/theories.h>

#include <fnmatch.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The section's bounds, from the linker; weak, since a program without any test has no section. */
extern struct criterion_test *__start_cr_tst[] __attribute__((weak));
extern struct criterion_test *__stop_cr_tst[] __attribute__((weak));
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak));
extern struct criterion_suite *__stop_cr_sts[] __attribute__((weak));

enum outcome { OUTCOME_PASSED, OUTCOME_FAILED, OUTCOME_SKIPPED };

/* The test that is running. Its jump buffer belongs to the thread that runs it. */
static struct {
	const struct criterion_test *test;
	const struct criterion_suite *suite;
	void *param;
	pthread_t thread;
	jmp_buf out;
	bool failed; /* an expectation failed, in whatever thread */
	bool skipped;
} current;

static struct {
	unsigned passed;
	unsigned failed;
	unsigned skipped;
	unsigned left_out;
} count;

static bool
is_test_thread(void)
{
	return pthread_equal(pthread_self(), current.thread) != 0;
}

static void
mark_failed(void)
{
	__atomic_store_n(&current.failed, true, __ATOMIC_RELAXED);
}

/* ---- What Criterion's macros call, in place of the library's own ---------------------------- */

void
criterion_internal_test_setup(void)
{
	if (current.suite && current.suite->data && current.suite->data->init)
		current.suite->data->init();
	if (current.test->data->init)
		current.test->data->init();
}

void
criterion_internal_test_main(void (*fn)(void))
{
	if (setjmp(current.out))
		return;
	if (current.test->data->kind_ == CR_TEST_PARAMETERIZED)
		((void (*)(void *))fn)(current.param);
	else
		fn();
}

void
criterion_internal_test_teardown(void)
{
	if (current.test->data->fini)
		current.test->data->fini();
	if (current.suite && current.suite->data && current.suite->data->fini)
		current.suite->data->fini();
}

void
criterion_abort_test(void)
{
	mark_failed();
	if (!is_test_thread()) {
		fprintf(stderr, "inproc: an assertion failed outside the thread of %s/%s\n",
			current.test->category, current.test->name);
		_exit(1);
	}
	longjmp(current.out, 1);
}

void
criterion_continue_test(void)
{
	mark_failed();
}

void
criterion_skip_test(const char *format, ...)
{
	va_list ap;

	printf("skip %s/%s: ", current.test->category, current.test->name);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	printf("\n");
	current.skipped = true;
	longjmp(current.out, 1);
}

void
criterion_test_die(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	criterion_abort_test();
	abort();
}

void
cri_asserts_passed_incr(void)
{
}

void
criterion_send_assert(struct criterion_assert_stats *stats)
{
	if (stats->passed)
		return;
	mark_failed();
	fprintf(stderr, "%s:%u: assertion failed: %s\n", stats->file, stats->line,
		stats->message ? stats->message : "");
}

static void
print_node(const struct cri_assert_node *node, unsigned depth)
{
	const size_t nparams = sizeof(node->params) / sizeof(node->params[0]);

	if (node->repr)
		fprintf(stderr, "%*s%s: %s\n", (int)(2 * depth), "", node->repr,
			node->pass ? "true" : "false");
	for (size_t i = 0; i < nparams; i++) {
		if (node->params[i].name && node->params[i].type == CRI_ASSERT_RT_STR)
			fprintf(stderr, "%*s%s = %s\n", (int)(2 * depth + 2), "",
				node->params[i].name, (const char *)node->params[i].data);
	}
	for (uint32_t i = 0; i < node->nchild; i++)
		print_node(&node->children[i], depth + 1);
}

void
cri_assert_node_send(const char *file, size_t line, struct cri_assert_node *tree)
{
	mark_failed();
	fprintf(stderr, "%s:%zu: assertion failed: %s\n", file, line,
		tree->message ? tree->message : "");
	print_node(tree, 0);
}

void
cr_theory_main(struct criterion_datapoints *points, size_t npoints, void (*fn)(void))
{
	(void)points;
	(void)npoints;
	(void)fn;
	fprintf(stderr, "inproc: theories are not supported: loop inside a test instead\n");
	criterion_abort_test();
}

/* ---- The walk ------------------------------------------------------------------------------- */

static const struct criterion_suite *
suite_of(const struct criterion_test *test)
{
	for (struct criterion_suite **s = __start_cr_sts; s < __stop_cr_sts; s++) {
		if (*s && strcmp((*s)->name, test->category) == 0)
			return *s;
	}
	return NULL;
}

static bool
is_disabled(const struct criterion_test *test, const struct criterion_suite *suite)
{
	return test->data->disabled || (suite && suite->data && suite->data->disabled);
}

static bool
wants_a_process(const struct criterion_test *test, const struct criterion_suite *suite)
{
	if (test->data->signal || test->data->exit_code)
		return true;
	return suite && suite->data && (suite->data->signal || suite->data->exit_code);
}

/* Run the current test once, with the current parameter; index is -1 for plain tests. */
static void
run_case(long index)
{
	current.failed = false;
	current.skipped = false;
	current.thread = pthread_self();
	current.test->test();

	if (__atomic_load_n(&current.failed, __ATOMIC_RELAXED)) {
		count.failed++;
		printf("FAIL %s/%s", current.test->category, current.test->name);
		if (index >= 0)
			printf("[%ld]", index);
		printf("\n");
	} else if (current.skipped) {
		count.skipped++;
	} else {
		count.passed++;
	}
	fflush(stdout);
}

static void
run_test(const struct criterion_test *test)
{
	current.test = test;
	current.suite = suite_of(test);

	if (is_disabled(test, current.suite)) {
		count.skipped++;
	} else if (wants_a_process(test, current.suite)) {
		count.left_out++;
	} else if (test->data->kind_ == CR_TEST_PARAMETERIZED) {
		struct criterion_test_params params = test->data->param_();

		for (size_t i = 0; i < params.length; i++) {
			current.param = (char *)params.params + i * params.size;
			run_case((long)i);
		}
		if (params.cleanup)
			params.cleanup(&params);
	} else {
		run_case(-1);
	}
}

static bool
is_wanted(const struct criterion_test *test, int npatterns, char **patterns)
{
	char id[256];

	snprintf(id, sizeof(id), "%s/%s", test->category, test->name);
	for (int i = 0; i < npatterns; i++) {
		if (fnmatch(patterns[i], id, 0) == 0)
			return true;
	}
	return npatterns == 0;
}

/* What would run, one a line. */
static void
list(void)
{
	for (struct criterion_test **t = __start_cr_tst; t < __stop_cr_tst; t++) {
		if (*t && !is_disabled(*t, suite_of(*t)) && !wants_a_process(*t, suite_of(*t)))
			printf("%s/%s\n", (*t)->category, (*t)->name);
	}
}

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "-l") == 0) {
		list();
		return 0;
	}
	if (argc > 1 && argv[1][0] == '-') {
		fprintf(stderr, "usage: %s [-l | SUITE/NAME-glob ...]\n", argv[0]);
		return 64;
	}
	for (struct criterion_test **t = __start_cr_tst; t < __stop_cr_tst; t++) {
		if (*t && is_wanted(*t, argc - 1, argv + 1))
			run_test(*t);
	}
	if (count.left_out > 0)
		printf("left out, since they need a process of their own: %u\n", count.left_out);
	printf("cases: %u passed, %u failed, %u skipped\n", count.passed, count.failed,
	       count.skipped);
	if (count.passed + count.failed == 0) {
		fprintf(stderr, "inproc: no test ran, which counts as a failure\n");
		return 1;
	}
	return count.failed ? 1 : 0;
}
