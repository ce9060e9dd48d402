/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What devices stand on: configuration, who answers where, and callbacks for files and time.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "config.h"
#include "inout.h"
#include "mem.h"
#include "mevent.h"

/* ---- Configuration --------------------------------------------------------------------------- */

Test(frame, config_values)
{
	struct config config;
	bool truth;

	config_init(&config);
	cr_assert_eq(config_set(&config, "memory.size", "1G"), 0);
	cr_assert_eq(config_set_pair(&config, "cmdline=a=b c"), 0);
	cr_assert_eq(config_set(&config, "memory.size", "2G"), 0);
	cr_assert_str_eq(config_get(&config, "memory.size"), "2G");
	cr_assert_str_eq(config_get(&config, "cmdline"), "a=b c");
	cr_assert_null(config_get(&config, "memory"));
	cr_assert_str_eq(config_get_or(&config, "memory", "x"), "x");
	cr_assert_eq(config_set_pair(&config, "no pair"), -EINVAL);
	cr_assert(strstr(config.cn_why, "no pair") != NULL);
	cr_assert_eq(config_set(&config, "", "x"), -EINVAL);
	cr_assert_eq(config_set(&config, "a b", "x"), -EINVAL);
	cr_assert_eq(config_get_bool(&config, "none", true, &truth), 0);
	cr_assert(truth);
	config_set(&config, "flag", "off");
	cr_assert_eq(config_get_bool(&config, "flag", true, &truth), 0);
	cr_assert_not(truth);
	config_set(&config, "flag", "maybe");
	cr_assert_eq(config_get_bool(&config, "flag", true, &truth), -EINVAL);
	config_free(&config);
}

Test(frame, config_order)
{
	struct config config;
	const char *name;

	config_init(&config);
	config_set(&config, "pci.3", "c");
	config_set(&config, "zz", "");
	config_set(&config, "pci.0", "a");
	config_set(&config, "aa", "");
	name = config_next(&config, "pci.", NULL);
	cr_assert_str_eq(name, "pci.0");
	name = config_next(&config, "pci.", name);
	cr_assert_str_eq(name, "pci.3");
	cr_assert_null(config_next(&config, "pci.", name));
	config_free(&config);
}

Test(frame, config_file)
{
	char path[] = "frame-XXXXXX", *text = NULL;
	const int fd = mkstemp(path);
	FILE *const file = fdopen(fd, "w");
	struct config config;
	size_t n;
	FILE *out;

	fputs("# a comment\n\ncpus=2\nmemory.size=1G\nbroken\n", file);
	fclose(file);
	config_init(&config);
	cr_assert_eq(config_read(&config, path), -EINVAL);
	cr_assert(strstr(config.cn_why, "line 5") != NULL, "%s", config.cn_why);
	unlink(path);
	cr_assert_eq(config_read(&config, path), -ENOENT);
	out = open_memstream(&text, &n);
	config_dump(&config, out);
	fclose(out);
	cr_assert_str_eq(text, "cpus=2\nmemory.size=1G\n");
	free(text);
	config_free(&config);
}

/* ---- Addresses and ports --------------------------------------------------------------------- */

static int
answer(struct vcpu *vcpu, uint64_t gpa, unsigned int bytes, bool write, uint64_t *value, void *arg)
{
	(void)vcpu;
	(void)bytes;
	if (write)
		*(uint64_t *)arg = *value;
	else
		*value = gpa;
	return 0;
}

Test(frame, mem)
{
	uint64_t seen = 0, value = 5;

	cr_assert_eq(mem_register(0x1000, 0x100, answer, &seen), 0);
	cr_assert_eq(mem_register(0x3000, 0x100, answer, &seen), 0);
	cr_assert_eq(mem_register(0x2000, 0x100, answer, &seen), 0);
	cr_assert_eq(mem_register(0x20ff, 1, answer, &seen), -EEXIST);
	cr_assert_eq(mem_register(0x1fff, 2, answer, &seen), -EEXIST);
	cr_assert_eq(mem_register(0x500, 0x10000, answer, &seen), -EEXIST);
	cr_assert_eq(mem_register(0x5000, 0, answer, &seen), -EINVAL);
	cr_assert_eq(mem_register(~0ull, 2, answer, &seen), -EINVAL);
	cr_assert_eq(mem_access(NULL, 0x20fc, 4, true, &value), 0);
	cr_assert_eq(seen, 5);
	cr_assert_eq(mem_access(NULL, 0x3010, 4, false, &value), 0);
	cr_assert_eq(value, 0x3010);
	cr_assert_eq(mem_access(NULL, 0x20fe, 4, false, &value), -ENOENT, "not wholly there");
	cr_assert_eq(mem_access(NULL, 0x2100, 1, false, &value), -ENOENT);
	cr_assert_eq(mem_access(NULL, 0xfff, 1, false, &value), -ENOENT);
	cr_assert_eq(mem_unregister(0x2000, 0x80), -ENOENT);
	cr_assert_eq(mem_unregister(0x2000, 0x100), 0);
	cr_assert_eq(mem_access(NULL, 0x2000, 1, false, &value), -ENOENT);
	cr_assert_eq(mem_access(NULL, 0x1000, 1, false, &value), 0);
	mem_fini();
}

/* A handler moves itself, as a BAR does, while others look. */
static int
mover(struct vcpu *vcpu, uint64_t gpa, unsigned int bytes, bool write, uint64_t *value, void *arg)
{
	const uint64_t to = gpa ^ 0x10000;

	(void)vcpu;
	(void)bytes;
	(void)write;
	(void)value;
	cr_assert_eq(mem_unregister(gpa, 0x1000), 0);
	cr_assert_eq(mem_register(to, 0x1000, mover, arg), 0);
	++*(unsigned int *)arg;
	return 0;
}

static void *
looker(void *arg)
{
	uint64_t value;

	(void)arg;
	for (unsigned int i = 0; i < 20000; i++)
		mem_access(NULL, 0x50000, 8, false, &value);
	return NULL;
}

Test(frame, mem_moves)
{
	unsigned int moves = 0;
	uint64_t value = 0;
	pthread_t thread;

	mem_register(0x50000, 0x1000, answer, NULL);
	mem_register(0x20000, 0x1000, mover, &moves);
	pthread_create(&thread, NULL, looker, NULL);
	for (unsigned int i = 0; i < 2000; i++)
		cr_assert_eq(mem_access(NULL, i % 2 ? 0x30000 : 0x20000, 4, true, &value), 0);
	pthread_join(thread, NULL);
	cr_assert_eq(moves, 2000);
	mem_fini();
}

static int
port_answer(struct vcpu *vcpu, uint16_t port, unsigned int bytes, bool write, uint32_t *value,
	    void *arg)
{
	(void)vcpu;
	(void)arg;
	if (!write)
		*value = port + bytes;
	return 0;
}

Test(frame, inout)
{
	uint32_t value = 0;

	cr_assert_eq(inout_register(0x3f8, 8, port_answer, NULL), 0);
	cr_assert_eq(inout_register(0xfff8, 9, port_answer, NULL), -EINVAL);
	cr_assert_eq(inout_register(0x3ff, 1, port_answer, NULL), -EEXIST);
	cr_assert_eq(inout_access(NULL, 0x3f9, 1, false, &value), 0);
	cr_assert_eq(value, 0x3fa);
	cr_assert_eq(inout_access(NULL, 0x400, 1, false, &value), -ENOENT);
	cr_assert_eq(value, UINT32_MAX);
	cr_assert_eq(inout_unregister(0x3f8, 8), 0);
	inout_fini();
}

/* ---- Events ---------------------------------------------------------------------------------- */

static sem_t called;
static struct mevent *self;

static void
on_pipe(int fd, uint32_t events, void *arg)
{
	char byte = 0;

	if (events & EPOLLIN && read(fd, &byte, 1) == 1)
		*(char *)arg = byte;
	sem_post(&called);
}

/* Removes itself at the third call. */
static void
on_tick(int fd, uint32_t events, void *arg)
{
	unsigned int *const ticks = arg;

	(void)fd;
	(void)events;
	if (++*ticks == 3) {
		mevent_del(self);
		sem_post(&called);
	}
}

Test(frame, mevent)
{
	unsigned int ticks = 0;
	char got = 0;
	int fds[2];
	struct mevent *me;

	sem_init(&called, 0, 0);
	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(mevent_start(), 0);
	me = mevent_add_fd(fds[0], EPOLLIN, on_pipe, &got);
	cr_assert_not_null(me);
	cr_assert_eq(write(fds[1], "x", 1), 1);
	sem_wait(&called);
	cr_assert_eq(got, 'x');
	mevent_del(me);
	cr_assert_eq(write(fds[1], "y", 1), 1);
	self = mevent_add_timer(0, 1000000, on_tick, &ticks);
	cr_assert_not_null(self);
	sem_wait(&called);
	mevent_stop();
	cr_assert_eq(ticks, 3, "and none after it was removed");
	cr_assert_eq(got, 'x', "nor of the pipe");
	close(fds[0]);
	close(fds[1]);
}
