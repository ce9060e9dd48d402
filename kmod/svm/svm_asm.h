/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Where svm_enter.S finds the guest's general registers: indices of enum vmm_reg, which the
 * assembler cannot read. svm_run.c holds them to it.
 */

#ifndef KMOD_SVM_SVM_ASM_H
#define KMOD_SVM_SVM_ASM_H

#define SVM_GPR_RBX 1
#define SVM_GPR_RCX 2
#define SVM_GPR_RDX 3
#define SVM_GPR_RSI 4
#define SVM_GPR_RDI 5
#define SVM_GPR_RBP 6
#define SVM_GPR_R8 7
#define SVM_GPR_R9 8
#define SVM_GPR_R10 9
#define SVM_GPR_R11 10
#define SVM_GPR_R12 11
#define SVM_GPR_R13 12
#define SVM_GPR_R14 13
#define SVM_GPR_R15 14

#endif /* KMOD_SVM_SVM_ASM_H */
