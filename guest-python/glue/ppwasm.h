/* What the files of this folder share. */
#ifndef PPWASM_H
#define PPWASM_H

#include <Python.h>

/* Extension modules linked into this variant of the guest beside CPython's own; ends with a null name.
 * The build writes its definition from the variant's list. */
extern const struct _inittab ppwasm_extensions[];

#endif
