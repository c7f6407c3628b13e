/* `_ppwasm_values`: how values travel (docs/values.md), for the types that most values are made of.
 *
 * None, bool, int, float, str, bytes, list, tuple and dict are written and read here. Everything else goes to the
 * Python functions given to `set_up`, which come back here for what is inside. `_ppwasm.value_writer` and
 * `_ppwasm.value_reader` are the reference: same bytes, same errors at the same offsets.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <limits.h>
#include <stdint.h>
#include <string.h>

enum { UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE };
enum { FALSE_HEAD = 0xF4, TRUE_HEAD = 0xF5, NULL_HEAD = 0xF6, DOUBLE_HEAD = 0xFB };
enum { TUPLE_TAG = 60003 };
enum { NESTING_MAX = 200 }; /* as in _ppwasm.value_errors */

/* What `set_up` was given. */
static PyObject *write_other;   /* (value, classes, depth) -> bytes */
static PyObject *read_tag;      /* (data, classes, tag, start, position, depth) -> (value, position) */
static PyObject *step_to_key;   /* (key) -> str */
static PyObject *cannot_travel; /* the class */
static PyObject *malformed;     /* the class */

/* Bytes on their way out. Most results fit the first buffer, which lies on the stack; a longer one is written into
 * the bytes object that is returned, because a copy of it might be too much memory. */
typedef struct {
    unsigned char *bytes;
    PyObject *object; /* what `bytes` are in; null: in `first` */
    size_t length;
    size_t capacity;
    PyObject *classes;
    unsigned char first[512];
} Output;

/* Bytes on their way in. */
typedef struct {
    PyObject *data;
    const unsigned char *bytes;
    size_t length;
    size_t position;
    PyObject *classes;
} Input;

typedef struct {
    unsigned major;
    uint64_t argument;
} Head;

static int write_value(Output *out, PyObject *value, int depth);
static PyObject *read_value(Input *in, int depth);

/* Writing */

static int reserve(Output *out, size_t more)
{
    if (more <= out->capacity - out->length) {
        return 0;
    }
    size_t capacity = out->capacity * 2;
    if (capacity - out->length < more) {
        capacity = out->length + more;
    }
    if (capacity < out->length || capacity > PY_SSIZE_T_MAX) {
        PyErr_NoMemory();
        return -1;
    }
    if (out->object != NULL) {
        if (_PyBytes_Resize(&out->object, (Py_ssize_t)capacity) != 0) {
            return -1;
        }
    } else {
        out->object = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)capacity);
        if (out->object == NULL) {
            return -1;
        }
        memcpy(PyBytes_AS_STRING(out->object), out->first, out->length);
    }
    out->bytes = (unsigned char *)PyBytes_AS_STRING(out->object);
    out->capacity = capacity;
    return 0;
}

/* The bytes object; leaves nothing behind. */
static PyObject *finish(Output *out)
{
    if (out->object == NULL) {
        return PyBytes_FromStringAndSize((const char *)out->first, (Py_ssize_t)out->length);
    }
    _PyBytes_Resize(&out->object, (Py_ssize_t)out->length);
    return out->object;
}

static int put(Output *out, const void *bytes, size_t length)
{
    if (reserve(out, length) != 0) {
        return -1;
    }
    memcpy(out->bytes + out->length, bytes, length);
    out->length += length;
    return 0;
}

static int put_byte(Output *out, unsigned char byte)
{
    if (reserve(out, 1) != 0) {
        return -1;
    }
    out->bytes[out->length++] = byte;
    return 0;
}

static int put_head(Output *out, unsigned major, uint64_t argument)
{
    if (reserve(out, 9) != 0) {
        return -1;
    }
    unsigned char *at = out->bytes + out->length;
    unsigned size = 0;
    if (argument < 24) {
        *at = (unsigned char)(major << 5 | (unsigned)argument);
    } else {
        unsigned power = argument < 0x100 ? 0 : argument < 0x10000 ? 1 : argument < 0x100000000 ? 2 : 3;
        size = 1u << power;
        *at = (unsigned char)(major << 5 | (24 + power));
        for (unsigned i = 0; i < size; i++) {
            at[1 + i] = (unsigned char)(argument >> (8 * (size - 1 - i)));
        }
    }
    out->length += 1 + size;
    return 0;
}

static int put_sized(Output *out, unsigned major, const void *bytes, Py_ssize_t length)
{
    return put_head(out, major, (uint64_t)length) != 0 ? -1 : put(out, bytes, (size_t)length);
}

/* The head of an array or map of `length` items, when there is room for one more level. */
static int put_opening(Output *out, unsigned major, Py_ssize_t length, int depth)
{
    if (depth >= NESTING_MAX) {
        PyObject *reason = PyUnicode_FromFormat("is nested more than %d levels deep", NESTING_MAX);
        if (reason != NULL) {
            PyErr_SetObject(cannot_travel, reason);
            Py_DECREF(reason);
        }
        return -1;
    }
    return put_head(out, major, (uint64_t)length);
}

/* Tells a CannotTravel that is on its way through a container. Takes the reference to `step`; always -1. */
static int passed(PyObject *step, PyObject *container)
{
    PyObject *refusal = PyErr_GetRaisedException();
    if (step != NULL && PyObject_TypeCheck(refusal, (PyTypeObject *)cannot_travel)) {
        PyObject *told = PyObject_CallMethod(refusal, "passed", "OO", step, container);
        if (told == NULL) {
            PyErr_Clear();
        }
        Py_XDECREF(told);
    }
    Py_XDECREF(step);
    PyErr_SetRaisedException(refusal);
    return -1;
}

static int passed_index(Py_ssize_t index, PyObject *container)
{
    PyObject *refusal = PyErr_GetRaisedException();
    PyObject *step = PyUnicode_FromFormat("[%zd]", index);
    PyErr_Clear();
    PyErr_SetRaisedException(refusal);
    return passed(step, container);
}

static int passed_key(PyObject *key, int in_key, PyObject *container)
{
    PyObject *refusal = PyErr_GetRaisedException();
    PyObject *step = in_key ? PyUnicode_FromString("a key of ") : PyObject_CallOneArg(step_to_key, key);
    PyErr_Clear();
    PyErr_SetRaisedException(refusal);
    return passed(step, container);
}

static int changed_meanwhile(PyObject *container)
{
    PyErr_Format(PyExc_RuntimeError, "%s changed size while it was encoded", Py_TYPE(container)->tp_name);
    return -1;
}

static int write_by_python(Output *out, PyObject *value, int depth)
{
    PyObject *level = PyLong_FromLong(depth);
    if (level == NULL) {
        return -1;
    }
    PyObject *written = PyObject_CallFunctionObjArgs(write_other, value, out->classes, level, NULL);
    Py_DECREF(level);
    if (written == NULL) {
        return -1;
    }
    int result = -1;
    if (PyBytes_CheckExact(written)) {
        result = put(out, PyBytes_AS_STRING(written), (size_t)PyBytes_GET_SIZE(written));
    } else {
        PyErr_SetString(PyExc_TypeError, "write_other has to return bytes");
    }
    Py_DECREF(written);
    return result;
}

static int write_int(Output *out, PyObject *value, int depth)
{
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0) {
        return write_by_python(out, value, depth);
    }
    return number >= 0 ? put_head(out, UNSIGNED, (uint64_t)number) : put_head(out, NEGATIVE, ~(uint64_t)number);
}

static int write_float(Output *out, PyObject *value)
{
    double number = PyFloat_AS_DOUBLE(value);
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    unsigned char bytes[9] = {DOUBLE_HEAD};
    for (unsigned i = 0; i < 8; i++) {
        bytes[1 + i] = (unsigned char)(bits >> (56 - 8 * i));
    }
    return put(out, bytes, sizeof bytes);
}

static int write_str(Output *out, PyObject *value, int depth)
{
    if (PyUnicode_IS_COMPACT_ASCII(value)) {
        return put_sized(out, TEXT, PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value));
    }
    PyObject *utf8 = PyUnicode_AsUTF8String(value);
    if (utf8 == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            return -1;
        }
        PyErr_Clear();
        return write_by_python(out, value, depth); /* lone surrogates */
    }
    int result = put_sized(out, TEXT, PyBytes_AS_STRING(utf8), PyBytes_GET_SIZE(utf8));
    Py_DECREF(utf8);
    return result;
}

static int write_list(Output *out, PyObject *list, int depth)
{
    Py_ssize_t length = PyList_GET_SIZE(list);
    if (put_opening(out, ARRAY, length, depth) != 0) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < length; i++) {
        if (PyList_GET_SIZE(list) != length) {
            return changed_meanwhile(list);
        }
        PyObject *item = Py_NewRef(PyList_GET_ITEM(list, i));
        int result = write_value(out, item, depth + 1);
        Py_DECREF(item);
        if (result != 0) {
            return passed_index(i, list);
        }
    }
    return 0;
}

static int write_tuple(Output *out, PyObject *tuple, int depth)
{
    Py_ssize_t length = PyTuple_GET_SIZE(tuple);
    if (put_head(out, TAG, TUPLE_TAG) != 0 || put_opening(out, ARRAY, length, depth) != 0) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < length; i++) {
        if (write_value(out, PyTuple_GET_ITEM(tuple, i), depth + 1) != 0) {
            return passed_index(i, tuple);
        }
    }
    return 0;
}

/* Whether unequal values of the key's type have unequal bytes, so that two keys cannot become one. */
static int is_simple_key(PyObject *key)
{
    return PyUnicode_CheckExact(key) || PyLong_CheckExact(key) || PyBytes_CheckExact(key) || key == Py_None
        || PyBool_Check(key);
}

/* 1: these bytes were there before, 0: they are now, -1: error. */
static int note_bytes(PyObject **seen, const unsigned char *bytes, size_t length)
{
    if (*seen == NULL && (*seen = PySet_New(NULL)) == NULL) {
        return -1;
    }
    PyObject *encoded = PyBytes_FromStringAndSize((const char *)bytes, (Py_ssize_t)length);
    if (encoded == NULL) {
        return -1;
    }
    int result = PySet_Contains(*seen, encoded);
    if (result == 0 && PySet_Add(*seen, encoded) != 0) {
        result = -1;
    }
    Py_DECREF(encoded);
    return result;
}

static int write_key(Output *out, PyObject *key, PyObject **seen, int depth)
{
    size_t start = out->length;
    if (write_value(out, key, depth) != 0) {
        return -1;
    }
    if (is_simple_key(key)) {
        return 0;
    }
    int known = note_bytes(seen, out->bytes + start, out->length - start);
    if (known > 0) {
        PyErr_SetString(cannot_travel, "has the same encoding as another one");
    }
    return known == 0 ? 0 : -1;
}

static int write_dict(Output *out, PyObject *dict, int depth)
{
    Py_ssize_t length = PyDict_GET_SIZE(dict);
    if (put_opening(out, MAP, length, depth) != 0) {
        return -1;
    }
    PyObject *seen = NULL, *key, *value;
    Py_ssize_t place = 0, written = 0;
    int result = 0;
    while (result == 0 && PyDict_Next(dict, &place, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        if (write_key(out, key, &seen, depth + 1) != 0) {
            result = passed_key(key, 1, dict);
        } else if (write_value(out, value, depth + 1) != 0) {
            result = passed_key(key, 0, dict);
        } else if (PyDict_GET_SIZE(dict) != length || ++written > length) {
            result = changed_meanwhile(dict);
        }
        Py_DECREF(key);
        Py_DECREF(value);
    }
    Py_XDECREF(seen);
    if (result == 0 && written != length) {
        result = changed_meanwhile(dict);
    }
    return result;
}

static int write_value(Output *out, PyObject *value, int depth)
{
    PyTypeObject *type = Py_TYPE(value);
    if (type == &PyLong_Type) {
        return write_int(out, value, depth);
    }
    if (type == &PyUnicode_Type) {
        return write_str(out, value, depth);
    }
    if (type == &PyFloat_Type) {
        return write_float(out, value);
    }
    if (type == &PyList_Type) {
        return write_list(out, value, depth);
    }
    if (type == &PyDict_Type) {
        return write_dict(out, value, depth);
    }
    if (type == &PyTuple_Type) {
        return write_tuple(out, value, depth);
    }
    if (value == Py_None) {
        return put_byte(out, NULL_HEAD);
    }
    if (type == &PyBool_Type) {
        return put_byte(out, value == Py_True ? TRUE_HEAD : FALSE_HEAD);
    }
    if (type == &PyBytes_Type) {
        return put_sized(out, BYTES, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
    }
    return write_by_python(out, value, depth);
}

/* Reading */

/* Sets the error, always NULL. */
static void *malformed_at(const char *reason, size_t offset)
{
    PyObject *error = PyObject_CallFunction(malformed, "sn", reason, (Py_ssize_t)offset);
    if (error != NULL) {
        PyErr_SetObject(malformed, error);
        Py_DECREF(error);
    }
    return NULL;
}

static int read_head(Input *in, Head *head)
{
    size_t start = in->position;
    if (start >= in->length) {
        malformed_at("the bytes end where a value has to begin", start);
        return -1;
    }
    unsigned initial = in->bytes[start], low = initial & 31;
    head->major = initial >> 5;
    head->argument = low;
    in->position = start + 1;
    if (low < 24 || head->major == SIMPLE) {
        return 0;
    }
    if (low > 27) {
        malformed_at(low == 31 ? "indefinite length" : "reserved head", start);
        return -1;
    }
    size_t size = (size_t)1 << (low - 24);
    if (size > in->length - in->position) {
        malformed_at("the bytes end within an item", start);
        return -1;
    }
    uint64_t argument = 0;
    for (size_t i = 0; i < size; i++) {
        argument = argument << 8 | in->bytes[in->position + i];
    }
    in->position += size;
    static const uint64_t least[] = {24, 0x100, 0x10000, 0x100000000};
    if (argument < least[low - 24]) {
        malformed_at("head is not the shortest", start);
        return -1;
    }
    head->argument = argument;
    return 0;
}

/* The next `length` bytes, of the item that begins at `start`. */
static const char *take(Input *in, uint64_t length, size_t start)
{
    if (length > in->length - in->position) {
        return malformed_at("the bytes end within an item", start);
    }
    const char *bytes = (const char *)in->bytes + in->position;
    in->position += (size_t)length;
    return bytes;
}

/* Whether an array or map of `length` items of at least `unit` bytes may be opened. */
static int may_open(Input *in, uint64_t length, unsigned unit, int depth, size_t start)
{
    if (depth >= NESTING_MAX) {
        char reason[64];
        PyOS_snprintf(reason, sizeof reason, "nested more than %d levels deep", NESTING_MAX);
        malformed_at(reason, start);
        return 0;
    }
    if (length > (in->length - in->position) / unit) {
        malformed_at("the bytes end within an item", start);
        return 0;
    }
    return 1;
}

static PyObject *read_text(Input *in, uint64_t length, size_t start)
{
    const char *bytes = take(in, length, start);
    if (bytes == NULL) {
        return NULL;
    }
    PyObject *text = PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)length, NULL);
    if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
        malformed_at("invalid UTF-8", start);
    }
    return text;
}

static PyObject *read_list(Input *in, uint64_t length, int depth, size_t start)
{
    if (!may_open(in, length, 1, depth, start)) {
        return NULL;
    }
    PyObject *list = PyList_New((Py_ssize_t)length);
    for (Py_ssize_t i = 0; list != NULL && i < (Py_ssize_t)length; i++) {
        PyObject *item = read_value(in, depth + 1);
        if (item == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, item);
        }
    }
    return list;
}

static PyObject *read_tuple(Input *in, uint64_t length, int depth, size_t start)
{
    if (!may_open(in, length, 1, depth, start)) {
        return NULL;
    }
    PyObject *tuple = PyTuple_New((Py_ssize_t)length);
    for (Py_ssize_t i = 0; tuple != NULL && i < (Py_ssize_t)length; i++) {
        PyObject *item = read_value(in, depth + 1);
        if (item == NULL) {
            Py_CLEAR(tuple);
        } else {
            PyTuple_SET_ITEM(tuple, i, item);
        }
    }
    return tuple;
}

/* A key that equals none of the dict's, neither in value nor in bytes. */
static PyObject *read_key(Input *in, PyObject *dict, PyObject **seen, int depth)
{
    size_t start = in->position;
    PyObject *key = read_value(in, depth);
    if (key == NULL) {
        return NULL;
    }
    int known = PyDict_Contains(dict, key);
    if (known == 0 && !is_simple_key(key)) {
        known = note_bytes(seen, in->bytes + start, in->position - start);
    }
    if (known == 0) {
        return key;
    }
    if (known > 0) {
        malformed_at("duplicate key", start);
    } else if (PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        char reason[128];
        PyOS_snprintf(reason, sizeof reason, "a key that is not hashable (%.80s)", _PyType_Name(Py_TYPE(key)));
        malformed_at(reason, start);
    }
    Py_DECREF(key);
    return NULL;
}

static PyObject *read_dict(Input *in, uint64_t length, int depth, size_t start)
{
    if (!may_open(in, length, 2, depth, start)) {
        return NULL;
    }
    PyObject *dict = PyDict_New(), *seen = NULL;
    for (uint64_t i = 0; dict != NULL && i < length; i++) {
        PyObject *key = read_key(in, dict, &seen, depth + 1);
        PyObject *value = key != NULL ? read_value(in, depth + 1) : NULL;
        if (value == NULL || PyDict_SetItem(dict, key, value) != 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    Py_XDECREF(seen);
    return dict;
}

static PyObject *read_by_python(Input *in, uint64_t tag, int depth, size_t start)
{
    PyObject *answer = PyObject_CallFunction(read_tag, "OOKnni", in->data, in->classes, (unsigned long long)tag,
                                             (Py_ssize_t)start, (Py_ssize_t)in->position, depth);
    if (answer == NULL) {
        return NULL;
    }
    PyObject *value = NULL;
    if (PyTuple_CheckExact(answer) && PyTuple_GET_SIZE(answer) == 2) {
        Py_ssize_t position = PyLong_AsSsize_t(PyTuple_GET_ITEM(answer, 1));
        if (position >= (Py_ssize_t)in->position && (size_t)position <= in->length) {
            in->position = (size_t)position;
            value = Py_NewRef(PyTuple_GET_ITEM(answer, 0));
        }
    }
    if (value == NULL && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_TypeError, "read_tag has to return a value and the position behind it");
    }
    Py_DECREF(answer);
    return value;
}

static PyObject *read_tagged(Input *in, uint64_t tag, int depth, size_t start)
{
    if (tag == TUPLE_TAG && in->position < in->length && in->bytes[in->position] >> 5 == ARRAY) {
        Head head;
        return read_head(in, &head) == 0 ? read_tuple(in, head.argument, depth, start) : NULL;
    }
    return read_by_python(in, tag, depth, start);
}

static PyObject *read_simple(Input *in, uint64_t low, size_t start)
{
    if (low == (DOUBLE_HEAD & 31)) {
        const unsigned char *bytes = (const unsigned char *)take(in, 8, start);
        if (bytes == NULL) {
            return NULL;
        }
        uint64_t bits = 0;
        for (unsigned i = 0; i < 8; i++) {
            bits = bits << 8 | bytes[i];
        }
        double number;
        memcpy(&number, &bits, sizeof number);
        return PyFloat_FromDouble(number);
    }
    switch (low) {
    case FALSE_HEAD & 31:
        Py_RETURN_FALSE;
    case TRUE_HEAD & 31:
        Py_RETURN_TRUE;
    case NULL_HEAD & 31:
        Py_RETURN_NONE;
    default:
        return malformed_at("a simple value or float width that no value has", start);
    }
}

static PyObject *read_value(Input *in, int depth)
{
    size_t start = in->position;
    Head head;
    if (read_head(in, &head) != 0) {
        return NULL;
    }
    switch (head.major) {
    case UNSIGNED:
        return head.argument <= LONG_MAX ? PyLong_FromLong((long)head.argument)
                                         : PyLong_FromUnsignedLongLong(head.argument);
    case NEGATIVE:
        if (head.argument <= INT64_MAX) {
            return PyLong_FromLongLong(~(long long)head.argument);
        } else {
            PyObject *number = PyLong_FromUnsignedLongLong(head.argument);
            PyObject *inverted = number != NULL ? PyNumber_Invert(number) : NULL;
            Py_XDECREF(number);
            return inverted;
        }
    case BYTES: {
        const char *bytes = take(in, head.argument, start);
        return bytes != NULL ? PyBytes_FromStringAndSize(bytes, (Py_ssize_t)head.argument) : NULL;
    }
    case TEXT:
        return read_text(in, head.argument, start);
    case ARRAY:
        return read_list(in, head.argument, depth, start);
    case MAP:
        return read_dict(in, head.argument, depth, start);
    case TAG:
        return read_tagged(in, head.argument, depth, start);
    default:
        return read_simple(in, head.argument, start);
    }
}

/* The module */

PyDoc_STRVAR(set_up_doc, "set_up(write_other, read_tag, step_to_key, cannot_travel, malformed)\n--\n\n"
                         "Gives the functions and errors of the Python side.");

static PyObject *set_up(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *given[5];
    if (!PyArg_ParseTuple(args, "OOOO!O!:set_up", &given[0], &given[1], &given[2], &PyType_Type, &given[3],
                          &PyType_Type, &given[4])) {
        return NULL;
    }
    PyObject **kept[] = {&write_other, &read_tag, &step_to_key, &cannot_travel, &malformed};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        Py_XSETREF(*kept[i], Py_NewRef(given[i]));
    }
    Py_RETURN_NONE;
}

static int is_set_up(void)
{
    if (malformed == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "_ppwasm_values was not set up");
    }
    return malformed != NULL;
}

PyDoc_STRVAR(encode_doc, "encode(value, classes, depth, prefix)\n--\n\n"
                         "The prefix and the bytes of a value with `depth` arrays and maps around it.");

static PyObject *encode(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (!is_set_up()) {
        return NULL;
    }
    if (count != 4 || !PyBytes_CheckExact(args[3])) {
        PyErr_SetString(PyExc_TypeError, "encode(value, classes, depth, prefix)");
        return NULL;
    }
    int depth = PyLong_AsInt(args[2]);
    if (depth == -1 && PyErr_Occurred()) {
        return NULL;
    }
    Output out;
    out.bytes = out.first;
    out.object = NULL;
    out.length = 0;
    out.capacity = sizeof out.first;
    out.classes = args[1];
    if (put(&out, PyBytes_AS_STRING(args[3]), (size_t)PyBytes_GET_SIZE(args[3])) != 0
        || write_value(&out, args[0], depth) != 0) {
        Py_XDECREF(out.object);
        return NULL;
    }
    return finish(&out);
}

static int open_input(Input *in, PyObject *const *args)
{
    if (!is_set_up()) {
        return -1;
    }
    if (!PyBytes_CheckExact(args[0])) {
        PyErr_SetString(PyExc_TypeError, "the data has to be bytes");
        return -1;
    }
    in->data = args[0];
    in->bytes = (const unsigned char *)PyBytes_AS_STRING(args[0]);
    in->length = (size_t)PyBytes_GET_SIZE(args[0]);
    in->position = 0;
    in->classes = args[1];
    return 0;
}

PyDoc_STRVAR(decode_doc, "decode(data, classes, depth)\n--\n\n"
                         "The value that is all of the data, with `depth` arrays and maps around it.");

static PyObject *decode(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Input in;
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "decode(data, classes, depth)");
        return NULL;
    }
    if (open_input(&in, args) != 0) {
        return NULL;
    }
    int depth = PyLong_AsInt(args[2]);
    if (depth == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *value = read_value(&in, depth);
    if (value != NULL && in.position != in.length) {
        Py_DECREF(value);
        return malformed_at("bytes left over", in.position);
    }
    return value;
}

PyDoc_STRVAR(decode_at_doc, "decode_at(data, classes, depth, position)\n--\n\n"
                            "The value that begins at the position, and the position behind it.");

static PyObject *decode_at(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Input in;
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "decode_at(data, classes, depth, position)");
        return NULL;
    }
    if (open_input(&in, args) != 0) {
        return NULL;
    }
    int depth = PyLong_AsInt(args[2]);
    Py_ssize_t position = PyLong_AsSsize_t(args[3]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (position < 0) {
        PyErr_SetString(PyExc_ValueError, "the position lies before the data");
        return NULL;
    }
    in.position = (size_t)position;
    PyObject *value = read_value(&in, depth);
    return value != NULL ? Py_BuildValue("(Nn)", value, (Py_ssize_t)in.position) : NULL;
}

static PyMethodDef methods[] = {
    {"set_up", set_up, METH_VARARGS, set_up_doc},
    {"encode", (PyCFunction)(void (*)(void))encode, METH_FASTCALL, encode_doc},
    {"decode", (PyCFunction)(void (*)(void))decode, METH_FASTCALL, decode_doc},
    {"decode_at", (PyCFunction)(void (*)(void))decode_at, METH_FASTCALL, decode_at_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_ppwasm_values",
    .m_doc = "How values travel, for the types that most values are made of.",
    .m_size = -1, /* one interpreter, one state */
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__ppwasm_values(void)
{
    return PyModule_Create(&definition);
}
