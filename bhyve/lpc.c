/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Devices at fixed places.
 *
 * The boot ROM is a named segment that ends at 4 GiB, readable and executable; a guest's write ends
 * VMM_RUN, is carried out like one to a device, and finds this file's handler, which drops it.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inout.h"
#include "lpc.h"
#include "mem.h"
#include "serial.h"

#define COMS 4
#define ROM_END (4ull << 30)
#define ROM_MAX (16ull << 20) /* what is left below 4 GiB by the APICs' registers */
#define ROM_UNIT 4096u

static struct {
	struct serial *coms[COMS];
	uint8_t *rom;
} lpc;

void
lpc_help(FILE *out)
{
	fputs("com1,stdio|pty|PATH   a serial port, COM1 to COM4\n"
	      "debugexit,PORT        a byte written to that port ends bhyve with it (as 0xf4)\n"
	      "bootrom,FILE          a ROM that ends at 4 GiB; the guest starts in it\n",
	      out);
}

int
lpc_parse(struct config *config, const char *option)
{
	const char *const comma = strchr(option, ',');
	const size_t n = comma ? (size_t)(comma - option) : strlen(option);
	char name[32];

	if (comma == NULL || comma[1] == '\0') {
		snprintf(config->cn_why, sizeof(config->cn_why),
			 "-l %s: a device needs something behind a comma; -l help lists them",
			 option);
		return -EINVAL;
	}
	if (n == 4 && strncmp(option, "com", 3) == 0 && option[3] >= '1' && option[3] <= '4') {
		snprintf(name, sizeof(name), "lpc.com%c.path", option[3]);
		return config_set(config, name, comma + 1);
	}
	if (n == 9 && strncmp(option, "debugexit", n) == 0)
		return config_set(config, "lpc.debugexit", comma + 1);
	if (n == 7 && strncmp(option, "bootrom", n) == 0)
		return config_set(config, "bootrom", comma + 1);
	snprintf(config->cn_why, sizeof(config->cn_why),
		 "-l %s: no such device; -l help lists them", option);
	return -EINVAL;
}

/* ---- The debug-exit port --------------------------------------------------------------------- */

static int
debug_exit(struct vcpu *vcpu, uint16_t port, unsigned int bytes, bool write, uint32_t *value,
	   void *arg)
{
	(void)vcpu;
	(void)port;
	(void)bytes;
	if (write)
		machine_end(arg, (int)(*value & 0xff));
	else
		*value = 0;
	return 0;
}

static int
init_debug_exit(struct machine *ma, const char *text)
{
	char *end;
	unsigned long port;

	errno = 0;
	port = strtoul(text, &end, 0);
	if (*end != '\0' || errno || port > 0xffff) {
		complain("debugexit: '%s' is not a port", text);
		return -1;
	}
	if (inout_register((uint16_t)port, 1, debug_exit, ma)) {
		complain("debugexit: port 0x%lx is another device's", port);
		return -1;
	}
	return 0;
}

/* ---- The boot ROM ---------------------------------------------------------------------------- */

static int
rom_access(struct vcpu *vcpu, uint64_t gpa, unsigned int bytes, bool write, uint64_t *value,
	   void *arg)
{
	const struct machine *const ma = arg;

	(void)vcpu;
	if (!write) {
		*value = 0;
		memcpy(value, lpc.rom + (gpa - ma->ma_rom_gpa), bytes);
	}
	return 0;
}

static int
fill_rom(struct machine *ma, int fd, const char *path)
{
	size_t done = 0;

	while (done < ma->ma_rom_bytes) {
		const ssize_t n = read(fd, lpc.rom + done, ma->ma_rom_bytes - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			complain("bootrom: cannot read %s: %s", path,
				 n < 0 ? strerror(errno) : "it became shorter");
			return -1;
		}
		done += (size_t)n;
	}
	return 0;
}

static int
init_rom(struct machine *ma, const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint64_t len;
	int result = -1;

	if (fd < 0 || fstat(fd, &st) != 0) {
		complain("bootrom: cannot open %s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	len = (uint64_t)st.st_size;
	if (!S_ISREG(st.st_mode) || len == 0 || len % ROM_UNIT || len > ROM_MAX) {
		complain("bootrom: %s is not a file of 4 KiB to 16 MiB, in units of 4 KiB", path);
		close(fd);
		return -1;
	}
	ma->ma_rom_gpa = ROM_END - len;
	ma->ma_rom_bytes = len;
	lpc.rom = vm_create_devmem(ma->ma_ctx, VM_BOOTROM, "bootrom", len);
	if ((void *)lpc.rom == (void *)-1)
		complain("bootrom: %s", vmm_errmsg());
	else if (fill_rom(ma, fd, path) == 0) {
		if (vm_mmap_memseg(ma->ma_ctx, ma->ma_rom_gpa, VM_BOOTROM, 0, len,
				   VMM_PROT_READ | VMM_PROT_EXEC, 0))
			complain("bootrom: %s", vmm_errmsg());
		else if (mem_register(ma->ma_rom_gpa, len, rom_access, ma))
			complain("bootrom: another device is below 4 GiB");
		else
			result = 0;
	}
	close(fd);
	return result;
}

/* ---- All of it ------------------------------------------------------------------------------- */

int
lpc_init(struct machine *ma, const struct config *config)
{
	const char *const port = config_get(config, "lpc.debugexit");
	const char *const rom = config_get(config, "bootrom");

	for (unsigned int i = 0; i < COMS; i++) {
		char name[32], why[160];
		const char *where;

		snprintf(name, sizeof(name), "lpc.com%u.path", i + 1);
		where = config_get(config, name);
		if (where == NULL)
			continue;
		lpc.coms[i] = serial_open(ma->ma_ctx, i + 1, where, why, sizeof(why));
		if (lpc.coms[i] == NULL) {
			complain("com%u: %s", i + 1, why);
			return -1;
		}
	}
	if (port != NULL && init_debug_exit(ma, port))
		return -1;
	return rom != NULL ? init_rom(ma, rom) : 0;
}

void
lpc_fini(void)
{
	for (unsigned int i = 0; i < COMS; i++) {
		serial_close(lpc.coms[i]);
		lpc.coms[i] = NULL;
	}
}
