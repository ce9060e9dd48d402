/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * bhyve: runs a guest. From top to bottom: options, the machine, what it is to run, its vCPUs'
 * threads, and waiting for its end. Whatever fails on the way takes down what was there before.
 */

#define _GNU_SOURCE /* CPU_SET, pthread_setaffinity_np */

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"
#include "options.h"

/* All threads inherit this; machine_wait() takes them. */
static void
block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* Only the kernel knows which CPUs there are for us: tried, and taken back. */
static bool
may_run_on(unsigned long cpu)
{
	const pthread_t self = pthread_self();
	cpu_set_t before, wanted;

	if (cpu >= CPU_SETSIZE || pthread_getaffinity_np(self, sizeof(before), &before) != 0)
		return false;
	CPU_ZERO(&wanted);
	CPU_SET(cpu, &wanted);
	if (pthread_setaffinity_np(self, sizeof(wanted), &wanted) != 0)
		return false;
	return pthread_setaffinity_np(self, sizeof(before), &before) == 0;
}

static int
read_pins(struct machine *ma, const struct config *config)
{
	for (unsigned int i = 0; i < VMM_MAXCPU; i++)
		ma->ma_cpus[i].mc_host_cpu = -1;
	for (const char *name = NULL; (name = config_next(config, "vcpu.", name)) != NULL;) {
		const char *const value = config_get(config, name);
		char *end, *end_cpu;
		const unsigned long vcpu = strtoul(name + strlen("vcpu."), &end, 10);
		const unsigned long cpu = strtoul(value, &end_cpu, 10);

		if (strcmp(end, ".cpuset") != 0 || end_cpu == value || *end_cpu != '\0' ||
		    vcpu >= ma->ma_ncpus || !may_run_on(cpu)) {
			complain("-p: %s=%s: no such vCPU, or not a host's CPU", name, value);
			return -1;
		}
		ma->ma_cpus[vcpu].mc_host_cpu = (int)cpu;
	}
	return 0;
}

static int
run(struct machine *ma, struct config *config, const char *name)
{
	int status = END_ERROR;

	if (read_pins(ma, config) == 0 && machine_create(ma, config, name) == 0 &&
	    machine_load(ma, config) == 0 && machine_start(ma) == 0)
		status = machine_wait(ma);
	machine_destroy(ma);
	return status;
}

int
main(int argc, char **argv)
{
	static struct machine ma = {.ma_status = -1};
	struct config config;
	const char *name = NULL;
	int status, cpus;

	block_signals();
	ma.ma_main = pthread_self();
	config_init(&config);
	status = options_parse(&config, argc, argv, &name);
	cpus = status == 0 ? options_cpus(&config) : 1;
	if (status < 0 || cpus < 0) {
		complain("%s", config.cn_why);
		status = END_ERROR;
	} else if (status > 0) {
		status = 0;
	} else {
		ma.ma_ncpus = (unsigned int)cpus;
		status = run(&ma, &config, name);
	}
	config_free(&config);
	return status;
}
