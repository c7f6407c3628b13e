/* The guest's C part: the module's exports, as docs/guest-abi.md has them.
 *
 * It starts the interpreter, hands the bytes of a request to `_ppwasm.load` or `_ppwasm.call` and the bytes
 * they return to the host. What the bytes mean is the runner's business; only the reply that says "the
 * runner itself failed" is made here, because there is no Python left to make it.
 */
#include "ppwasm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT(name) __attribute__((export_name(name)))

#define LIBRARY L"/lib/python3.13"
#define WORKING_DIRECTORY "/work"

enum { REQUEST_STATIC_BYTES = 64 * 1024, MESSAGE_BYTES_MAX = 4096 };

static char request_static[REQUEST_STATIC_BYTES] __attribute__((aligned(16)));
static char *request = request_static;
static size_t request_capacity = REQUEST_STATIC_BYTES;

static PyObject *runner_load;
static PyObject *runner_call;

/* The reply that the host may still be reading: a `bytes` object, or text built in `failure_reply`. */
static PyObject *reply;
static unsigned char failure_reply[3 * MESSAGE_BYTES_MAX];

static int start_interpreter(void);
static int start_runner(void);
static PyObject *runner_function(PyObject *runner, const char *name);
static int collect_and_freeze(void);
static int64_t answer(PyObject *function, int32_t len);
static int64_t failure(void);
static void flush(const char *stream_name);
static int64_t packed(const void *address, size_t len);

EXPORT("ppwasm_start") int32_t ppwasm_start(void)
{
    if (start_interpreter() != 0) {
        return 1;
    }
    if (start_runner() != 0 || collect_and_freeze() != 0) {
        PyErr_Print();
        fflush(stderr);
        return 2;
    }
    return 0;
}

EXPORT("ppwasm_buffer") int32_t ppwasm_buffer(int32_t len)
{
    if (request != request_static) {
        free(request);
        request = request_static;
        request_capacity = REQUEST_STATIC_BYTES;
    }
    if ((uint32_t)len > REQUEST_STATIC_BYTES) {
        char *larger = malloc((uint32_t)len);
        if (larger == NULL) {
            return 0;
        }
        request = larger;
        request_capacity = (uint32_t)len;
    }
    return (int32_t)(intptr_t)request;
}

EXPORT("ppwasm_load") int64_t ppwasm_load(int32_t len)
{
    return answer(runner_load, len);
}

EXPORT("ppwasm_call") int64_t ppwasm_call(int32_t len)
{
    return answer(runner_call, len);
}

/* Where the host lets a guest go on that has to end: see docs/guest-abi.md. */
EXPORT("ppwasm_trap") void ppwasm_trap(void)
{
    __builtin_trap();
}

static int start_interpreter(void)
{
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    PyStatus status = Py_PreInitialize(&before);

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.write_bytecode = 0;
    config.use_hash_seed = 1;
    config.hash_seed = 1;
    config.install_signal_handlers = 0;
    config.buffered_stdio = 1;
    config.pathconfig_warnings = 0;
    config.module_search_paths_set = 1;

    /* Everything that path configuration would look for on disk is told, so it looks for nothing. */
    struct { wchar_t **field; const wchar_t *text; } texts[] = {
        {&config.program_name, L"python"},
        {&config.executable, L""},
        {&config.base_executable, L""},
        {&config.home, L"/"},
        {&config.prefix, L"/"},
        {&config.base_prefix, L"/"},
        {&config.exec_prefix, L"/"},
        {&config.base_exec_prefix, L"/"},
        {&config.stdlib_dir, LIBRARY},
        {&config.platlibdir, L"lib"},
        {&config.stdio_encoding, L"utf-8"},
        {&config.stdio_errors, L"surrogateescape"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && !PyStatus_Exception(status); i++) {
        status = PyConfig_SetString(&config, texts[i].field, texts[i].text);
    }
    if (!PyStatus_Exception(status)) {
        status = PyWideStringList_Append(&config.module_search_paths, LIBRARY);
    }
    if (!PyStatus_Exception(status)) {
        status = PyWideStringList_Append(&config.argv, L"");
    }
    for (const struct _inittab *module = ppwasm_extensions; module->name != NULL; module++) {
        if (PyImport_AppendInittab(module->name, module->initfunc) != 0) {
            status = PyStatus_NoMemory();
        }
    }
    if (!PyStatus_Exception(status)) {
        status = Py_InitializeFromConfig(&config);
    }
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
        fprintf(stderr, "starting the interpreter: %s\n", status.err_msg != NULL ? status.err_msg : "exit");
        return -1;
    }
    return 0;
}

/* Imports the runner, lets it import the base modules, and keeps its two functions. */
static int start_runner(void)
{
    PyObject *runner = PyImport_ImportModule("_ppwasm");
    if (runner == NULL) {
        return -1;
    }
    PyObject *started = PyObject_CallMethod(runner, "start", NULL);
    Py_XDECREF(started);
    runner_load = started != NULL ? runner_function(runner, "load") : NULL;
    runner_call = runner_load != NULL ? runner_function(runner, "call") : NULL;
    Py_DECREF(runner);
    if (runner_call == NULL) {
        return -1;
    }
    if (chdir(WORKING_DIRECTORY) != 0) {
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, WORKING_DIRECTORY);
        return -1;
    }
    return 0;
}

static PyObject *runner_function(PyObject *runner, const char *name)
{
    PyObject *function = PyObject_GetAttrString(runner, name);
    if (function != NULL && !PyCallable_Check(function)) {
        PyErr_Format(PyExc_TypeError, "_ppwasm.%s is not callable", name);
        Py_CLEAR(function);
    }
    return function;
}

/* What lives now lives in every job; frozen, no job's collection walks over it or dirties its pages. */
static int collect_and_freeze(void)
{
    PyGC_Collect();
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *done = gc != NULL ? PyObject_CallMethod(gc, "freeze", NULL) : NULL;
    Py_XDECREF(gc);
    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

static int64_t answer(PyObject *function, int32_t len)
{
    if (function == NULL) {
        return 0;
    }
    Py_CLEAR(reply);
    if ((uint32_t)len > request_capacity) {
        PyErr_SetString(PyExc_ValueError, "the request is longer than the buffer that was asked for");
        return failure();
    }
    PyObject *bytes = PyBytes_FromStringAndSize(request, (Py_ssize_t)(uint32_t)len);
    if (bytes == NULL) {
        return failure();
    }
    PyObject *value = PyObject_CallOneArg(function, bytes);
    Py_DECREF(bytes);
    if (value == NULL) {
        return failure();
    }
    if (!PyBytes_CheckExact(value)) {
        PyErr_Format(PyExc_TypeError, "the runner returned %.200s instead of bytes", Py_TYPE(value)->tp_name);
        Py_DECREF(value);
        return failure();
    }
    reply = value;
    return packed(PyBytes_AS_STRING(reply), (size_t)PyBytes_GET_SIZE(reply));
}

/* CBOR, as far as `failure` needs it: a head with the shortest length, and text. */
static unsigned char *put_head(unsigned char *at, unsigned char major, size_t len)
{
    if (len < 24) {
        *at++ = (unsigned char)(major << 5 | len);
    } else if (len < 0x100) {
        *at++ = (unsigned char)(major << 5 | 24);
        *at++ = (unsigned char)len;
    } else {
        *at++ = (unsigned char)(major << 5 | 25);
        *at++ = (unsigned char)(len >> 8);
        *at++ = (unsigned char)len;
    }
    return at;
}

/* At most MESSAGE_BYTES_MAX bytes of valid UTF-8; the cut never falls inside a character. */
static unsigned char *put_text(unsigned char *at, const char *text)
{
    size_t len = strlen(text);
    if (len > MESSAGE_BYTES_MAX) {
        len = MESSAGE_BYTES_MAX;
        while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80) {
            len--;
        }
    }
    at = put_head(at, 3, len);
    memcpy(at, text, len);
    return at + len;
}

/* The reply for the exception that is set: raised by the runner itself, so it has no traceback to show. */
static int64_t failure(void)
{
    PyObject *exception = PyErr_GetRaisedException();
    if (exception == NULL) {
        return 0;
    }
    const char *type = Py_TYPE(exception)->tp_name;
    flush("stdout");
    flush("stderr");
    PyObject *message = PyObject_Str(exception);
    const char *text = message != NULL ? PyUnicode_AsUTF8(message) : NULL;
    if (text == NULL) {
        PyErr_Clear();
        text = "";
    }

    unsigned char *at = failure_reply;
    at = put_head(at, 4, 2);
    *at++ = 0x01;
    at = put_head(at, 5, 5);
    at = put_text(at, "type");
    at = put_text(at, type);
    at = put_text(at, "message");
    at = put_text(at, text);
    at = put_text(at, "traceback");
    at = put_text(at, "");
    at = put_text(at, "notes");
    at = put_head(at, 4, 0);
    at = put_text(at, "exit_code");
    *at++ = 0xF6;

    Py_XDECREF(message);
    Py_DECREF(exception);
    return packed(failure_reply, (size_t)(at - failure_reply));
}

/* The runner flushes before it returns; this is for when it did not get there. */
static void flush(const char *stream_name)
{
    PyObject *stream = PySys_GetObject(stream_name);
    PyObject *done = stream != NULL ? PyObject_CallMethod(stream, "flush", NULL) : NULL;
    Py_XDECREF(done);
    PyErr_Clear();
}

static int64_t packed(const void *address, size_t len)
{
    return (int64_t)((uint64_t)(uintptr_t)address << 32 | (uint64_t)len);
}
