/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the files of vmmctl share. Each thing that is shown is said once (out_*()), and becomes a
 * line of text or a member of a JSON object. Failures are a sentence on stderr and an exit code of
 * sysexits(3): they end the program where they are found, since it holds nothing that would not end
 * with it.
 */

#ifndef VMMCTL_VMMCTL_H
#define VMMCTL_VMMCTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sysexits.h>

#include "libvmm/libvmm.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ---- Ends (main.c) --------------------------------------------------------------------------- */

_Noreturn void fail(int exitcode, const char *format, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* libvmm's sentence, and the exit code that fits its errno. Nothing if error is 0. */
void check_call(int error);

/* A number in C's notations. Anything else is a usage error that names what it was for. */
uint64_t parse_number(const char *text, const char *what);
int parse_cpu(const char *text); /* of --cpu */

struct vmctx *open_machine(const char *name);
struct vcpu *open_vcpu(struct vmctx *ctx, int id);
/* VMM_CPU_VTX or VMM_CPU_SVM. */
enum vmm_cpu_kind cpu_kind(void);

/* ---- Output (out.c) -------------------------------------------------------------------------- */

struct out {
	json_t *ou_root; /* NULL: text */
};

/* For text the format, for JSON the value, whose reference is taken. */
void out_put(struct out *out, const char *key, json_t *value, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void out_number(struct out *out, const char *key, uint64_t value);
/* As bhyvectl shows a register: "NAME[CPU]\t\t0x..." */
void out_cpu_hex(struct out *out, const char *key, int cpu, uint64_t value);
/* JSON has no number for all 64-bit values: what is an address or a set of bits is a string. */
json_t *json_hex(uint64_t value);
void out_end(struct out *out);

/* ---- Names of what can be shown and set (regs.c, fields_vmx.c, fields_svm.c) ----------------- */

struct reg_name {
	const char *rn_name;
	enum vmm_reg rn_reg;
};
extern const struct reg_name reg_names[];
extern const size_t reg_names_count;
/* Those that have a base, a limit and rights. */
extern const struct reg_name desc_names[];
extern const size_t desc_names_count;

struct field_name {
	const char *fn_name; /* behind "vmcs-" or "vmcb-" */
	uint32_t fn_field;
	bool fn_settable;
};
extern const struct field_name vmcs_fields[];
extern const size_t vmcs_fields_count;
extern const struct field_name vmcb_fields[];
extern const size_t vmcb_fields_count;

/* ---- What is done ---------------------------------------------------------------------------- */

/* bhyvectl's way: --vm=NAME and options (legacy.c). */
int legacy_main(struct out *out, int argc, char **argv);
void legacy_help(void);
void legacy_list(void); /* its options, a line each */

/* Verbs (verbs.c, stats.c, dirty.c, dump.c, screenshot.c): argv[0] is the verb. */
struct verb {
	const char *ve_name;
	const char *ve_args;
	const char *ve_help;
	int (*ve_run)(struct out *out, int argc, char **argv);
};

int verb_list(struct out *out, int argc, char **argv);
int verb_show(struct out *out, int argc, char **argv);
int verb_mem(struct out *out, int argc, char **argv);
int verb_check(struct out *out, int argc, char **argv);
int verb_create(struct out *out, int argc, char **argv);
int verb_destroy(struct out *out, int argc, char **argv);
int verb_stats(struct out *out, int argc, char **argv);
int verb_dirty(struct out *out, int argc, char **argv);
int verb_dump_pt(struct out *out, int argc, char **argv);
int verb_screenshot(struct out *out, int argc, char **argv);

void out_memory(struct out *out, struct vmctx *ctx);	     /* segments, maps */
void out_stats(struct out *out, struct vmctx *ctx, int cpu); /* of a vCPU, or -1 */

/* The text of vm_dump_pmap() as a picture. 0, or -1 with errno. */
int svg_write(const char *path, const char *title, const char *dump);

#endif /* VMMCTL_VMMCTL_H */
